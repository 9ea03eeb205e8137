//! Frames that break the rules of channels (`PROTOCOL.md` §6).

use crate::guest::wire::{frame, hello, kind};
use crate::guest::{Guest, payload, until};
use crate::{EXEC, GET, answer, arguments, asking, ends, greeted, open, serves, string, with_cat};

const CHANNEL_ID: u32 = 0x24;
const CHANNEL_STATE: u32 = 0x25;
const FLOW: u32 = 0x26;
const CREDIT_EXCEEDED: u32 = 0x27;
const CREDIT_RANGE: u32 = 0x28;
const VALUE: u32 = 0x29;

/// DATA on channel 0.
fn data(flow: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flow, 0, bytes)
}

/// A frame of channel 0 that has a number.
fn numbered(kind: u8, number: u32) -> Vec<u8> {
    frame(kind, 0, 0, &number.to_le_bytes())
}

/// A frame of a flow of channel 0 without a payload.
fn bare(kind: u8, flow: u8) -> Vec<u8> {
    frame(kind, flow, 0, b"")
}

fn credit(flow: u8, limit: u64) -> Vec<u8> {
    frame(kind::CREDIT, flow, 0, &limit.to_le_bytes())
}

#[test]
fn frames_for_a_running_command_that_break_a_rule_end_the_session_with_its_code() {
    let guest = Guest::start();
    let exit = frame(kind::EXIT, 0, 0, &[0; 8]);
    for (case, frames, code) in [
        ("R-6.1: an id of the other side's", vec![open(1, EXEC)], CHANNEL_ID),
        ("R-6.1: an id that is in use", vec![open(0, EXEC)], CHANNEL_ID),
        ("R-6.1: an id beyond all", vec![open(0xFFFE, EXEC)], CHANNEL_ID),
        ("R-2.1: the first id that is too large", vec![open(1024, EXEC)], CHANNEL_ID),
        ("R-6.2: DATA on the output", vec![data(1, b"x")], FLOW),
        ("R-6.2: DATA on a flow that there is not", vec![data(4, b"x")], FLOW),
        ("R-6.2: FINISH of standard error", vec![bare(kind::FINISH, 2)], FLOW),
        ("R-6.2: DATA behind FINISH", vec![bare(kind::FINISH, 0), data(0, b"x")], FLOW),
        ("R-6.2: a second FINISH", vec![bare(kind::FINISH, 0), bare(kind::FINISH, 0)], FLOW),
        ("R-6.2: CREDIT for what is its own to send", vec![credit(0, 9000)], FLOW),
        ("R-6.2: STOP of what is its own to send", vec![bare(kind::STOP, 3)], FLOW),
        ("R-6.3: more of a request that has ended", vec![data(3, b"x")], FLOW),
        ("R-6.4: an opener accepts", vec![frame(kind::ACCEPTED, 0, 0, &[0; 8])], CHANNEL_STATE),
        ("R-6.4: an opener refuses", vec![frame(kind::REFUSED, 0, 0, &[0; 8])], CHANNEL_STATE),
        ("R-6.5: more than the credit", vec![data(0, &[0; 4097])], CREDIT_EXCEEDED),
        ("R-6.5: credit that goes back", vec![credit(1, 9000), credit(1, 8999)], CREDIT_RANGE),
        ("R-6.5: credit below what there is at first", vec![credit(2, 0)], CREDIT_RANGE),
        ("R-6.7: DATA where the end has been", vec![bare(kind::FINISH, 0), data(0, b"x")], FLOW),
        ("R-6.9: signal 0", vec![numbered(kind::SIGNAL, 0)], VALUE),
        ("R-7.1: a signal above all", vec![numbered(kind::SIGNAL, 65)], VALUE),
        ("R-6.10: an opener tells the end", vec![exit], CHANNEL_STATE),
        ("R-6.11: DATA behind RESET", vec![numbered(kind::RESET, 3), data(0, b"x")], CHANNEL_STATE),
        ("R-6.11: a second RESET", vec![numbered(kind::RESET, 3), numbered(kind::RESET, 3)], CHANNEL_STATE),
        ("R-6.12: DATA behind RELEASE", vec![bare(kind::RELEASE, 0), data(0, b"x")], CHANNEL_STATE),
        ("R-6.13: FINISH of a channel that is not open", vec![frame(kind::FINISH, 0, 2, b"")], CHANNEL_STATE),
        (
            "R-6.13: DATA for a channel that there cannot be",
            vec![frame(kind::DATA, 0, 2000, b"x")],
            CHANNEL_STATE,
        ),
        (
            "R-6.13: RELEASE of a channel that is not open",
            vec![frame(kind::RELEASE, 0, 4, b"")],
            CHANNEL_STATE,
        ),
        (
            "R-11.1: DETACH of a channel that is not open",
            vec![frame(kind::DETACH, 0, 2, &[0; 4])],
            CHANNEL_STATE,
        ),
    ] {
        let mut wire = with_cat(&guest);
        wire.say(&frames);
        ends(&guest, &mut wire, code, case);
    }
    serves(&guest);
}

#[test]
fn r_5_3_channels_beyond_those_that_the_agent_takes_end_the_session() {
    let guest = Guest::start();
    let mut wire = crate::silent(&guest);
    wire.say(&[hello(0)]);
    let channels = wire.next(kind::HELLO).number(16) as u16;
    // All of them wait for their requests.
    let all: Vec<_> = (0..channels).map(|number| open(number * 2, EXEC)).collect();
    wire.say(&all);
    wire.is_alive();
    wire.say(&[open(channels * 2, EXEC)]);
    ends(&guest, &mut wire, CHANNEL_ID, "");
    serves(&guest);
}

#[test]
fn r_2_2_a_request_longer_than_the_agent_takes_is_refused() {
    const TOO_LARGE: u32 = 3;
    let guest = Guest::start();
    let mut wire = crate::silent(&guest);
    wire.say(&[hello(0)]);
    let most = u64::from(wire.next(kind::HELLO).number(20));
    wire.say(&[open(0, EXEC)]);
    let (mut sent, mut limit) = (0_u64, 4096);
    while sent <= most {
        let part = (limit - sent).min(60_000);
        if part == 0 {
            limit = match wire.hear() {
                crate::guest::wire::Heard::Frame(frame) if frame.kind == kind::CREDIT && frame.flow == 3 => {
                    u64::from_le_bytes(frame.payload.try_into().unwrap())
                }
                crate::guest::wire::Heard::Frame(frame) if frame.kind == kind::REFUSED => {
                    panic!("refused after {sent} of {most}")
                }
                _ => limit,
            };
            continue;
        }
        wire.say(&[data(3, &vec![0xFF; part as usize])]);
        sent += part;
    }
    let refused = wire.next(kind::REFUSED);
    assert_eq!(refused.number(0), TOO_LARGE);
    wire.next(kind::RELEASE);
    drop(wire);
    serves(&guest);
}

#[test]
fn r_6_3_a_request_on_another_flow_is_none() {
    const MALFORMED: u32 = 2;
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    wire.say(&[open(0, GET), data(0, &string(0x10, "/")), bare(kind::FINISH, 3)]);
    assert_eq!(wire.next(kind::REFUSED).number(0), MALFORMED);
}

#[test]
fn r_6_8_who_goes_on_after_stop_is_dropped_and_gets_no_credit() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    wire.say(&[asking(0, EXEC, &arguments(&["sh", "-c", "exec <&-; echo closed; exec sleep 1000"]))]);
    wire.next(kind::DATA);
    // The command has closed its input, which is found out when it is written to.
    wire.say(&[data(0, &[7; 1000])]);
    wire.next(kind::STOP);
    wire.say(&[data(0, &[7; 3096])]);
    wire.is_alive();
    wire.say(&[data(0, &[7])]);
    ends(&guest, &mut wire, CREDIT_EXCEEDED, "");
    serves(&guest);
}

#[test]
fn r_6_9_signals_and_sizes_elsewhere_than_in_exec_are_ignored() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    let file = guest.directory.file("file", &payload(300_000));
    let get = asking(0, GET, &string(0x10, file.as_os_str().as_encoded_bytes()));
    wire.say(&[get, numbered(kind::SIGNAL, 9), frame(kind::RESIZE, 0, 0, &[0xFF; 8]), credit(1, 300_000)]);
    assert_eq!(answer(&mut wire).kind, kind::ACCEPTED);
    while wire.received < 100_000 {
        wire.next(kind::DATA);
    }
    drop(wire);
    serves(&guest);
}

#[test]
fn r_6_12_an_opener_that_releases_early_has_given_up() {
    let guest = Guest::start();
    let mut wire = with_cat(&guest);
    wire.say(&[bare(kind::RELEASE, 0)]);
    wire.next(kind::RELEASE);
    // The id is free.
    wire.say(&[asking(0, EXEC, &arguments(&["cat"]))]);
    assert_eq!(answer(&mut wire).kind, kind::ACCEPTED);
    drop(wire);
    until("nothing is left", || guest.sessions().is_empty());
    serves(&guest);
}
