//! What a session has to do with jobs: it makes one of its command, and tells those that its client visits how that client is.

use rustix::io::Errno;
use vsock_shell_proto::ability;
use vsock_shell_proto::frame::{ChannelId, Outcome};

use super::Driver;
use super::exec::Of;
use super::job::{Slot, Word, keeper};
use super::tasks::Task;
use super::transport::Transport;
use super::watch::Watch;
use crate::sys::process::{Forked, fork};

impl Driver<'_> {
    /// The client wants a command to go on as a job, or leaves one.
    pub(super) fn detach(&mut self, channel: ChannelId, flags: u32) {
        let Some(Task::Exec(exec)) = self.tasks.of_channel(channel) else { return };
        match exec.of {
            // The job says that it is over, and what is on its way comes before.
            Of::Job(_) => exec.say(Word::Done),
            Of::Command(_) if exec.slot.is_some() => {}
            Of::Command(_) if self.config.denied & ability::DETACH != 0 => {
                self.core.detach_channel(channel, Errno::PERM.raw_os_error().unsigned_abs());
            }
            Of::Command(_) => {
                exec.slot = Slot::take(self.config.realm, flags);
                if exec.slot.is_none() {
                    self.core.detach_channel(channel, Errno::AGAIN.raw_os_error().unsigned_abs());
                }
                self.tasks.mark_ready(channel);
            }
        }
    }

    /// A command becomes a job: this process keeps it, because only this one can wait for it, and the session goes on in another.
    #[inline(never)]
    pub(super) fn part_with(&mut self, place: usize) {
        // Others that run here would be left behind too.
        let is_alone = !self.tasks.runs_beside(place) && self.dying.deadline_us().is_none();
        let parted = if is_alone { Watch::new() } else { Err(Errno::BUSY) };
        let parted = parted.and_then(|watch| Ok((watch, fork()?)));
        let Some((channel, slot)) = self.tasks.take_slot(place) else { return };
        let (watch, forked) = match parted {
            Ok(parted) => parted,
            Err(errno) => {
                self.core.detach_channel(channel, errno.raw_os_error().unsigned_abs());
                return;
            }
        };
        let Some(Task::Exec(exec)) = self.tasks.remove(channel) else { return };
        if let Forked::Parent(_) = forked {
            // What is transferred is the other's, and stays open here.
            self.transport = Transport::closed();
            self.door = None;
            self.told.clear();
            // But for what is forwarded: a socket that is open here too would not end, and a port not be free, before the job.
            self.tasks.forget_forwarded();
            self.watch = watch;
            keeper::run(exec, slot, &self.watch, &self.signals, self.config.parent)
        }
        self.core.exit(channel, Outcome::Detached(slot.number), b"");
        drop((exec, watch));
        // One of its own: an epoll wakes who was there when a descriptor was added.
        let watched = Watch::new().and_then(|watch| {
            self.watch = watch;
            self.watch_all()?;
            self.tasks.watch_forwarded(&self.watch)
        });
        if watched.is_err() {
            self.ends_at = Some(0);
        }
    }

    /// Says something to all jobs that the client visits.
    pub(super) fn say(&self, word: Word) {
        self.tasks.execs().for_each(|exec| exec.say(word));
    }
}
