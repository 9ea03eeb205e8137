//! What becomes of a session whose connection is gone, or replaced: how long it is kept, and how it goes on over another.

use rustix::fd::OwnedFd;
use vsock_shell_proto::preamble::{Held, Preamble, Status, admit};

use super::Driver;
use super::door::Visit;
use super::job::Word;
use super::wire::Wire;
use crate::serial;

impl Driver<'_> {
    /// The connection is gone. Whether the session is kept for another: for as long as the client wants, and the agent has it.
    pub(super) fn is_kept(&mut self) -> bool {
        let asked_ms = self.core.peer().map_or(u32::MAX, |hello| hello.grace_ms);
        let grace_ms = asked_ms.min(self.config.grace_ms);
        if grace_ms == 0 || self.door.is_none() || self.ends_at.is_some() || self.core.link().is_ending() {
            return false;
        }
        self.close_transport();
        self.say(Word::Away);
        self.core.detach();
        self.tasks.set_connected(false);
        self.ends_at = Some(self.now.micros() + u64::from(grace_ms) * 1000);
        true
    }

    fn close_transport(&mut self) {
        if let Some(storage) = self.transport.close() {
            self.storage = Some(storage);
        }
    }

    /// Goes on over a connection that was handed to us, where its preamble gives it a right to.
    #[inline(never)]
    pub(super) fn receive_visit(&mut self, visit: Visit<OwnedFd>) {
        let Ok(preamble) = Preamble::parse(&visit.preamble) else { return };
        let link = self.core.link();
        if preamble.id != self.id || link.is_ending() {
            return;
        }
        let held = Held { attempt: self.attempt, resend: link.resend_range(), received: link.received() };
        let answer = admit(&preamble, Some(held));
        let [input, output] = visit.descriptors;
        if !matches!(answer.status, Status::Resumed | Status::RolledBack) {
            // Nothing has changed. (On a port whoever tries it in vain is not told.)
            if visit.connection.is_none() {
                let _ = rustix::io::write(output, &answer.encode());
            }
            return;
        }
        if let Some(bye) = self.core.link().farewell() {
            self.transport.say(&bye);
        }
        // Nothing more is read from the former one, so what was received so far is all.
        self.close_transport();
        match visit.connection {
            None => self.transport.begin(input, output, None),
            Some(connection) => {
                let (Some(port), Ok(other)) =
                    (self.storage.take(), rustix::io::fcntl_dupfd_cloexec(&input, 3))
                else {
                    // The next one may find what was missing.
                    if self.ends_at.is_none() && !self.is_kept() {
                        self.ends_at = Some(0);
                    }
                    return;
                };
                port.take_over(connection);
                let is_line = serial::is_line(&input);
                self.transport.begin(input, other, Some(Wire::new(port, is_line, output)));
            }
        }
        self.transport.answer(&answer.encode());
        let _ = self.transport.watch(&self.watch);
        self.attempt = preamble.attempt;
        // One who was told of an older state has given up.
        self.ends_at = (answer.status == Status::RolledBack).then_some(0);
        if self.ends_at.is_none() {
            let _ = self.core.attach(preamble.received, self.now);
            self.say(Word::Back);
            self.tasks.set_connected(true);
        }
    }
}
