//! A row of the table: what was measured, what it should have been, and how both read.

use super::contender::Contender;
use super::stats::{Series, Spread, ratio, spread};

/// What a row's values are.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Seconds, shown as such; less is better.
    Seconds,
    /// Seconds for so many bytes, shown as a rate; less is better, and ratios to the floor are those of the rates.
    Rate(u64),
    /// Seconds for so many of what is counted, shown as a number a second, otherwise as a rate.
    Often(u64),
    /// Bytes; less is better.
    Bytes,
    /// A part of something else, 1 being all of it; less is better.
    Part,
}

/// What the project promised.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most so many times the floor's time.
    FloorTimes(f64),
    /// At least this part of the floor's rate.
    FloorRate(f64),
    /// So many times faster than a peer, where even the floor is.
    Faster(Contender, f64),
    AtMostBytes(u64),
    AtMostSeconds(f64),
    AtMostPart(f64),
}

/// One line of the table.
pub struct Row {
    pub what: String,
    pub unit: Unit,
    pub series: Vec<Series>,
    pub goals: Vec<Goal>,
}

impl Row {
    /// A row that could not be measured.
    pub fn failed(what: String, error: &anyhow::Error) -> Self {
        let series = vec![Series { contender: Contender::Ours, outcome: Err(format!("{error:#}")) }];
        Self { what, unit: Unit::Bytes, series, goals: vec![] }
    }

    /// False when vsock-shell itself has no figure.
    pub fn is_measured(&self) -> bool {
        self.values(Contender::Ours).is_some()
    }

    /// A contender's cell: its median, and for peers how many times ours is better.
    pub fn cell(&self, contender: Contender) -> String {
        let Some(series) = self.series.iter().find(|series| series.contender == contender) else {
            return "–".to_owned();
        };
        let values = match &series.outcome {
            Err(_) => return "failed".to_owned(),
            Ok(values) => values,
        };
        let Some(median) = spread(values.iter().copied()) else { return "–".to_owned() };
        let shown = self.shown(median.median);
        let against = self.values(Contender::Ours).and_then(|ours| ratio(values, ours));
        match against {
            Some(times) if Contender::PEERS.contains(&contender) => {
                format!("{shown} ({})", spread_text(times, "×"))
            }
            _ => shown,
        }
    }

    /// Why contenders failed, a line each.
    pub fn failures(&self) -> Vec<String> {
        let failed =
            self.series.iter().filter_map(|series| Some((series.contender, series.outcome.as_ref().err()?)));
        failed
            .map(|(contender, reason)| format!("{}: {} failed: {reason}", self.what, contender.name()))
            .collect()
    }

    /// Ours against the floor: times for a duration, a part for a rate.
    pub fn to_floor(&self) -> String {
        self.floor_ratio().map_or_else(|| "–".to_owned(), |ratio| spread_text(ratio, ""))
    }

    /// Every goal with its verdict.
    pub fn verdicts(&self) -> String {
        self.goals.iter().map(|goal| self.verdict(*goal)).collect::<Vec<_>>().join("; ")
    }

    fn verdict(&self, goal: Goal) -> String {
        let at_most = |most: f64| {
            let ours = self.values(Contender::Ours).and_then(|values| spread(values.iter().copied()));
            ours.map(|ours| ours.median <= most)
        };
        let (wanted, reached) = match goal {
            Goal::FloorTimes(most) => {
                (format!("≤ {most}× floor"), self.floor_ratio().map(|ratio| ratio.median <= most))
            }
            Goal::FloorRate(least) => {
                (format!("≥ {least} of floor"), self.floor_ratio().map(|ratio| ratio.median >= least))
            }
            Goal::Faster(peer, times) => {
                let wanted = format!("{times}× {}", peer.name());
                let faster = |who| Some(ratio(self.values(peer)?, self.values(who)?)?.median);
                if let (Some(floor), Some(ours)) = (faster(Contender::Floor), faster(Contender::Ours))
                    && floor < times
                    && ours < times
                {
                    return format!("{wanted}: the floor allows {floor:.1}×");
                }
                (wanted, faster(Contender::Ours).map(|ours| ours >= times))
            }
            Goal::AtMostBytes(most) => (format!("≤ {}", bytes_text(most as f64)), at_most(most as f64)),
            Goal::AtMostSeconds(most) | Goal::AtMostPart(most) => {
                (format!("≤ {}", self.shown(most)), at_most(most))
            }
        };
        match reached {
            Some(true) => format!("{wanted}: met"),
            Some(false) => format!("{wanted}: **missed**"),
            None => format!("{wanted}: not measured"),
        }
    }

    fn floor_ratio(&self) -> Option<Spread> {
        let (ours, floor) = (self.values(Contender::Ours)?, self.values(Contender::Floor)?);
        match self.unit {
            Unit::Rate(_) | Unit::Often(_) => ratio(floor, ours),
            _ => ratio(ours, floor),
        }
    }

    fn values(&self, contender: Contender) -> Option<&[f64]> {
        let series = self.series.iter().find(|series| series.contender == contender)?;
        series.outcome.as_deref().ok().filter(|values| !values.is_empty())
    }

    fn shown(&self, value: f64) -> String {
        match self.unit {
            Unit::Seconds if value < 1e-3 => format!("{:.0} µs", value * 1e6),
            Unit::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Rate(bytes) => format!("{:.0} MB/s", bytes as f64 / value / 1e6),
            Unit::Often(count) => format!("{:.0} /s", count as f64 / value),
            Unit::Bytes => bytes_text(value),
            Unit::Part => format!("{:.1} %", value * 1e2),
        }
    }
}

fn bytes_text(bytes: f64) -> String {
    if bytes < 10_240.0 * 1024.0 {
        format!("{:.1} KiB", bytes / 1024.0)
    } else {
        format!("{:.1} MiB", bytes / 1_048_576.0)
    }
}

/// A median and its spread, with as many digits as mean something.
fn spread_text(spread: Spread, unit: &str) -> String {
    let digits = if spread.median < 10.0 { 2 } else { 0 };
    let Spread { median, low, high } = spread;
    if low == high {
        return format!("{median:.digits$}{unit}");
    }
    format!("{median:.digits$}{unit} [{low:.digits$}–{high:.digits$}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: Unit, goals: Vec<Goal>, ours: f64, ssh: f64) -> Row {
        let series = |contender, seconds| Series { contender, outcome: Ok(vec![seconds]) };
        let series = vec![
            series(Contender::Floor, 1.0),
            series(Contender::Ours, ours),
            series(Contender::OpenSsh, ssh),
        ];
        Row { what: String::new(), unit, series, goals }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_the_ratio_to_the_floor() {
        let goals = vec![Goal::FloorTimes(1.5)];
        assert_eq!(row(Unit::Seconds, goals.clone(), 1.5, 9.0).verdicts(), "≤ 1.5× floor: met");
        assert_eq!(row(Unit::Seconds, goals, 1.6, 9.0).verdicts(), "≤ 1.5× floor: **missed**");
        let goals = vec![Goal::FloorRate(0.8)];
        assert_eq!(row(Unit::Rate(1), goals.clone(), 1.25, 9.0).verdicts(), "≥ 0.8 of floor: met");
        assert_eq!(row(Unit::Rate(1), goals, 1.3, 9.0).verdicts(), "≥ 0.8 of floor: **missed**");
    }

    #[test]
    fn a_duration_has_its_unit_and_a_part_is_in_hundredths() {
        let cell = |unit, value| row(unit, vec![], value, 1.0).cell(Contender::Ours);
        assert_eq!(cell(Unit::Seconds, 0.000_5), "500 µs");
        assert_eq!(cell(Unit::Seconds, 0.25), "250.00 ms");
        assert_eq!(cell(Unit::Seconds, 1.5), "1.50 s");
        assert_eq!(cell(Unit::Part, 0.051), "5.1 %");
        assert_eq!(
            row(Unit::Part, vec![Goal::AtMostPart(0.1)], 0.11, 1.0).verdicts(),
            "≤ 10.0 %: **missed**"
        );
    }

    #[test]
    fn what_is_counted_is_told_by_how_often_it_happens() {
        let row = row(Unit::Often(100), vec![Goal::FloorRate(0.8)], 1.25, 0.625);
        assert_eq!(row.cell(Contender::Ours), "80 /s");
        assert_eq!(row.cell(Contender::OpenSsh), "160 /s (0.50×)");
        assert_eq!((row.to_floor().as_str(), row.verdicts().as_str()), ("0.80", "≥ 0.8 of floor: met"));
    }

    #[test]
    fn nobody_has_to_be_faster_than_the_floor() {
        let goals = vec![Goal::Faster(Contender::OpenSsh, 3.0)];
        assert_eq!(
            row(Unit::Seconds, goals.clone(), 1.1, 2.0).verdicts(),
            "3× OpenSSH: the floor allows 2.0×"
        );
        assert_eq!(row(Unit::Seconds, goals.clone(), 2.0, 4.0).verdicts(), "3× OpenSSH: **missed**");
        assert_eq!(row(Unit::Seconds, goals, 1.0, 4.0).verdicts(), "3× OpenSSH: met");
    }
}
