//! A guest whose process 1 makes way for a real init, which goes over to another root when it is told to.

use std::time::{Duration, Instant};

use xtask::image::Addition;
use xtask::vm::{Machine, Setup};

use super::{DEADLINE, run, succeeds};

/// The real init; it is told to go on by a file.
const INIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/guest/handover.sh");

/// Prints the process of the listener: the child of one that has the agent's mark and is a child of process 1.
const LISTENER: &str = "parents=; for task in /proc/[0-9]* /proc/[0-9]*; do \
    read -r _ _ _ parent _ 2>&- < $task/stat && IFS= read -r name 2>&- < $task/cmdline; \
    case $name,$parent,$parents in @*,1,*) parents=$parents,${task#/proc/},;; \
    @*,$parent,*,$parent,*) echo ${task#/proc/}; break;; esac; done";

/// Puts the real init into the image.
pub fn prepare(setup: &mut Setup) {
    setup.recipe.additions.push(Addition { source: INIT.into(), place: "/sbin/handover".to_owned() });
    setup.words = "vsock_shell.init=/sbin/handover".to_owned();
}

/// Lets the real init go over to the new root, and waits until commands are in it.
#[track_caller]
pub fn enter_the_new_root(machine: &Machine) {
    let one = "tr '\\0' ' ' < /proc/1/cmdline";
    assert!(succeeds(machine, &["<target>", one]).contains("/sbin/handover"), "it is not process 1");
    succeeds(machine, &["<target>", "echo > /run/go"]);
    let deadline = Instant::now() + DEADLINE;
    while run(machine, &["<target>", "cat", "/where"]).stdout != b"new\n" {
        assert!(Instant::now() < deadline, "no command came to the new root");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Kills the listener, and waits until another one answers.
#[track_caller]
pub fn restart_agent(machine: &Machine) {
    let before = succeeds(machine, &["<target>", LISTENER]);
    succeeds(machine, &["<target>", &format!("kill -9 {}", before.trim())]);
    succeeds(machine, &["wait", "--timeout", "20", "<target>"]);
    assert_ne!(succeeds(machine, &["<target>", LISTENER]), before);
}
