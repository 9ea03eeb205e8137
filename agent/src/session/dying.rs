//! Commands that were told to hang up and have not ended: they are killed when their time is over.

use arrayvec::ArrayVec;
use rustix::process::Pid;
use vsock_shell_proto::limits::CHANNELS_MAX;

use crate::clock::now_us;
use crate::hangup::{KILL_AFTER_MS, Target};
use crate::sys::storage::Storage;

type Commands = ArrayVec<(Pid, u64), CHANNELS_MAX>;

static COMMANDS: Storage<Commands> = Storage::new(ArrayVec::new_const());

/// The commands, by when they are killed; the earliest is the first.
pub struct Dying(&'static mut Commands);

impl Dying {
    /// None, once.
    pub fn new() -> Option<Self> {
        COMMANDS.take().map(Self)
    }

    /// Adds a command that was told just now. Where there is no room it is killed at once.
    pub fn add(&mut self, pid: Pid) {
        if self.0.try_push((pid, now_us() + KILL_AFTER_MS * 1000)).is_err() {
            Target { pid, master: None }.kill();
        }
    }

    /// A process was reaped; whether it was one of these.
    pub fn remove(&mut self, pid: Pid) -> bool {
        let before = self.0.len();
        self.0.retain(|(dying, _)| *dying != pid);
        self.0.len() < before
    }

    /// When the next one is killed, in microseconds of the clock.
    pub fn deadline_us(&self) -> Option<u64> {
        self.0.first().map(|&(_, deadline)| deadline)
    }

    /// Kills those whose time is over. They stay until they are reaped; one that even then does not end (it hangs in
    /// the kernel) is left to whoever adopts it.
    pub fn kill_due(&mut self, now_us: u64) {
        while let Some(&(pid, _)) = self.0.first().filter(|&&(_, deadline)| deadline <= now_us) {
            Target { pid, master: None }.kill();
            self.0.remove(0);
        }
    }
}
