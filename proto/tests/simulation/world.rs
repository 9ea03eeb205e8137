//! The two ends, the connections between them, and the clock: one run.

use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::Hello;
use vsock_shell_proto::limits::{PREAMBLE_LEN, pool_len};
use vsock_shell_proto::link::End;
use vsock_shell_proto::mux::Side as Role;
use vsock_shell_proto::preamble::{Answer, DialError, Dialer, Held, Preamble, SessionId, Status, admit};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::application::{Application, Shared, Side};
use crate::plan::Plan;
use crate::random::Random;
use crate::transport::{Connection, Direction};

/// Rounds of one run that cannot be explained but by a livelock.
const ROUNDS_MAX: u64 = 2_000_000;

/// What runs did, summed.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub rounds: u64,
    pub dials: u64,
    pub stale: u64,
    pub gone: u64,
    pub orphaned: u64,
    pub abrupt: u64,
    pub instances: u64,
    pub finished: u64,
    pub refused: u64,
    pub reset: u64,
    pub bytes: u64,
    pub micros: u64,
}

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

struct Sizes {
    ring: usize,
    channels: usize,
    surplus: usize,
}

fn node(role: Role, sizes: &Sizes, peers_channels: usize, keepalive: Option<u64>, to_open: usize) -> Node {
    let memory = Memory {
        ring: vec![0; sizes.ring],
        pool: vec![0; pool_len(sizes.channels, sizes.surplus)],
        channels: vec![Channel::FREE; 2 * sizes.channels.max(peers_channels)],
        channels_max: sizes.channels,
    };
    let hello = Hello::new("simulation", sizes.channels as u32, 1 << 20, 60_000);
    let direction = if role == Role::Client { Direction::Up } else { Direction::Down };
    Node {
        side: Session::new(role, memory, hello, keepalive),
        application: Application::new(to_open),
        direction,
        attached: None,
        before: Vec::new(),
        over: false,
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let ring = |random: &mut Random| match random.below(4) {
            0 => random.between(272, 1000) as usize,
            1 => 65_536,
            _ => 272 + random.length(40_000) as usize,
        };
        let client_ring = ring(&mut random);
        // A peer that acknowledges late makes a small ring wait for PONG; that is slow, and right.
        let agent_ring = if random.chance(80) { client_ring } else { ring(&mut random) };
        let mut sizes = |ring| Sizes {
            ring,
            channels: random.between(1, 5) as usize,
            surplus: random.length(200) as usize,
        };
        let (client, agent) = (sizes(client_ring), sizes(agent_ring));
        let chunk = random.pick(&[3, 40, 700, 5000, 100_000]);
        let most = if random.chance(5) { 150_000.min(chunk * 1000) } else { 6000.min(chunk * 300) };
        let keepalive = random.chance(20).then(|| random.between(100_000, 5_000_000));
        let to_open = random.between(1, 6) as usize;
        let agents = if random.chance(20) { random.between(1, 4) as usize } else { 0 };
        let shared = Shared {
            now: random.below(5_000_000_000),
            plans: Vec::new(),
            activity: 0,
            most,
            sleepy: random.pick(&[0, 4, 20]),
            script: None,
            random: Random::new(seed ^ 0xABCD_EF01_2345_6789),
        };
        let close_at = random.chance(15).then(|| shared.now + random.length(4_000_000));
        Self {
            client: node(Role::Client, &client, agent.channels, keepalive, to_open),
            agent: node(Role::Agent, &agent, client.channels, None, agents),
            dialer: Dialer::new(SessionId([seed as u8; 16])),
            connections: Vec::new(),
            dial: None,
            redial_at: shared.now,
            created: false,
            attempt: 0,
            knocking: Vec::new(),
            capacity: random.pick(&[1, 7, 64, 65, 1000, 65_536, 262_144]).max(chunk as usize / 8),
            chunk,
            cuts: if random.chance(70) { random.length(30) } else { 0 },
            stalls: random.length(10),
            hostility: random.pick(&[1, 5, 25]),
            cut_at: None,
            moved: [0; 2],
            close_at,
            closers: random.between(1, 3),
            closed: false,
            tally: Tally::default(),
            shared,
        }
    }

    /// One channel, one client, no chance but for a cut when so many bytes were sent in that direction.
    pub fn scripted(plan: Plan, cut_at: Option<(Direction, u64)>) -> Self {
        let sizes = Sizes { ring: 4096, channels: 2, surplus: 16 };
        let mut world = Self::new(1);
        world.client = node(Role::Client, &sizes, sizes.channels, None, 1);
        world.agent = node(Role::Agent, &sizes, sizes.channels, None, 0);
        (world.capacity, world.chunk, world.cuts, world.stalls) = (600, 500, 0, 0);
        world.hostility = 0;
        (world.close_at, world.closers) = (None, 1);
        world.cut_at = cut_at;
        world.shared.script = Some(plan);
        world.shared.sleepy = 0;
        world
    }

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

    // The client dials.

    fn dial(&mut self) {
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

    fn leave(&mut self, connection: usize, direction: Direction) {
        self.connections[connection].left |= direction == Direction::Up;
        if self.hostility > 0 && self.shared.random.chance(50) {
            self.connections[connection].cut(&mut self.shared.random);
        }
        self.connections[connection].close(direction);
        self.shared.activity += 1;
    }

    fn detach(&mut self, role: Role) {
        let node = self.node(role);
        node.side.detach();
        node.before.clear();
        let direction = node.direction;
        if let Some(connection) = node.attached.take() {
            self.leave(connection, direction);
        }
    }

    // The agent answers.

    fn knock(&mut self) {
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

    // The end.

    fn end(&mut self) {
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

    fn close(&mut self, abrupt: bool) {
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

    fn check(&mut self) {
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

impl Tally {
    pub fn add(&mut self, other: &Self) {
        let Self {
            rounds,
            dials,
            stale,
            gone,
            orphaned,
            abrupt,
            instances,
            finished,
            refused,
            reset,
            bytes,
            micros,
        } = other;
        self.rounds = self.rounds.max(*rounds);
        self.dials += dials;
        self.stale += stale;
        self.gone += gone;
        self.orphaned += orphaned;
        self.abrupt += abrupt;
        self.instances += instances;
        self.finished += finished;
        self.refused += refused;
        self.reset += reset;
        self.bytes += bytes;
        self.micros = self.micros.max(*micros);
    }

    /// What the simulation is for did happen.
    pub fn check_coverage(&self) {
        let Self { stale, gone, orphaned, abrupt, finished, refused, reset, .. } = self;
        let each = [stale, gone, orphaned, abrupt, finished, refused, reset];
        assert!(each.iter().all(|&&count| count > 0), "something never happened: {self:?}");
    }
}
