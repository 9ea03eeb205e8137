//! The terminal on a real pty, in a process of its own: raw while in use, restored by every way out, stopped and
//! continued by `~^Z`.
//!
//! The process is this test program again, started for one "test" that is a role (`role_*`) and returns at once when
//! it is run as a test. A role opens the pty as its controlling terminal and tells by a line on it how far it is.

#[path = "guest/heed.rs"]
mod heed;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, getpgrp, kill_process, kill_process_group, setsid, waitpid};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetpgrp, tcsetwinsize};
use vsock_shell::signals::{Caught, Signals};
use vsock_shell::terminal::{RawMode, install_panic_hook, window_size};

/// Names the pty to a role.
const PTY: &str = "VSOCK_SHELL_TEST_PTY";

/// A pty and the role at its other end.
struct Stage {
    master: File,
    child: Child,
    seen: String,
}

impl Stage {
    fn start(role: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let child = role_command(role).env(PTY, path.to_str().unwrap()).spawn().unwrap();
        Self { master: File::from(master), child, seen: String::new() }
    }

    /// Reads until the role has said `word`.
    fn wait_for(&mut self, word: &str) {
        let mut buffer = [0; 256];
        while !self.seen.contains(word) {
            // EIO: nobody has the terminal open any more.
            let count =
                self.master.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        let end = self.seen.find(word).unwrap() + word.len();
        self.seen.drain(..end);
    }

    /// The rest of the line that was waited for.
    fn word(&mut self) -> String {
        let mut buffer = [0; 256];
        while !self.seen.contains('\n') {
            let count = self.master.read(&mut buffer).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        self.seen.lines().next().unwrap_or_default().to_owned()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.master)
            .unwrap()
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn kill(&self, signal: Signal) {
        kill_process(pid(&self.child), signal).unwrap();
    }

    /// Waits for the role's end, which must leave the terminal as it was.
    #[track_caller]
    fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        let modes = tcgetattr(&self.master).unwrap().local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG),
            "not restored: {modes:?}"
        );
        status
    }
}

fn role_command(role: &str) -> Command {
    heed::signals();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", role, "--nocapture"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// The terminal of a role; `None` when it was not started as one.
fn stage_terminal() -> Option<File> {
    let path = std::env::var_os(PTY)?;
    // A session leader without a terminal gets the one that it opens.
    _ = setsid();
    Some(File::options().read(true).write(true).open(path).unwrap())
}

fn say(mut terminal: &File, word: &str) {
    terminal.write_all(format!("{word}\n").as_bytes()).unwrap();
}

/// Waits for a signal.
fn wait(signals: &mut Signals) -> Caught {
    loop {
        if let Some(caught) = signals.poll() {
            return caught;
        }
        _ = poll(&mut [PollFd::from_borrowed_fd(signals.fd().unwrap(), PollFlags::IN)], None);
    }
}

#[test]
fn the_main_loop_returns_on_a_signal_and_the_terminal_is_restored() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut stage = Stage::start("role_that_ends_by_a_signal");
        stage.wait_for("raw");
        assert!(stage.is_raw());
        stage.kill(signal);
        assert_eq!(stage.end().code(), Some(128 + signal.as_raw()), "{signal:?}");
    }
}

#[test]
fn role_that_ends_by_a_signal() {
    let Some(terminal) = stage_terminal() else { return };
    let caught = {
        let _raw_mode = RawMode::enter(terminal.as_fd()).unwrap();
        let mut signals = Signals::new(Caught::ENDS);
        signals.arm().unwrap();
        say(&terminal, "raw");
        wait(&mut signals)
    };
    std::process::exit(128 + caught.number());
}

#[test]
fn ctrl_c_and_ctrl_z_are_bytes_in_raw_mode() {
    let mut stage = Stage::start("role_that_reads_keys");
    stage.wait_for("raw");
    stage.master.write_all(b"\x03\x1a\x1c\x13\x11\r").unwrap();
    stage.wait_for("[3, 26, 28, 19, 17, 13]");
    assert!(stage.end().success());
}

#[test]
fn role_that_reads_keys() {
    let Some(terminal) = stage_terminal() else { return };
    let _raw_mode = RawMode::enter(terminal.as_fd()).unwrap();
    say(&terminal, "raw");
    let mut keys = [0; 6];
    (&terminal).read_exact(&mut keys).unwrap();
    say(&terminal, &format!("{keys:?}"));
}

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    let mut stage = Stage::start("role_that_panics");
    stage.wait_for("raw");
    assert!(stage.is_raw());
    rustix::io::write(&stage.master, b"\r").unwrap();
    stage.wait_for("restored before the message");
    assert_eq!(stage.end().signal(), Some(Signal::ABORT.as_raw()));
}

#[test]
fn role_that_panics() {
    let Some(terminal) = stage_terminal() else { return };
    let probe = terminal.try_clone().unwrap();
    std::panic::set_hook(Box::new(move |_| {
        let modes = tcgetattr(&probe).unwrap().local_modes;
        say(
            &probe,
            if modes.contains(LocalModes::ICANON) { "restored before the message" } else { "still raw" },
        );
        // As the profile has it outside of tests: no destructor runs.
        std::process::abort();
    }));
    install_panic_hook();
    install_panic_hook();
    let _raw_mode = RawMode::enter(terminal.as_fd()).unwrap();
    say(&terminal, "raw");
    (&terminal).read_exact(&mut [0]).unwrap();
    panic!("on purpose");
}

#[test]
fn the_window_size_follows_sigwinch() {
    let mut stage = Stage::start("role_that_watches_the_window");
    stage.wait_for("ready");
    tcsetwinsize(&stage.master, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    stage.wait_for("33x99");
    assert!(stage.end().success());
}

#[test]
fn role_that_watches_the_window() {
    let Some(terminal) = stage_terminal() else { return };
    let mut signals = Signals::new(Caught::TERMINAL);
    signals.arm().unwrap();
    say(&terminal, "ready");
    assert_eq!(wait(&mut signals), Caught::WindowChange);
    let size = window_size(&terminal).unwrap();
    say(&terminal, &format!("{}x{}", size.ws_row, size.ws_col));
}

#[test]
fn suspending_restores_the_terminal_and_continuing_makes_it_raw_again() {
    let mut stage = Stage::start("role_of_a_shell");
    stage.wait_for("raw");
    assert!(stage.is_raw());
    rustix::io::write(&stage.master, b"z").unwrap();
    // Said by the shell, which saw its job stop.
    stage.wait_for("stopped ");
    let job = stage.word();
    assert!(!stage.is_raw());
    kill_process_group(Pid::from_raw(job.parse().unwrap()).unwrap(), Signal::CONT).unwrap();
    stage.wait_for("raw again");
    assert!(stage.is_raw());
    rustix::io::write(&stage.master, b"q").unwrap();
    assert!(stage.end().success());
}

/// Job control needs a parent in the same session: without one the kernel stops nobody who asks for it.
#[test]
fn role_of_a_shell() {
    let Some(terminal) = stage_terminal() else { return };
    let mut job = role_command("role_that_suspends").process_group(0).spawn().unwrap();
    tcsetpgrp(&terminal, pid(&job)).unwrap();
    let (_, status) = waitpid(Some(pid(&job)), WaitOptions::UNTRACED).unwrap().unwrap();
    assert_eq!(status.stopping_signal(), Some(Signal::TSTP.as_raw()));
    // In the background, we may write to the terminal and neither read from it nor take it back; so the test continues
    // the job.
    say(&terminal, &format!("stopped {}", job.id()));
    assert!(job.wait().unwrap().success());
    std::process::exit(0);
}

#[test]
fn role_that_suspends() {
    let Some(path) = std::env::var_os(PTY) else { return };
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    // The shell makes us the foreground, perhaps a moment after our start; until then we could not use the terminal.
    while rustix::termios::tcgetpgrp(&terminal).unwrap() != getpgrp() {
        std::thread::yield_now();
    }
    let raw_mode = RawMode::enter(terminal.as_fd()).unwrap();
    let mut key = [0];
    say(&terminal, "raw");
    (&terminal).read_exact(&mut key).unwrap();
    raw_mode.suspend().unwrap();
    say(&terminal, "raw again");
    (&terminal).read_exact(&mut key).unwrap();
}
