//! Frames that break the rules of a session (`PROTOCOL.md` §5), and codes (§7).

use vsock_shell_proto::code::CloseCode;

use crate::guest::TARGET;
use crate::guest::wire::{BYE, frame, hello, kind, record};
use crate::{Stage, accepted, exited, is_found_out, is_left};

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
    use CloseCode::{ChannelId, Feature, FrameLength, FrameType, Hello};
    let stage = Stage::new();
    let open = |channel| frame(kind::OPEN, 0, channel, &[1, 0, 0, 0, 0, 0, 0, 0]);
    for (case, frames, code) in [
        ("R-5.1: another frame comes before HELLO", vec![accepted()], Hello),
        ("R-5.1: a frame that could be skipped comes before HELLO", vec![frame(0xFF, 0, 0, b"")], Hello),
        ("R-5.1: a second HELLO", vec![hello(0), hello(0)], Hello),
        ("R-5.2: an unknown type that is not optional", vec![hello(0), header(0x7F, 0)], FrameType),
        ("R-5.2: one more byte than a frame has", vec![hello(0), header(kind::DATA, 65_537)], FrameLength),
        ("R-5.2: DATA without a byte", vec![hello(0), header(kind::DATA, 0)], FrameLength),
        ("R-5.2: a REFUSED that is too short", vec![hello(0), frame(kind::REFUSED, 0, 0, &[1])], FrameLength),
        ("R-5.2: a text that is too long", vec![hello(0), frame(kind::EXIT, 0, 0, &[0; 265])], FrameLength),
        ("R-5.2: an optional frame that is too long", vec![hello(0), header(0xFF, 65_537)], FrameLength),
        ("R-5.2: a HELLO that is too short", vec![frame(kind::HELLO, 0, 0, &[0; 31])], FrameLength),
        ("R-2.1: a HELLO longer than any frame of control", vec![header(kind::HELLO, 513)], FrameLength),
        ("R-6.7: a FINISH that is more than an end", vec![hello(0), header(kind::FINISH, 1)], FrameLength),
        ("R-5.3: a feature that nobody knows is required", vec![hello_with(15, 0x80)], Feature),
        ("R-5.3: a channel is opened where none may be", vec![hello(0), open(1)], ChannelId),
        ("R-2.2: more channels than the client has announced", vec![hello(0), open(3)], ChannelId),
        ("R-6.1: an id of the client's", vec![hello(0), open(2)], ChannelId),
        ("R-6.1: an id beyond all", vec![hello(0), open(0xFFFF)], ChannelId),
    ] {
        let (client, mut wire) = stage.created(&[TARGET, "true"]);
        wire.say(&frames);
        is_found_out(client, &mut wire, code, case);
    }
}

#[test]
fn frames_that_are_ignored_end_nothing() {
    let stage = Stage::new();
    let mut longer = hello(0);
    longer.resize(8 + 512, 0x1B);
    longer[4..8].copy_from_slice(&512_u32.to_le_bytes());
    for (case, first, frames) in [
        ("R-1.2: a field that is zero is not", hello_with(31, 0xFF), vec![]),
        ("R-1.2: EXIT with zeros that are none", hello(0), vec![]),
        ("R-1.4: a name that is no text and would move the cursor", longer, vec![]),
        ("R-5.2: optional frames", hello(0), vec![frame(0xFF, 9, 77, &[0; 65_536]), header(0x80, 0)]),
        ("R-5.3: features that nobody knows are offered", hello_with(7, 0xFF), vec![]),
    ] {
        let (client, mut wire) = stage.created(&["-v", TARGET, "--", "true"]);
        wire.say(&[first]);
        crate::hear_request(&mut wire);
        let mut exited = exited(4);
        // The zero field of EXIT.
        exited[16 + 8 + 2] = 0xFF;
        wire.say(&[frames, vec![accepted(), exited]].concat());
        let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
        let finished = client.finish(b"");
        assert_eq!((finished.status(), finished.stdout()), (4, ""), "{case}: {finished:?}");
        assert!(!finished.stderr().contains('\x1B'), "{case}: {finished:?}");
    }
}

#[test]
fn r_5_4_nothing_follows_close() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    let close = frame(kind::CLOSE, 0, 0, &[1, 0, 0, 0]);
    wire.say(&[accepted(), close, frame(kind::DATA, 1, 0, b"more"), exited(0)]);
    assert_eq!(wire.bye(), Some(1));
    client.finish(b"").failed(255, &["ended by the agent: the agent is shutting down"]);
}

#[test]
fn r_7_2_an_unknown_code_is_an_internal_one() {
    let stage = Stage::new();
    let unknown = 0xFFFF_u32.to_le_bytes();
    let (client, mut wire) = stage.asked();
    wire.write(&record(BYE, 0, &unknown));
    is_left(&mut wire);
    client.finish(b"").failed(255, &["ended by the agent: internal error"]);
    let (client, mut wire) = stage.asked();
    wire.say(&[accepted(), frame(kind::RESET, 0, 0, &unknown)]);
    let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
    client.finish(b"").failed(255, &["aborted by the agent: internal error"]);
}
