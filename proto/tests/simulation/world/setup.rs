//! A world before its run: by the seed, or by a script.

use vsock_shell_proto::frame::Hello;
use vsock_shell_proto::limits::pool_len;
use vsock_shell_proto::mux::Side as Role;
use vsock_shell_proto::preamble::{Dialer, SessionId};
use vsock_shell_proto::session::{Channel, Memory, Session};

use super::{Node, World};
use crate::application::{Application, Shared};
use crate::plan::Plan;
use crate::random::Random;
use crate::tally::Tally;
use crate::transport::Direction;

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
}
