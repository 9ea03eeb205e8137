//! Signals to a running command, and ending it when its session is over.
//!
//! A command is a session leader, so its process id is also that of its first process group; an interactive shell
//! makes further groups, of which its terminal knows the one in the foreground. All of this is for a command that has
//! not been reaped: afterwards its number may be another's.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::terminal;

/// How long a command may take after [`Target::hang_up`] until [`Target::kill`].
pub const KILL_AFTER_MS: u64 = 5000;

/// A command that runs.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its process.
    pub pid: Pid,
    /// The master of its terminal.
    pub master: Option<BorrowedFd<'a>>,
}

impl Target<'_> {
    /// Sends what the client asked for (`R-9.9`): to the foreground group of the terminal, or to the command's group.
    ///
    /// # Errors
    /// Of `kill`; ESRCH where all have ended.
    pub fn send(&self, signal: Signal) -> Result<(), Errno> {
        match self.foreground() {
            Some(group) => kill_process_group(group, signal),
            None => self.send_own(signal),
        }
    }

    /// Tells that nobody is there any more: SIGHUP, and SIGCONT so that also the stopped ones hear it.
    pub fn hang_up(&self) {
        self.send_everywhere(Signal::HUP);
        self.send_everywhere(Signal::CONT);
    }

    /// Ends what did not hang up.
    pub fn kill(&self) {
        self.send_everywhere(Signal::KILL);
    }

    fn send_everywhere(&self, signal: Signal) {
        let foreground = self.foreground().filter(|&group| group != self.pid);
        // The command first: a shell would see its foreground job end, and go on with its next line.
        let _ = self.send_own(signal);
        if let Some(group) = foreground {
            let _ = kill_process_group(group, signal);
        }
    }

    /// To the command's own group; a child that was just forked and has none yet gets it alone.
    fn send_own(&self, signal: Signal) -> Result<(), Errno> {
        kill_process_group(self.pid, signal).or_else(|_| kill_process(self.pid, signal))
    }

    fn foreground(&self) -> Option<Pid> {
        self.master.and_then(terminal::foreground)
    }
}
