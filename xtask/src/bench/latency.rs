//! Row 1: how long `true` takes from a fresh client process, and the stopwatch that other rows use too.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Options;
use super::contender::{Contender, Job, Task};
use super::rig::Rig;
use super::stats;
use super::table::{Goal, Row, Unit};

/// Both ways to run `true`.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let rounds = options.rounds(150, 15);
    let measure = |task: &Task<'_>, what: &str| {
        stats::interleave(what, rounds, &rig.contenders, |contender| match rig.job(contender, task)? {
            Some(job) => timed(rig, job, Stdio::null(), |_| Ok(())).map(Some),
            None => Ok(None),
        })
    };
    let direct = Row {
        what: "1 `true`, fresh client".into(),
        unit: Unit::Seconds,
        series: measure(&Task::True, "1 true"),
        goals: vec![Goal::FloorTimes(1.5), Goal::Faster(Contender::OpenSsh, 50.0)],
    };
    let shell = Row {
        what: "1 `true` by the shell".into(),
        unit: Unit::Seconds,
        series: measure(&Task::ShellTrue, "1 true by the shell"),
        goals: vec![],
    };
    Ok(vec![direct, shell])
}

/// Seconds from before the process exists until it, and the server that serves only it, have ended. `meanwhile` runs on this
/// thread while it works.
pub fn timed(
    rig: &Rig,
    mut job: Job,
    stdout: Stdio,
    meanwhile: impl FnOnce(&mut Child) -> Result<()>,
) -> Result<f64> {
    let words = rig.scratch.path("stderr");
    job.command.stdin(Stdio::null()).stdout(stdout).stderr(File::create(&words)?);
    let start = Instant::now();
    let mut child =
        job.command.spawn().with_context(|| format!("cannot run {:?}", job.command.get_program()))?;
    let done = meanwhile(&mut child);
    let status = child.wait()?;
    let served = job.server.map_or(Ok(()), |server| server.finishes());
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        let words = std::fs::read_to_string(&words).unwrap_or_default();
        bail!("{status}: {}", words.lines().next_back().unwrap_or("without a word"));
    }
    done.and(served).map(|()| seconds)
}
