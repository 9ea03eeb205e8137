//! The agent calls, `--connect`, and the client answers, `--listen`.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::guest::{Directory, Running, agent_binary, client, read_line, until};

fn listening(path: &Path, words: &[&str]) -> Running {
    let on = format!("unix:{}", path.display());
    let command = ["--listen", &on].into_iter().chain(words.iter().copied());
    Running::start(client(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// An agent that does nothing but call.
fn calling(path: &Path) -> Running {
    let mut command = Command::new(agent_binary());
    command.args(["--connect".to_owned(), format!("unix:{}", path.display())]);
    Running::start(command.stdin(Stdio::null()).stderr(Stdio::null()))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[test]
fn whoever_waits_first_gets_a_command_in_the_guest_that_calls() {
    let directory = Directory::new();
    let path = directory.path("host_5000");
    let waiting = listening(&path, &["echo called; exit 7"]);
    until("the client listens", || is_there(&path));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let _agent = calling(&path);
    let finished = waiting.finish(b"");
    assert_eq!((finished.status(), finished.stdout()), (7, "called\n"), "{finished:?}");
    assert!(!is_there(&path), "the socket is gone once somebody has called");
}

#[test]
fn an_agent_calls_until_somebody_waits_and_then_again() {
    let directory = Directory::new();
    let path = directory.path("host");
    let mut agent = calling(&path);
    for round in 0..3 {
        let finished = listening(&path, &["--", "echo", &round.to_string()]).finish(b"");
        assert_eq!(finished.succeeded(), format!("{round}\n"));
    }
    assert_eq!(agent.0.try_wait().unwrap(), None);
}

#[test]
fn files_and_verbs_go_over_a_call_as_well() {
    let directory = Directory::new();
    let path = directory.path("host");
    let _agent = calling(&path);
    let on = format!("unix:{}", path.display());
    let (from, to) = (directory.file("from", b"content"), directory.path("to"));
    let pair = format!("{}:{}", from.display(), to.display());
    assert!(client(["--listen", &on, "-u", &pair]).status().unwrap().success());
    assert_eq!(std::fs::read(to).unwrap(), b"content");
    assert!(client(["wait", "--listen", &on]).status().unwrap().success());
    let info = client(["info", "--listen", &on, "--json"]).output().unwrap();
    assert!(info.stdout.starts_with(b"{"), "{info:?}");
}

#[test]
fn two_clients_are_served_at_once() {
    let directory = Directory::new();
    let path = directory.path("host");
    let _agent = calling(&path);
    let mut first = listening(&path, &["echo ready; read line; echo $line"]);
    read_line(first.0.stdout.as_mut().unwrap(), "ready");
    assert_eq!(listening(&path, &["echo second"]).finish(b"").succeeded(), "second\n");
    assert_eq!(first.finish(b"first\n").succeeded(), "first\n");
}

#[test]
fn a_caller_that_is_no_agent_is_passed_over() {
    let directory = Directory::new();
    let path = directory.path("host");
    let waiting = listening(&path, &["echo agent"]);
    until("the client listens", || is_there(&path));
    drop(UnixStream::connect(&path).unwrap());
    let _agent = calling(&path);
    assert_eq!(waiting.finish(b"").succeeded(), "agent\n");
}

#[test]
fn the_socket_of_a_client_that_was_killed_is_replaced_and_nothing_else() {
    let directory = Directory::new();
    let path = directory.path("host");
    drop(UnixListener::bind(&path).unwrap());
    let _agent = calling(&path);
    assert_eq!(listening(&path, &["echo replaced"]).finish(b"").succeeded(), "replaced\n");
    for name in ["file", "live"] {
        let path = directory.path(name);
        let _live = (name == "live").then(|| UnixListener::bind(&path).unwrap());
        if name == "file" {
            std::fs::write(&path, b"mine").unwrap();
        }
        listening(&path, &["true"]).finish(b"").failed(255, &["in use", name]);
        assert!(path.exists());
    }
}

#[test]
fn nobody_who_calls_is_one_line_in_the_time_that_was_given() {
    let directory = Directory::new();
    let path = directory.path("host");
    listening(&path, &["--timeout", "0.2", "true"])
        .finish(b"")
        .failed(255, &["tried for 0.2 s", "--connect"]);
    assert!(!is_there(&path));
    // What cannot be listened on is told at once.
    listening(&directory.path("no/such/folder"), &["true"]).finish(b"").failed(255, &["no/such/folder"]);
}
