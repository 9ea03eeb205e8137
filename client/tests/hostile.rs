//! What the agent survives: bytes that are no protocol, peers that say nothing, read nothing or vanish, commands that do
//! not end, and too much of everything. Afterwards nothing is left of it.

mod guest;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use guest::processes::{Mark, state};
use guest::{
    Guest, Running, TARGET, assert_same, names, payload, payload_byte, read_line, solid_file, until,
};
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use vsock_shell::client::Client;
use vsock_shell::command::Program;
use vsock_shell::target::Target;

/// The agent still does its work.
#[track_caller]
fn assert_serves(guest: &Guest) {
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
}

/// Reads until the agent closes the connection.
fn assert_closed(mut stream: UnixStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// What a real client sends for these words, to its end.
fn recorded(guest: &Guest, words: &[&str]) -> Vec<u8> {
    let path = guest.directory.path("recorder");
    let listener = UnixListener::bind(&path).unwrap();
    let target = format!("unix:{}", path.display());
    let mut command = guest::client([target.as_str()].iter().chain(words));
    let mut client = Running::start(command.stdin(Stdio::null()));
    let (mut near, _) = listener.accept().unwrap();
    let mut far = guest.connect();
    let (mut back, mut forth) = (far.try_clone().unwrap(), near.try_clone().unwrap());
    let other = std::thread::spawn(move || {
        _ = std::io::copy(&mut back, &mut forth);
        _ = forth.shutdown(Shutdown::Both);
    });
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = near.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
        if far.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    _ = far.shutdown(Shutdown::Both);
    other.join().unwrap();
    client.end();
    fs::remove_file(path).unwrap();
    bytes
}

#[test]
fn random_bytes_instead_of_a_preamble() {
    let guest = Guest::start();
    for round in 0..200_u64 {
        let mut stream = guest.connect();
        let bytes: Vec<u8> = (0..round * 3).map(|at| payload_byte(round << 20 | at)).collect();
        // It closes as soon as it has seen 64 bytes that are no preamble.
        _ = stream.write_all(&bytes);
        if bytes.len() >= 64 {
            assert_closed(stream);
        }
    }
    assert_serves(&guest);
    guest.is_idle();
}

#[test]
fn random_bytes_instead_of_records() {
    let guest = Guest::start();
    for round in 0..200_u64 {
        let mut stream = guest.session(round);
        let bytes: Vec<u8> = (0..2000).map(|at| payload_byte(round << 20 | at)).collect();
        _ = stream.write_all(&bytes);
        _ = stream.shutdown(Shutdown::Write);
        assert_closed(stream);
    }
    assert_serves(&guest);
    guest.is_idle();
}

#[test]
fn every_truncation_of_a_real_conversation() {
    let guest = Guest::start();
    let mark = Mark::new();
    let bytes = recorded(&guest, &["-E", mark.variable(), "--", "sleep", "0.01"]);
    assert!(bytes.len() > 150);
    for length in 0..bytes.len() {
        guest.connect().write_all(&bytes[..length]).unwrap();
    }
    mark.is_gone();
    guest.is_idle();
    assert_serves(&guest);
}

#[test]
fn every_flipped_byte_of_a_real_conversation() {
    let guest = Guest::start();
    let mark = Mark::new();
    let bytes = recorded(&guest, &["-E", mark.variable(), "--", "true"]);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let mut stream = guest.connect();
        _ = stream.write_all(&bytes);
        _ = stream.shutdown(Shutdown::Write);
        assert_closed(stream);
    }
    mark.is_gone();
    guest.is_idle();
    assert_serves(&guest);
}

#[test]
fn a_header_that_promises_four_gigabytes() {
    let guest = Guest::start();
    let record = |length: u32| [[1, 0, 0, 0], length.to_le_bytes()].concat();
    // A record, a frame in a record, and a request's field in a frame.
    let frame = [record(8), vec![0x13, 3, 0, 0], u32::MAX.to_le_bytes().to_vec()].concat();
    for bytes in [
        record(u32::MAX),
        record(262_145),
        frame,
        [vec![9, 0, 0, 0], u32::MAX.to_le_bytes().to_vec()].concat(),
    ] {
        let mut stream = guest.session(u64::from(bytes[0]));
        stream.write_all(&bytes).unwrap();
        assert_closed(stream);
    }
    assert_serves(&guest);
    guest.is_idle();
}

#[test]
fn three_hundred_silent_connections_keep_nobody_out() {
    let guest = Guest::start();
    let silent: Vec<_> = (0..300).map(|_| guest.connect()).collect();
    let began = Instant::now();
    assert_serves(&guest);
    assert!(began.elapsed() < Duration::from_secs(5));
    // Nor do sessions that say nothing.
    let sessions: Vec<_> = (0..100).map(|id| guest.session(id)).collect();
    assert_serves(&guest);
    drop((silent, sessions));
    guest.is_idle();
}

#[test]
fn sixty_four_clients_at_once() {
    let guest = Guest::start();
    let content = payload(100_000);
    // Each waits until all have begun: a FIFO is not opened before somebody can write into it.
    let gate = guest.directory.path("gate");
    mknodat(CWD, &gate, FileType::Fifo, 0o600.into(), 0).unwrap();
    let line = format!("cat; : < {}; exit 9", gate.display());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|_| {
                let running = Running::start(&mut guest.client([TARGET, line.as_str()]));
                scope.spawn(|| running.finish(&content))
            })
            .collect();
        until("all have their session", || guest.sessions().len() == 64);
        let _gate = File::options().read(true).write(true).open(&gate).unwrap();
        for client in clients {
            let finished = client.join().unwrap();
            assert_eq!((finished.status(), finished.stderr()), (9, ""));
            assert_same(&finished.0.stdout, &content);
        }
    });
    guest.is_idle();
}

#[test]
fn a_client_that_never_reads_harms_only_itself() {
    let guest = Guest::start();
    let mark = Mark::new();
    let client = guest.start_command(&["-E", mark.variable()], "echo ready; exec yes");
    client.signal(Signal::STOP);
    // All of them sleep: nobody spins.
    let session = guest.sessions()[0];
    let mut calm = 0;
    until("command and session wait", || {
        let sleeps = mark.processes().into_iter().chain([session]).all(|pid| state(pid) == Some('S'));
        calm = if sleeps { calm + 1 } else { 0 };
        calm == 20
    });
    assert_serves(&guest);
    client.signal(Signal::KILL);
    mark.is_gone();
    guest.is_idle();
}

#[test]
fn a_command_that_never_reads_its_input_still_writes() {
    let guest = Guest::start();
    let mut command = guest.client([TARGET, "head -c 50000000 /dev/zero; exit 6"]);
    command.stdin(File::open("/dev/zero").unwrap());
    let finished = Running::start(&mut command).finish(b"");
    assert_eq!((finished.status(), finished.0.stdout.len()), (6, 50_000_000));
    // And what it writes while its input is full and stays so.
    let mut command = guest.client([TARGET, "sleep 0.2; head -c 5000000 /dev/zero"]);
    command.stdin(File::open("/dev/zero").unwrap());
    assert_eq!(Running::start(&mut command).finish(b"").0.stdout.len(), 5_000_000);
}

#[test]
fn yes_in_the_background_delays_nothing_and_does_not_stay() {
    let guest = Guest::start();
    let mark = Mark::new();
    let began = Instant::now();
    let finished = guest.run(["-E", mark.variable(), TARGET, "yes & exit 3"]);
    assert_eq!(finished.status(), 3);
    assert!(began.elapsed() < Duration::from_secs(10));
    // Nobody reads its pipe any more.
    mark.is_gone();
    // In a terminal it is hung up with the terminal.
    let finished = guest.run(["-t", "-E", mark.variable(), TARGET, "yes & exit 3"]);
    assert_eq!(finished.status(), 3);
    mark.is_gone();
    guest.is_idle();
}

#[test]
fn ten_megabytes_of_arguments_or_environment_are_refused_with_the_limit() {
    let guest = Guest::start();
    let target = Target::parse(guest.target().as_ref(), 5000).unwrap();
    let big = "x".repeat(100_000);
    let words = |count: usize| std::iter::repeat_n(&big, count).map(|word| word.into());
    let mut client = Client::connect(&target, Duration::from_secs(2)).unwrap();
    // Again and again, by a session that is stopped now and then, so that much comes at once: what was still on its way
    // when it was refused does not spoil the next request.
    let session = Pid::from_raw(guest.sessions()[0]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                kill_process(session, Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_micros(500));
                kill_process(session, Signal::CONT).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let many: Vec<_> = ["true".into()].into_iter().chain(words(100)).collect();
        let errors: Vec<_> = (0..30)
            .map(|_| client.command(Program::Argv(many.clone())).output(Vec::new()).unwrap_err().to_string())
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for error in errors {
            assert!(error.contains("too large") && error.contains("1048576"), "{error}");
        }
    });
    // The same session goes on.
    let mut command = client.command(Program::Argv(vec!["true".into()]));
    for number in 0..100 {
        command = command.env(format!("V{number}"), &big);
    }
    let error = command.output(Vec::new()).unwrap_err().to_string();
    assert!(error.contains("1048576"), "{error}");
    // The kernel has a limit of its own for one string.
    let one = vec!["true".into(), "x".repeat(200_000).into()];
    let error = client.command(Program::Argv(one)).output(Vec::new()).unwrap_err().to_string();
    assert!(error.contains("too large") || error.contains("too long"), "{error}");
    // Nearly as much as may be.
    let fits: Vec<_> = ["sh", "-c", "echo $#"].map(Into::into).into_iter().chain(words(10)).collect();
    let output = client.command(Program::Argv(fits)).output(Vec::new()).unwrap();
    assert_eq!(output.stdout.bytes(), b"9\n");
    client.close();
}

#[test]
fn a_stopped_command_of_a_client_that_vanished_is_ended() {
    let guest = Guest::start();
    let mark = Mark::new();
    let client = guest.start_command(&["-E", mark.variable()], "echo ready; kill -STOP $$; exec sleep 1000");
    until("it is stopped", || mark.processes().iter().any(|&pid| state(pid) == Some('T')));
    let began = Instant::now();
    client.signal(Signal::KILL);
    mark.is_gone();
    // By the hangup, not by the SIGKILL that follows five seconds later.
    assert!(began.elapsed() < Duration::from_secs(4));
    guest.is_idle();
}

#[test]
fn what_ignores_the_hangup_is_killed_later() {
    let guest = Guest::start();
    let mark = Mark::new();
    let client = guest
        .start_command(&["-E", mark.variable()], "trap '' HUP; echo ready; while :; do sleep 0.05; done");
    client.signal(Signal::KILL);
    mark.is_gone();
    guest.is_idle();
}

#[test]
fn a_client_killed_in_an_upload_leaves_no_file() {
    let guest = Guest::start();
    let there = guest.directory.subdirectory("there");
    let mut command = guest.client(["cp".as_ref(), "-".as_ref(), guest.remote(there.join("to")).as_os_str()]);
    let mut client = Running::start(&mut command);
    client.0.stdin.as_mut().unwrap().write_all(&payload(300_000)).unwrap();
    until("the upload has begun", || names(&there).len() == 1);
    assert!(!there.join("to").exists());
    client.signal(Signal::KILL);
    until("nothing is left", || names(&there).is_empty());
    guest.is_idle();
}

#[test]
fn a_client_killed_in_a_download_leaves_no_file_of_that_name() {
    let guest = Guest::start();
    let here = guest.directory.subdirectory("here");
    let from = guest.directory.path("from");
    solid_file(&from, 2 << 30);
    let mut command =
        guest.client(["cp".as_ref(), guest.remote(&from).as_os_str(), here.join("to").as_os_str()]);
    let client = Running::start(&mut command);
    until("the download has begun", || names(&here).len() == 1);
    client.signal(Signal::KILL);
    guest.is_idle();
    assert!(!here.join("to").exists());
}

#[test]
fn a_thousand_clients_killed_in_the_middle_leave_nothing() {
    const CLIENTS: u32 = 1000;
    let guest = Guest::start();
    let mark = Mark::new();
    assert_serves(&guest);
    guest.is_idle();
    let descriptors = guest.descriptors();
    let there = guest.directory.subdirectory("there");
    let from = guest.directory.path("from");
    solid_file(&from, 2 << 30);
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CLIENTS {
                        break;
                    }
                    let to = there.join(number.to_string());
                    let client = match number % 4 {
                        0 => {
                            guest.start_command(&["-t", "-E", mark.variable()], "echo ready; exec sleep 1000")
                        }
                        1 => guest.start_command(&["-E", mark.variable()], "echo ready; exec sleep 1000"),
                        2 => {
                            let mut command =
                                guest.client(["cp".as_ref(), "-".as_ref(), guest.remote(&to).as_os_str()]);
                            let mut client = Running::start(&mut command);
                            // More than the pipes and buffers between here and the guest take.
                            client.0.stdin.as_mut().unwrap().write_all(&[7; 200_000]).unwrap();
                            client
                        }
                        _ => {
                            let mut command =
                                guest.client(["cp".as_ref(), guest.remote(&from).as_os_str(), "-".as_ref()]);
                            let mut client = Running::start(&mut command);
                            client.0.stdout.as_mut().unwrap().read_exact(&mut [0; 1000]).unwrap();
                            client
                        }
                    };
                    // Dropped: killed by SIGKILL.
                    drop(client);
                }
            });
        }
    });
    mark.is_gone();
    guest.is_idle();
    assert!(names(&there).is_empty());
    assert_eq!(guest.descriptors(), descriptors);
    assert_serves(&guest);
}

#[test]
fn sigterm_to_the_agent_hangs_all_sessions_up_and_ends_it() {
    let mut guest = Guest::start();
    let mark = Mark::new();
    let clients: Vec<_> = (0..5)
        .map(|_| guest.start_command(&["-E", mark.variable()], "echo ready; exec sleep 1000"))
        .collect();
    let silent = guest.connect();
    guest.agent.signal(Signal::TERM);
    assert_eq!(guest.agent.end().code(), Some(0));
    mark.is_gone();
    for mut client in clients {
        assert_eq!(client.end().code(), Some(255));
    }
    assert_closed(silent);
    assert!(!guest.socket().exists());
}

#[test]
fn a_session_that_is_killed_costs_nobody_else() {
    let guest = Guest::start();
    let mut other = guest.start_command(&[], "echo ready; read line; echo $line");
    let first = guest.sessions();
    let mut client = guest.start_command(&[], "echo ready; exec sleep 1000");
    let session = guest.sessions().into_iter().find(|pid| !first.contains(pid)).unwrap();
    kill_process(Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
    assert_eq!(client.end().code(), Some(255));
    _ = other.0.stdin.as_mut().unwrap().write_all(b"unharmed\n");
    read_line(other.0.stdout.as_mut().unwrap(), "unharmed");
    assert_serves(&guest);
}

#[test]
fn sigterm_to_the_agent_kills_what_ignores_the_hangup_whoever_does_not_listen() {
    let mut guest = Guest::start();
    let mark = Mark::new();
    let client = guest
        .start_command(&["-E", mark.variable()], "trap '' HUP; echo ready; while :; do sleep 0.05; done");
    // Its session waits for an answer before it hangs the command up.
    client.signal(Signal::STOP);
    guest.agent.signal(Signal::TERM);
    assert_eq!(guest.agent.end().code(), Some(0));
    mark.is_gone();
}
