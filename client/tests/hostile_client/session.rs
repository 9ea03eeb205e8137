//! Frames that break the rules of a session (`PROTOCOL.md` §5).

use crate::guest::Guest;
use crate::guest::wire::{frame, hello, kind};
use crate::{EXEC, answer, arguments, asking, ends, greeted, open, serves, silent};

const FRAME_TYPE: u32 = 0x20;
const FRAME_LENGTH: u32 = 0x21;
const HELLO: u32 = 0x22;
const FEATURE: u32 = 0x23;
const CHANNEL_ID: u32 = 0x24;

/// A frame's header alone.
fn header(kind: u8, length: u32) -> Vec<u8> {
    [[kind, 0, 0, 0], length.to_le_bytes()].concat()
}

/// HELLO with another byte at this place of its payload.
fn hello_with(at: usize, byte: u8) -> Vec<u8> {
    let mut hello = hello(0);
    hello[8 + at] = byte;
    hello
}

#[test]
fn frames_that_break_a_rule_end_the_session_with_its_code() {
    let guest = Guest::start();
    for (case, frames, code) in [
        ("R-5.1: another frame comes before HELLO", vec![open(0, EXEC)], HELLO),
        ("R-5.1: a frame that could be skipped comes before HELLO", vec![frame(0xFF, 0, 0, b"")], HELLO),
        ("R-5.1: a second HELLO", vec![hello(0), hello(0)], HELLO),
        ("R-5.2: an unknown type that is not optional", vec![hello(0), header(0x7F, 0)], FRAME_TYPE),
        ("R-5.2: one more byte than a frame has", vec![hello(0), header(kind::DATA, 65_537)], FRAME_LENGTH),
        ("R-5.2: DATA without a byte", vec![hello(0), header(kind::DATA, 0)], FRAME_LENGTH),
        ("R-5.2: an OPEN that is too short", vec![hello(0), frame(kind::OPEN, 0, 0, &[EXEC])], FRAME_LENGTH),
        ("R-5.2: a CLOSE without a code", vec![hello(0), header(kind::CLOSE, 0)], FRAME_LENGTH),
        ("R-5.2: an optional frame that is too long", vec![hello(0), header(0xFF, 65_537)], FRAME_LENGTH),
        ("R-5.2: a HELLO that is too short", vec![frame(kind::HELLO, 0, 0, &[0; 31])], FRAME_LENGTH),
        ("R-2.1: a HELLO longer than any frame of control", vec![header(kind::HELLO, 513)], FRAME_LENGTH),
        ("R-6.7: a FINISH that is more than an end", vec![hello(0), header(kind::FINISH, 1)], FRAME_LENGTH),
        ("R-5.3: a feature that nobody knows is required", vec![hello_with(15, 0x80)], FEATURE),
        ("R-5.3: a feature that nobody knows beside one that is known", vec![hello_with(8, 3)], FEATURE),
        ("R-2.2: an id beyond the channels that there are", vec![hello(0), open(1024, EXEC)], CHANNEL_ID),
    ] {
        let mut wire = silent(&guest);
        wire.say(&frames);
        ends(&guest, &mut wire, code, case);
    }
    serves(&guest);
}

#[test]
fn frames_that_are_ignored_end_nothing() {
    let guest = Guest::start();
    let mut longer = hello(0);
    longer.resize(8 + 512, 0xFF);
    longer[4..8].copy_from_slice(&512_u32.to_le_bytes());
    for (case, first, frames) in [
        ("R-1.2: fields that are zero are not", hello_with(31, 0xFF), vec![open(0, EXEC)]),
        ("R-1.4: a name that is no text and moves the cursor", longer, vec![open(0, EXEC)]),
        (
            "R-5.2: optional frames",
            hello(0),
            vec![frame(0xFF, 9, 77, &[0; 65_536]), header(0x80, 0), open(0, EXEC)],
        ),
        ("R-5.3: features that nobody knows are offered", hello_with(7, 0xFF), vec![open(0, EXEC)]),
        (
            "R-1.2: OPEN with zeros that are none",
            hello(0),
            vec![frame(kind::OPEN, 9, 0, &[EXEC, 9, 9, 9, 9, 9, 9, 9])],
        ),
    ] {
        let mut wire = silent(&guest);
        wire.say(&[first]);
        let request = asking(0, EXEC, &arguments(&["true"])).split_off(16);
        wire.say(&[frames, vec![request]].concat());
        assert_eq!(answer(&mut wire).kind, kind::ACCEPTED, "{case}");
        wire.next(kind::EXIT);
    }
    serves(&guest);
}

#[test]
fn r_5_4_nothing_follows_close() {
    let guest = Guest::keeping("60");
    let mark = guest.directory.path("mark");
    let mut wire = silent(&guest);
    let close = frame(kind::CLOSE, 0, 0, &[3, 0, 0, 0]);
    let touch = asking(0, EXEC, &arguments(&["touch", mark.to_str().unwrap()]));
    wire.say(&[hello(60_000), close, touch, open(1, EXEC)]);
    ends(&guest, &mut wire, 3, "");
    guest.is_idle();
    assert!(!mark.exists());
}

#[test]
fn r_7_2_an_unknown_code_is_an_internal_one() {
    const INTERNAL: u32 = 4;
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    wire.say(&[frame(kind::CLOSE, 0, 0, &0xFFFF_u32.to_le_bytes())]);
    ends(&guest, &mut wire, INTERNAL, "");
    serves(&guest);
}
