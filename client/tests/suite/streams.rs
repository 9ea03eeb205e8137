//! The standard streams of a command end to end: what arrives, when it ends, and who leaves first.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::guest::processes::{Mark, children, state};
use crate::guest::{self, Guest, Running, TARGET, assert_same, payload, read_line, until};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn standard_input_arrives_and_so_does_its_end() {
    let guest = Guest::start();
    let content = payload(3 << 20);
    let finished = Running::start(&mut guest.client([TARGET, "cat"])).finish(&content);
    assert_eq!((finished.status(), finished.stderr()), (0, ""));
    assert_same(&finished.0.stdout, &content);
    let counted = Running::start(&mut guest.client([TARGET, "--", "wc", "-c"])).finish(&content);
    assert_eq!(counted.succeeded().trim(), content.len().to_string());
}

#[test]
fn standard_input_may_be_a_file_null_or_closed() {
    let guest = Guest::start();
    let content = payload(100_000);
    let file = guest.directory.file("content", &content);
    let mut command = guest.client([TARGET, "cat"]);
    command.stdin(std::fs::File::open(file).unwrap());
    assert_same(&Running::start(&mut command).finish(b"").0.stdout, &content);
    let mut command = guest.client([TARGET, "cat; echo end"]);
    assert_eq!(Running::start(command.stdin(Stdio::null())).finish(b"").succeeded(), "end\n");
    let mut closed = std::process::Command::new("sh");
    closed
        .args(["-c", "exec \"$@\" <&-", "sh"])
        .arg(guest::client_binary())
        .args([&guest.target(), "cat; echo end"]);
    closed.stdout(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(Running::start(&mut closed).finish(b"").succeeded(), "end\n");
}

#[test]
fn with_n_standard_input_is_empty_and_left_alone() {
    let guest = Guest::start();
    let (mut theirs, ours) = std::io::pipe().map(|(read, write)| (read, Some(write))).unwrap();
    let mut command = guest.client(["-n", TARGET, "cat; echo end"]);
    command.stdin(theirs.try_clone().unwrap());
    ours.as_ref().unwrap().write_all(b"mine").unwrap();
    assert_eq!(Running::start(&mut command).finish(b"").succeeded(), "end\n");
    drop(ours);
    let mut left = String::new();
    theirs.read_to_string(&mut left).unwrap();
    assert_eq!(left, "mine");
}

#[test]
fn a_command_that_ends_does_not_wait_for_our_standard_input() {
    let guest = Guest::start();
    let mut running = Running::start(&mut guest.client([TARGET, "head -n 1"]));
    running.0.stdin.as_mut().unwrap().write_all(b"first\nsecond\n").unwrap();
    // Its standard input stays open.
    let stdin = running.0.stdin.take();
    assert_eq!(running.finish(b"").succeeded(), "first\n");
    drop(stdin);
}

#[test]
fn all_output_comes_before_the_status() {
    let guest = Guest::start();
    let finished = guest.run([TARGET, "seq 1 200000; seq 1 100000 >&2; exit 5"]);
    let numbers = |last: u32| (1..=last).map(|number| format!("{number}\n")).collect::<String>();
    assert_eq!(finished.status(), 5);
    assert_same(&finished.0.stdout, numbers(200_000).as_bytes());
    assert_same(&finished.0.stderr, numbers(100_000).as_bytes());
}

#[test]
fn what_came_before_the_status_is_delivered_also_when_the_session_dies_then() {
    const LENGTH: usize = 300_000;
    let guest = Guest::start();
    let mark = Mark::new();
    let line = format!("echo ready; head -c {LENGTH} /dev/zero; exit 3");
    // Nobody reads meanwhile: our pipe holds less than that.
    let mut client = guest.start_command(&["-E", mark.variable()], &line);
    let session = guest.sessions()[0];
    mark.is_gone();
    until("its session has said all and waits", || {
        children(session).is_empty() && state(session) == Some('S')
    });
    kill_process(Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
    guest.is_idle();
    let mut output = Vec::new();
    client.0.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert_eq!(output.len(), LENGTH);
    assert_eq!(client.end().code(), Some(3));
}

#[test]
fn a_grandchild_that_holds_the_output_delays_nothing() {
    let guest = Guest::start();
    let mark = Mark::new();
    let began = Instant::now();
    let finished = guest.run(["-E", mark.variable(), TARGET, "sleep 60 & echo $!; exit 4"]);
    assert_eq!(finished.status(), 4);
    assert!(began.elapsed() < Duration::from_secs(20));
    let pid = finished.stdout().trim().parse().unwrap();
    assert_eq!(mark.processes(), [pid]);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    mark.is_gone();
    guest.is_idle();
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let guest = Guest::start();
    let mark = Mark::new();
    let mut running =
        Running::start(&mut guest.client(["-E", mark.variable(), TARGET, "echo ready; exec yes"]));
    let mut stdout = running.0.stdout.take().unwrap();
    read_line(&mut stdout, "ready");
    drop(stdout);
    let finished = running.finish(b"");
    // As in a pipeline of one machine: `yes` died of SIGPIPE.
    assert_eq!((finished.status(), finished.stderr()), (141, ""));
    mark.is_gone();
}

/// As `tail -f | head` ends on one machine, without another line.
#[test]
fn a_command_that_waits_for_its_reader_to_leave_is_told_at_once() {
    let guest = Guest::start();
    for (line, status) in [("echo ready; exec tail -f /dev/null", 141), ("echo ready; sleep 0.3; exit 3", 3)]
    {
        let mut running = Running::start(&mut guest.client([TARGET, line]));
        let mut stdout = running.0.stdout.take().unwrap();
        read_line(&mut stdout, "ready");
        drop(stdout);
        let finished = running.finish(b"");
        assert_eq!((finished.status(), finished.stderr()), (status, ""), "{line}");
    }
    guest.is_idle();
}

#[test]
fn a_reader_that_leaves_hangs_the_commands_terminal_up() {
    let guest = Guest::start();
    for line in ["echo ready; exec yes", "echo ready; while :; do echo more; sleep 0.01; done"] {
        let mark = Mark::new();
        let mut running = Running::start(&mut guest.client(["-t", "-E", mark.variable(), TARGET, line]));
        let mut stdout = running.0.stdout.take().unwrap();
        read_line(&mut stdout, "ready");
        drop(stdout);
        // The input stays open: nothing but the terminal ends the command.
        let status = running.end();
        assert_eq!(status.code(), Some(129), "{line}");
        mark.is_gone();
    }
}

#[test]
fn an_output_that_the_command_closed_is_closed_at_once() {
    let guest = Guest::start();
    let open = |session: i32| std::fs::read_dir(format!("/proc/{session}/fd")).unwrap().count();
    let mark = Mark::new();
    let line = "echo ready; sleep 0.3; printf last; exec >/dev/null 2>/dev/null; sleep 1000";
    let _client = guest.start_command(&["-E", mark.variable()], line);
    let session = guest.sessions()[0];
    let before = open(session);
    // So that both the last bytes and the end are there when the session looks.
    kill_process(Pid::from_raw(session).unwrap(), Signal::STOP).unwrap();
    until("the command has closed its output", || {
        mark.processes().iter().any(|pid| {
            std::fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|to| to == Path::new("/dev/null"))
        })
    });
    kill_process(Pid::from_raw(session).unwrap(), Signal::CONT).unwrap();
    until("both outputs are closed", || open(session) == before - 2);
}

#[test]
fn a_named_pipe_whose_writers_are_gone_is_at_its_end() {
    let guest = Guest::start();
    let path = guest.directory.path("pipe");
    let make = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(make.success());
    for option in ["-T", "-t"] {
        // Both ends, so that neither open waits; then the writer leaves.
        let both = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let read = std::fs::File::open(&path).unwrap();
        drop(both);
        let mut command = guest.client([option, TARGET, "cat; echo end"]);
        let finished = Running::start(command.stdin(read)).finish(b"");
        assert_eq!(finished.succeeded().trim_end(), "end");
    }
}

#[test]
fn a_full_standard_output_is_an_error_of_one_line() {
    let guest = Guest::start();
    let mut command = guest.client([TARGET, "yes"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    Running::start(&mut command)
        .finish(b"")
        .failed(255, &["cannot write to standard output", "No space left"]);
}
