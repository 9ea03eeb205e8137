//! The processes of the sessions, as the listener sees them: it counts them, reaps them, and ends them.

use arrayvec::ArrayVec;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use vsock_shell_proto::limits::SESSIONS_MAX;

use crate::line::{Part, text};
use crate::log;

/// The sessions that run.
pub struct Sessions {
    running: ArrayVec<Pid, SESSIONS_MAX>,
    max: usize,
}

impl Sessions {
    /// None, of so many.
    pub const fn new(max: usize) -> Self {
        Self { running: ArrayVec::new_const(), max }
    }

    /// Whether there is no room for another one.
    pub fn is_full(&self) -> bool {
        self.running.is_full() || self.running.len() >= self.max
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Counts a session that was started; where there is no room, it runs uncounted.
    #[inline(never)]
    pub fn add(&mut self, pid: Pid) {
        let _ = self.running.try_push(pid);
    }

    /// The same, and tells the log that a session began.
    #[inline(never)]
    pub fn begin(&mut self, pid: Pid) {
        self.add(pid);
        log::info(&[
            text(c"session "),
            Part::Number(u64::from(pid.as_raw_pid().unsigned_abs())),
            text(c" began"),
        ]);
    }

    /// Forgets the sessions that have ended, and tells `ended` of each process with its exit status. Bounded by the number of
    /// children.
    pub fn reap(&mut self, ended: &mut dyn FnMut(Pid, Option<i32>)) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    ended(pid, status.exit_status());
                    let Some(place) = self.running.iter().position(|&session| session == pid) else {
                        continue;
                    };
                    self.running.remove(place);
                    if let Some(signal) = status.terminating_signal() {
                        log::warning(&[
                            text(c"session "),
                            Part::Number(u64::from(pid.as_raw_pid().unsigned_abs())),
                            text(c" was killed by signal "),
                            Part::Number(u64::from(signal.unsigned_abs())),
                        ]);
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// A session has become a job: nobody waits for it here.
    pub fn release(&mut self, pid: Option<Pid>) {
        self.running.retain(|&mut session| Some(session) != pid);
    }

    /// Sends `signal` to all.
    pub fn signal(&self, signal: Signal) {
        for &pid in &self.running {
            let _ = kill_process(pid, signal);
        }
    }
}
