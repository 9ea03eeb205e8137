//! Ending the machine at a client's wish (`R-9.11`): by asking process 1 in its own way, or by force.

use core::ffi::CStr;

use rustix::event::{Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::init::power::Action;
use crate::sys::process::{Forked, fork};
use crate::sys::signal;
use crate::sys::start::exit;

/// How long a machine that is ended by force goes on, so that the answer leaves it.
const ANSWER_NS: i64 = 50_000_000;

/// Begins the end of the machine: whether it is under way. Otherwise [`program`] does it.
///
/// # Errors
/// EPERM for who is not root; what `kill` and `fork` have.
#[inline(never)]
pub fn ask(action: Action, is_forced: bool) -> Result<bool, Errno> {
    if is_forced {
        return force(action).map(|()| true);
    }
    let signal = if is_init_ours() {
        Some(action.signal())
    } else if is_init_systemd() {
        systemd_signal(action)
    } else {
        None
    };
    match signal {
        Some(signal) => kill_process(Pid::INIT, signal).map(|()| true),
        None => Ok(false),
    }
}

/// The program of the verb's name: a request for exec (`R-9.3`).
pub fn program(action: Action) -> &'static [u8] {
    match action {
        Action::PowerOff => b"\x01\x09\0\0poweroff\0",
        Action::Reboot => b"\x01\x07\0\0reboot\0",
        Action::Halt => b"\x01\x05\0\0halt\0",
    }
}

/// In a process of its own a moment later: the session has an answer to send.
fn force(action: Action) -> Result<(), Errno> {
    if !geteuid().is_root() {
        return Err(Errno::PERM);
    }
    if let Forked::Child = fork()? {
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: ANSWER_NS }));
        rustix::fs::sync();
        let _ = action.perform();
        exit(1);
    }
    Ok(())
}

/// Whether process 1 is this program.
fn is_init_ours() -> bool {
    let id = |path: &CStr| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    id(c"/proc/1/exe").is_ok_and(|init| id(c"/proc/self/exe") == Ok(init))
}

fn is_init_systemd() -> bool {
    let mut name = [0; 16];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = rustix::fs::open(c"/proc/1/comm", flags, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut name));
    read.is_ok() && name.starts_with(b"systemd\n")
}

/// SIGRTMIN+4, +5 and +3, `systemd(1)`; SIGRTMIN is 34 as glibc counts.
fn systemd_signal(action: Action) -> Option<Signal> {
    signal::from_number(match action {
        Action::PowerOff => 38,
        Action::Reboot => 39,
        Action::Halt => 37,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ExecRequest, Program};

    #[test]
    fn r_9_11_the_programs_are_requests_for_exec() {
        for (action, name) in
            [(Action::PowerOff, c"poweroff"), (Action::Reboot, c"reboot"), (Action::Halt, c"halt")]
        {
            let Program::Arguments(mut words) = ExecRequest::parse(program(action)).unwrap().program else {
                panic!("no arguments")
            };
            assert_eq!(words.next(), Some(name));
            assert_eq!(words.next(), None);
        }
    }
}
