//! Row 4: how long a key takes to come back.
//!
//! Every contender holds a session open on a terminal of its own, all at the same time; keys go to one after the other, so that
//! each contender's key meets the same machine. What echoes is the remote pty's line discipline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::contender::{Contender, Task};
use super::rig::Rig;
use super::stats::{Series, percentile, progress};
use super::table::{Goal, Row, Unit};
use crate::terminal::Terminal;

/// Keys that are typed before the ones that count.
const WARM_UP: usize = 100;

/// Keys of which one p50 and one p99 are taken; the spread is that of the batches.
const BATCH: usize = 250;

/// A contender's session, and its keys' seconds batch by batch.
struct Typist {
    contender: Contender,
    state: Result<(Terminal, Vec<Vec<f64>>)>,
}

/// p50 and p99.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let batches = options.rounds(16, 2);
    let mut typists = Vec::new();
    for contender in &rig.contenders {
        if let Some(job) = rig.job(*contender, &Task::Echo)? {
            let state = open(&job.command).map(|terminal| (terminal, Vec::new()));
            typists.push(Typist { contender: *contender, state });
        }
    }
    round_robin(&mut typists, WARM_UP, false);
    for batch in 0..batches {
        progress("4 keystroke echo", batch, batches);
        round_robin(&mut typists, BATCH, true);
    }
    progress("4 keystroke echo", batches, batches);
    let row = |what: &str, share: f64, goals| Row {
        what: format!("4 keystroke echo, {what}"),
        unit: Unit::Seconds,
        series: typists.iter().map(|typist| typist.series(share)).collect(),
        goals,
    };
    Ok(vec![row("p50", 0.5, vec![]), row("p99", 0.99, vec![Goal::FloorTimes(1.3)])])
}

fn open(command: &std::process::Command) -> Result<Terminal> {
    let mut terminal = Terminal::start(command)?;
    terminal.until("ready", Duration::from_secs(5)).context("the echo never was ready")?;
    terminal.settle();
    Ok(terminal)
}

fn round_robin(typists: &mut [Typist], keys: usize, counts: bool) {
    let many = typists.len();
    for typist in typists.iter_mut() {
        if let Ok((_, batches)) = &mut typist.state {
            batches.push(Vec::with_capacity(keys));
        }
    }
    for number in 0..keys {
        let key = b'a' + (number % 26) as u8;
        for place in 0..many {
            typists[(place + number) % many].press(key);
        }
    }
    for typist in typists {
        if let Ok((_, batches)) = &mut typist.state {
            if !counts {
                batches.pop();
            } else if let Some(batch) = batches.last_mut() {
                batch.sort_by(f64::total_cmp);
            }
        }
    }
}

impl Typist {
    /// Types one key and waits for it; a failure replaces the session.
    fn press(&mut self, key: u8) {
        let Ok((terminal, batches)) = &mut self.state else { return };
        match echo(terminal, key) {
            Ok(seconds) => batches.last_mut().into_iter().for_each(|batch| batch.push(seconds)),
            Err(error) => self.state = Err(error),
        }
    }

    fn series(&self, share: f64) -> Series {
        let outcome = match &self.state {
            Ok((_, batches)) => Ok(batches.iter().map(|batch| percentile(batch, share)).collect()),
            Err(error) => Err(format!("{error:#}")),
        };
        Series { contender: self.contender, outcome }
    }
}

fn echo(terminal: &mut Terminal, key: u8) -> Result<f64> {
    let mut seen = [0; 64];
    let start = Instant::now();
    terminal.write(&[key])?;
    let count = terminal.read(&mut seen, Duration::from_secs(2))?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(seen[..count] == [key], "{:?} came back for {key}", &seen[..count]);
    Ok(seconds)
}
