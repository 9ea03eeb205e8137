//! The session ends, and what must be true then.

use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::link::End;
use vsock_shell_proto::mux::Side as Role;
use vsock_shell_proto::time::Instant;

use super::{Node, World};
use crate::transport::Direction;

impl World {
    pub(super) fn end(&mut self) {
        if self.close_at.is_some_and(|at| self.shared.now >= at) && self.created && !self.closed {
            self.tally.abrupt += 1;
            self.close(true);
        }
        let idle = |node: &Node| node.application.is_idle() && node.side.open_count() == 0;
        if idle(&self.client) && idle(&self.agent) && self.created && !self.closed {
            self.close(false);
        }
        for role in [Role::Client, Role::Agent] {
            let now = Instant::from_micros(self.shared.now);
            let node = self.node(role);
            let through = node.side.end().is_some() && node.side.poll_transmit(now).is_none();
            if through && !node.over && node.before.is_empty() {
                node.over = true;
                self.detach(role);
                if let Some(dial) = self.dial.take_if(|_| role == Role::Client) {
                    self.leave(dial.connection, Direction::Up);
                }
            }
        }
        // A client that has ended does not come back, and the agent's grace ends.
        if self.client.over
            && !self.agent.over
            && self.created
            && self.agent.attached.is_none()
            && self.knocking.is_empty()
        {
            let end = self.client.side.end();
            assert!(
                matches!(end, Some(End::Own(_))),
                "the client ended by {end:?} and the agent knows nothing"
            );
            self.tally.orphaned += 1;
            self.agent.over = true;
        }
    }

    pub(super) fn close(&mut self, abrupt: bool) {
        self.closed = true;
        self.shared.activity += 1;
        let code = if abrupt { CloseCode::ShuttingDown } else { CloseCode::Normal };
        let closers = self.closers;
        for (role, bit) in [(Role::Client, 1), (Role::Agent, 2)] {
            let node = self.node(role);
            if closers & bit != 0 && !node.over {
                node.side.close(code);
                node.application.closed = true;
            }
        }
        if abrupt {
            for plan in &mut self.shared.plans {
                plan.opened.cut_short = true;
            }
        }
    }

    pub(super) fn check(&mut self) {
        for node in [&self.client, &self.agent] {
            if let Some(end) = node.side.end() {
                let fine = [CloseCode::Normal, CloseCode::ShuttingDown].contains(&end.code());
                assert!(fine, "the session ended by a mistake: {end:?}");
            }
        }
        let abrupt = self.close_at.is_some() && self.tally.abrupt > 0;
        if !abrupt && self.created {
            assert_eq!((self.client.side.open_count(), self.agent.side.open_count()), (0, 0));
        }
        for (instance, plan) in self.shared.plans.iter().enumerate() {
            if !abrupt {
                plan.check(instance);
            }
            self.tally.instances += 1;
            let (opener, acceptor) = (&plan.opened, &plan.accepted);
            self.tally.refused += u64::from(opener.refused);
            self.tally.reset += u64::from(opener.reset || acceptor.reset);
            self.tally.finished += u64::from(opener.exited && !opener.cut_short && !acceptor.cut_short);
        }
    }
}
