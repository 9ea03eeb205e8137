//! Preambles that break the rules (`PROTOCOL.md` §3), and what is said at the wrong time around them.

use std::process::Command;

use vsock_shell_proto::proof::{Key, Role, Said};

use crate::guest::wire::{Wire, frame, hello, kind, record};
use crate::guest::{Guest, agent_binary, client, until};
use crate::{EXEC, again, arguments, asking, dial, ends, preamble, serves};

const CREATED: u8 = 0;
const RESUMED: u8 = 1;
const GONE: u8 = 2;
const ROLLED_BACK: u8 = 3;
const VERSION: u8 = 4;
const STALE: u8 = 6;
const KIND: u8 = 7;
const KEY_WANTED: u8 = 11;
const NO_KEY: u8 = 12;
const WRONG_KEY: u8 = 13;

/// What a preamble becomes when these bytes are put into it.
fn with(changes: &[(usize, u8)]) -> [u8; 64] {
    let mut preamble = preamble();
    for &(at, byte) in changes {
        preamble[at] = byte;
    }
    preamble
}

#[test]
fn preambles_that_break_a_rule_get_the_status_for_it() {
    let guest = Guest::start();
    for (case, changes, status) in [
        ("R-3.2: a session that nobody has, from beyond its beginning", &[(40, 1)][..], GONE),
        ("R-3.2: one that must exist and does not", &[(13, 1)], GONE),
        ("R-3.8: no version that the agent speaks", &[(8, 2), (10, 3)], VERSION),
        ("R-3.8: version 0 alone", &[(8, 0), (10, 0)], VERSION),
        ("R-3.9: a kind that there is not", &[(12, 1)], KIND),
        ("R-3.13: a proof is offered to an agent without a key", &[(13, 2)], NO_KEY),
    ] {
        let preamble = with(changes);
        let (mut wire, said) = dial(&guest, &preamble);
        assert_eq!(said, status, "{case}");
        // what is said behind it is nothing to the agent, which closes.
        wire.say(&[hello(0), asking(0, EXEC, &arguments(&["true"]))]);
        assert_eq!(wire.bye(), None, "{case}");
    }
    serves(&guest);
}

#[test]
fn r_3_7_who_was_refused_and_goes_on_talking_is_left() {
    let guest = Guest::start();
    let mark = guest.directory.path("mark");
    let (mut wire, status) = dial(&guest, &with(&[(13, 1)]));
    assert_eq!(status, GONE);
    wire.say(&[hello(0), asking(0, EXEC, &arguments(&["touch", mark.to_str().unwrap()]))]);
    assert_eq!(wire.bye(), None);
    guest.is_idle();
    assert!(!mark.exists());
}

#[test]
fn r_3_9_what_is_no_preamble_is_closed_without_an_answer() {
    let guest = Guest::start();
    let magic = (0..8).map(|at| (at, 0));
    // Zero fields, flags that there are not, and attempt 0.
    for change in magic.chain([(13, 4), (13, 0x80), (14, 1), (15, 1), (32, 0)]) {
        let mut wire = Wire::over(guest.connect());
        wire.write(&with(&[change]));
        assert_eq!(wire.bye(), None, "{change:?}");
        assert_eq!(wire.received, 0);
    }
    serves(&guest);
}

#[test]
fn r_3_3_what_is_said_before_the_answer_begins_nothing_without_one() {
    let guest = Guest::start();
    let mark = guest.directory.path("mark");
    let mut wire = Wire::over(guest.connect());
    let words = asking(0, EXEC, &arguments(&["touch", mark.to_str().unwrap()]));
    wire.write(&[&with(&[(40, 1)])[..], &record(1, 0, &[hello(0), words].concat())].concat());
    let answer: [u8; 64] = wire.read();
    assert_eq!((answer[12], wire.bye()), (GONE, None));
    serves(&guest);
    assert!(!mark.exists());
}

#[test]
fn r_3_4_an_attempt_that_is_not_higher_is_stale_and_changes_nothing() {
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    preamble[32] = 9;
    let (mut wire, status) = dial(&guest, &preamble);
    assert_eq!(status, CREATED);
    for attempt in [9, 8, 1] {
        preamble[32] = attempt;
        assert_eq!(dial(&guest, &preamble).1, STALE, "{attempt}");
        wire.is_alive();
    }
}

#[test]
fn r_3_5_what_comes_over_a_former_connection_is_dropped() {
    let guest = Guest::keeping("60");
    let mark = guest.directory.path("mark");
    let mut preamble = preamble();
    let (mut first, _) = dial(&guest, &preamble);
    first.say(&[hello(60_000), asking(2, EXEC, &arguments(&["cat"]))]);
    // It has come.
    first.next(kind::ACCEPTED);
    again(&mut preamble, first.received);
    let (mut second, status) = dial(&guest, &preamble);
    assert_eq!(status, RESUMED);
    first.say(&[asking(0, EXEC, &arguments(&["touch", mark.to_str().unwrap()]))]);
    first.bye();
    // The same number, which would be in use.
    second.say(&[asking(0, EXEC, &arguments(&["cat"]))]);
    second.next(kind::ACCEPTED);
    assert!(!mark.exists());
}

#[test]
fn r_3_6_who_has_more_than_was_ever_sent_is_told_and_the_session_ends() {
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(60_000), asking(0, EXEC, &arguments(&["cat"]))]);
    wire.next(kind::ACCEPTED);
    again(&mut preamble, 1 << 40);
    let (mut second, status) = dial(&guest, &preamble);
    assert_eq!((status, second.bye()), (ROLLED_BACK, None));
    guest.is_idle();
    let received = wire.received;
    again(&mut preamble, received);
    assert_eq!(dial(&guest, &preamble).1, GONE);
}

#[test]
fn r_3_11_a_grace_that_is_longer_than_the_agents_is_cut_to_it() {
    let guest = Guest::keeping("1");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(u32::MAX)]);
    wire.next(kind::HELLO);
    let received = wire.received;
    drop(wire);
    guest.is_idle();
    again(&mut preamble, received);
    assert_eq!(dial(&guest, &preamble).1, GONE);
}

/// A guest whose agent has a key, and the key.
fn keyed() -> (Guest, Key) {
    let guest = Guest::start_by(|directory| {
        let key = directory.path("key");
        assert!(client(["keygen".as_ref(), key.as_os_str()]).status().unwrap().success());
        let mut command = Command::new(agent_binary());
        command.args(["--grace", "60", "--key"]).arg(key);
        command
    });
    let key = Key::parse(&std::fs::read(guest.directory.path("key")).unwrap()).unwrap();
    (guest, key)
}

/// A connection on which this was said first, and the challenge.
fn challenged(guest: &Guest, preamble: &[u8; 64]) -> (Wire, [u8; 64]) {
    let mut wire = Wire::over(guest.connect());
    wire.write(preamble);
    let challenge = wire.read();
    (wire, challenge)
}

#[test]
fn r_3_13_without_a_right_proof_nothing_is_done() {
    let (guest, key) = keyed();
    let (mut wire, status) = dial(&guest, &preamble());
    assert_eq!((status, wire.bye()), (KEY_WANTED, None));
    // What a session begins with in the place of a proof, and a proof of the other side's.
    let mut preamble = with(&[(13, 2)]);
    for number in 0..2 {
        let (mut wire, challenge) = challenged(&guest, &preamble);
        let said = Said { preamble: &preamble, challenge: &challenge };
        match number {
            0 => wire.say(&[hello(0), asking(0, EXEC, &arguments(&["true"]))]),
            _ => wire.write(&key.prove(Role::Agent, &said)),
        }
        let refused: [u8; 96] = wire.read();
        assert_eq!((&refused[..32], refused[44], wire.bye()), (&[0; 32][..], WRONG_KEY, None));
    }
    // Nor does it take a session from its owner.
    let (mut owner, challenge) = challenged(&guest, &preamble);
    owner.write(&key.prove(Role::Client, &Said { preamble: &preamble, challenge: &challenge }));
    let answer: [u8; 96] = owner.read();
    assert_eq!(answer[44], CREATED);
    again(&mut preamble, 0);
    let (mut thief, _) = challenged(&guest, &preamble);
    thief.write(&[0; 32]);
    let refused: [u8; 96] = thief.read();
    assert_eq!(refused[44], WRONG_KEY);
    owner.is_alive();
    drop((owner, thief));
    until("one session waits", || guest.sessions().len() == 1);
}

#[test]
fn r_5_5_a_broken_rule_ends_the_session_whatever_its_grace() {
    const FRAME_TYPE: u32 = 0x20;
    let guest = Guest::keeping("60");
    let mut preamble = preamble();
    let (mut wire, _) = dial(&guest, &preamble);
    wire.say(&[hello(60_000), frame(0x7F, 0, 0, b"")]);
    ends(&guest, &mut wire, FRAME_TYPE, "");
    guest.is_idle();
    again(&mut preamble, 0);
    assert_eq!(dial(&guest, &preamble).1, GONE);
}
