//! The command line of the real binary: what is wrong with it is told in one line.

mod agent;

use std::process::{Command, Output};

use agent::{BINARY, Directory};

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// Runs it, expects the status and exactly one line, which holds all of `words`.
fn assert_refused(arguments: &[&str], status: i32, words: &[&str]) {
    let output = run(arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {told}");
    assert_eq!(output.stdout, b"");
    assert!(told.starts_with("vsock-shell-agent: ") && told.ends_with('\n'), "{told:?}");
    assert_eq!(told.lines().count(), 1, "{told:?}");
    for word in words {
        assert!(told.contains(word), "{told:?} does not name {word}");
    }
}

#[test]
fn a_wrong_command_line_is_status_2_and_one_line_that_names_it() {
    assert_refused(&["--frob"], 2, &["unknown option", "--frob"]);
    assert_refused(&["-dq"], 2, &["unknown option", "-dq"]);
    assert_refused(&["-p", "x"], 2, &["port", "x"]);
    assert_refused(&["-p"], 2, &["value", "-p"]);
    assert_refused(&["--listen=carrier:pigeon"], 2, &["carrier:pigeon"]);
    assert_refused(&["one\n\x1b[31m"], 2, &["unexpected argument", "one\\x0a\\x1b[31m"]);
}

#[test]
fn tcp_is_refused_with_the_reason() {
    assert_refused(&["--listen", "tcp:127.0.0.1:5000"], 1, &["it takes --key", "tcp:127.0.0.1:5000"]);
    assert_refused(&["--listen", "tcp:localhost:5000"], 2, &["tcp:127.0.0.1:5000", "tcp:localhost:5000"]);
}

#[test]
fn one_session_and_anything_else_exclude_each_other() {
    let directory = Directory::new();
    let socket = directory.path("socket");
    let address = format!("--listen=unix:{}", socket.display());
    assert_refused(&[&address, "--listen=stdio"], 2, &["one session"]);
    assert_refused(&["-d", "--listen=stdio"], 2, &["one session"]);
    assert!(!socket.exists(), "what was opened already is removed");
}

#[test]
fn what_cannot_be_listened_on_is_status_1_and_one_line_with_the_reason() {
    assert_refused(
        &["--listen=unix:/no/such/place"],
        1,
        &["unix:/no/such/place", "no such file or directory"],
    );
    let long = format!("--listen=unix:/{}", "x".repeat(120));
    assert_refused(&[&long], 1, &["name too long"]);
    assert_refused(&["--listen=fd:77"], 1, &["fd:77", "descriptor not open"]);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let output = run(&["--version"]);
    assert_eq!(output.stdout, format!("vsock-shell-agent {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let output = run(&["-h"]);
    assert!(output.stdout.starts_with(b"Usage: vsock-shell-agent "));
    assert!(output.stdout.ends_with(b"print the version\n"));
}
