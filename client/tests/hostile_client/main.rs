//! A hostile client: it breaks the rules of `docs/PROTOCOL.md` on purpose, one by one, and hears from the real agent what the
//! document says of that. A case is named after its rule: a test `r_6_2_…`, or the words `R-6.2: …` in a table of one.
//!
//! `cargo xtask rules` tells which rules have none.

#[path = "../guest/mod.rs"]
mod guest;

mod channels;
mod link;
mod preamble;
mod requests;
mod serial;
mod session;
mod trees;

use std::sync::atomic::{AtomicU32, Ordering};

use guest::wire::{Frame, Heard, Wire, field, frame, hello, kind};
use guest::{Guest, TARGET};

/// Kinds of channels.
const EXEC: u8 = 1;
const PUT: u8 = 2;
const GET: u8 = 3;

/// A preamble that keeps to the rules, of a session that nobody else has.
fn preamble() -> [u8; 64] {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let mut preamble = [0; 64];
    preamble[..12].copy_from_slice(b"\x89VSSH\r\x1A\n\x01\0\x01\0");
    preamble[16..20].copy_from_slice(b"evil");
    preamble[20..24].copy_from_slice(&std::process::id().to_le_bytes());
    preamble[24..28].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    preamble[32] = 1;
    preamble
}

/// The next preamble of the same session, which goes on from so many bytes of the agent's stream.
fn again(preamble: &mut [u8; 64], received: u64) {
    preamble[13] |= 1;
    preamble[32] += 1;
    preamble[40..48].copy_from_slice(&received.to_le_bytes());
}

/// A connection on which this was said first, and the answer's status.
#[track_caller]
fn dial(guest: &Guest, preamble: &[u8; 64]) -> (Wire, u8) {
    let mut wire = Wire::over(guest.connect());
    wire.write(preamble);
    let answer: [u8; 64] = wire.read();
    // What it says goes on from there.
    wire.received = u64::from_le_bytes(*preamble.last_chunk::<24>().unwrap().first_chunk().unwrap());
    (wire, answer[12])
}

/// A session in which nothing has been said.
#[track_caller]
fn silent(guest: &Guest) -> Wire {
    let (wire, status) = dial(guest, &preamble());
    assert_eq!(status, 0);
    wire
}

/// A session in which both have said HELLO.
#[track_caller]
fn greeted(guest: &Guest) -> Wire {
    let mut wire = silent(guest);
    wire.say(&[hello(0)]);
    wire.next(kind::HELLO);
    wire
}

/// A session in which the command `cat` runs on channel 0.
#[track_caller]
fn with_cat(guest: &Guest) -> Wire {
    let mut wire = greeted(guest);
    wire.say(&[asking(0, EXEC, &arguments(&["cat"]))]);
    wire.next(kind::ACCEPTED);
    wire
}

fn open(channel: u16, kind: u8) -> Vec<u8> {
    frame(kind::OPEN, 0, channel, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

/// A channel with its request.
fn asking(channel: u16, kind: u8, request: &[u8]) -> Vec<u8> {
    let data = if request.is_empty() { Vec::new() } else { frame(kind::DATA, 3, channel, request) };
    [open(channel, kind), data, frame(kind::FINISH, 3, channel, b"")].concat()
}

/// A string, with its NUL.
fn string(tag: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    field(tag, &[value.as_ref(), b"\0"].concat())
}

/// A program and its arguments.
fn arguments(words: &[&str]) -> Vec<u8> {
    words.iter().flat_map(|word| string(0x01, word)).collect()
}

/// The answer to a request: ACCEPTED, or REFUSED.
#[track_caller]
fn answer(wire: &mut Wire) -> Frame {
    loop {
        match wire.hear() {
            Heard::Frame(frame) if [kind::ACCEPTED, kind::REFUSED].contains(&frame.kind) => return frame,
            Heard::End => panic!("closed without an answer"),
            _ => {}
        }
    }
}

/// The session ends with this code; the agent goes on.
#[track_caller]
fn ends(guest: &Guest, wire: &mut Wire, code: u32, case: &str) {
    assert_eq!(wire.bye(), Some(code), "{case}");
    assert!(guest.log().lines().all(|line| !line.contains("panic")), "{case}");
}

/// The agent serves others as before, and nothing is left of who broke its rules.
#[track_caller]
fn serves(guest: &Guest) {
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
    guest.is_idle();
}
