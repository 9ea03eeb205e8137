//! What comes over a port and breaks the rules of its records (`PROTOCOL.md` §8).

use std::os::unix::net::UnixStream;

use crate::guest::port::{PortEnd, ZEROS, record};
use crate::guest::wire::hello;
use crate::guest::{DEADLINE, Running};
use crate::{CREATED, Stage, accepted, answer, exited};

/// A client behind a port, the port, its connection and its preamble.
#[track_caller]
fn begun(stage: &Stage) -> (Running, PortEnd<UnixStream>, u32, [u8; 64]) {
    let target = format!("serial:{}", stage.directory.path("socket").display());
    let client = stage.client(&["--reconnect", "0", "--timeout", "20", &target, "true"]);
    let (stream, _) = stage.listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut port = PortEnd::over(stream);
    let (header, preamble) = port.hear();
    assert!(header.start && !header.end);
    (client, port, header.connection, preamble.try_into().unwrap())
}

/// Goes on in order: the command ends with this status.
#[track_caller]
fn ends(client: Running, mut port: PortEnd<UnixStream>, connection: u32, preamble: &[u8; 64], status: u8) {
    port.write(&record(connection, false, false, &answer(preamble, CREATED, 0)));
    let frames = [hello(60_000), accepted(), exited(status)].concat();
    let said = crate::guest::wire::record(1, 0, &frames);
    // The client hears the answer to what it has asked for.
    port.wait_for(connection, b"true\0");
    port.write(&record(connection, false, false, &said));
    assert_eq!(client.finish(b"").status(), i32::from(status));
}

const GONE: u8 = 2;

#[test]
fn r_8_1_what_is_no_record_is_passed_over() {
    let stage = Stage::new();
    let (client, mut port, connection, preamble) = begun(&stage);
    let refused = record(connection, false, false, &answer(&preamble, GONE, 0));
    port.write(&ZEROS);
    for at in [0, 9, 10, 11, 12, 20] {
        let mut broken = refused.clone();
        broken[at] ^= 0x40;
        port.write(&broken);
    }
    ends(client, port, connection, &preamble, 3);
}

#[test]
fn r_8_2_records_of_another_connection_are_dropped() {
    let stage = Stage::new();
    let (client, mut port, connection, preamble) = begun(&stage);
    let refusal = answer(&preamble, GONE, 0);
    port.write(&ZEROS);
    for (start, end) in [(false, false), (true, false), (false, true)] {
        port.write(&record(connection ^ 1, start, end, &refusal));
    }
    ends(client, port, connection, &preamble, 4);
}

#[test]
fn r_8_3_nothing_comes_behind_the_end_of_a_connection() {
    let stage = Stage::new();
    let (client, mut port, connection, preamble) = begun(&stage);
    port.write(&[&ZEROS[..], &record(connection, false, false, &answer(&preamble, CREATED, 0))].concat());
    port.wait_for(connection, b"true\0");
    let said = crate::guest::wire::record(1, 0, &[hello(60_000), accepted(), exited(0)].concat());
    port.write(&[record(connection, false, true, b""), record(connection, false, false, &said)].concat());
    client.finish(b"").failed(255, &["connection lost"]);
}

#[test]
fn r_8_4_who_begins_without_zeros_is_heard_once_the_record_before_is_complete() {
    let stage = Stage::new();
    let (client, mut port, connection, preamble) = begun(&stage);
    // What an agent was cut off in, as long as any; then the answer, and only then enough.
    port.write(&record(connection ^ 1, false, false, &[7; 4096])[..100]);
    port.write(&record(connection, false, false, &answer(&preamble, GONE, 0)));
    port.write(&ZEROS);
    client.finish(b"").failed(255, &["the agent no longer has this session"]);
}
