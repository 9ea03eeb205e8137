//! Records that break the rules of the link (`PROTOCOL.md` §4).

use std::process::Stdio;

use vsock_shell_proto::code::CloseCode;

use crate::guest::TARGET;
use crate::guest::mistakes::{fatal, ignored};
use crate::guest::wire::{ACK, BYE, frame, hello, kind, record};
use crate::{RESUMED, Stage, accepted, answer, exited, finished, hear_request, is_found_out, is_left};

#[test]
fn records_that_break_a_rule_end_the_session_with_its_code() {
    let stage = Stage::new();
    for (case, bytes, code) in fatal() {
        let (client, mut wire) = stage.created(&[TARGET, "true"]);
        wire.write(&bytes);
        is_found_out(client, &mut wire, code, case);
    }
}

#[test]
fn what_a_receiver_ignores_ends_nothing() {
    let stage = Stage::new();
    let (client, mut wire) = stage.created(&[TARGET, "true"]);
    for (_case, bytes) in ignored() {
        wire.write(&bytes);
        wire.is_alive();
    }
    wire.say(&[hello(0), accepted(), exited(6)]);
    let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
    assert_eq!(client.finish(b"").status(), 6);
}

#[test]
fn r_4_3_the_rest_of_a_record_that_was_cut_is_a_record_of_its_own() {
    let stage = Stage::new();
    let (client, mut wire) = stage.created(&[TARGET, "true"]);
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    let received = wire.received;
    // A frame that is skipped, cut behind the record's header. Its rest would be a mandatory record that nobody knows.
    let skipped = frame(0xFF, 1, 0, b"");
    wire.write(&record(1, 0, &skipped)[..8]);
    drop(wire);
    let (mut wire, preamble) = stage.accept();
    wire.write(&answer(&preamble, RESUMED, received));
    wire.write(&skipped);
    assert_eq!(wire.bye(), Some(CloseCode::RecordType.number()));
    let finished = client.finish(b"");
    assert_eq!(finished.status(), 255);
    assert!(finished.stderr().ends_with("broke the protocol: unknown record type\n"), "{finished:?}");
}

/// The end of a client to whose second dial it is answered that so many bytes came, besides those that did.
#[track_caller]
fn is_rolled_back(besides: i64) {
    let stage = Stage::new();
    let (client, mut wire) = stage.created(&[TARGET, "true"]);
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    // What is acknowledged was heard when it answers what comes behind.
    wire.is_alive();
    let received = wire.received;
    drop(wire);
    let (mut wire, preamble) = stage.accept();
    wire.write(&answer(&preamble, RESUMED, received.checked_add_signed(besides).unwrap()));
    is_left(&mut wire);
    assert_eq!(wire.received, 0);
    let finished = client.finish(b"");
    assert_eq!(finished.status(), 255);
    assert!(finished.stderr().ends_with("the guest was rolled back to an older state\n"), "{finished:?}");
}

#[test]
fn r_4_4_who_counts_the_headers_of_records_too_is_of_another_time() {
    is_rolled_back(8);
}

#[test]
fn r_4_5_what_was_acknowledged_is_not_sent_again() {
    is_rolled_back(-1);
}

#[test]
fn r_4_6_an_acknowledgement_that_goes_back_ends_the_session() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    wire.write(&record(ACK, 0, &1_u64.to_le_bytes()));
    is_found_out(client, &mut wire, CloseCode::AckRange, "");
}

#[test]
fn r_4_7_who_takes_no_data_is_heard_all_the_same() {
    let stage = Stage::new();
    let mut command = crate::guest::client([
        format!("unix:{}", stage.directory.path("socket").display()).as_str(),
        "--",
        "cat",
    ]);
    command.stdin(std::fs::File::open("/dev/zero").unwrap()).stdout(Stdio::piped());
    let client = crate::guest::Running::start(&mut command);
    let (mut wire, preamble) = stage.accept();
    wire.write(&answer(&preamble, crate::CREATED, 0));
    // All the credit there is for its input, of which nothing is read.
    let credit = frame(kind::CREDIT, 0, 0, &(1_u64 << 40).to_le_bytes());
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    wire.say(&[accepted(), credit]);
    wire.say(&[frame(kind::DATA, 1, 0, b"heard"), exited(7)]);
    let finished = client.finish(b"");
    assert_eq!((finished.status(), finished.stdout()), (7, "heard"), "{finished:?}");
}

#[test]
fn r_4_10_nothing_follows_bye() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    wire.say(&[accepted()]);
    let end = [frame(kind::DATA, 1, 0, b"more"), exited(0)].concat();
    wire.write(&[record(BYE, 0, &[1, 0, 0, 0]), record(1, 0, &end)].concat());
    is_left(&mut wire);
    client.finish(b"").failed(255, &["ended by the agent: the agent is shutting down"]);
}

#[test]
fn r_1_3_a_connection_that_is_closed_is_no_end_of_a_command() {
    let stage = Stage::new();
    for frames in [vec![], vec![finished()]] {
        let (client, mut wire) = stage.asked();
        wire.say(&[vec![accepted()], frames].concat());
        wire.is_alive();
        drop(wire);
        client.finish(b"").failed(255, &["connection lost: closed by the other side"]);
    }
}
