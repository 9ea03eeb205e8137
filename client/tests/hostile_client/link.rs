//! Records that break the rules of the link (`PROTOCOL.md` §4).

use crate::guest::mistakes::{fatal, ignored};
use crate::guest::wire::{ACK, BYE, Heard, frame, hello, kind, record};
use crate::guest::{Guest, TARGET, until};
use crate::{EXEC, again, arguments, asking, dial, ends, greeted, preamble, serves, silent};

const RECORD_TYPE: u32 = 0x10;
const ACK_RANGE: u32 = 0x12;

#[test]
fn records_that_break_a_rule_end_the_session_with_its_code() {
    let guest = Guest::start();
    for (case, bytes, code) in fatal() {
        let mut wire = silent(&guest);
        wire.write(&bytes);
        ends(&guest, &mut wire, code.number(), case);
    }
    serves(&guest);
}

#[test]
fn what_a_receiver_ignores_ends_nothing() {
    let guest = Guest::start();
    let mut wire = silent(&guest);
    for (_case, bytes) in ignored() {
        wire.write(&bytes);
        wire.is_alive();
    }
    drop(wire);
    serves(&guest);
}

#[test]
fn r_4_3_the_rest_of_a_record_that_was_cut_is_a_record_of_its_own() {
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(60_000)]);
    wire.next(kind::HELLO);
    // A frame that is skipped, cut behind the record's header. Its rest would be a mandatory record that nobody knows.
    let skipped = frame(0xFF, 1, 0, b"");
    wire.write(&record(1, 0, &skipped)[..8]);
    let received = wire.received;
    drop(wire);
    again(&mut preamble, received);
    let (mut wire, status) = dial(&guest, &preamble);
    assert_eq!(status, 1);
    wire.write(&skipped);
    ends(&guest, &mut wire, RECORD_TYPE, "");
    serves(&guest);
}

#[test]
fn r_4_4_who_counts_the_headers_of_records_too_is_told_to_be_of_another_time() {
    const ROLLED_BACK: u8 = 3;
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(60_000)]);
    wire.next(kind::HELLO);
    again(&mut preamble, wire.received + 8);
    let (_, status) = dial(&guest, &preamble);
    assert_eq!(status, ROLLED_BACK);
    serves(&guest);
}

#[test]
fn r_4_5_what_was_acknowledged_is_not_sent_again() {
    const ROLLED_BACK: u8 = 3;
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(60_000)]);
    wire.next(kind::HELLO);
    // The ACK has been read when the answer to what follows it has come.
    wire.is_alive();
    again(&mut preamble, wire.received - 1);
    let (_, status) = dial(&guest, &preamble);
    assert_eq!(status, ROLLED_BACK);
    serves(&guest);
}

#[test]
fn r_4_6_an_acknowledgement_that_goes_back_ends_the_session() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    assert!(wire.received > 1);
    wire.write(&record(ACK, 0, &1_u64.to_le_bytes()));
    ends(&guest, &mut wire, ACK_RANGE, "");
    serves(&guest);
}

#[test]
fn r_4_7_who_takes_no_data_is_answered_and_holds_nobody_up() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    // More credit than its buffers hold, and no ACK: all that the agent may send stands still.
    let all = frame(kind::CREDIT, 1, 0, &u64::MAX.to_le_bytes());
    wire.say(&[asking(0, EXEC, &arguments(&["cat", "/dev/zero"])), all]);
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
    // Its own words are still taken.
    wire.say(&[frame(kind::RESET, 0, 0, &[3, 0, 0, 0])]);
    wire.next(kind::RELEASE);
    drop(wire);
    serves(&guest);
}

#[test]
fn r_4_10_nothing_follows_bye() {
    const GONE: u8 = 2;
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    let mark = guest.directory.path("mark");
    let touch = asking(0, EXEC, &arguments(&["touch", mark.to_str().unwrap()]));
    wire.write(&[record(BYE, 0, &[0; 4]), record(1, 0, &[hello(60_000), touch].concat())].concat());
    // The session is forgotten, whatever its grace.
    guest.is_idle();
    again(&mut preamble, 0);
    assert_eq!(dial(&guest, &preamble).1, GONE);
    assert!(!mark.exists());
    serves(&guest);
}

#[test]
fn r_1_3_a_connection_that_is_shut_down_in_one_direction_is_no_end_of_file() {
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(60_000), asking(0, EXEC, &arguments(&["cat"]))]);
    wire.next(kind::ACCEPTED);
    wire.end();
    while !matches!(wire.hear(), Heard::End) {}
    again(&mut preamble, wire.received);
    let (mut second, status) = dial(&guest, &preamble);
    assert_eq!(status, 1);
    // Its input goes on.
    second.say(&[frame(kind::DATA, 0, 0, b"still here")]);
    assert_eq!(second.next(kind::DATA).payload, b"still here");
    drop(second);
    until("the session waits", || guest.sessions().len() == 1);
}
