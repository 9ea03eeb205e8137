//! Answers to a preamble that break the rules (`PROTOCOL.md` §3).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use vsock_shell_proto::proof::{Key, Role, Said};

use crate::guest::TARGET;
use crate::guest::wire::{frame, hello, kind};
use crate::{CREATED, RESUMED, Stage, accepted, answer, exited, hear_request, is_left};

const GONE: u8 = 2;
const STALE: u8 = 6;

#[test]
fn answers_that_break_a_rule_are_no_agents() {
    let stage = Stage::new();
    for (case, status, changes) in [
        ("R-3.2: a session is created that goes on", CREATED, &[(40, 1)][..]),
        ("R-3.8: a version that was not offered", CREATED, &[(8, 2)]),
        ("R-3.8: no version for a session", RESUMED, &[(8, 0)]),
        ("R-3.9: a foreign magic", CREATED, &[(0, 0x88)]),
        ("R-3.9: a zero field that is not zero", CREATED, &[(13, 1)]),
        ("R-3.9: the other zero field", CREATED, &[(15, 0x80)]),
        ("R-3.9: a status that there is not", 14, &[]),
        ("R-3.9: another session", CREATED, &[(31, 0)]),
        ("R-3.9: another attempt", CREATED, &[(32, 2)]),
        ("R-3.9: a refusal of another session", GONE, &[(16, 0), (17, 0)]),
    ] {
        let client = stage.client(&[TARGET, "true"]);
        let (mut wire, preamble) = stage.accept();
        let mut answer = answer(&preamble, status, 0);
        for &(at, byte) in changes {
            // An id has any bytes.
            answer[at] = if at == 31 { !answer[at] } else { byte };
        }
        wire.write(&answer);
        is_left(&mut wire);
        client.finish(b"").failed(255, &["what answered is no vsock-shell agent"]);
        assert_eq!(wire.received, 0, "{case}");
    }
}

#[test]
fn r_3_6_an_offset_beyond_what_was_sent_ends_the_session() {
    let stage = Stage::new();
    let client = stage.client(&[TARGET, "true"]);
    let (mut wire, preamble) = stage.accept();
    wire.write(&answer(&preamble, RESUMED, 1));
    is_left(&mut wire);
    client.finish(b"").failed(255, &["the guest was rolled back to an older state"]);
}

#[test]
fn r_3_7_an_agent_that_refuses_and_stays_is_left() {
    let stage = Stage::new();
    for (status, words) in [
        (GONE, "no longer has this session"),
        (3, "rolled back"),
        (4, "no common version"),
        (5, "as many sessions"),
        (7, "kind of connection"),
        (8, "does not accept this peer"),
        (9, "is shutting down"),
        (10, "no memory, process or descriptor"),
        (11, "wants a key"),
        (12, "has no key"),
        (13, "not the agent's key"),
    ] {
        let client = stage.client(&[TARGET, "true"]);
        let (mut wire, preamble) = stage.accept();
        // A session behind the refusal is none.
        wire.write(&answer(&preamble, status, 0));
        wire.say(&[hello(0), accepted(), exited(0)]);
        is_left(&mut wire);
        assert_eq!(wire.received, 0);
        client.finish(b"").failed(255, &[words]);
    }
}

#[test]
fn r_3_4_an_agent_that_has_seen_a_later_attempt_gets_one_that_is_higher() {
    let stage = Stage::new();
    let client = stage.client(&[TARGET, "true"]);
    let (mut stale, first) = stage.accept();
    stale.write(&answer(&first, STALE, 0));
    let (mut wire, second) = stage.accept();
    assert_eq!((&first[16..32], first[32], second[32]), (&second[16..32], 1, 2));
    wire.write(&answer(&second, CREATED, 0));
    wire.say(&[hello(0)]);
    hear_request(&mut wire);
    wire.say(&[accepted(), exited(5)]);
    let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
    assert_eq!(client.finish(b"").status(), 5);
}

#[test]
fn r_3_3_a_session_that_was_begun_is_not_created_again() {
    let stage = Stage::new();
    let (client, mut wire) = stage.created(&[TARGET, "true"]);
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    drop(wire);
    let (mut wire, preamble) = stage.accept();
    const MUST_EXIST: u8 = 1;
    assert_eq!((preamble[13], preamble[32]), (MUST_EXIST, 2));
    wire.write(&answer(&preamble, CREATED, 0));
    is_left(&mut wire);
    // The command, which may have run, is not asked for again.
    assert_eq!(wire.received, 0);
    let finished = client.finish(b"");
    assert_eq!(finished.status(), 255);
    assert!(finished.stderr().ends_with("what answered is no vsock-shell agent\n"), "{finished:?}");
}

#[test]
fn r_3_11_a_session_that_was_promised_to_be_kept_and_is_not_is_over() {
    let stage = Stage::new();
    let (client, mut wire) = stage.created(&[TARGET, "true"]);
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    drop(wire);
    let (mut wire, preamble) = stage.accept();
    wire.write(&answer(&preamble, GONE, 0));
    let finished = client.finish(b"");
    assert_eq!(finished.status(), 255);
    assert!(finished.stderr().ends_with("the agent no longer has this session\n"), "{finished:?}");
}

#[test]
fn r_3_5_nothing_is_taken_from_a_former_connection() {
    let stage = Stage::new();
    let (client, mut first) = stage.created(&[TARGET, "true"]);
    first.say(&[hello(60_000)]);
    hear_request(&mut first);
    first.say(&[accepted()]);
    // Silence, until the client dials again.
    let (mut second, preamble) = stage.accept();
    let said = u64::from_le_bytes(preamble[40..48].try_into().unwrap());
    assert_eq!((said, preamble[13], preamble[32]), (first.sent, 1, 2));
    first.say(&[frame(kind::DATA, 1, 0, b"former"), exited(1)]);
    second.write(&answer(&preamble, RESUMED, first.received));
    second.say(&[frame(kind::DATA, 1, 0, b"latter"), exited(2)]);
    let _ends_with_us = std::thread::spawn(move || is_left(&mut second));
    let finished = client.finish(b"");
    assert_eq!((finished.status(), finished.stdout()), (2, "latter"), "{finished:?}");
}

/// A client that has a key, and the key.
fn keyed(stage: &Stage, options: &[&str]) -> (crate::guest::Running, Key) {
    let path = stage.directory.file("key", "5a".repeat(32).as_bytes());
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let key = Key::parse(&std::fs::read(&path).unwrap()).unwrap();
    let words = [&["--key", path.to_str().unwrap()], options, &[TARGET, "true"]].concat();
    (stage.client(&words), key)
}

/// A challenge that keeps to the rules.
fn challenge() -> [u8; 64] {
    let mut challenge = [0x33; 64];
    challenge[..16].copy_from_slice(b"\x89VSSH\r\x1A\n\x01\0\x01\0\xFF\0\0\0");
    challenge
}

#[test]
fn r_3_13_an_agent_that_does_not_prove_its_key_gets_nothing() {
    let stage = Stage::new();
    // It goes on as if there were no key.
    let (client, _) = keyed(&stage, &[]);
    let (mut wire, preamble) = stage.accept();
    assert_eq!(preamble[13], 2);
    wire.write(&answer(&preamble, CREATED, 0));
    is_left(&mut wire);
    client.finish(b"").failed(255, &["what answered does not have the key"]);
    // Its proof is none, or is the client's own; then a session would begin.
    for number in 0..4 {
        let (client, key) = keyed(&stage, &[]);
        let (mut wire, preamble) = stage.accept();
        let challenge = challenge();
        wire.write(&challenge);
        let proof: [u8; 32] = wire.read();
        let said = Said { preamble: &preamble, challenge: &challenge };
        assert_eq!(proof, key.prove(Role::Client, &said));
        let other = Said { preamble: &challenge, challenge: &preamble };
        let wrong = [[0; 32], proof, key.prove(Role::Agent, &other), [0xFF; 32]][number];
        let status = if number == 0 { RESUMED } else { CREATED };
        wire.write(&[&wrong[..], &answer(&preamble, status, 0)].concat());
        is_left(&mut wire);
        assert_eq!(wire.received, 0);
        client.finish(b"").failed(255, &["what answered does not have the key"]);
    }
    // What is no challenge gets no proof.
    for (at, byte) in [(0, 0), (8, 2), (13, 1), (15, 1)] {
        let (client, _) = keyed(&stage, &[]);
        let (mut wire, _) = stage.accept();
        let mut challenge = challenge();
        challenge[at] = byte;
        wire.write(&challenge);
        is_left(&mut wire);
        client.finish(b"").failed(255, &["what answered does not have the key"]);
    }
}

#[test]
fn r_3_14_another_guest_than_the_one_that_is_expected_is_shown_nothing() {
    let stage = Stage::new();
    for option in ["--expect-boot-id", "--expect-machine-id"] {
        let (client, _) = keyed(&stage, &[option, "00112233445566778899aabbccddeeff"]);
        let (mut wire, _) = stage.accept();
        wire.write(&challenge());
        is_left(&mut wire);
        client.finish(b"").failed(255, &["another guest is expected", "3333"]);
    }
}
