//! The link under a model checker: two real machines with rings of two bytes, and a network that delivers any part of what was
//! sent, cuts connections anywhere, the answer to a preamble too, and is dialled again.
//!
//! Every interleaving is visited, of longer streams those up to a number of steps that each test states. Held in each state: what arrived is what was sent, in order and once; the
//! rings hold no more than they can; and where no step is left that moves anything, everything has arrived, or both sides
//! know that the session is over.
//! Optimised only, as `cargo xtask test` runs it: otherwise it takes minutes.
#![cfg(all(target_pointer_width = "64", not(debug_assertions)))]

use stateright::{Checker, Model, Property};
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::link::{Link, Transmit};
use vsock_shell_proto::time::Instant;

const RING: usize = 2;
const CLIENT: usize = 0;
const AGENT: usize = 1;
const NOW: Instant = Instant::from_micros(0);

type Side = Link<heapless::Vec<u8, RING>>;

/// The byte at an offset of a side's stream.
fn byte(side: usize, offset: u64) -> u8 {
    16 * (side as u8 + 1) + offset as u8
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    sides: [Side; 2],
    /// What each side has sent and the other has not got.
    wires: [Vec<u8>; 2],
    /// Bytes that each side has written, and that each has got of the other's.
    written: [u64; 2],
    got: [u64; 2],
    way: Way,
    cuts: u8,
    has_closed: bool,
    /// Something arrived that was not sent there.
    is_wrong: bool,
}

/// What leads from the client to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Nothing,
    /// The agent has gone over to a connection, and its answer, how much it holds, is on its way.
    Answered(u64),
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write(usize, usize),
    Send(usize, usize),
    Deliver(usize, usize),
    Cut,
    Dial,
    HearAnswer,
    Close,
}

/// How the sides go on after a cut.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// From where the other side stopped receiving.
    Received,
    /// From where they stopped sending themselves, which is wrong.
    Sent,
}

#[derive(Clone)]
struct Network {
    rule: Rule,
    /// Bytes that each side writes.
    lengths: [u64; 2],
    cuts: u8,
    closes: bool,
}

impl Network {
    fn resume(&self, side: &mut Side, peer_received: u64) -> bool {
        let from = if self.rule == Rule::Received { peer_received } else { side.resend_range().1 };
        side.attach(from, NOW).is_ok()
    }

    /// Parts of `length` bytes that are worth telling apart: within a header, a byte behind one, all.
    fn parts(length: usize) -> impl Iterator<Item = usize> {
        [5, 9].into_iter().filter(move |&part| part < length).chain([length])
    }
}

fn length(transmit: &Transmit<'_>) -> usize {
    transmit.head.len() + transmit.first.len() + transmit.second.len()
}

impl World {
    fn is_attached(&self, side: usize) -> bool {
        match self.way {
            Way::Nothing => false,
            Way::Answered(_) => side == AGENT,
            Way::Connected => true,
        }
    }

    /// What moves something that is on its way.
    fn moves(&self, steps: &mut Vec<Step>) {
        for side in [CLIENT, AGENT] {
            if self.is_attached(side) {
                if let Some(transmit) = self.sides[side].clone().poll_transmit(NOW) {
                    steps.extend(Network::parts(length(&transmit)).map(|part| Step::Send(side, part)));
                }
                let waiting = self.wires[1 - side].len();
                if waiting > 0 {
                    steps.extend(Network::parts(waiting).map(|part| Step::Deliver(side, part)));
                }
            }
        }
        match self.way {
            Way::Nothing if self.sides[AGENT].end().is_none() => steps.push(Step::Dial),
            Way::Answered(_) => steps.push(Step::HearAnswer),
            Way::Nothing | Way::Connected => {}
        }
    }

    fn deliver(&mut self, side: usize, length: usize) {
        let bytes: Vec<u8> = self.wires[1 - side].drain(..length).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (control, data) = self.sides[side].handle_received(rest, NOW);
            for &got in &rest[control..control + data] {
                self.is_wrong |= got != byte(1 - side, self.got[side]);
                self.got[side] += 1;
            }
            self.sides[side].accept(data);
            rest = &rest[control + data..];
        }
    }

    fn is_complete(&self) -> bool {
        if self.has_closed {
            return self.sides.iter().all(|side| side.end().is_some());
        }
        (0..2).all(|side| self.got[side] == self.written[1 - side])
    }
}

impl Model for Network {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let side = || Link::new(heapless::Vec::from_array([0; RING]), None);
        vec![World {
            sides: [side(), side()],
            wires: [Vec::new(), Vec::new()],
            written: [0; 2],
            got: [0; 2],
            way: Way::Nothing,
            cuts: self.cuts,
            has_closed: false,
            is_wrong: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.moves(steps);
        for side in [CLIENT, AGENT] {
            let link = &world.sides[side];
            let left = (self.lengths[side] - world.written[side]) as usize;
            if left > 0 && link.free() > 0 && !link.is_ending() {
                steps.extend([1, link.free().min(left)].map(|length| Step::Write(side, length)));
            }
        }
        if world.way != Way::Nothing && world.cuts > 0 && !world.has_closed {
            steps.push(Step::Cut);
        }
        if self.closes && !world.has_closed && world.way == Way::Connected {
            steps.push(Step::Close);
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Write(side, length) => {
                let from = world.written[side];
                let bytes: Vec<u8> = (from..from + length as u64).map(|offset| byte(side, offset)).collect();
                world.sides[side].write(&bytes);
                world.written[side] += length as u64;
            }
            Step::Send(side, length) => {
                let Transmit { head, first, second } = world.sides[side].poll_transmit(NOW)?;
                let bytes = [head, first, second].concat();
                world.wires[side].extend_from_slice(&bytes[..length]);
                world.sides[side].handle_transmitted(length, NOW);
            }
            Step::Deliver(side, length) => world.deliver(side, length),
            Step::Cut => {
                world.cuts -= 1;
                world.way = Way::Nothing;
                world.wires = [Vec::new(), Vec::new()];
                world.sides.iter_mut().for_each(Link::detach);
            }
            Step::Dial => {
                let client_has = world.sides[CLIENT].received();
                world.is_wrong |= !self.resume(&mut world.sides[AGENT], client_has);
                world.way = Way::Answered(world.sides[AGENT].received());
            }
            Step::HearAnswer => {
                if let Way::Answered(agent_has) = world.way {
                    world.is_wrong |= !self.resume(&mut world.sides[CLIENT], agent_has);
                    world.way = Way::Connected;
                }
            }
            Step::Close => {
                world.has_closed = true;
                world.sides[CLIENT].close(CloseCode::Normal);
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is lost, repeated or reordered", |_, world: &World| !world.is_wrong),
            Property::always("no ring is overrun", |_, world: &World| {
                let held = |side: usize| world.written[side] - world.got[1 - side];
                (0..2).all(|side| world.got[1 - side] <= world.written[side] && held(side) <= RING as u64)
            }),
            Property::always("nobody waits for ever", |_, world: &World| {
                let mut steps = Vec::new();
                world.moves(&mut steps);
                !steps.is_empty() || world.is_complete()
            }),
            Property::sometimes("everything arrives", |network: &Self, world: &World| {
                (0..2).all(|side| world.got[side] == network.lengths[1 - side]) && world.cuts == 0
            }),
        ]
    }
}

/// Visits every state, or those up to so many steps from the beginning.
fn check(network: Network, depth: usize) -> impl Checker<Network> {
    let checker = network.checker().threads(2).target_max_depth(depth).spawn_bfs().join();
    eprintln!("{} states, the farthest after {} steps", checker.unique_state_count(), checker.max_depth());
    checker
}

/// Farther than any state is.
const TO_THE_END: usize = 1000;

#[test]
fn a_session_goes_on_through_three_cuts() {
    check(Network { rule: Rule::Received, lengths: [1; 2], cuts: 3, closes: false }, TO_THE_END)
        .assert_properties();
}

#[test]
fn a_session_that_is_closed_ends_on_both_sides() {
    check(Network { rule: Rule::Received, lengths: [1; 2], cuts: 1, closes: true }, TO_THE_END)
        .assert_properties();
}

#[test]
fn what_was_partly_acknowledged_is_sent_again_in_part() {
    check(Network { rule: Rule::Received, lengths: [2; 2], cuts: 1, closes: false }, 18).assert_properties();
}

#[test]
fn more_than_a_ring_holds_comes_through_without_a_cut() {
    for lengths in [[3, 1], [1, 3]] {
        check(Network { rule: Rule::Received, lengths, cuts: 0, closes: false }, TO_THE_END)
            .assert_properties();
    }
}

#[test]
fn more_than_a_ring_holds_comes_through_a_cut() {
    let checker = check(Network { rule: Rule::Received, lengths: [3; 2], cuts: 1, closes: false }, 17);
    // So deep that nothing has gone wrong, not so deep that everything has arrived.
    checker.assert_no_discovery("nothing is lost, repeated or reordered");
    checker.assert_no_discovery("no ring is overrun");
    checker.assert_no_discovery("nobody waits for ever");
}

#[test]
fn the_checker_finds_a_side_that_goes_on_from_where_it_stopped_sending() {
    let checker = check(Network { rule: Rule::Sent, lengths: [1; 2], cuts: 1, closes: false }, TO_THE_END);
    assert!(checker.discovery("nobody waits for ever").is_some(), "a byte that was cut off never comes");
    let checker = check(Network { rule: Rule::Sent, lengths: [2; 2], cuts: 1, closes: false }, 16);
    assert!(checker.discovery("nothing is lost, repeated or reordered").is_some());
}
