//! Forwarded connections: what goes in comes out at the other end, in both directions, each end by itself, and one connection does
//! not hold up another.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::guest::forwarded::{
    Forwarding, assert_summed_up, echo, serve_tcp, serve_unix, sum_up, summed_up, tcp, unix,
};
use crate::guest::proxy::{Fate, Proxy};
use crate::guest::{self, DEADLINE, Guest, Running, TARGET, payload, until};
use rustix::net::sockopt::socket_peercred;
use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};

/// More than all windows and buffers between the ends hold.
const LARGE: u64 = 8 << 20;

#[test]
fn r_9_17_standard_input_and_output_become_a_connection_that_the_guest_makes() {
    let guest = Guest::start();
    let (four, six) = (serve_tcp("127.0.0.1", sum_up), serve_tcp("::1", sum_up));
    let path = guest.directory.path("server");
    serve_unix(&path, sum_up);
    let payload = payload(LARGE);
    for to in
        [four.to_string(), six.to_string(), format!("localhost:{}", four.port()), path.display().to_string()]
    {
        let passed = Running::start(&mut guest.client(["-W", &to, TARGET])).finish(&payload);
        assert_eq!((passed.status(), passed.stderr()), (0, ""), "{to}");
        assert_summed_up(&passed.0.stdout, &payload);
    }
}

#[test]
fn r_9_17_localhost_is_tried_by_both_its_addresses() {
    let guest = Guest::start();
    let (server, _nobody) = on_ipv6_alone();
    let to = format!("LocalHost:{}", server.port());
    let passed = Running::start(&mut guest.client(["-W", &to, TARGET])).finish(b"six");
    assert_eq!(passed.succeeded(), "3 bytes: six");
}

/// A server at a port of `::1`, and what keeps everybody else from serving at that of 127.0.0.1.
fn on_ipv6_alone() -> (SocketAddr, Socket) {
    loop {
        let server = serve_tcp("::1", sum_up);
        let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if nobody.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, server.port())).into()).is_ok() {
            return (server, nobody);
        }
    }
}

#[test]
fn each_kind_of_listener_leads_to_each_kind_of_server() {
    let guest = Guest::start();
    let address = serve_tcp("127.0.0.1", sum_up);
    let path = guest.directory.path("server");
    serve_unix(&path, sum_up);
    let servers = [address.to_string(), path.display().to_string()];
    let payload = payload(100_000);
    for flag in ["-L", "-R"] {
        for (number, server) in servers.iter().enumerate() {
            let socket = guest.directory.path(format!("{flag}{number}"));
            let (of_unix, of_tcp) = (format!("{}:{server}", socket.display()), format!("0:{server}"));
            let mut forwarding = Forwarding::start(&guest, &[flag, &of_unix, flag, &of_tcp]);
            let port = forwarding.port();
            forwarding.wait_for(&socket);
            assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
            assert_summed_up(&summed_up(unix(&socket), &payload), &payload);
            for host in ["127.0.0.1", "[::1]"] {
                let address = format!("{host}:{port}").parse().unwrap();
                assert_summed_up(&summed_up(tcp(address), &payload), &payload);
            }
            forwarding.client.signal(Signal::TERM);
            assert_eq!(forwarding.client.end().code(), Some(143));
            until("the socket is gone", || !socket.exists());
        }
    }
}

#[test]
fn a_socket_in_the_abstract_namespace_is_one_with_an_at_sign() {
    let guest = Guest::start();
    let path = guest.directory.path("server");
    serve_unix(&path, sum_up);
    let name = format!("@vsock-shell-test-{}", std::process::id());
    let forwarding = Forwarding::start(&guest, &["-R", &format!("{name}:{}", path.display())]);
    let passed = || Running::start(&mut guest.client(["-W", &name, TARGET])).finish(b"x");
    until("it listens", || passed().status() == 0);
    assert_eq!(passed().succeeded(), "1 bytes: x");
    drop(forwarding);
}

#[test]
fn connections_are_forwarded_beside_a_command_and_end_with_it() {
    let guest = Guest::start();
    let server = serve_tcp("127.0.0.1", echo);
    let socket = guest.directory.path("here");
    let spec = format!("{}:{server}", socket.display());
    let mut running = guest.start_command(&["-L", &spec], "echo ready; read line; echo $line; exit 7");
    let mut stream = unix(&socket);
    stream.write_all(b"beside").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"beside");
    running.0.stdin.take().unwrap().write_all(b"over\n").unwrap();
    let finished = running.finish(b"");
    assert_eq!((finished.status(), finished.stdout()), (7, "over\n"));
    assert_eq!(stream.read(&mut answer).unwrap_or(0), 0, "the connection is over");
    assert!(!socket.exists());
}

#[test]
fn r_9_17_each_direction_ends_by_itself() {
    let guest = Guest::start();
    // Ends what it says first, and goes on reading.
    let server = serve_tcp("127.0.0.1", |mut stream| {
        stream.write_all(b"all that I say").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"late");
        // The proof of it, as far as a client can see: the end comes only now.
    });
    for flag in ["-L", "-R"] {
        let socket = guest.directory.path(flag);
        let forwarding = Forwarding::start(&guest, &[flag, &format!("{}:{server}", socket.display())]);
        forwarding.wait_for(&socket);
        let mut stream = unix(&socket);
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"all that I say", "{flag}");
        stream.write_all(b"late").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

#[test]
fn r_9_17_a_connection_that_breaks_breaks_at_the_other_end() {
    let guest = Guest::start();
    let broken = serve_tcp("127.0.0.1", |mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    for flag in ["-L", "-R"] {
        let mut forwarding = Forwarding::start(&guest, &[flag, &format!("0:{broken}")]);
        let mut stream = tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, forwarding.port())));
        stream.write_all(b"break").unwrap();
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{flag}");
    }
    // And from the other side.
    let (tell, told) = std::sync::mpsc::channel();
    let server = serve_tcp("127.0.0.1", move |mut stream| {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"x").unwrap();
        tell.send(stream.read(&mut [0; 8]).map_err(|error| error.kind())).unwrap();
    });
    for flag in ["-L", "-R"] {
        let mut forwarding = Forwarding::start(&guest, &[flag, &format!("0:{server}")]);
        let mut stream = tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, forwarding.port())));
        stream.read_exact(&mut [0; 1]).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Err(ErrorKind::ConnectionReset)), "{flag}");
    }
}

#[test]
fn what_cannot_be_reached_is_told_as_what_it_is() {
    let guest = Guest::start();
    // Bound, and nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = guest.directory.path("nobody");
    drop(UnixListener::bind(&nobody).unwrap());
    let none = guest.directory.path("none").display().to_string();
    let target = guest.target();
    for (to, reason) in [
        (free.to_string(), "Connection refused"),
        (nobody.display().to_string(), "Connection refused"),
        (none, "No such file or directory"),
        ("no-such-host.invalid:1".into(), ""),
    ] {
        guest.run(["-W", &to, TARGET]).failed(255, &[&target, &to, reason]);
    }
    let mut forwarding = Forwarding::start(&guest, &["-L", &format!("0:{free}")]);
    let mut stream = tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, forwarding.port())));
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let line = forwarding.line();
    assert!(line.contains(&free.to_string()) && line.contains("Connection refused"), "{line}");
}

#[test]
fn a_place_that_is_taken_ends_the_client_before_anything_runs() {
    let guest = Guest::start();
    let server = serve_tcp("127.0.0.1", echo);
    let taken = guest.directory.path("taken");
    serve_unix(&taken, echo);
    let mark = guest.directory.path("mark");
    let command = format!("touch {}", mark.display());
    for place in [server.to_string(), taken.display().to_string()] {
        for flag in ["-L", "-R"] {
            let spec = format!("{place}:{server}");
            let refused = guest.run([flag, &spec, TARGET, &command]);
            refused.failed(255, &[&place]);
            assert!(["in use", "another process listens"].iter().any(|why| refused.stderr().contains(why)));
        }
        guest.run(["-D", &place, TARGET, &command]).failed(255, &[&place, "in use"]);
    }
    assert!(!mark.exists());
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let guest = Guest::start();
    let server = serve_tcp("127.0.0.1", sum_up);
    for flag in ["-L", "-R"] {
        let socket = guest.directory.path(flag);
        drop(UnixListener::bind(&socket).unwrap());
        let forwarding = Forwarding::start(&guest, &[flag, &format!("{}:{server}", socket.display())]);
        until("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        assert_summed_up(&summed_up(unix(&socket), b"new"), b"new");
        drop(forwarding);
        // What is no socket stays.
        let file = guest.directory.path(format!("file{flag}"));
        fs::write(&file, "mine").unwrap();
        guest.run([flag, &format!("{}:{server}", file.display()), TARGET, "id"]).failed(255, &[]);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}

/// Five hundred at once through a listener of this kind, each with its own bytes.
fn five_hundred(flag: &str) {
    const COUNT: u32 = 500;
    let guest = Guest::start();
    let server = guest.directory.path("server");
    serve_unix(&server, echo);
    let socket = guest.directory.path("here");
    let spec = format!("{}:{}", socket.display(), server.display());
    let forwarding = Forwarding::start(&guest, &[flag, &spec]);
    forwarding.wait_for(&socket);
    let mut streams: Vec<_> = (0..COUNT).map(|_| unix(&socket)).collect();
    for _ in 0..3 {
        for (number, stream) in (0_u32..).zip(&mut streams) {
            stream.write_all(&number.to_le_bytes()).unwrap();
        }
        for (number, stream) in (0_u32..).zip(&mut streams) {
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_le_bytes(answer), number);
        }
    }
    // One that is too much waits until another has ended.
    let mut more: Vec<_> = (0..40).map(|_| unix(&socket)).collect();
    drop(streams);
    for stream in &mut more {
        stream.write_all(b"late").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"late");
    }
}

#[test]
fn five_hundred_connections_at_once_to_the_guest() {
    five_hundred("-L");
}

#[test]
fn five_hundred_connections_at_once_from_the_guest() {
    five_hundred("-R");
}

#[test]
fn one_that_does_not_read_holds_up_no_other() {
    let guest = Guest::start();
    let source = serve_tcp("127.0.0.1", |mut stream| {
        // More than anything between holds.
        let bytes = [7; 65536];
        while stream.write_all(&bytes).is_ok() {}
    });
    let server = serve_tcp("127.0.0.1", echo);
    for flag in ["-L", "-R"] {
        let (slow, quick) =
            (guest.directory.path(format!("s{flag}")), guest.directory.path(format!("q{flag}")));
        let specs = [format!("{}:{source}", slow.display()), format!("{}:{server}", quick.display())];
        let forwarding = Forwarding::start(&guest, &[flag, &specs[0], flag, &specs[1]]);
        forwarding.wait_for(&quick);
        let mut stalled: Vec<_> = (0..8).map(|_| unix(&slow)).collect();
        for stream in &mut stalled {
            stream.read_exact(&mut [0; 1]).unwrap();
        }
        let mut stream = unix(&quick);
        let mut worst = Duration::ZERO;
        for _ in 0..100 {
            let began = Instant::now();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            worst = worst.max(began.elapsed());
        }
        assert!(worst < Duration::from_secs(5), "{flag}: {worst:?}");
    }
}

#[test]
fn forwarded_connections_survive_a_hundred_cuts() {
    let guest = Guest::keeping("60");
    let proxy = Proxy::start(&guest, |number| {
        if number < 100 { Fate::Cut(150_000 + 7919 * number as u64 % 100_000) } else { Fate::Lasts }
    });
    let server = serve_tcp("127.0.0.1", sum_up);
    let payload = payload(LARGE);
    for flag in ["-L", "-R"] {
        let socket = guest.directory.path(flag);
        let spec = format!("{}:{server}", socket.display());
        let forwarding = Forwarding::to(&guest, &proxy.target(), &["-q", flag, &spec]);
        forwarding.wait_for(&socket);
        assert_summed_up(&summed_up(unix(&socket), &payload), &payload);
    }
    assert!(proxy.connections() > 60, "{}", proxy.connections());
}

#[test]
fn an_agent_that_was_started_without_forwards_nothing() {
    let server = serve_tcp("127.0.0.1", echo).to_string();
    for (words, flag, spec) in [("connect", "-W", server.clone()), ("listen", "-R", format!("0:{server}"))] {
        let guest = Guest::start_by(|_| {
            let mut command = std::process::Command::new(guest::agent_binary());
            command.args(["--deny", words]);
            command
        });
        let line: &[&str] = if flag == "-W" { &[flag, &spec, TARGET] } else { &[flag, &spec, TARGET, "id"] };
        guest.run(line).failed(255, &["denied by the agent"]);
    }
}

#[test]
fn a_user_reaches_what_he_may_reach() {
    if !guest::is_root() {
        return;
    }
    let guest = Guest::start();
    let server = guest.directory.path("roots");
    serve_unix(&server, sum_up);
    fs::set_permissions(&server, fs::Permissions::from_mode(0o600)).unwrap();
    let to = server.display().to_string();
    let words = ["-l", "nobody", "-W", &to, TARGET];
    guest.run(words).failed(255, &[&to, "Permission denied"]);
    // Who serves everybody is told who it is.
    let open = guest.directory.path("everybodys");
    serve_unix(&open, |mut stream| {
        let user = socket_peercred(&stream).unwrap().uid.as_raw();
        stream.write_all(user.to_string().as_bytes()).unwrap();
    });
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    let user = |words: &[&str]| {
        let to = open.display().to_string();
        guest.run([words, &["-W", &to, TARGET]].concat()).stdout().to_owned()
    };
    assert_eq!((user(&["-l", "nobody"]), user(&[])), ("65534".to_owned(), "0".to_owned()));
    let socket = guest.directory.path("open").join("x");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    let spec = format!("{}:{to}", socket.display());
    let forwarding = Forwarding::start(&guest, &["-l", "nobody", "-R", &spec]);
    forwarding.wait_for(&socket);
    use std::os::unix::fs::MetadataExt;
    assert_ne!(fs::metadata(&socket).unwrap().uid(), 0);
    assert_summed_up(&summed_up(unix(&socket), b"x"), b"x");
}

#[test]
fn the_other_end_of_a_client_that_is_gone_is_told() {
    let guest = Guest::start();
    let (tell, told) = std::sync::mpsc::channel();
    let server = serve_tcp("127.0.0.1", move |mut stream: TcpStream| {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut said = [0; 10];
        stream.read_exact(&mut said).unwrap();
        tell.send(said == *b"last words").unwrap();
        let end = stream.read_to_end(&mut Vec::new());
        // An abrupt end is one too; a wait that was given up is none.
        tell.send(!end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)).unwrap();
    });
    let socket = guest.directory.path("here");
    let mut forwarding = Forwarding::start(&guest, &["-L", &format!("{}:{server}", socket.display())]);
    forwarding.wait_for(&socket);
    let mut stream = unix(&socket);
    stream.write_all(b"last words").unwrap();
    // What was sent is there before the client is killed: an end of it would otherwise race with them.
    assert!(told.recv_timeout(DEADLINE).unwrap());
    forwarding.client.signal(Signal::KILL);
    forwarding.client.end();
    assert!(told.recv_timeout(DEADLINE).unwrap());
    guest.is_idle();
}
