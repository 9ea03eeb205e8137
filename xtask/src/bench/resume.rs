//! Row 7: how soon a session goes on whose connection was lost, and what it costs that it can.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::bulk::{remove, touch_free_pages, write_source};
use super::contender::{Contender, Task};
use super::latency::timed;
use super::rig::Rig;
use super::stats::{Series, interleave, progress};
use super::table::{Goal, Row, Unit};

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
        let before = way.passed.load(Ordering::Relaxed);
        std::thread::sleep(MINUTE);
        progress("7 idle session", 2, 2);
        Ok(vec![(way.passed.load(Ordering::Relaxed) - before) as f64])
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

/// A way to the agent that counts what passes, and takes everything along when it is dropped.
struct Way {
    socket: PathBuf,
    passed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Way {
    fn open(rig: &Rig) -> Result<Self> {
        let socket = rig.scratch.path("way.sock");
        let listener = UnixListener::bind(&socket)?;
        let (passed, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let there = rig.scratch.path("agent.sock");
        let (count, over, all) = (passed.clone(), is_over.clone(), streams.clone());
        let accepting = std::thread::spawn(move || {
            for here in listener.incoming() {
                let (Ok(here), Ok(there)) = (here, UnixStream::connect(&there)) else { return };
                if over.load(Ordering::Acquire) {
                    return;
                }
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone())
                    else {
                        return;
                    };
                    if let Ok(mut all) = all.lock() {
                        all.push(kept);
                    }
                    let count = count.clone();
                    std::thread::spawn(move || carry(from, to, &count));
                }
            }
        });
        Ok(Self { socket, passed, is_over, streams, accepting: Some(accepting) })
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, count: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Way {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes whoever accepts.
        let _ = UnixStream::connect(&self.socket);
        let _ = fs::remove_file(&self.socket);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.streams.lock().into_iter().flat_map(|mut streams| std::mem::take(&mut *streams)) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
