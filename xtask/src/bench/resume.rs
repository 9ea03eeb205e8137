//! Row 7: how soon a session goes on whose connection was lost, and what it costs that it can.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::bulk::{remove, touch_free_pages, write_source};
use super::contender::{Contender, Task};
use super::latency::timed;
use super::rig::Rig;
use super::stats::{Series, interleave, progress};
use super::table::{Goal, Row, Unit};
use super::way::Way;

/// How long the way is gone, at least.
const OUTAGE: Duration = Duration::from_millis(200);
/// The longest pause between two signs of life comes after as much.
const SETTLED: Duration = Duration::from_secs(70);
const MINUTE: Duration = Duration::from_secs(60);

/// The rows.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    Ok(vec![goes_on(rig, options), costs(rig, options)?, idles(rig, options)])
}

/// From the moment that the agent can be reached again to the first byte that comes back.
fn goes_on(rig: &Rig, options: &Options) -> Row {
    let measure = || -> Result<Vec<f64>> {
        let (way, mut client) = echoing(rig)?;
        let rounds = options.rounds(40, 10);
        let mut way = Some(way);
        let mut values = Vec::new();
        for round in 0..rounds {
            progress("7 session goes on", round, rounds);
            drop(way.take());
            // At another moment of the client's pauses each time.
            std::thread::sleep(OUTAGE + Duration::from_millis(7 * (round as u64 % 16)));
            client.write(b'x')?;
            let start = Instant::now();
            way = Some(Way::open(rig)?);
            client.expect(b'x')?;
            values.push(start.elapsed().as_secs_f64());
        }
        progress("7 session goes on", rounds, rounds);
        Ok(values)
    };
    Row {
        what: "7 session goes on, once it can".to_owned(),
        unit: Unit::Seconds,
        series: vec![ours(measure())],
        goals: vec![Goal::AtMostSeconds(0.05)],
    }
}

/// A file up, by a client that would reconnect; in the floor's place one that would not.
fn costs(rig: &Rig, options: &Options) -> Result<Row> {
    let bytes = options.bulk_bytes();
    let (from, to) = (rig.scratch.path("source"), rig.scratch.path("copy"));
    write_source(&from, bytes)?;
    let task = Task::Upload { from: &from, to: &to };
    let both = [Contender::Floor, Contender::Ours];
    let series = interleave("7 file up, with and without", options.rounds(15, 3), &both, |contender| {
        remove(&to)?;
        touch_free_pages(&to, bytes)?;
        let Some(mut job) = rig.job(Contender::Ours, &task)? else { return Ok(None) };
        if contender == Contender::Floor {
            job.command.args(["--reconnect", "0"]);
        }
        timed(rig, job, Stdio::null(), |_| Ok(())).map(Some)
    });
    remove(&to)?;
    remove(&from)?;
    Ok(Row {
        what: format!("7 {} MiB file up, beside --reconnect 0", bytes >> 20),
        unit: Unit::Rate(bytes),
        series,
        goals: vec![Goal::FloorRate(0.97)],
    })
}

/// Bytes that pass in a minute in which nobody does anything.
fn idles(rig: &Rig, options: &Options) -> Row {
    let measure = || -> Result<Vec<f64>> {
        let (way, mut client) = echoing(rig)?;
        client.write(b'x')?;
        client.expect(b'x')?;
        if !options.quick {
            progress("7 idle session", 0, 2);
            std::thread::sleep(SETTLED);
        }
        let before = way.passed();
        std::thread::sleep(MINUTE);
        progress("7 idle session", 2, 2);
        Ok(vec![(way.passed() - before) as f64])
    };
    Row {
        what: "7 idle session, bytes a minute".to_owned(),
        unit: Unit::Bytes,
        series: vec![ours(measure())],
        goals: vec![],
    }
}

fn ours(outcome: Result<Vec<f64>>) -> Series {
    Series { contender: Contender::Ours, outcome: outcome.map_err(|error| format!("{error:#}")) }
}

/// `cat` in a session.
struct Echo(Child);

fn echoing(rig: &Rig) -> Result<(Way, Echo)> {
    let way = Way::open(rig)?;
    let mut command = Command::new(&rig.client);
    command.args(["-q", &format!("unix:{}", way.socket.display()), "--", "cat"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut echo = Echo(child);
    echo.write(b'a')?;
    echo.expect(b'a')?;
    Ok((way, echo))
}

impl Echo {
    fn write(&mut self, byte: u8) -> Result<()> {
        Ok(self.0.stdin.as_mut().context("no pipe")?.write_all(&[byte])?)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        let mut came = [0];
        self.0.stdout.as_mut().context("no pipe")?.read_exact(&mut came)?;
        ensure!(came == [byte], "{came:?} came back for {byte}");
        Ok(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
