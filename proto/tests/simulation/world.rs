//! The two ends, the connections between them, and the clock: one run.

mod dialling;
mod ending;
mod setup;

use vsock_shell_proto::mux::Side as Role;
use vsock_shell_proto::preamble::Dialer;
use vsock_shell_proto::time::Instant;

use crate::application::{Application, Shared, Side};
use crate::tally::Tally;
use crate::transport::{Connection, Direction};

/// Rounds of one run that cannot be explained but by a livelock.
const ROUNDS_MAX: u64 = 2_000_000;

/// One end with its program.
struct Node {
    side: Side,
    application: Application,
    direction: Direction,
    /// Its connection, and bytes that go before the session's (the answer).
    attached: Option<usize>,
    before: Vec<u8>,
    over: bool,
}

struct Dial {
    connection: usize,
    unsent: Vec<u8>,
    answer: Vec<u8>,
    give_up_at: u64,
}

pub struct World {
    shared: Shared,
    connections: Vec<Connection>,
    client: Node,
    dialer: Dialer,
    dial: Option<Dial>,
    redial_at: u64,
    /// The agent, once a session was created, with the highest attempt that it answered.
    agent: Node,
    created: bool,
    attempt: u64,
    /// Connections whose preamble is not complete.
    knocking: Vec<(usize, Vec<u8>)>,

    capacity: usize,
    chunk: u64,
    cuts: u64,
    stalls: u64,
    hostility: u64,
    cut_at: Option<(Direction, u64)>,
    moved: [u64; 2],
    close_at: Option<u64>,
    closers: u64,
    closed: bool,
    tally: Tally,
}

impl World {
    pub fn run(mut self) -> Tally {
        let mut idle = 0;
        while !(self.client.over && (self.agent.over || !self.created)) {
            self.tally.rounds += 1;
            assert!(self.tally.rounds < ROUNDS_MAX, "the run does not end");
            let before = self.shared.activity;
            let step = self.shared.random.below(150);
            self.shared.now += step;
            self.tally.micros += step;
            self.be_hostile();
            let first = self.shared.random.below(5);
            for actor in (0..5).map(|actor| (first + actor * 3) % 5) {
                if idle == 0 && self.shared.random.chance(30) {
                    continue;
                }
                match actor {
                    0 => self.dial(),
                    1 => self.knock(),
                    2 => self.act(Role::Client),
                    3 => self.act(Role::Agent),
                    _ => self.end(),
                }
            }
            idle = if self.shared.activity == before { idle + 1 } else { 0 };
            // Chance alone leaves out what is possible a few times, not many times.
            if idle > 6 && self.jump() {
                idle = 1;
            }
            assert!(idle < 300, "nothing can happen any more: {}", self.picture());
        }
        self.check();
        self.tally
    }

    // The transport.

    fn be_hostile(&mut self) {
        let random = &mut self.shared.random;
        if random.below(1000) >= self.hostility || self.connections.is_empty() {
            return;
        }
        // The latest connections are those that live.
        let last = self.connections.len() as u64;
        let at = (last - 1 - random.below(last.min(3))) as usize;
        if random.chance(50) {
            if self.stalls > 0 {
                self.stalls -= 1;
                self.connections[at].stall(random, self.shared.now);
            }
        } else if self.cuts > 0 {
            self.cuts -= 1;
            self.connections[at].cut(random);
        }
    }

    /// Writes bytes to a connection, and cuts it where the script says so.
    fn write(&mut self, at: usize, direction: Direction, bytes: &[u8]) -> usize {
        let mut max = self.shared.random.between(1, self.chunk) as usize;
        let moved = &mut self.moved[usize::from(direction == Direction::Down)];
        if let Some((_, byte)) = self.cut_at.filter(|(which, _)| *which == direction) {
            max = max.min((byte - *moved) as usize);
        }
        let taken = self.connections[at].pipe(direction).write(bytes, max);
        *moved += taken as u64;
        if self.cut_at == Some((direction, *moved)) {
            self.cut_at = None;
            self.connections[at].cut(&mut self.shared.random);
        }
        self.shared.activity += u64::from(taken > 0);
        self.tally.bytes += taken as u64;
        taken
    }

    fn read(&mut self, at: usize, direction: Direction) -> Vec<u8> {
        let max = self.shared.random.between(1, self.chunk) as usize;
        let bytes = self.connections[at].pipe(direction).read(max, self.shared.now);
        self.shared.activity += u64::from(!bytes.is_empty());
        bytes
    }

    fn is_over(&mut self, at: usize, direction: Direction) -> bool {
        let now = self.shared.now;
        self.connections[at].pipe(direction).is_over(now)
    }

    // Both ends.

    fn node(&mut self, role: Role) -> &mut Node {
        match role {
            Role::Client => &mut self.client,
            Role::Agent => &mut self.agent,
        }
    }

    /// What a driver does each time around its loop; here in any order, and not all of it each time.
    fn act(&mut self, role: Role) {
        if self.node(role).over || (role == Role::Agent && !self.created) {
            return;
        }
        let first = self.shared.random.below(4);
        for step in (0..4).map(|step| (first + step) % 4) {
            match step {
                0 => self.receive(role),
                1 => {
                    let shared = &mut self.shared;
                    let node = if role == Role::Client { &mut self.client } else { &mut self.agent };
                    node.application.drive(&mut node.side, shared);
                }
                2 => {
                    let now = Instant::from_micros(self.shared.now);
                    let side = &mut self.node(role).side;
                    if side.poll_timeout().is_some_and(|due| due <= now) {
                        side.handle_timeout(now);
                        self.shared.activity += 1;
                    }
                }
                _ => self.transmit(role),
            }
        }
    }

    fn receive(&mut self, role: Role) {
        let node = self.node(role);
        let direction = if node.direction == Direction::Up { Direction::Down } else { Direction::Up };
        let Some(at) = node.attached else { return };
        // While a second connection is being dialled the first is not read: the preamble has told what we hold.
        if role == Role::Client && self.dial.is_some() {
            return;
        }
        let bytes = self.read(at, direction);
        let now = Instant::from_micros(self.shared.now);
        let node = if role == Role::Client { &mut self.client } else { &mut self.agent };
        let mut rest = &bytes[..];
        loop {
            let (taken, event) = node.side.handle_received(rest, now);
            rest = &rest[taken..];
            match event {
                Some(event) => node.application.handle(event, &mut node.side, &mut self.shared),
                None => break,
            }
        }
        assert!(rest.is_empty(), "without an event all is taken");
        if self.is_over(at, direction) {
            self.detach(role);
            if role == Role::Client {
                self.redial_at = self.shared.now + self.shared.random.length(500_000);
            }
        }
    }

    fn transmit(&mut self, role: Role) {
        let node = self.node(role);
        let (Some(at), direction) = (node.attached, node.direction) else { return };
        if !node.before.is_empty() {
            let before = core::mem::take(&mut node.before);
            let sent = self.write(at, direction, &before);
            self.node(role).before = before[sent..].to_vec();
            return;
        }
        let now = Instant::from_micros(self.shared.now);
        for _ in 0..self.shared.random.between(1, 4) {
            let Some(parts) = self.node(role).side.poll_transmit(now) else { return };
            let bytes = [parts.head, parts.first, parts.second].concat();
            let sent = self.write(at, direction, &bytes);
            self.node(role).side.handle_transmitted(sent, now);
            if sent < bytes.len() {
                return;
            }
        }
    }

    /// Nothing happens: to the next time at which something will, if there is one.
    fn jump(&mut self) -> bool {
        let now = self.shared.now;
        let mut times: Vec<u64> = self.close_at.into_iter().chain([self.redial_at]).collect();
        for node in [&self.client, &self.agent] {
            times.extend(node.side.poll_timeout().map(Instant::micros));
            times.extend(node.application.wakes_at(&node.side, &self.shared));
        }
        times.extend(self.connections.iter().flat_map(|c| [c.up.wakes_at(), c.down.wakes_at()]).flatten());
        times.extend(self.dial.as_ref().map(|dial| dial.give_up_at));
        let next = times.into_iter().filter(|&at| at > now).min();
        let Some(next) = next else { return false };
        self.tally.micros += next - now;
        self.shared.now = next;
        true
    }

    fn picture(&self) -> String {
        let node = |node: &Node| {
            format!(
                "over {} attached {:?} open {} end {:?} resend {:?} room {} free {} timeout {:?}\n{:#?}",
                node.over,
                node.attached,
                node.side.open_count(),
                node.side.end(),
                node.side.link().resend_range(),
                node.side.link().room(),
                node.side.link().free(),
                node.side.poll_timeout(),
                node.application
            )
        };
        format!(
            "\nnow {} closed {}\nclient {}\nagent {}\nplans {:#?}",
            self.shared.now,
            self.closed,
            node(&self.client),
            node(&self.agent),
            self.shared.plans
        )
    }
}
