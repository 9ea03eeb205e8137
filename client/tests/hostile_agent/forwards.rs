//! Connections that an agent makes up, or breaks (`PROTOCOL.md` ).

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use vsock_shell_proto::code::CloseCode;

use crate::guest::forwarded::{serve_unix, sum_up, tcp};
use crate::guest::wire::{Wire, field, frame, hello, kind};
use crate::guest::{DEADLINE, Running, TARGET, until};
use crate::{Stage, accepted, hear_request, is_found_out};

const EXEC: u8 = 1;
const CONNECT: u8 = 4;

const UNSUPPORTED: u32 = 1;
const MALFORMED: u32 = 2;
const TOO_LARGE: u32 = 3;
const NOT_FOUND: u32 = 7;

/// OPEN of a channel.
fn open(channel: u16, kind: u8) -> Vec<u8> {
    frame(kind::OPEN, 0, channel, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

/// Somebody has come: channel 1, with this request.
fn came(kind: u8, request: &[u8]) -> Vec<u8> {
    let data = if request.is_empty() { Vec::new() } else { frame(kind::DATA, 3, 1, request) };
    [open(1, kind), data, frame(kind::FINISH, 3, 1, b"")].concat()
}

fn listener(channel: u32) -> Vec<u8> {
    field(0x2B, &channel.to_le_bytes())
}

/// A client that forwards from a listener in the guest, channel 0, to a server of this side.
fn forwarding(stage: &Stage) -> (Running, Wire) {
    let server = stage.directory.path("server");
    if !server.exists() {
        serve_unix(&server, sum_up);
    }
    let spec = format!("0:{}", server.display());
    let (client, mut wire) = stage.created(&["-q", "--reconnect", "0", "-R", &spec, "-N", TARGET]);
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    wire.say(&[accepted()]);
    (client, wire)
}

#[test]
fn what_nobody_has_come_to_is_refused_with_its_code_and_the_session_goes_on() {
    let stage = Stage::new();
    let (client, mut wire) = forwarding(&stage);
    for (case, kind, request, code) in [
        ("R-9.18: a kind that a client does not serve", EXEC, listener(0), UNSUPPORTED),
        ("R-9.18: a listener that there is not", CONNECT, listener(2), NOT_FOUND),
        ("R-9.18: a listener that there cannot be", CONNECT, listener(u32::MAX), NOT_FOUND),
        ("R-9.18: no listener", CONNECT, vec![], MALFORMED),
        ("R-9.1: two listeners", CONNECT, [listener(0), listener(0)].concat(), MALFORMED),
        ("R-9.1: a listener of another length", CONNECT, field(0x2B, b"0"), MALFORMED),
        ("R-9.1: a field that has more than there is", CONNECT, vec![0x2B, 9, 0, 0, 0], MALFORMED),
        ("R-9.1: where a client is to connect", CONNECT, field(0x10, b"/etc/passwd\0"), UNSUPPORTED),
        (
            "R-9.18: more than a request has",
            CONNECT,
            [listener(0), field(0xC0, &[7; 2000])].concat(),
            TOO_LARGE,
        ),
    ] {
        wire.say(&[came(kind, &request)]);
        assert_eq!(wire.next(kind::REFUSED).number(0), code, "{case}");
        wire.next(kind::RELEASE);
        wire.say(&[frame(kind::RELEASE, 0, 1, b"")]);
    }
    // Fields that need not be known do not count.
    wire.say(&[came(CONNECT, &[field(0xC0, b"?"), listener(0)].concat()), frame(kind::DATA, 0, 1, b"hello")]);
    wire.say(&[frame(kind::FINISH, 0, 1, b"")]);
    wire.next(kind::ACCEPTED);
    assert!(wire.next(kind::DATA).payload.starts_with(b"5 bytes: "));
    client.signal(Signal::TERM);
}

#[test]
fn who_listens_nowhere_takes_no_connections() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    wire.say(&[accepted(), open(1, CONNECT)]);
    is_found_out(client, &mut wire, CloseCode::ChannelId, "R-5.3: a channel more than the client takes");
}

#[test]
fn r_9_17_a_connection_that_fails_in_any_way_is_one_that_broke() {
    let stage = Stage::new();
    for (case, end) in [
        ("refused by no known code", frame(kind::REFUSED, 0, 2, &[0xEE; 8])),
        (
            "failed by no known errno",
            [
                frame(kind::ACCEPTED, 0, 2, &[0xFF; 8]),
                frame(kind::FINISH, 1, 2, b""),
                frame(kind::FINISH, 2, 2, b""),
                frame(kind::EXIT, 0, 2, &[2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
            ]
            .concat(),
        ),
        ("killed by a signal", {
            let exit = frame(kind::EXIT, 0, 2, &[1, 0, 0, 0, 9, 0, 0, 0]);
            let ends = [frame(kind::FINISH, 1, 2, b""), frame(kind::FINISH, 2, 2, b"")].concat();
            [frame(kind::ACCEPTED, 0, 2, &[0; 8]), ends, exit].concat()
        }),
        ("reset by no known code", frame(kind::RESET, 0, 2, &[0xEE; 4])),
    ] {
        // Channel 0 is the command, 2 the connection.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spec = format!("{free}:nowhere:1");
        let words = ["-q", "--reconnect", "0", "-L", &spec, TARGET, "--", "cat"];
        let (client, mut wire) = stage.created(&words);
        wire.say(&[hello(60_000)]);
        hear_request(&mut wire);
        wire.say(&[accepted()]);
        let mut stream = tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, free)));
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"x").unwrap();
        hear_request(&mut wire);
        wire.say(&[end]);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{case}");
        // What runs beside it does not notice.
        wire.say(&[crate::exited(3)]);
        assert_eq!(client.finish(b"").status(), 3, "{case}");
    }
}

/// A Unix socket whose queue is full, so that who connects to it waits; and who fills it.
fn full(path: &std::path::Path) -> (UnixListener, Vec<UnixStream>) {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    (socket.into(), vec![UnixStream::connect(path).unwrap()])
}

#[test]
fn r_9_18_a_channel_that_is_used_again_does_not_get_what_was_meant_for_the_one_before() {
    let stage = Stage::new();
    let paths = ["first", "second"].map(|name| stage.directory.path(name));
    let [(first, _filled), (second, _filling)] = paths.each_ref().map(|path| full(path));
    let specs = paths.each_ref().map(|path| format!("0:{}", path.display()));
    let words = ["-q", "--reconnect", "0", "-R", &specs[0], "-R", &specs[1], "-N", TARGET];
    let (client, mut wire) = stage.created(&words);
    wire.say(&[hello(60_000)]);
    hear_request(&mut wire);
    hear_request(&mut wire);
    let threads = || fs::read_dir(format!("/proc/{}/task", client.0.id())).unwrap().count();
    let before = threads();
    wire.say(&[accepted(), frame(kind::ACCEPTED, 0, 2, &[0; 8])]);
    wire.say(&[came(CONNECT, &listener(0)), frame(kind::RESET, 0, 1, &[3, 0, 0, 0])]);
    wire.next(kind::RELEASE);
    wire.say(&[
        came(CONNECT, &listener(2)),
        frame(kind::DATA, 0, 1, b"second"),
        frame(kind::FINISH, 0, 1, b""),
    ]);
    until("the client connects to both", || threads() == before + 2);
    // Who filled the queue, and then the connection that nobody wants any more.
    drop(first.accept().unwrap());
    let mut said = Vec::new();
    first.accept().unwrap().0.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"");
    drop(second.accept().unwrap());
    second.accept().unwrap().0.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"second");
    client.signal(Signal::TERM);
}

#[test]
fn a_listener_that_the_agent_ends_is_told_and_its_number_is_another_ones() {
    let stage = Stage::new();
    for (case, end) in [
        (
            "exit",
            [
                frame(kind::FINISH, 1, 0, b""),
                frame(kind::FINISH, 2, 0, b""),
                frame(kind::EXIT, 0, 0, &[0; 8]),
            ]
            .concat(),
        ),
        ("reset", frame(kind::RESET, 0, 0, &[3, 0, 0, 0])),
    ] {
        let words = ["--reconnect", "0", "-R", "7:nowhere:1", "-N", TARGET];
        // Before it listens the client goes no further.
        if case == "reset" {
            let (client, mut wire) = stage.created(&words);
            wire.say(&[hello(60_000)]);
            hear_request(&mut wire);
            wire.say(&[frame(kind::RESET, 0, 0, &[3, 0, 0, 0])]);
            client.finish(b"").failed(255, &["localhost:7", "the agent has ended it"]);
        }
        let words = ["--reconnect", "0", "-R", "7:nowhere:1", TARGET, "--", "cat"];
        let (client, mut wire) = stage.created(&words);
        wire.say(&[hello(60_000)]);
        hear_request(&mut wire);
        wire.say(&[accepted()]);
        hear_request(&mut wire);
        let finished = [frame(kind::FINISH, 1, 2, b""), frame(kind::FINISH, 2, 2, b"")].concat();
        let exit = frame(kind::EXIT, 0, 2, &[0, 0, 0, 0, 3, 0, 0, 0]);
        wire.say(&[end, frame(kind::ACCEPTED, 0, 2, &[0; 8]), finished, exit]);
        let finished = client.finish(b"");
        assert_eq!(finished.status(), 3, "{case}: {finished:?}");
        assert!(finished.stderr().contains("no longer listens on localhost:7"), "{case}: {finished:?}");
    }
}
