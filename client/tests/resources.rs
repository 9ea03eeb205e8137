//! What the agent takes of the machine: the same after ten thousand hostile connections as before, and nothing while it is idle.

mod guest;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use guest::frames::{hello, is_answered, request};
use guest::keyed::{keyed, preamble};
use guest::processes::{children, computed, number, state, switches, ticks};
use guest::{Guest, is_root, payload, until};
use vsock_shell_proto::preamble::{Dialer, SessionId};
use vsock_shell_proto::proof::{Key, Role, Said};

/// Hostile connections.
const HOSTILE: usize = 10_000;
/// Threads that make them.
const THREADS: usize = 4;
/// Connections that each leaves open behind itself for a while.
const HELD: usize = 100;
/// Kilobytes by which memory may differ: four pages.
const TOLERANCE_KB: u64 = 16;
/// How long an idle agent is looked at.
const IDLE: Duration = Duration::from_secs(10);

/// What of the machine the listener has.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    /// Counted page by page; /proc/PID/status only knows it to some hundred kilobytes.
    resident: u64,
    anonymous: u64,
}

impl Held {
    fn by(guest: &Guest) -> Self {
        let agent = guest.agent.0.id() as i32;
        let of = |name| number(agent, "smaps_rollup", name);
        Self { descriptors: guest.descriptors(), resident: of("Rss:"), anonymous: of("Anonymous:") }
    }
}

/// Waits until the agent has closed the connection.
fn is_closed(mut stream: UnixStream) {
    _ = stream.read_to_end(&mut Vec::new());
}

/// A session's number: no two at once have the same.
fn session_id(number: usize) -> [u8; 16] {
    (number as u128 | 0x1000_0002_u128 << 64).to_le_bytes()
}

/// Begins a session as who may.
fn begin(stream: &mut UnixStream, preamble: &[u8; 64], key: Option<&Mutex<Key>>) -> std::io::Result<()> {
    stream.write_all(preamble)?;
    let mut answer = [0; 64];
    stream.read_exact(&mut answer)?;
    if let Some(key) = key {
        let said = Said { preamble, challenge: &answer };
        let proof = key.lock().unwrap().prove(Role::Client, &said);
        stream.write_all(&proof)?;
        stream.read_exact(&mut [0; 96])?;
    }
    Ok(())
}

/// A connection that is not what it should be, of a kind for each number; what is given back is still open. Counts the sessions.
fn open(guest: &Guest, key: Option<&Mutex<Key>>, begun: &AtomicUsize, number: usize) -> Option<UnixStream> {
    let mut stream = guest.connect();
    let mut whole = Dialer::new(SessionId(session_id(number))).next_preamble(0, [0; 16]);
    whole.wants_proof = key.is_some();
    let whole = whole.encode();
    match number % 8 {
        0 => return Some(stream),
        1 => {
            stream.write_all(&whole[..1 + number % 63]).unwrap();
            return Some(stream);
        }
        // It is closed at the 64th byte, or before, where somebody else has come.
        2 => drop(stream.write_all(&payload(64 + number as u64 % 300))),
        // The wrong kind for this agent.
        3 if key.is_none() => stream.write_all(&preamble(1)).unwrap(),
        3 => stream.write_all(&Dialer::new(SessionId([1; 16])).next_preamble(0, [0; 16]).encode()).unwrap(),
        // Up to the gate, and a wrong proof there; an agent without a key takes both for what a session says.
        4 => {
            stream.write_all(&whole).unwrap();
            return Some(stream);
        }
        5 => {
            // Who is evicted meanwhile finds it closed.
            return stream.write_all(&[&whole[..], &[7; 32]].concat()).is_ok().then_some(stream);
        }
        // Who was evicted on his way has made room for another of us.
        kind => drop(begin(&mut stream, &whole, key).and_then(|()| {
            let garbage = payload(500);
            let broken = [&[1, 0, 0, 0, 0, 2, 0, 0][..], &garbage].concat();
            begun.fetch_add(1, Ordering::Relaxed);
            stream.write_all(if kind == 6 { &garbage } else { &broken })
        })),
    }
    is_closed(stream);
    None
}

/// Makes so many, and tells how many sessions began.
fn open_all(guest: &Guest, key: Option<&Mutex<Key>>, count: usize) -> usize {
    let (next, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut held = VecDeque::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    held.extend(open(guest, key, &begun, number));
                    if held.len() > HELD {
                        held.pop_front();
                    }
                }
            });
        }
    });
    begun.into_inner()
}

#[track_caller]
fn assert_nothing_is_left(guest: &Guest, key: Option<&Mutex<Key>>) {
    let idle = guest.descriptors();
    let is_over = || {
        guest.is_idle();
        until("what was open is closed", || guest.descriptors() == idle);
    };
    // Every kind some times, so that all that is ever written to has its pages.
    open_all(guest, key, 8 * 40);
    is_over();
    let before = Held::by(guest);
    let begun = open_all(guest, key, HOSTILE);
    is_over();
    let after = Held::by(guest);
    eprintln!("before {before:?}, after {after:?}, {begun} sessions");
    assert!(begun > HOSTILE / 100, "only {begun} sessions began");
    assert_eq!(before.descriptors, after.descriptors);
    for (before, after) in [(before.resident, after.resident), (before.anonymous, after.anonymous)] {
        assert!(after <= before + TOLERANCE_KB, "{after} kB, {before} kB before");
    }
    assert!(guest.sessions().is_empty(), "children");
}

#[test]
fn after_ten_thousand_hostile_connections_the_agent_has_what_it_had() {
    assert_nothing_is_left(&Guest::start(), None);
}

#[test]
fn after_ten_thousand_hostile_connections_the_agent_with_a_key_has_what_it_had() {
    // Nobody else may look into a process that holds a key.
    if !is_root() {
        return;
    }
    let (guest, path) = keyed();
    let key = Mutex::new(Key::parse(&std::fs::read(path).unwrap()).unwrap());
    assert_nothing_is_left(&guest, Some(&key));
}

/// The listener and its sessions.
fn processes_of(guest: &Guest) -> Vec<i32> {
    let agent = guest.agent.0.id() as i32;
    [vec![agent], children(agent)].concat()
}

#[test]
fn sixteen_sessions_in_which_nothing_happens_take_no_time() {
    const SESSIONS: usize = 16;
    // Here nothing comes, and nobody in the agent wakes up at all.
    let silent = Guest::start();
    let sleep = request(0, 1, b"\x01\x06\0\0sleep\0\x01\x05\0\x001000\0");
    // As nothing is acknowledged, it is asked after that once.
    let ping = [3, 0, 0, 0, 8, 0, 0, 0];
    let mut streams: Vec<_> = (0..SESSIONS as u64).map(|id| silent.session(0x1000_0003_0000 + id)).collect();
    std::thread::scope(|scope| {
        for stream in &mut streams {
            scope.spawn(|| is_answered(stream, &[hello(), sleep.clone()], &ping));
        }
    });
    // Real clients ask for a sign of life now and then.
    let asked = Guest::start();
    let _clients: Vec<_> =
        (0..SESSIONS).map(|_| asked.start_command(&["-t"], "echo ready; exec sleep 1000")).collect();
    let silent = processes_of(&silent);
    let asked = processes_of(&asked);
    assert_eq!((silent.len(), asked.len()), (1 + SESSIONS, 1 + SESSIONS));
    until("what was to be done is done", || silent.iter().chain(&asked).all(|&pid| state(pid) == Some('S')));
    let looked_at =
        || -> Vec<_> { silent.iter().map(|&process| (ticks(process), switches(process))).collect() };
    let computed_all = || asked.iter().map(|&process| computed(process)).sum::<Duration>();
    let (before, time_before) = (looked_at(), computed_all());
    std::thread::sleep(IDLE);
    let (after, time) = (looked_at(), computed_all() - time_before);
    assert_eq!(before, after);
    eprintln!("{SESSIONS} sessions of real clients took {time:?} in {IDLE:?}");
    assert!(time < IDLE / 200, "{time:?}");
}
