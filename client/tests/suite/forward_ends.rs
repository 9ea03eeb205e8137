//! Forwarding where something ends before its time, or in an order that is easily forgotten: a listener that was refused, a command
//! that becomes a job, a connection that breaks while it is written to, a session that is over.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::guest::forwarded::{
    Forwarding, assert_summed_up, echo, serve_tcp, serve_unix, sum_up, summed_up, tcp, unix,
};
use crate::guest::pty::Terminal;
use crate::guest::{self, DEADLINE, Guest, Running, TARGET, agent_binary, until};
use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;

/// The end of the test that talks through a forwarded connection, and the server's.
fn both_ends(guest: &Guest, flag: &str) -> (Forwarding, TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("0:{}", server.local_addr().unwrap());
    let mut forwarding = Forwarding::start(guest, &[flag, &spec]);
    let near = tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, forwarding.port())));
    let far = server.accept().unwrap().0;
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    (forwarding, near, far)
}

#[test]
fn a_command_runs_to_its_end_where_the_ssh_agent_was_refused() {
    let guest = Guest::start_by(|_| {
        let mut command = std::process::Command::new(agent_binary());
        command.args(["--deny", "listen"]);
        command
    });
    let agent = guest.directory.path("agent");
    serve_unix(&agent, echo);
    let socket = guest.directory.path("here");
    let spec = format!("{}:{}", socket.display(), serve_tcp("127.0.0.1", sum_up));
    let mut command = guest.client(["-A", "-L", &spec, TARGET, "read line; echo $line; exit 7"]);
    command.env("SSH_AUTH_SOCK", &agent);
    let running = Running::start(&mut command);
    until("it listens", || guest::forwarded::is_listening(&socket));
    // The number of the channel that was refused is given to another.
    for _ in 0..3 {
        assert_summed_up(&summed_up(unix(&socket), b"beside"), b"beside");
    }
    let finished = running.finish(b"over\n");
    assert_eq!((finished.status(), finished.stdout()), (7, "over\n"));
    assert!(finished.stderr().contains("the ssh-agent is not forwarded"), "{}", finished.stderr());
}

#[test]
fn what_was_forwarded_ends_when_the_command_becomes_a_job() {
    let guest = Guest::keeping("60");
    let server = serve_tcp("127.0.0.1", echo);
    let socket = guest.directory.path("there");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let specs = [format!("{free}:{server}"), format!("{}:{server}", socket.display())];
    let line = ["-t", "-R", &specs[0], "-R", &specs[1], TARGET, "echo ready; sleep 1000"];
    let mut terminal = Terminal::start_sized(&guest.client(line), 24, 80);
    terminal.wait_for("ready");
    let mut stream = tcp(free);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    terminal.type_keys("\r~d");
    terminal.wait_for("detached as job ");
    assert_eq!(terminal.end().code(), Some(0));
    // Neither is held by the process that keeps the job.
    assert_eq!(stream.read(&mut [0; 1]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    until("nobody listens", || TcpStream::connect(free).is_err());
    until("the socket is gone", || !socket.exists());
    guest.run(["kill", "-KILL", TARGET, "1"]).succeeded();
}

#[test]
fn r_9_17_urgent_data_holds_up_nothing() {
    let guest = Guest::start();
    for flag in ["-L", "-R"] {
        let (_forwarding, near, far) = both_ends(&guest, flag);
        for (mut from, mut to) in [(&near, &far), (&far, &near)] {
            for _ in 0..20 {
                from.write_all(b"abc").unwrap();
                SockRef::from(from).send_out_of_band(b"!").unwrap();
                from.write_all(b"def").unwrap();
                let mut said = [0; 6];
                to.read_exact(&mut said).unwrap_or_else(|error| panic!("{flag}: {error}"));
                assert_eq!(&said, b"abcdef", "{flag}");
            }
        }
    }
}

/// Writes as much as is taken while the process behind it stands still.
fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[7; 65536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
}

#[test]
fn r_9_17_a_connection_that_broke_is_no_orderly_end_for_who_was_writing_to_it() {
    let guest = Guest::start();
    // Whose peer breaks is still, so that it learns of that and of what is to be written at once.
    for (flag, breaks_here) in [("-L", false), ("-R", false), ("-L", true), ("-R", true)] {
        let (forwarding, near, far) = both_ends(&guest, flag);
        let session = Pid::from_raw(guest.sessions()[0]).unwrap();
        // The client has connected to `near` for -L, and to `far` for -R.
        let (broken, mut whole) = if breaks_here { (near, far) } else { (far, near) };
        let is_client = breaks_here == (flag == "-L");
        let still = if is_client { forwarding.client.pid() } else { session };
        kill_process(still, Signal::STOP).unwrap();
        SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
        drop(broken);
        fill(&whole);
        kill_process(still, Signal::CONT).unwrap();
        let told = whole.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(told, Err(ErrorKind::ConnectionReset), "{flag} {breaks_here}");
        drop(forwarding);
        until("the session is over", || guest.sessions().is_empty());
    }
}

#[test]
fn what_a_session_leaves_unfinished_ends_as_what_broke() {
    let guest = Guest::start();
    for flag in ["-L", "-R"] {
        for signal in [Signal::TERM, Signal::KILL] {
            let (mut forwarding, mut near, mut far) = both_ends(&guest, flag);
            near.write_all(b"half").unwrap();
            far.read_exact(&mut [0; 4]).unwrap();
            forwarding.client.signal(signal);
            forwarding.client.end();
            // The end in the guest, whatever became of the client.
            let there = if flag == "-L" { &mut far } else { &mut near };
            let told = there.read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(told, Err(ErrorKind::ConnectionReset), "{flag} {signal:?}");
        }
        let (mut forwarding, mut near, mut far) = both_ends(&guest, flag);
        // Before that the client may not know yet that it has connected.
        near.write_all(b"half").unwrap();
        far.read_exact(&mut [0; 4]).unwrap();
        forwarding.client.signal(Signal::TERM);
        forwarding.client.end();
        let here = if flag == "-L" { &mut near } else { &mut far };
        assert_eq!(here.read(&mut [0; 1]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        // What was over in one direction keeps what was said in it.
        let (mut forwarding, mut near, mut far) = both_ends(&guest, flag);
        near.write_all(b"all").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut said = Vec::new();
        far.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"all");
        forwarding.client.signal(Signal::TERM);
        forwarding.client.end();
    }
}
