//! The README's recipes for programs brought into a guest with nothing in it, as they stand there.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::guest::{self, DEADLINE, bare, boot, object, succeeds, wanted};
use serde_json::Value;
use xtask::terminal::Terminal;
use xtask::vm::Machine;
use xtask::workspace;

const README: &str = include_str!("../../../README.md");

/// The commands of the section about programs, in order, with this guest in the place of `3`.
fn recipes(machine: &Machine) -> Vec<String> {
    let section = README.split("\n## Bring your own program\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let there = guest::there(machine, "");
    let place = |line: &str| {
        line.replace(" 3:", &format!(" {there}")).replace(" 3 ", &format!(" {} ", machine.target()))
    };
    blocks.flat_map(str::lines).map(place).collect()
}

/// A shell that runs this line, and finds our client by its name.
fn shell(line: &str) -> Command {
    let mut shell = Command::new("sh");
    let folder = workspace::client().parent().unwrap().display().to_string();
    shell.args(["-c", &format!("PATH={folder}:$PATH; exec {line}")]);
    shell
}

/// The number of the first process that is such a one, once there is one.
fn number(machine: &Machine, is_it: impl Fn(&Value) -> bool) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "there is no such process");
        let all = object(machine, &["sys", "ps", "--json", "<target>"]);
        if let Some(found) = all.as_array().unwrap().iter().find(|process| is_it(process)) {
            return found["pid"].to_string();
        }
    }
}

#[test]
fn busybox_strace_and_gdbserver_work_in_a_guest_without_a_program() {
    if !wanted() {
        return;
    }
    let machine = boot(&bare());
    let lines = recipes(&machine);
    let [sh, find, mkdir, mount, copy, strace, gdb] = &lines[..] else { panic!("{lines:?}") };

    let mut terminal = Terminal::start(&shell(sh)).unwrap();
    terminal.write(b"ls /; exit 5\n").unwrap();
    terminal.until("init", DEADLINE).unwrap();
    assert_eq!(terminal.ends(DEADLINE).unwrap().code(), Some(5));
    let count = shell(find).stdin(Stdio::null()).output().unwrap();
    let count: u32 = String::from_utf8(count.stdout).unwrap().trim().parse().unwrap();
    assert!(count > 0);

    for line in [mkdir, mount, copy] {
        let done = shell(line).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{line}: {done:?}");
    }
    // The agent's listener.
    let traced = number(&machine, |process| process["parent"] == 1);
    let mut strace = Terminal::start(&shell(&strace.replace(" 42", &format!(" {traced}")))).unwrap();
    strace.until("attached", DEADLINE).unwrap();
    succeeds(&machine, &["info", "<target>"]);
    strace.until("accept4(", DEADLINE).unwrap();
    strace.write(b"\x03").unwrap();
    assert_eq!(strace.ends(DEADLINE).unwrap().code(), Some(130));

    let sleep = ["-n", "<target>", "--with", "/bin/busybox", "--", "sleep", "1000"];
    let mut sleeping = machine.client(sleep).spawn().unwrap();
    let pid = number(&machine, |process| process["command"] == "sleep 1000");
    let script = machine.path("gdb");
    fs::write(&script, "info registers rip\nkill\nquit\n").unwrap();
    let line = gdb.replace(" 42'", &format!(" {pid}'")).replace("gdb ", "gdb -nx -batch ");
    let line = format!("{line} -x {}", script.display());
    let done = shell(&line).env("DEBUGINFOD_URLS", "").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("rip "), "{done:?}");
    assert_eq!(sleeping.wait().unwrap().code(), Some(128 + 9), "{done:?}");
}
