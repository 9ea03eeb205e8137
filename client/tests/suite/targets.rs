//! Ways to an agent that somebody else's socket stands on: `mux:` and `tcp:`.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use crate::guest::{Guest, client};

/// Pours each stream into the other until one has ended.
fn join<A, B>(a: (A, A), b: (B, B), end: impl Fn() + Send + 'static)
where
    A: Read + Write + Send + 'static,
    B: Read + Write + Send + 'static,
{
    let ((mut a_read, mut a_write), (mut b_read, mut b_write)) = (a, b);
    thread::spawn(move || io::copy(&mut a_read, &mut b_write));
    thread::spawn(move || {
        _ = io::copy(&mut b_read, &mut a_write);
        end();
    });
}

fn agent(socket: &Path) -> (UnixStream, UnixStream) {
    let stream = UnixStream::connect(socket).unwrap();
    (stream.try_clone().unwrap(), stream)
}

#[test]
fn a_mux_socket_is_asked_for_the_agents_port() {
    let guest = Guest::start();
    let path = guest.directory.path("mux");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = guest.socket();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        // Unbuffered, since what follows the line is the session's.
        BufReader::with_capacity(1, &stream).read_line(&mut line).unwrap();
        assert_eq!(line, "CONNECT 5001\n");
        (&stream).write_all(b"OK 1073741824\n").unwrap();
        let both = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        join(both, agent(&socket), move || _ = stream.shutdown(Shutdown::Both));
    });
    let target = format!("mux:{}:5001", path.display());
    assert_eq!(client([&target, "echo over $((1 + 1))"]).output().unwrap().stdout, b"over 2\n");
}

#[test]
fn a_tcp_stream_to_an_agent_is_a_target() {
    let guest = Guest::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = guest.socket();
    thread::spawn(move || {
        let (stream, _): (TcpStream, _) = listener.accept().unwrap();
        let both = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        join(both, agent(&socket), move || _ = stream.shutdown(Shutdown::Both));
    });
    let target = format!("tcp:127.0.0.1:{port}");
    let output = client([&target, "--", "sh", "-c", "exit 7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}
