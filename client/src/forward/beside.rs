//! Owns the [`Task`]s of forwarding: connections beside another task, until the guest listens, and nothing but connections.

use std::time::Instant as Clock;

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::frame::{ChannelId, Flow};
use vsock_shell_proto::mux::Event;

use super::Forwards;
use crate::connection::Core;
use crate::drive::Task;
use crate::error::Error;
use crate::signals::{Signals, arm};
use crate::text;

/// Another task, and connections that are forwarded beside it.
pub(crate) struct Beside<'t> {
    pub task: &'t mut dyn Task,
    pub forwards: &'t mut Forwards,
    pub is_quiet: bool,
}

impl Task for Beside<'_> {
    fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        if !self.forwards.handle(core, event) {
            self.task.handle(core, event);
        }
    }

    fn take(&mut self, core: &mut Core, channel: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        if self.forwards.owns(channel) {
            self.forwards.take(core, channel, flow, pieces)
        } else {
            self.task.take(core, channel, flow, pieces)
        }
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.task.prepare()
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        let moved = self.forwards.step(core);
        for note in self.forwards.notes() {
            if !self.is_quiet {
                self.task.tell(&note);
            }
        }
        Ok(self.task.step(core)? || moved)
    }

    fn has_outcome(&self) -> bool {
        self.task.has_outcome()
    }

    fn is_done(&self, core: &Core) -> bool {
        self.task.is_done(core)
    }

    fn interests<'f>(&'f self, core: &Core, fds: &mut Vec<PollFd<'f>>) {
        fds.push(PollFd::new(&self.forwards.epoll, PollFlags::IN));
        self.task.interests(core, fds);
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        let Some((own, rest)) = ready.split_first() else { return };
        if !own.is_empty() {
            self.forwards.gather();
        }
        self.task.set_ready(rest);
    }

    fn tell(&mut self, news: &str) {
        self.task.tell(news);
    }

    fn deadline(&self) -> Option<Clock> {
        self.task.deadline()
    }
}

/// Until the guest listens.
pub(super) struct Establishing<'f>(pub(super) &'f mut Forwards);

impl Task for Establishing<'_> {
    fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        // There is nothing else yet that an event could be about.
        self.0.handle(core, event);
    }

    fn take(&mut self, core: &mut Core, channel: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        self.0.take(core, channel, flow, pieces)
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        Ok(self.0.step(core))
    }

    fn has_outcome(&self) -> bool {
        false
    }

    fn is_done(&self, _: &Core) -> bool {
        self.0.is_established()
    }

    fn interests<'f>(&'f self, _: &Core, fds: &mut Vec<PollFd<'f>>) {
        fds.push(PollFd::new(&self.0.epoll, PollFlags::IN));
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.0.gather();
        }
    }

    fn tell(&mut self, news: &str) {
        text::say(news);
    }
}

/// What is done in a session that only forwards: nothing, until a signal arrives.
pub(crate) struct Waiting<'s> {
    pub signals: Option<&'s mut Signals>,
    pub is_signalled: bool,
}

impl Task for Waiting<'_> {
    fn handle(&mut self, _: &mut Core, _: Event<'_>) {}

    fn take(&mut self, _: &mut Core, _: ChannelId, _: Flow, _: &[&[u8]]) -> usize {
        0
    }

    fn prepare(&mut self) -> Result<(), Error> {
        arm(&mut self.signals)
    }

    fn step(&mut self, _: &mut Core) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_signalled)
            && let Some(signals) = &mut self.signals
        {
            signals.ended()?;
        }
        Ok(false)
    }

    fn has_outcome(&self) -> bool {
        false
    }

    fn is_done(&self, _: &Core) -> bool {
        false
    }

    fn interests<'f>(&'f self, _: &Core, fds: &mut Vec<PollFd<'f>>) {
        if let Some(signals) = self.signals.as_ref().and_then(|signals| signals.fd()) {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
        }
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        self.is_signalled |= ready.first().is_some_and(|flags| !flags.is_empty());
    }

    fn tell(&mut self, news: &str) {
        text::say(news);
    }
}
