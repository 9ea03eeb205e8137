//! Tests of `dial` over private Unix sockets, pipes and the loopback interface. AF_VSOCK is never opened here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use socket2::SockAddr;

use super::*;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vsock-shell-dial-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

const SECONDS: Duration = Duration::from_secs(20);

fn reached(address: &Address) -> Stream {
    dial(address, SECONDS).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(address: &Address, timeout: Duration, words: &[&str]) -> DialError {
    let error = dial(address, timeout).expect_err("reached");
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains("os error"), "{text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    error
}

fn read_some(stream: &Stream) -> Vec<u8> {
    let mut buffer = [0; 64];
    poll(&mut [PollFd::new(&stream.input, PollFlags::IN)], None).unwrap();
    let count = rustix::io::read(&stream.input, &mut buffer).unwrap();
    buffer[..count].to_vec()
}

#[test]
fn a_unix_socket_is_reached_and_does_not_block() {
    let folder = Folder::new("unix");
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let stream = reached(&Address::Unix(folder.socket()));
    for fd in [&stream.input, &stream.output] {
        assert!(fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK));
    }
    let (mut peer, _) = listener.accept().unwrap();
    rustix::io::write(&stream.output, b"there").unwrap();
    let mut buffer = [0; 5];
    peer.read_exact(&mut buffer).unwrap();
    peer.write_all(b"and back").unwrap();
    assert_eq!((&buffer, read_some(&stream).as_slice()), (b"there", b"and back".as_slice()));
}

#[test]
fn a_listener_that_comes_late_is_waited_for() {
    let folder = Folder::new("late");
    let path = folder.socket();
    let (started, go) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        go.recv().unwrap();
        thread::sleep(Duration::from_millis(300));
        let listener = UnixListener::bind(path).unwrap();
        listener.accept().unwrap()
    });
    started.send(()).unwrap();
    let before = Instant::now();
    let _stream = reached(&Address::Unix(folder.socket()));
    assert!(before.elapsed() >= Duration::from_millis(250));
    server.join().unwrap();
}

#[test]
fn a_socket_that_is_missing_or_dead_costs_the_timeout_and_one_line() {
    let folder = Folder::new("dead");
    let address = Address::Unix(folder.socket());
    let timeout = Duration::from_millis(250);
    let error = refused(
        &address,
        timeout,
        &["cannot reach unix:/", "No such file or directory (tried for 0.25 s; is the agent running?)"],
    );
    assert!(!error.is_final());
    drop(UnixListener::bind(folder.socket()).unwrap());
    refused(&address, timeout, &["Connection refused (tried for 0.25 s; is the agent running?)"]);
    let before = Instant::now();
    refused(&address, Duration::ZERO, &["Connection refused (is the agent running?)"]);
    assert!(before.elapsed() < timeout);
}

#[test]
fn what_waiting_cannot_change_is_told_at_once() {
    let before = Instant::now();
    let datagram = Folder::new("datagram");
    let _socket = std::os::unix::net::UnixDatagram::bind(datagram.socket()).unwrap();
    assert!(refused(&Address::Unix(datagram.socket()), SECONDS, &["stream socket"]).is_final());
    let folder = Address::Serial(datagram.socket().parent().unwrap().to_owned());
    assert!(refused(&folder, SECONDS, &["serial:", "Is a directory"]).is_final());
    let nowhere = Address::Tcp { host: "name.invalid".into(), port: 1 };
    assert!(refused(&nowhere, SECONDS, &["tcp:name.invalid:1", "is the name right?"]).is_final());
    assert!(before.elapsed() < SECONDS);
}

#[test]
fn only_failures_that_may_pass_are_tried_again() {
    let is_final = |step, errno: Errno| Failure { step, error: errno.into() }.is_final();
    for errno in
        [Errno::NOENT, Errno::CONNREFUSED, Errno::CONNRESET, Errno::PIPE, Errno::NODEV, Errno::TIMEDOUT]
    {
        assert!(!is_final(Step::Connect, errno), "{errno:?}");
    }
    for errno in
        [Errno::ACCESS, Errno::PERM, Errno::INVAL, Errno::AFNOSUPPORT, Errno::MFILE, Errno::PROTOTYPE]
    {
        assert!(is_final(Step::Connect, errno), "{errno:?}");
    }
    assert!(is_final(Step::Spawn, Errno::NOENT));
}

/// Serves one connection of a mux: reads the request, sends `answers`, and hands the stream on.
fn mux(
    folder: &Folder,
    answers: Vec<&'static [u8]>,
) -> (Address, thread::JoinHandle<(Vec<String>, UnixStream)>) {
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let server = thread::spawn(move || {
        let mut requests = Vec::new();
        let mut last = None;
        for answer in answers {
            // Closed before the next one is waited for.
            drop(last.take());
            let (stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            requests.push(request);
            (&stream).write_all(answer).unwrap();
            last = Some(stream);
        }
        (requests, last.unwrap())
    });
    (Address::Mux { path: folder.socket(), port: 1024 }, server)
}

#[test]
fn a_mux_is_asked_for_the_port_and_the_bytes_behind_its_answer_are_kept() {
    let folder = Folder::new("mux");
    let (address, server) = mux(&folder, vec![b"OK 1073741824\nhello from the guest"]);
    let stream = reached(&address);
    let (requests, _peer) = server.join().unwrap();
    assert_eq!(requests, ["CONNECT 1024\n"]);
    assert_eq!(read_some(&stream), b"hello from the guest");
}

#[test]
fn a_mux_that_closes_without_an_answer_is_asked_again() {
    let folder = Folder::new("mux-again");
    let (address, server) = mux(&folder, vec![b"", b"OK", b"OK 5\n"]);
    let _stream = reached(&address);
    assert_eq!(server.join().unwrap().0.len(), 3);
}

#[test]
fn a_mux_that_answers_something_else_is_told() {
    let folder = Folder::new("mux-other");
    let (address, server) = mux(&folder, vec![b"SSH-2.0-x\x1b[31m\r\n"]);
    let error = refused(&address, SECONDS, &[r"`SSH-2.0-x\x1b[31m`", "CONNECT 1024", "unix:"]);
    assert!(error.is_final());
    server.join().unwrap();
    let long = Folder::new("mux-long");
    let (address, server) = mux(&long, vec![&[b'x'; 1000]]);
    assert!(refused(&address, SECONDS, &["xxx"]).to_string().len() < 400);
    server.join().unwrap();
}

#[test]
fn a_question_that_a_mux_has_lost_is_put_again_and_stands_until_it_is_answered() {
    let folder = Folder::new("mux-lost");
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let next = || {
        let (stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        assert_eq!(request, "CONNECT 1\n");
        stream
    };
    let address = Address::Mux { path: folder.socket(), port: 1 };
    let dialled = thread::spawn(move || reached(&address));
    let (mut lost, mut heard) = (next(), next());
    heard.write_all(b"OK 2\nhello").unwrap();
    assert_eq!(read_some(&dialled.join().unwrap()), b"hello");
    lost.set_nonblocking(true).unwrap();
    assert_eq!(lost.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    lost.set_nonblocking(false).unwrap();
    lost.write_all(b"OK 3\n").unwrap();
    assert_eq!(lost.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_mux_that_keeps_silent_costs_the_timeout() {
    let folder = Folder::new("mux-silent");
    let _listener = UnixListener::bind(folder.socket()).unwrap();
    let address = Address::Mux { path: folder.socket(), port: 1 };
    refused(
        &address,
        Duration::from_millis(100),
        &["mux:/", ":1:", "timed out", "is the agent running in the guest?"],
    );
}

#[test]
fn tcp_is_reached_by_name_on_a_port_without_delay() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let stream = reached(&Address::Tcp { host: "127.0.0.1".into(), port });
    listener.accept().unwrap();
    assert!(rustix::net::sockopt::tcp_nodelay(&stream.output).unwrap());
    drop(listener);
    refused(&Address::Tcp { host: "127.0.0.1".into(), port }, Duration::ZERO, &["tcp:127.0.0.1:", "refused"]);
}

#[test]
fn a_command_is_a_stream_and_is_reaped() {
    let mut stream = reached(&Address::Exec("printf ready; exec cat".into()));
    assert_eq!(read_some(&stream), b"ready");
    rustix::io::write(&stream.output, b"echo").unwrap();
    assert_eq!(read_some(&stream), b"echo");
    let proxy = stream.child.as_mut().unwrap();
    let id = proxy.id();
    assert_eq!(proxy.try_wait().unwrap(), None);
    drop(stream);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_command_that_does_not_leave_is_killed() {
    let stream = reached(&Address::Exec("trap '' TERM; printf ready; while :; do sleep 1; done".into()));
    assert_eq!(read_some(&stream), b"ready");
    let id = stream.child.as_ref().unwrap().id();
    drop(stream);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_vsock_address_is_made_of_context_id_and_port() {
    assert_eq!(SockAddr::vsock(3, 5000).as_vsock_address(), Some((3, 5000)));
}

#[test]
fn every_failure_of_vsock_has_its_advice() {
    let text = |errno: Errno| {
        let address = Address::Vsock { cid: 3, port: 5000 };
        DialError {
            address,
            failure: Failure { step: Step::Connect, error: errno.into() },
            tried: Duration::ZERO,
        }
        .to_string()
    };
    assert!(text(Errno::NODEV).contains("vhost_vsock loaded?"));
    assert!(text(Errno::CONNRESET).contains("is the agent running in the guest?"));
    assert!(text(Errno::AFNOSUPPORT).contains("modprobe"));
    assert!(text(Errno::TIMEDOUT).starts_with("cannot reach vsock:3:5000: "));
}

#[test]
fn the_time_tried_is_told_in_hundredths() {
    let text = |tried| {
        let failure = Failure { step: Step::Connect, error: Errno::CONNREFUSED.into() };
        DialError { address: Address::Unix("/x".into()), failure, tried }.to_string()
    };
    assert!(text(Duration::from_nanos(1_999_999_920)).contains("(tried for 2 s; "));
    assert!(text(Duration::from_millis(250)).contains("(tried for 0.25 s; "));
    assert!(text(Duration::from_millis(1)).contains("(is the agent running?)"));
}
