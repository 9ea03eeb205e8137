//! Connections begin and end: the client dials, the agent answers.

use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::mux::Side as Role;
use vsock_shell_proto::preamble::{Answer, DialError, Held, Preamble, Status, admit};
use vsock_shell_proto::time::Instant;

use super::{Dial, World};
use crate::transport::{Connection, Direction};

impl World {
    pub(super) fn dial(&mut self) {
        if self.client.side.end().is_some() || self.client.over {
            return;
        }
        if let Some(mut dial) = self.dial.take() {
            if !dial.unsent.is_empty() {
                let sent = self.write(dial.connection, Direction::Up, &dial.unsent.clone());
                dial.unsent.drain(..sent);
            }
            let missing = PREAMBLE_LEN - dial.answer.len();
            let max = self.shared.random.between(1, self.chunk).min(missing as u64) as usize;
            let bytes = self.connections[dial.connection].down.read(max, self.shared.now);
            self.shared.activity += u64::from(!bytes.is_empty());
            dial.answer.extend(bytes);
            if let Ok(answer) = dial.answer.as_slice().try_into() {
                self.handle_answer(dial.connection, answer);
            } else if self.is_over(dial.connection, Direction::Down) || self.shared.now >= dial.give_up_at {
                self.leave(dial.connection, Direction::Up);
                // Not back to a former connection: its acknowledgements would pass what this preamble said, which may
                // still arrive and would then look rolled back.
                self.detach(Role::Client);
                self.redial_at = self.shared.now + self.shared.random.length(500_000);
            } else {
                self.dial = Some(dial);
            }
            return;
        }
        // A second connection beside one that is only silent: what the first still brings is not read any more.
        let impatient =
            self.client.attached.is_some() && self.cuts > 0 && self.shared.random.below(3000) == 0;
        if impatient || (self.client.attached.is_none() && self.shared.now >= self.redial_at) {
            self.cuts -= u64::from(impatient);
            self.start_dial();
        }
    }

    fn start_dial(&mut self) {
        let late = self.cuts > 0 && self.shared.random.chance(15);
        let connection = Connection::new(&mut self.shared.random, self.capacity, self.shared.now, late);
        let nonce = [self.shared.random.next() as u8; 16];
        let preamble = self.dialer.next_preamble(self.client.side.link().received(), nonce);
        let patience = if self.cuts > 0 { self.shared.random.between(1000, 5_000_000) } else { 20_000_000 };
        self.cuts = self.cuts.saturating_sub(u64::from(late));
        self.connections.push(connection);
        let connection = self.connections.len() - 1;
        self.knocking.push((connection, Vec::new()));
        self.dial = Some(Dial {
            connection,
            unsent: preamble.encode().to_vec(),
            answer: Vec::new(),
            give_up_at: self.shared.now + patience,
        });
        self.shared.activity += 1;
        self.tally.dials += 1;
    }

    fn handle_answer(&mut self, connection: usize, answer: &[u8; PREAMBLE_LEN]) {
        self.shared.activity += 1;
        match self.dialer.handle_answer(answer) {
            Ok(offset) => {
                self.detach(Role::Client);
                let now = Instant::from_micros(self.shared.now);
                self.client.side.attach(offset, now).expect("nobody was rolled back");
                self.client.attached = Some(connection);
            }
            Err(DialError::Refused(Status::Gone)) => {
                assert!(self.agent.over, "the session was forgotten");
                self.tally.gone += 1;
                self.detach(Role::Client);
                self.leave(connection, Direction::Up);
                self.client.over = true;
            }
            Err(other) => panic!("{other:?} to a dial that is not late"),
        }
    }

    pub(super) fn leave(&mut self, connection: usize, direction: Direction) {
        self.connections[connection].left |= direction == Direction::Up;
        if self.hostility > 0 && self.shared.random.chance(50) {
            self.connections[connection].cut(&mut self.shared.random);
        }
        self.connections[connection].close(direction);
        self.shared.activity += 1;
    }

    pub(super) fn detach(&mut self, role: Role) {
        let node = self.node(role);
        node.side.detach();
        node.before.clear();
        let direction = node.direction;
        if let Some(connection) = node.attached.take() {
            self.leave(connection, direction);
        }
    }

    // The agent answers.

    pub(super) fn knock(&mut self) {
        for (at, mut bytes) in core::mem::take(&mut self.knocking) {
            let missing = PREAMBLE_LEN - bytes.len();
            let max = self.shared.random.between(1, self.chunk).min(missing as u64) as usize;
            let read = self.connections[at].up.read(max, self.shared.now);
            self.shared.activity += u64::from(!read.is_empty());
            bytes.extend(read);
            if let Ok(preamble) = bytes.as_slice().try_into() {
                self.admit(at, &Preamble::parse(preamble).expect("a preamble"));
            } else if self.is_over(at, Direction::Up) {
                self.leave(at, Direction::Down);
            } else {
                self.knocking.push((at, bytes));
            }
        }
    }

    fn admit(&mut self, at: usize, preamble: &Preamble) {
        self.shared.activity += 1;
        let link = self.agent.side.link();
        let held = Held { attempt: self.attempt, resend: link.resend_range(), received: link.received() };
        let answer = admit(preamble, Some(held).filter(|_| self.created && !self.agent.over));
        match answer.status {
            Status::Created | Status::Resumed if self.agent.over => {
                // A late first attempt begins a session that nobody will ever use.
                assert!(self.connections[at].left, "a command ran twice");
            }
            Status::Created | Status::Resumed => {
                assert_eq!(answer.status == Status::Created, !self.created);
                self.created = true;
                self.attempt = preamble.attempt;
                self.detach(Role::Agent);
                let now = Instant::from_micros(self.shared.now);
                self.agent.side.attach(preamble.received, now).expect("admitted");
                self.agent.attached = Some(at);
                self.agent.before = answer.encode().to_vec();
                return;
            }
            Status::Stale => {
                assert!(self.connections[at].left, "an attempt is stale only when there is a later one");
                self.tally.stale += 1;
            }
            Status::Gone => assert!(self.agent.over, "the agent forgot a session"),
            status => panic!("{status:?}: nothing here is rolled back or refused"),
        }
        self.refuse(at, &answer);
    }

    fn refuse(&mut self, at: usize, answer: &Answer) {
        // A refusal fits any socket's buffer, and is the first that goes into it.
        self.connections[at].down.fill(&answer.encode());
        self.connections[at].close(Direction::Down);
    }
}
