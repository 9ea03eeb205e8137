//! Whoever opens connections and does not go on with them cannot lock the owner out.

mod guest;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use guest::keyed::{keyed, preamble};
use guest::{Guest, Over, TARGET};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of a flood, at least; it goes on for as long as the owner tries.
const FLOOD: usize = 10_000;
/// Threads that open them.
const FLOODERS: usize = 4;
/// Connections that each of them holds open: together more than the kernel keeps for the agent (1024) and the agent itself (128),
/// so that the owner finds both full.
const HELD: usize = 400;
/// How often the owner comes.
const OWNERS: usize = 20;
/// How long he may have to wait, in the median.
const MEDIAN_MAX: Duration = Duration::from_secs(1);

/// One flood at a time: each is meant to be alone with its owner.
static TURN: Mutex<()> = Mutex::new(());

/// A new connection says one of these, and nothing more.
type Words<'w> = [&'w [u8]; 4];

fn open_connections(socket: &Path, words: &Words<'_>, opened: &AtomicUsize, is_enough: &AtomicBool) {
    let mut held = VecDeque::new();
    while !is_enough.load(Ordering::Relaxed) || opened.load(Ordering::Relaxed) < FLOOD {
        let mut stream = UnixStream::connect(socket).unwrap();
        let number = opened.fetch_add(1, Ordering::Relaxed);
        // It may have been evicted already.
        _ = stream.write_all(words[number % words.len()]);
        held.push_back(stream);
        if held.len() > HELD {
            held.pop_front();
        }
    }
}

/// How long the owner takes to run a command, in order.
fn times_under_a_flood(guest: &Guest, options: &[OsString], words: &Words<'_>) -> Vec<Duration> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (opened, is_enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let socket = guest.socket();
    let begun = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| open_connections(&socket, words, &opened, &is_enough));
        }
        let _enough = Over(&is_enough);
        guest::until("both queues are full", || opened.load(Ordering::Relaxed) >= FLOODERS * HELD);
        let owner = || {
            let begun = Instant::now();
            // Who has bad luck again and again goes on trying, and is measured by that.
            let words = ["--timeout", "20", TARGET, "--", "true"];
            guest.run(options.iter().cloned().chain(words.map(OsString::from))).succeeded();
            begun.elapsed()
        };
        (0..OWNERS).map(|_| owner()).collect()
    });
    times.sort();
    eprintln!("{} connections in {:?}; the owner took {times:?}", opened.into_inner(), begun.elapsed());
    times
}

#[track_caller]
fn assert_served(guest: &Guest, options: &[OsString], words: &Words<'_>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let times = times_under_a_flood(guest, options, words);
    assert!(times[OWNERS / 2] < MEDIAN_MAX, "{times:?}");
    guest.is_idle();
}

#[test]
fn ten_thousand_connections_without_a_preamble_keep_nobody_out() {
    let guest = Guest::start();
    // A whole one would be a session, to which whoever may connect has a right.
    let whole = preamble(1);
    assert_served(&guest, &[], &[b"", &whole[..1], b"", &whole[..63]]);
}

#[test]
fn ten_thousand_connections_without_a_proof_keep_no_owner_of_the_key_out() {
    let (guest, key) = keyed();
    let whole = preamble(1);
    assert_served(&guest, &["--key".into(), key.into()], &[b"", &whole[..63], b"", &whole]);
}
