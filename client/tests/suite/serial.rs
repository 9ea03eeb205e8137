//! A guest behind a port that has no connections: two pseudoterminals joined by socat stand for a line.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::guest::processes::{Mark, children};
use crate::guest::pty::Terminal;
use crate::guest::{
    Directory, Finished, Running, agent_binary, assert_same, client, payload, read_line, until,
};
use rustix::process::{Pid, Signal, kill_process};

/// An agent at one end of a line, the other end of which is a target.
struct Line {
    agent: Running,
    /// What joins the two ends; ended after the agent.
    _socat: Running,
    directory: Directory,
}

impl Line {
    fn start() -> Self {
        let directory = Directory::new();
        let (near, far) = (directory.path("near"), directory.path("far"));
        let end = |path: &std::path::Path| format!("pty,raw,echo=0,link={}", path.display());
        let mut socat = Command::new("socat");
        socat.args([end(&near), end(&far)]).stdin(Stdio::null()).stdout(Stdio::null());
        let socat = Running::start(&mut socat);
        until("the line is there", || near.exists() && far.exists());
        let mut agent = Command::new(agent_binary());
        agent
            .args(["--grace", "0"])
            .arg(format!("--listen=serial:{}", far.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let agent = Running::start(&mut agent);
        let line = Self { agent, _socat: socat, directory };
        until("the port is served", || line.keeper().is_some());
        line
    }

    /// The process that serves the port.
    fn keeper(&self) -> Option<i32> {
        children(self.agent.0.id() as i32).into_iter().next()
    }

    fn target(&self) -> String {
        format!("serial:{}", self.directory.path("near").display())
    }

    fn command(&self, words: &[&str]) -> Command {
        client([OsString::from("--timeout"), "10".into()].into_iter().chain(words.iter().map(OsString::from)))
    }

    /// Runs the client with these words, of which the target is the first.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Finished {
        let target = self.target();
        let words: Vec<_> = [target.as_str()].into_iter().chain(words.iter().copied()).collect();
        Running::start(&mut self.command(&words)).finish(b"")
    }

    /// No session is left, nor a process of one.
    #[track_caller]
    fn is_idle(&self) {
        until("all sessions have ended", || self.keeper().is_some_and(|keeper| children(keeper).is_empty()));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        _ = kill_process(self.agent.pid(), Signal::TERM);
        self.agent.end();
    }
}

#[test]
fn commands_follow_one_another_and_leave_no_process() {
    let line = Line::start();
    for number in 0..20 {
        let words = format!("cat >&2; echo {number}; exit {number}");
        let finished = line.run(&[&words]);
        assert_eq!((finished.status(), finished.stdout()), (number, format!("{number}\n").as_str()));
    }
    line.is_idle();
}

#[test]
fn files_arrive_whole_both_ways() {
    let line = Line::start();
    let bytes = payload(3_000_000);
    let from = line.directory.file("from", &bytes);
    let remote =
        |name: &str| format!("{}:{}", line.target().replace(':', "%"), line.directory.path(name).display());
    let cp = |from: &str, to: &str| {
        Running::start(&mut line.command(&["cp", from, to])).finish(b"").succeeded();
    };
    cp(from.to_str().unwrap(), &remote("there"));
    assert_same(&fs::read(line.directory.path("there")).unwrap(), &bytes);
    let back = line.directory.path("back");
    cp(&remote("there"), back.to_str().unwrap());
    assert_same(&fs::read(back).unwrap(), &bytes);
}

#[test]
fn a_shell_has_its_terminal() {
    let line = Line::start();
    let target = line.target();
    let mut terminal = Terminal::start(&line.command(&["-t", "-E", "PS1=guest> ", &target, "--", "sh"]));
    terminal.wait_for("guest> ");
    terminal.resize(31, 97);
    // The shell may be told a moment after it was asked.
    terminal.type_keys("until stty size | grep '31 [9]7'; do :; done\r");
    terminal.wait_for("\n31 97");
    terminal.wait_for("guest> ");
    terminal.type_keys("sh -c 'echo be''gun; exec sleep 1000'\r");
    terminal.wait_for("begun");
    terminal.type_keys("\x03");
    terminal.wait_for("guest> ");
    terminal.type_keys("exit 5\r");
    assert_eq!(terminal.end().code(), Some(5));
}

#[test]
fn a_client_killed_at_any_moment_is_followed_by_another_at_once() {
    let line = Line::start();
    let target = line.target();
    let mark = Mark::new();
    for round in 0..30 {
        // Both directions are full of its bytes, and it is cut somewhere in a record.
        let mut flood = Running::start(&mut line.command(&[
            "-E",
            mark.variable(),
            &target,
            "echo ready; exec tee /dev/null",
        ]));
        read_line(flood.0.stdout.as_mut().unwrap(), "ready");
        flood.0.stdin.as_mut().unwrap().write_all(&vec![b'!'; 4096 + 977 * round]).unwrap();
        drop(flood);
        let finished = line.run(&["--", "echo", "after"]);
        assert_eq!(
            (finished.status(), finished.stdout(), finished.stderr()),
            (0, "after\n", ""),
            "round {round}"
        );
    }
    mark.is_gone();
    line.is_idle();
}

#[test]
fn a_new_client_takes_the_port_from_one_that_is_silent() {
    let line = Line::start();
    let target = line.target();
    let mark = Mark::new();
    let mut first =
        Running::start(&mut line.command(&["-E", mark.variable(), &target, "echo ready; exec sleep 1000"]));
    read_line(first.0.stdout.as_mut().unwrap(), "ready");
    // Both would read the same line.
    first.signal(Signal::STOP);
    assert_eq!(line.run(&["--", "echo", "mine"]).succeeded(), "mine\n");
    mark.is_gone();
    assert_eq!(line.run(&["--", "echo", "still"]).succeeded(), "still\n");
}

#[test]
fn a_port_whose_process_was_killed_gets_another() {
    let line = Line::start();
    let keeper = line.keeper().unwrap();
    kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
    until("another process serves the port", || line.keeper().is_some_and(|now| now != keeper));
    assert_eq!(line.run(&["--", "echo", "here"]).succeeded(), "here\n");
}

#[test]
fn doctor_finds_the_agent_behind_a_line_and_leaves_one_that_is_used_alone() {
    let line = Line::start();
    let doctor = || Running::start(&mut line.command(&["doctor", &line.target()])).finish(b"");
    let told = doctor();
    assert!(told.succeeded().contains("ok   agent: vsock-shell-agent "), "{told:?}");
    line.is_idle();
    let mut user = Running::start(&mut line.command(&[&line.target(), "echo ready; cat"]));
    read_line(user.0.stdout.as_mut().unwrap(), "ready");
    let told = doctor();
    assert_eq!(told.status(), 1, "{told:?}");
    assert!(
        told.stdout().contains(&format!("FAIL use: it is open in vsock-shell ({})", user.0.id())),
        "{told:?}"
    );
    // Nothing of it has reached the one who uses it.
    user.0.stdin.as_mut().unwrap().write_all(b"still\n").unwrap();
    read_line(user.0.stdout.as_mut().unwrap(), "still");
    user.finish(b"").succeeded();
}
