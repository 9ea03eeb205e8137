//! The listener of the real binary: its socket's file, its signals, its table of silent connections.

mod agent;

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use agent::{Agent, BINARY, DEADLINE, Directory, NO_PREAMBLE, assert_closed, connect, until};
use rustix::process::{Pid, Signal, kill_process};

/// `script` run by sh, with the agent's binary as `$0` and its address as `$1`.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]);
    command
}

#[test]
fn the_socket_is_private_whatever_the_umask() {
    let agent = Agent::start_by(Directory::new(), |_| shell("umask 0; exec \"$0\" \"$@\""));
    assert_eq!(std::fs::metadata(agent.socket()).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_socket_that_others_could_replace_is_not_made() {
    for (mode, is_safe) in [(0o755, true), (0o1777, true), (0o777, false), (0o757, false), (0o702, false)] {
        let directory = Directory::new();
        let (open, inside) = (directory.path("open"), directory.path("open/inside"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        for place in [&open, &inside] {
            let socket = place.join("socket");
            let mut agent = Command::new(BINARY);
            agent.arg(format!("--listen=unix:{}", socket.display())).stderr(Stdio::piped());
            let agent = agent.spawn().unwrap();
            if is_safe {
                until("the agent listens", || socket.exists());
                kill_process(Pid::from_raw(agent.id() as i32).unwrap(), Signal::TERM).unwrap();
            }
            let output = agent.wait_with_output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.success(), is_safe, "{mode:o}: {told}");
            assert!(is_safe || told.contains("others could put something else there"), "{mode:o}: {told}");
            assert!(!socket.exists(), "{mode:o}");
        }
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.path("socket")).unwrap());
    let agent = Agent::start_by(directory, |_| Command::new(BINARY));
    assert_closed_by_session(&agent);
}

#[test]
fn a_live_socket_is_an_error_and_stays() {
    let agent = Agent::start(&[]);
    let address = format!("--listen=unix:{}", agent.socket().display());
    let output = Command::new(BINARY).arg(address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process listens there"));
    assert_closed_by_session(&agent);
}

#[test]
fn what_is_not_a_socket_stays() {
    let directory = Directory::new();
    let path = directory.path("socket");
    std::fs::write(&path, "precious").unwrap();
    let output = Command::new(BINARY).arg(format!("--listen=unix:{}", path.display())).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a socket"));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn termination_removes_the_socket_and_is_status_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut agent = Agent::start(&[]);
        let mut silent = agent.connect();
        agent.signal(signal);
        assert_eq!(agent.wait().code(), Some(0));
        assert!(!agent.socket().exists());
        assert_closed(&mut silent);
    }
}

#[test]
fn the_socket_of_a_successor_stays() {
    let mut agent = Agent::start(&[]);
    std::fs::rename(agent.socket(), agent.directory.path("moved")).unwrap();
    let _successor = UnixListener::bind(agent.socket()).unwrap();
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
    assert!(std::fs::metadata(agent.socket()).unwrap().file_type().is_socket());
}

#[test]
fn a_hangup_that_was_ignored_before_is_ignored() {
    let mut agent = Agent::start_by(Directory::new(), |_| shell("trap '' HUP; exec \"$0\" \"$@\""));
    agent.signal(Signal::HUP);
    assert_closed_by_session(&agent);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_daemon_returns_when_it_listens_and_removes_a_relative_path() {
    let directory = Directory::new();
    // A name that finds the daemon among all processes.
    let name = directory.0.file_name().unwrap().to_str().unwrap();
    let address = format!("--listen=unix:{name}");
    let mut command = Command::new(BINARY);
    let status =
        command.current_dir(&directory.0).args(["-d", &address]).stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let path = directory.path(name);
    let mut stream = connect(&path);
    stream.write_all(&NO_PREAMBLE).unwrap();
    assert_closed(&mut stream);
    let mut daemon = None;
    until("the session has ended", || {
        let all = processes_with(&address);
        daemon = all.first().copied();
        all.len() == 1
    });
    let daemon = daemon.unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{daemon}/cwd")).unwrap().to_str(), Some("/"));
    for number in 0..3 {
        let target = std::fs::read_link(format!("/proc/{daemon}/fd/{number}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    kill_process(Pid::from_raw(daemon).unwrap(), Signal::TERM).unwrap();
    until("the daemon has removed its socket", || !path.exists());
}

/// The processes that have this argument.
fn processes_with(argument: &str) -> Vec<i32> {
    let has_argument = |path: &std::path::Path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|part| part == argument.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter(|entry| has_argument(&entry.path()));
    numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn bytes_that_are_no_preamble_are_closed_without_an_answer() {
    let agent = Agent::start(&[]);
    let mut seed = 1_u64;
    for _ in 0..50 {
        let noise: Vec<u8> = (0..200).map(|_| noise(&mut seed)).collect();
        let mut stream = agent.connect();
        stream.write_all(&noise).unwrap();
        assert_closed(&mut stream);
    }
    until("all sessions have ended", || agent.children() == 0);
}

#[test]
fn a_preamble_may_come_byte_by_byte() {
    let agent = Agent::start(&["-v"]);
    let mut stream = agent.connect();
    for byte in NO_PREAMBLE {
        stream.write_all(&[byte]).unwrap();
    }
    assert_closed(&mut stream);
    assert!(agent.log().contains("began"), "{}", agent.log());
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_its_preamble_starts_nothing() {
    let agent = Agent::start(&["-v"]);
    for len in [0, 1, 63] {
        let mut stream = agent.connect();
        stream.write_all(&NO_PREAMBLE[..len]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_closed(&mut stream);
    }
    assert!(!agent.log().contains("began"), "{}", agent.log());
}

#[test]
fn three_hundred_silent_connections_do_not_lock_out_the_next() {
    let agent = Agent::start(&["-v"]);
    let silent: Vec<UnixStream> = (0..300).map(|_| agent.connect()).collect();
    for expected in 1..=20 {
        let mut stream = agent.connect();
        stream.write_all(&NO_PREAMBLE).unwrap();
        assert_closed(&mut stream);
        assert_eq!(agent.log().matches("began").count(), expected, "it was read, not evicted");
    }
    assert!(agent.descriptors() < 150, "{} descriptors", agent.descriptors());
    drop(silent);
}

#[test]
fn a_silent_connection_is_closed_after_its_time() {
    let agent = Agent::start(&[]);
    let begin = std::time::Instant::now();
    let mut stream = agent.connect();
    stream.write_all(&NO_PREAMBLE[..63]).unwrap();
    assert_closed(&mut stream);
    let taken = begin.elapsed().as_millis();
    assert!((4900..10_000).contains(&taken), "closed after {taken} ms");
}

#[test]
fn a_thousand_connections_leave_no_descriptor_and_no_zombie() {
    let agent = Agent::start(&[]);
    assert_closed_by_session(&agent);
    until("the first session has ended", || agent.children() == 0);
    let before = agent.descriptors();
    for number in 0..1000 {
        let mut stream = agent.connect();
        match number % 4 {
            0 => drop(stream),
            1 => stream.write_all(&NO_PREAMBLE[..10]).unwrap(),
            2 => stream.write_all(&NO_PREAMBLE).unwrap(),
            _ => assert_closed({
                stream.write_all(&NO_PREAMBLE).unwrap();
                &mut stream
            }),
        }
    }
    until("everything is as before", || agent.descriptors() == before && agent.children() == 0);
}

#[test]
fn without_descriptors_the_silent_make_room_and_nothing_spins() {
    let agent = Agent::start_by(Directory::new(), |_| shell("ulimit -n 24; exec \"$0\" -v \"$@\""));
    let silent: Vec<UnixStream> = (0..100).map(|_| agent.connect()).collect();
    // Who makes room is drawn among all who have said nothing yet: also who was about to, and then comes again.
    until("five sessions have begun", || {
        let mut stream = agent.connect();
        if stream.write_all(&NO_PREAMBLE).is_ok() {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        agent.log().matches("began").count() >= 5
    });
    assert!(agent.ticks() < 50, "{} ticks of a hundredth of a second", agent.ticks());
    drop(silent);
}

#[test]
fn closed_standard_descriptors_are_filled() {
    let agent = Agent::start_by(Directory::new(), |_| shell("exec \"$0\" \"$@\" <&- >&- 2>&-"));
    assert_closed_by_session(&agent);
    for number in 0..3 {
        let target = std::fs::read_link(format!("/proc/{}/fd/{number}", agent.child.id())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
}

/// Runs the agent by `script` with a socket as its standard input, while `use_it` runs; then it is terminated. Its status.
fn with_inherited(socket: impl Into<OwnedFd>, script: &str, use_it: impl FnOnce()) -> Option<i32> {
    let mut child = shell(script).stdin(Stdio::from(socket.into())).stderr(Stdio::null()).spawn().unwrap();
    use_it();
    let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM);
    let mut status = None;
    until("the agent has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

#[test]
fn an_inherited_socket_is_accepted_on_and_its_file_stays() {
    for script in [
        "exec \"$0\" --listen=fd:3 3<&0 </dev/null",
        "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" 3<&0 </dev/null",
    ] {
        let directory = Directory::new();
        let path = directory.path("socket");
        let status = with_inherited(UnixListener::bind(&path).unwrap(), script, || {
            let mut stream = connect(&path);
            stream.write_all(&NO_PREAMBLE).unwrap();
            assert_closed(&mut stream);
        });
        assert_eq!(status, Some(0));
        assert!(path.exists());
    }
}

#[test]
fn an_inherited_connection_is_one_session() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    with_inherited(theirs, "exec \"$0\" --listen=fd:3 3<&0 </dev/null", || {
        ours.write_all(&NO_PREAMBLE).unwrap();
        assert_closed(&mut ours);
    });
}

#[test]
fn an_inherited_network_socket_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = shell("exec \"$0\" --listen=fd:3 3<&0 </dev/null");
    let output = command.stdin(Stdio::from(OwnedFd::from(listener))).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("key"));
}

#[test]
fn standard_input_and_output_are_one_session() {
    let mut child = Command::new(BINARY)
        .arg("--listen=stdio")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&NO_PREAMBLE).unwrap();
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out, b"");
    child.wait().unwrap();
}

#[test]
fn a_standard_input_that_ends_early_is_a_failure() {
    let output = Command::new(BINARY).arg("--listen=stdio").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

/// A connection that sends 64 bytes has them read and is closed by a session.
fn assert_closed_by_session(agent: &Agent) {
    let mut stream = agent.connect();
    stream.write_all(&NO_PREAMBLE).unwrap();
    assert_closed(&mut stream);
}

fn noise(seed: &mut u64) -> u8 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 56) as u8
}
