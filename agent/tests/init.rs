//! The agent as process 1 of a process namespace, in a user namespace of its own: it may do there what an init does, and
//! nothing of it reaches the machine that runs the tests.

mod agent;

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use agent::{Agent, BINARY, Directory, NO_PREAMBLE, assert_closed, connect, until};
use rustix::process::{Pid, Signal, kill_process};

/// Process 1, and how `unshare` was started.
struct Init {
    agent: Agent,
    pid: Pid,
}

impl Init {
    /// Starts one whose socket listens, after `prepare` in a shell that becomes it.
    fn start(prepare: &str) -> Self {
        let agent = Agent::start_by(Directory::new(), |_| {
            // A mount point already, /tmp stays what it is, and the socket can be seen from outside.
            let line = format!("mount --rbind /tmp /tmp; {prepare} exec {BINARY} \"$@\"");
            let mut command = Command::new("unshare");
            command.args(
                "--user --map-root-user --pid --fork --kill-child --mount --mount-proc --uts".split(' '),
            );
            command.args(["sh", "-c", &line, "sh"]);
            command
        });
        let pid = children_of(agent.child.id()).into_iter().next().unwrap();
        Self { pid: Pid::from_raw(pid as i32).unwrap(), agent }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    fn children(&self) -> HashSet<u32> {
        children_of(self.pid.as_raw_pid() as u32)
    }

    /// Waits until the namespace has ended: the signal by which the kernel tells the parent of process 1 how.
    fn end(&mut self) -> Option<i32> {
        self.agent.wait().signal()
    }

    /// Runs a shell in the namespaces of process 1.
    fn enter(&self, line: &str) -> Child {
        let pid = self.pid.as_raw_pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--user", "--preserve-credentials", "--pid", "--mount", "--uts"]);
        command.args(["sh", "-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn output(&self, line: &str) -> String {
        String::from_utf8(self.enter(line).wait_with_output().unwrap().stdout).unwrap()
    }
}

/// The processes of which this is the parent, zombies too.
fn children_of(parent: u32) -> HashSet<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // pid (name) state ppid: the name may hold anything.
        let ppid = stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2)?.parse().ok());
        ppid == Some(parent)
    };
    numbers.filter(is_child).collect()
}

/// Waits until an agent answers there as it does to everybody who sends no preamble: it hangs up.
fn assert_serves(init: &Init) {
    let mut stream = connect(&init.agent.socket());
    stream.write_all(&NO_PREAMBLE).unwrap();
    assert_closed(&mut stream);
}

#[test]
fn a_thousand_orphans_are_reaped() {
    let init = Init::start("");
    let before = init.children();
    assert_eq!(before.len(), 1, "the listener");
    // Each subshell leaves a child behind that waits for the end of the input.
    let line = "i=0; while [ $i -lt 1000 ]; do ( read x <&3 & ); i=$((i+1)); done 3<&0; echo ready; read x";
    let mut shell = init.enter(line);
    until("the orphans are there", || init.children().len() == 1001);
    drop(shell.stdin.take());
    shell.wait().unwrap();
    until("the orphans are gone", || init.children() == before);
    assert_serves(&init);
}

#[test]
fn a_listener_that_was_killed_comes_back() {
    let init = Init::start("");
    let first = init.children();
    for pid in &first {
        kill_process(Pid::from_raw(*pid as i32).unwrap(), Signal::KILL).unwrap();
    }
    until("another one listens", || {
        let now = init.children();
        now.len() == 1
            && now.is_disjoint(&first)
            && std::os::unix::net::UnixStream::connect(init.agent.socket()).is_ok()
    });
    assert_serves(&init);
    assert!(init.agent.log().contains("the agent ended, signal 9"), "{}", init.agent.log());
}

#[test]
fn sigterm_powers_off_and_sigint_reboots() {
    // Of a process namespace the kernel tells these ends as the signals SIGINT and SIGHUP, reboot(2).
    for (signal, told) in
        [(Signal::TERM, Signal::INT), (Signal::INT, Signal::HUP), (Signal::USR1, Signal::INT)]
    {
        let mut init = Init::start("");
        let stubborn = init.enter("trap '' TERM; read x");
        until("it runs", || init.agent.child.try_wait().unwrap().is_none());
        init.signal(signal);
        assert_eq!(init.end(), Some(told.as_raw()), "{}", init.agent.log());
        drop(stubborn);
        assert!(!init.agent.socket().exists(), "the listener was asked to end");
    }
}

#[test]
fn other_signals_and_stray_arguments_change_nothing() {
    let init = Init::start("set -- splash \"$@\"; ");
    assert!(!init.agent.log().contains("splash"), "{}", init.agent.log());
    for signal in [Signal::HUP, Signal::USR2, Signal::PIPE, Signal::CHILD] {
        init.signal(signal);
    }
    assert_serves(&init);
}

#[test]
fn the_machine_is_set_up() {
    let init = Init::start("");
    assert_eq!(
        init.output("findmnt -n -o FSTYPE /run; stat -c %a /run; readlink /dev/fd"),
        "tmpfs\n755\n/proc/self/fd\n"
    );
}

#[test]
fn one_session_over_standard_streams_is_no_init() {
    for options in [&["--listen=stdio"][..], &["--listen", "stdio"]] {
        let mut command = Command::new("unshare");
        command.args("--user --map-root-user --pid --fork --kill-child --mount --mount-proc".split(' '));
        let output = command.arg(BINARY).args(options).stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "no preamble came");
    }
}
