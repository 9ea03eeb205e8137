//! Frames that break the rules of channels (`PROTOCOL.md` §6).

use std::io::Read as _;

use vsock_shell_proto::code::CloseCode;

use crate::guest::TARGET;
use crate::guest::wire::{Heard, frame, hello, kind};
use crate::{Stage, accepted, exited, finished, hear_request, is_found_out, is_left};

/// DATA on channel 0.
fn data(flow: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flow, 0, bytes)
}

/// A frame of a flow of channel 0 without a payload.
fn bare(kind: u8, flow: u8) -> Vec<u8> {
    frame(kind, flow, 0, b"")
}

fn credit(flow: u8, limit: u64) -> Vec<u8> {
    frame(kind::CREDIT, flow, 0, &limit.to_le_bytes())
}

fn exit(how: u8, value: u8) -> Vec<u8> {
    frame(kind::EXIT, 0, 0, &[how, 0, 0, 0, value, 0, 0, 0])
}

#[test]
fn frames_before_the_answer_that_break_a_rule_end_the_session_with_its_code() {
    use CloseCode::{ChannelState, Flow};
    let stage = Stage::new();
    for (case, frames, code) in [
        ("R-6.4: output before the answer", vec![data(1, b"x")], ChannelState),
        ("R-6.4: the end of output before the answer", vec![bare(kind::FINISH, 1)], ChannelState),
        ("R-6.10: an end of what was not accepted", vec![exit(0, 0)], ChannelState),
        ("R-6.4: a job that was not accepted", vec![frame(kind::DETACH, 0, 0, &[0; 4])], ChannelState),
        ("R-6.4: a second answer", vec![accepted(), accepted()], ChannelState),
        (
            "R-6.4: a refusal of what was accepted",
            vec![accepted(), frame(kind::REFUSED, 0, 0, &[9; 8])],
            ChannelState,
        ),
        ("R-6.12: RELEASE before the answer", vec![bare(kind::RELEASE, 0)], ChannelState),
        ("R-6.3: a request from who was asked", vec![data(3, b"x")], Flow),
    ] {
        let (client, mut wire) = stage.asked();
        wire.say(&frames);
        is_found_out(client, &mut wire, code, case);
    }
}

#[test]
fn frames_for_a_running_command_that_break_a_rule_end_the_session_with_its_code() {
    use CloseCode::{ChannelState, CreditExceeded, CreditRange, Flow, Value};
    let stage = Stage::new();
    let both = finished();
    for (case, frames, code) in [
        ("R-6.2: DATA on the input", vec![data(0, b"x")], Flow),
        ("R-6.2: DATA on a flow that there is not", vec![data(4, b"x")], Flow),
        ("R-6.2: FINISH of the request", vec![bare(kind::FINISH, 3)], Flow),
        ("R-6.2: DATA behind FINISH", vec![bare(kind::FINISH, 1), data(1, b"x")], Flow),
        ("R-6.2: a second FINISH", vec![bare(kind::FINISH, 2), bare(kind::FINISH, 2)], Flow),
        ("R-6.2: CREDIT for what is its own to send", vec![credit(1, 9000)], Flow),
        ("R-6.2: STOP of what is its own to send", vec![bare(kind::STOP, 2)], Flow),
        ("R-6.5: more than the credit", vec![data(1, &[0; 65_536])], CreditExceeded),
        ("R-6.5: credit that goes back", vec![credit(0, 9000), credit(0, 8999)], CreditRange),
        ("R-6.7: DATA where the end has been", vec![bare(kind::FINISH, 2), data(2, b"x")], Flow),
        ("R-6.9: signal 0", vec![frame(kind::SIGNAL, 0, 0, &[0; 4])], Value),
        ("R-6.10: the end before that of its output", vec![exit(0, 0)], ChannelState),
        (
            "R-6.10: the end before that of standard error",
            vec![bare(kind::FINISH, 1), exit(0, 0)],
            ChannelState,
        ),
        ("R-7.1: an end of no known way", vec![both.clone(), exit(4, 0)], Value),
        ("R-6.10: killed by a signal that there is not", vec![both.clone(), exit(1, 65)], Value),
        ("R-6.12: RELEASE before the end", vec![bare(kind::RELEASE, 0)], ChannelState),
        ("R-6.13: FINISH of a channel that is not open", vec![frame(kind::FINISH, 1, 2, b"")], ChannelState),
        (
            "R-6.13: DATA for a channel that there cannot be",
            vec![frame(kind::DATA, 1, 2000, b"x")],
            ChannelState,
        ),
        (
            "R-11.1: DETACH of a channel that is not open",
            vec![frame(kind::DETACH, 0, 4, &[0; 4])],
            ChannelState,
        ),
    ] {
        let (client, mut wire) = stage.asked();
        wire.say(&[accepted()]);
        wire.say(&frames);
        is_found_out(client, &mut wire, code, case);
    }
}

#[test]
fn r_6_11_nothing_follows_reset() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    wire.say(&[accepted(), frame(kind::RESET, 0, 0, &[3, 0, 0, 0]), data(1, b"x")]);
    assert_eq!(wire.bye(), Some(CloseCode::ChannelState.number()));
    client.finish(b"").failed(255, &["aborted by the agent: cancelled"]);
}

#[test]
fn r_6_12_nothing_comes_between_the_end_and_release() {
    let stage = Stage::new();
    for more in [exit(0, 3), data(1, b"x"), bare(kind::STOP, 0)] {
        let (client, mut wire) = stage.asked();
        wire.say(&[accepted(), finished(), exit(0, 2), more]);
        assert_eq!(wire.bye(), Some(CloseCode::ChannelState.number()));
        let finished = client.finish(b"");
        // The end was told, and in order.
        assert_eq!((finished.status(), finished.stdout()), (2, ""), "{finished:?}");
    }
}

#[test]
fn r_6_8_who_goes_on_after_stop_gets_no_credit() {
    let stage = Stage::new();
    let (mut client, mut wire) = stage.asked();
    wire.say(&[accepted(), data(1, b"first")]);
    let mut stdout = client.0.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 5]).unwrap();
    drop(stdout);
    wire.say(&[data(1, b"second")]);
    let mut limit = 4096;
    loop {
        match wire.hear() {
            Heard::Frame(frame) if (frame.kind, frame.flow) == (kind::STOP, 1) => break,
            Heard::Frame(frame) if (frame.kind, frame.flow) == (kind::CREDIT, 1) => {
                limit = u64::from_le_bytes(frame.payload.try_into().unwrap());
            }
            Heard::End => panic!("closed"),
            _ => {}
        }
    }
    let mut left = limit as usize - 11;
    while left > 0 {
        let part = left.min(60_000);
        wire.say(&[data(1, &vec![7; part])]);
        left -= part;
    }
    wire.is_alive();
    wire.say(&[data(1, &[7])]);
    assert_eq!(wire.bye(), Some(CloseCode::CreditExceeded.number()));
    assert_eq!(client.finish(b"").status(), 255);
}

#[test]
fn r_6_9_signals_and_sizes_from_an_agent_are_ignored() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    let signal = frame(kind::SIGNAL, 0, 0, &[9, 0, 0, 0]);
    wire.say(&[accepted(), signal, frame(kind::RESIZE, 0, 0, &[0xFF; 8]), exited(3)]);
    let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
    assert_eq!(client.finish(b"").status(), 3);
}

#[test]
fn r_1_4_texts_move_no_cursor() {
    let stage = Stage::new();
    let text = b"\x1B]0;evil\x07\r\n\xFF\xC2\x9B2J";
    let refused = frame(kind::REFUSED, 0, 0, &[&[9, 0, 0, 0, 13, 0, 0, 0][..], text].concat());
    let failed = frame(kind::EXIT, 0, 0, &[&[2, 0, 0, 0, 5, 0, 0, 0][..], text].concat());
    for frames in [vec![refused], vec![accepted(), finished(), failed]] {
        let (client, mut wire) = stage.asked();
        wire.say(&[frames, vec![bare(kind::RELEASE, 0)]].concat());
        let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
        client.finish(b"").failed(255, &["evil"]);
    }
}

#[test]
fn r_1_5_a_number_that_no_errno_has_is_told_as_it_is() {
    let stage = Stage::new();
    for errno in [4000_u32, u32::MAX, 0x8000_0000] {
        let (client, mut wire) = stage.created(&[TARGET, "true"]);
        wire.say(&[hello(0)]);
        hear_request(&mut wire);
        let refused = [&[9, 0, 0, 0][..], &errno.to_le_bytes(), b"open"].concat();
        wire.say(&[frame(kind::REFUSED, 0, 0, &refused), bare(kind::RELEASE, 0)]);
        let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
        client.finish(b"").failed(255, &["open: "]);
    }
}
