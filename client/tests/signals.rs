//! Signals in a process of its own: what was ignored at its start stays ignored.

#[path = "guest/heed.rs"]
mod heed;

use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};
use vsock_shell::signals::{Caught, Signals};

/// Set for a role; see `tests/terminal.rs`.
const ROLE: &str = "VSOCK_SHELL_TEST_ROLE";

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    heed::signals();
    let status = Command::new("sh")
        .args(["-c", "trap '' HUP QUIT; exec \"$0\" --exact role_that_is_hung_up --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, "1")
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(Caught::Interrupt.number()));
}

#[test]
fn role_that_is_hung_up() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let mut signals = Signals::new(Caught::ENDS);
    signals.arm().unwrap();
    for signal in [Signal::HUP, Signal::QUIT, Signal::INT] {
        kill_process(getpid(), signal).unwrap();
    }
    // Told in the order of `ENDS`; the process is woken by the first and may see the others a moment later.
    let caught = loop {
        if let Some(caught) = signals.poll() {
            break caught;
        }
        std::thread::yield_now();
    };
    let rest = signals.poll();
    std::process::exit(if rest.is_none() { caught.number() } else { 99 });
}
