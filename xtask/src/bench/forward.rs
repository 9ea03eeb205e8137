//! Row 9: connections through `-L`, beside `ssh -L` and two socats: how many bytes and how many connections go through, and how long
//! a byte takes.
//!
//! Everybody listens on a socket of his own here and connects to the same one there, over the same kind of stream as in the other
//! rows. All are up all the time; what is measured goes to one after the other.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::Options;
use super::contender::Contender;
use super::rig::Rig;
use super::stats::{Series, interleave, percentile};
use super::table::{Goal, Row, Unit};
use crate::scratch::Server;

/// What the ends of a connection read and write at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Connections that are open at once, where several are.
const AT_ONCE: usize = 50;
/// Those that the far end serves at once: somebody may still be ending when the next ones come.
const SERVED_AT_ONCE: usize = 2 * AT_ONCE;
/// Bytes there and back of which one median is taken, after some that do not count.
const BATCH: usize = 500;
const WARM_UP: usize = 20;
/// A connection that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the first byte of a connection asks the far end for.
const SINK: u8 = b'>';
const SOURCE: u8 = b'<';
const ECHO: u8 = b'=';

/// The rows.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let far = FarEnd::open(&rig.scratch.path("far.sock"))?;
    let ways = open_all(rig, &far.socket);
    let mut rows = bulk(options, &ways);
    rows.extend(connections(options, &ways));
    rows.push(latency(options, &ways));
    Ok(rows)
}

/// Somebody who forwards, and where he listens; or why he does not.
struct Forwarder {
    contender: Contender,
    state: Result<PathBuf, String>,
    /// Ended with it.
    _servers: Vec<Server>,
}

/// Lets everybody who can forward listen for connections that lead to `there`.
fn open_all(rig: &Rig, there: &Path) -> Vec<Forwarder> {
    let opened = rig.contenders.iter().filter_map(|&contender| {
        let here = rig.scratch.path(&format!("here-{}.sock", contender.name()));
        let servers = rig.forwarders(contender, &here, there).transpose()?;
        let (state, servers) = match servers {
            Ok(servers) => (Ok(here), servers),
            Err(error) => (Err(format!("{error:#}")), Vec::new()),
        };
        Some(Forwarder { contender, state, _servers: servers })
    });
    opened.collect()
}

/// Measures everybody in turns; `measure` gets where he listens.
fn in_turns(
    what: &str,
    rounds: usize,
    ways: &[Forwarder],
    mut measure: impl FnMut(&Path) -> Result<f64>,
) -> Vec<Series> {
    let who: Vec<Contender> = ways.iter().map(|way| way.contender).collect();
    interleave(what, rounds, &who, |contender| {
        let way = ways.iter().find(|way| way.contender == contender).context("nobody forwards")?;
        let here = way.state.as_ref().map_err(|reason| anyhow!("{reason}"))?;
        measure(here).map(Some)
    })
}

fn goals() -> Vec<Goal> {
    vec![Goal::Faster(Contender::OpenSsh, 1.0), Goal::Faster(Contender::Socat, 1.0)]
}

/// Moves so many bytes through a connection to a socket: in how many seconds.
type Move = fn(&Path, u64) -> Result<f64>;

/// As many bytes as other rows move, through one connection.
fn bulk(options: &Options, ways: &[Forwarder]) -> Vec<Row> {
    let bytes = options.bulk_bytes();
    let size = bytes >> 20;
    let measures: [(&str, Move); 2] = [("there", send), ("back", fetch)];
    let rows = measures.into_iter().map(|(direction, measure)| {
        let what = format!("9 {size} MiB {direction} by -L");
        let series = in_turns(&what, options.rounds(9, 3), ways, |here| measure(here, bytes));
        Row { what, unit: Unit::Rate(bytes), series, goals: goals() }
    });
    rows.collect()
}

/// Seconds until the far end has said that it has everything.
fn send(here: &Path, bytes: u64) -> Result<f64> {
    let mut stream = connect(here, SINK)?;
    let piece = vec![0; PIECE_BYTES];
    let start = Instant::now();
    stream.write_all(&bytes.to_le_bytes())?;
    for _ in 0..bytes / PIECE_BYTES as u64 {
        stream.write_all(&piece)?;
    }
    stream.read_exact(&mut [0]).context("nobody says that it arrived")?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds until everything has come from the far end.
fn fetch(here: &Path, bytes: u64) -> Result<f64> {
    let mut stream = connect(here, SOURCE)?;
    let start = Instant::now();
    stream.write_all(&bytes.to_le_bytes())?;
    drain(&mut stream, bytes)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Fresh connections, each of which brings a byte there and one back: one after the other, and many at once.
fn connections(options: &Options, ways: &[Forwarder]) -> Vec<Row> {
    let count = if options.quick { 200 } else { 2000 };
    let rows = [1, AT_ONCE].map(|at_once| {
        let what = format!("9 {count} connections by -L, {at_once} at once");
        let series = in_turns(&what, options.rounds(9, 3), ways, |here| rush(here, count, at_once));
        Row { what, unit: Unit::Often(count as u64), series, goals: goals() }
    });
    rows.into()
}

/// Seconds until so many connections were made, used and closed.
fn rush(here: &Path, count: usize, at_once: usize) -> Result<f64> {
    let start = Instant::now();
    thread::scope(|scope| {
        let make_one = || there_and_back(&mut connect(here, ECHO)?);
        let make = move || (0..count / at_once).try_for_each(|_| make_one());
        let makers: Vec<_> = (0..at_once).map(|_| scope.spawn(make)).collect();
        makers
            .into_iter()
            .try_for_each(|maker| maker.join().unwrap_or_else(|_| Err(anyhow!("a connection panicked"))))
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// How long a byte takes on a connection that is open.
fn latency(options: &Options, ways: &[Forwarder]) -> Row {
    let what = "9 byte there and back by -L, p50";
    let series = in_turns(what, options.rounds(20, 3), ways, |here| {
        let mut stream = connect(here, ECHO)?;
        let mut taken = Vec::with_capacity(BATCH);
        for number in 0..WARM_UP + BATCH {
            let start = Instant::now();
            there_and_back(&mut stream)?;
            if number >= WARM_UP {
                taken.push(start.elapsed().as_secs_f64());
            }
        }
        taken.sort_by(f64::total_cmp);
        Ok(percentile(&taken, 0.5))
    });
    Row { what: what.to_owned(), unit: Unit::Seconds, series, goals: goals() }
}

/// A connection that has said what it wants.
fn connect(here: &Path, wish: u8) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(here)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[wish])?;
    Ok(stream)
}

fn there_and_back(stream: &mut UnixStream) -> Result<()> {
    let (sent, mut back) = ([b'x'], [0]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut back)?;
    ensure!(back == sent, "{back:?} came back for {sent:?}");
    Ok(())
}

/// Reads so many bytes.
fn drain(stream: &mut UnixStream, bytes: u64) -> Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(anyhow!("{left} of {bytes} bytes are missing")),
            count => left = left.checked_sub(count as u64).context("more bytes than were sent")?,
        }
    }
    Ok(())
}

/// Where every forwarded connection ends: takes bytes, sends bytes, or sends each back.
struct FarEnd {
    socket: PathBuf,
    is_over: Arc<AtomicBool>,
    serving: Vec<JoinHandle<()>>,
}

impl FarEnd {
    /// Opens it, with all its threads: to begin one would be part of what a connection costs.
    fn open(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut far = Self { socket: socket.to_owned(), is_over, serving: Vec::new() };
        for _ in 0..SERVED_AT_ONCE {
            let (listener, is_over) = (listener.try_clone()?, far.is_over.clone());
            far.serving.push(thread::spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    // Who leaves in the middle says so himself.
                    let _ = stream.map_err(anyhow::Error::from).and_then(serve);
                }
            }));
        }
        Ok(far)
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Each wakes one of those who accept, whichever.
        for _ in &self.serving {
            let _ = UnixStream::connect(&self.socket);
        }
        for serving in self.serving.drain(..) {
            let _ = serving.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(mut stream: UnixStream) -> Result<()> {
    // Also who forwards no end must not hold a thread for ever.
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    match wish[0] {
        SINK => {
            let bytes = number(&mut stream)?;
            drain(&mut stream, bytes)?;
            stream.write_all(&wish)?;
        }
        SOURCE => {
            let bytes = number(&mut stream)?;
            let piece = vec![0; PIECE_BYTES];
            for _ in 0..bytes / PIECE_BYTES as u64 {
                stream.write_all(&piece)?;
            }
        }
        _ => {
            let mut byte = [0];
            while stream.read(&mut byte)? > 0 {
                stream.write_all(&byte)?;
            }
        }
    }
    Ok(())
}

fn number(stream: &mut UnixStream) -> Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_far_end_takes_sends_and_echoes_and_ends_with_its_threads() {
        let scratch = Scratch::new(&std::env::temp_dir(), "far-end").unwrap();
        let far = FarEnd::open(&scratch.path("far.sock")).unwrap();
        let bytes = 3 * PIECE_BYTES as u64;
        assert!(send(&far.socket, bytes).unwrap() > 0.0);
        assert!(fetch(&far.socket, bytes).unwrap() > 0.0);
        assert!(rush(&far.socket, 200, AT_ONCE).unwrap() > 0.0);
        let socket = far.socket.clone();
        drop(far);
        assert!(!socket.exists());
    }

    #[test]
    fn bytes_that_are_missing_are_no_measurement() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&[0; 10]).unwrap();
        drop(there);
        assert!(drain(&mut here, 11).unwrap_err().to_string().contains("1 of 11 bytes"));
    }
}
