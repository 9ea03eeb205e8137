//! Jobs of a guest, as the tests ask for them.

use super::processes::{self, Mark};
use super::pty::Terminal;
use super::{Finished, Guest, TARGET, until};

/// Bytes that are kept of an output.
pub const KEPT: usize = 1 << 20;

/// Starts a command line as a job; its number.
#[track_caller]
pub fn detach(guest: &Guest, options: &[&str], line: &str) -> String {
    let words = ["--detach"].into_iter().chain(options.iter().copied()).chain([TARGET, line]);
    let number = guest.run(words).succeeded().to_owned();
    assert!(number.trim_end().parse::<u32>().is_ok() && number.ends_with('\n'), "{number:?}");
    number.trim_end().to_owned()
}

/// Asks something of a job, with options behind its number.
#[track_caller]
pub fn ask(guest: &Guest, verb: &str, job: &str, options: &[&str]) -> Finished {
    guest.run([verb, TARGET, job].into_iter().chain(options.iter().copied()))
}

/// What `jobs --json` tells of a job.
#[track_caller]
pub fn describe(guest: &Guest, job: &str) -> serde_json::Value {
    let told: serde_json::Value =
        serde_json::from_str(guest.run(["jobs", "--json", TARGET]).succeeded()).unwrap();
    let number: u64 = job.parse().unwrap();
    told.as_array().unwrap().iter().find(|job| job["job"] == number).cloned().unwrap_or_default()
}

/// The process that keeps the job whose command has this mark.
#[track_caller]
pub fn keeper(guest: &Guest, mark: &Mark) -> i32 {
    let all = processes::with_argument(&format!("unix:{}", guest.socket().display()));
    let keeps = |&pid: &i32| processes::children(pid).iter().any(|child| mark.processes().contains(child));
    all.into_iter().find(keeps).unwrap()
}

/// Waits until it has.
#[track_caller]
pub fn has_ended(guest: &Guest, job: &str) {
    until("the job has ended", || describe(guest, job)["state"] != "running");
}

/// A shell in a terminal, with a prompt of its own.
pub fn shell(guest: &Guest) -> Terminal {
    let mut terminal = Terminal::start(&guest.client(["-t", "-E", "PS1=$ ", TARGET, "--", "sh"]));
    terminal.wait_for("$ ");
    terminal
}
