//! `cargo xtask vm` itself: the status it returns, and what it leaves behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{DEADLINE, wanted};
use rustix::process::{Pid, Signal, kill_process};
use xtask::scratch::Scratch;

/// The chore, with a folder of its own for all that it makes. Its complaints go to a file beside that.
fn chore(folder: &Path, words: &[&str]) -> Command {
    let complaints = File::create(complaints(folder)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("vm").args(words).env("TMPDIR", folder).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(complaints);
    command
}

fn complaints(folder: &Path) -> PathBuf {
    folder.with_extension("complaints")
}

/// The processes that know of the folder by a word of their command line.
fn processes(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_chore_returns_the_commands_status_and_leaves_nothing() {
    if !wanted() {
        return;
    }
    let scratch = Scratch::new(&std::env::temp_dir(), "chore").unwrap();
    let folder = scratch.path("tmp");
    std::fs::create_dir(&folder).unwrap();
    let output = chore(&folder, &["--", "sh", "-c", "echo there; exit 7"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), &b"there\n"[..]));
    assert_eq!((processes(&folder), is_empty(&folder)), (vec![], true));
}

/// A process that is killed if the test ends before it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_chore_leaves_nothing() {
    if !wanted() {
        return;
    }
    let scratch = Scratch::new(&std::env::temp_dir(), "chore").unwrap();
    let folder = scratch.path("tmp");
    std::fs::create_dir(&folder).unwrap();
    let command = &mut chore(&folder, &["--", "sh", "-c", "echo there; sleep 1000"]);
    let mut running = Running(command.spawn().unwrap());
    let mut seen = [0; 6];
    std::io::Read::read_exact(running.0.stdout.as_mut().unwrap(), &mut seen).unwrap();
    assert_eq!(&seen, b"there\n");
    assert!(!processes(&folder).is_empty());

    is_interrupted(&mut running, &folder);
}

#[test]
fn a_chore_that_is_interrupted_while_it_boots_leaves_nothing() {
    if !wanted() {
        return;
    }
    for milliseconds in [0, 300, 900] {
        let scratch = Scratch::new(&std::env::temp_dir(), "chore").unwrap();
        let folder = scratch.path("tmp");
        std::fs::create_dir(&folder).unwrap();
        let mut running = Running(chore(&folder, &["--", "true"]).spawn().unwrap());
        let deadline = Instant::now() + DEADLINE;
        while processes(&folder).is_empty() {
            let complained = || std::fs::read_to_string(complaints(&folder)).unwrap_or_default();
            assert!(Instant::now() < deadline, "it starts nothing: {}", complained());
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        is_interrupted(&mut running, &folder);
    }
}

/// SIGINT ends the chore, and nothing of it is left.
#[track_caller]
fn is_interrupted(running: &mut Running, folder: &Path) {
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(128 + 2));
    while !processes(folder).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", processes(folder));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(is_empty(folder));
}
