//! Rounds in rotating order, medians, and the spread of ratios.

use std::io::IsTerminal;

use anyhow::Result;

use super::contender::Contender;

/// Who needs so long for a round …
const SLOW_SECONDS: f64 = 5.0;

/// … is measured only so often.
const SLOW_ROUNDS: usize = 3;

/// What one contender scored, round by round, or why it has no score.
#[derive(Clone, Debug)]
pub struct Series {
    pub contender: Contender,
    pub outcome: Result<Vec<f64>, String>,
}

/// A median with its tenth and ninetieth percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// Lets everybody do the same thing `rounds` times, after one time that does not count. Each round begins with another
/// contender. Who fails once is left out from then on; who has no such task returns none; who is slow takes part in the first
/// rounds only.
pub fn interleave(
    what: &str,
    rounds: usize,
    contenders: &[Contender],
    mut measure: impl FnMut(Contender) -> Result<Option<f64>>,
) -> Vec<Series> {
    let start = |contender: &Contender| Series { contender: *contender, outcome: Ok(Vec::new()) };
    let mut series: Vec<Series> = contenders.iter().map(start).collect();
    let count = series.len();
    for round in 0..=rounds {
        progress(what, round, rounds);
        for place in 0..count {
            let entry = &mut series[(place + round) % count];
            let Ok(values) = &mut entry.outcome else { continue };
            if values.len() >= SLOW_ROUNDS && values.iter().any(|value| *value > SLOW_SECONDS) {
                continue;
            }
            match measure(entry.contender) {
                Ok(Some(value)) if round > 0 => values.push(value),
                Ok(_) => {}
                Err(error) => entry.outcome = Err(format!("{error:#}")),
            }
        }
    }
    series
}

/// Says how far a measurement is: on one line of a terminal, and elsewhere only that it began.
pub fn progress(what: &str, done: usize, all: usize) {
    let end = if done == all { "\n" } else { "" };
    if std::io::stderr().is_terminal() {
        eprint!("\r{what}: {done} of {all} {end}");
    } else if done == 0 {
        eprintln!("{what}");
    }
}

/// The value below which `share` of the values lie; they must be sorted, and there must be one.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * part
}

/// Median and spread; none without values.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return None;
    }
    let [low, median, high] = [0.1, 0.5, 0.9].map(|share| percentile(&sorted, share));
    Some(Spread { median, low, high })
}

/// The spread of `a ÷ b`, round by round, over the rounds that both took part in.
pub fn ratio(a: &[f64], b: &[f64]) -> Option<Spread> {
    spread(a.iter().zip(b).map(|(a, b)| a / b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_between_two_values_is_between_them() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!([0.0, 0.5, 1.0].map(|share| percentile(&values, share)), [1.0, 2.5, 4.0]);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Both slow down together: the ratio does not move.
        assert_eq!(
            ratio(&[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]),
            Some(Spread { median: 2.0, low: 2.0, high: 2.0 })
        );
    }

    #[test]
    fn the_first_round_is_thrown_away_and_who_fails_is_left_out() {
        let mut calls = 0;
        let series = interleave("test", 2, &[Contender::Floor, Contender::Ours], |contender| {
            calls += 1;
            match contender {
                Contender::Floor => Ok(Some(f64::from(calls))),
                _ => anyhow::bail!("broken"),
            }
        });
        assert_eq!(series[0].outcome, Ok(vec![3.0, 4.0]));
        assert_eq!(series[1].outcome, Err("broken".to_owned()));
    }

    #[test]
    fn without_values_there_is_no_spread() {
        assert_eq!(spread([]), None);
    }
}
