//! How a session ends: what is still unsent has its time, and what still runs is hung up and waited for.

use rustix::process::Signal;

use super::tasks::Task;
use super::watch::Token;
use super::{Driver, LINGER_US};
use crate::clock::now_us;

impl Driver<'_> {
    /// The session has ended and nothing is left to send, or it has had its time.
    pub(super) fn is_over(&mut self) -> bool {
        let ended = self.core.end().is_some();
        if ended {
            self.linger();
        }
        let said = ended && !self.core.link().can_transmit() && !self.transport.is_pending();
        said || self.ends_at.is_some_and(|until| until <= self.now.micros())
    }

    /// From now on what is unsent has only so much time.
    #[inline(never)]
    pub(super) fn linger(&mut self) {
        let until = self.now.micros() + LINGER_US;
        self.ends_at.get_or_insert(until);
    }

    /// Ends what still runs, and waits for it.
    pub(super) fn end(&mut self) {
        self.door = None;
        self.transport.close();
        self.tasks.remove_all(&mut |task| match task {
            Task::Exec(exec) => exec.hang_up(&mut self.dying),
            Task::Stream(stream) => stream.end(),
            _ => {}
        });
        self.ends_at = None;
        self.core.detach();
        self.reap();
        while let Some(deadline) = self.dying.deadline_us() {
            let mut children = false;
            let signals = &self.signals;
            self.watch.wait(Some(deadline.saturating_sub(now_us())), &mut |token, _| {
                if let Token::Signals = token {
                    while let Some(number) = signals.next() {
                        children |= number == Signal::CHILD.as_raw();
                    }
                }
            });
            self.dying.kill_due(now_us());
            if children {
                self.reap();
            }
        }
    }
}
