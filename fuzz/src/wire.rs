//! Two sides of a session, joined by a wire that is cut and sometimes changes a bit. Without that nothing is lost, comes twice,
//! or ends the session; with it nothing panics.

use std::collections::BTreeMap;

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome};
use vsock_shell_proto::limits::pool_len;
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{Answer, Dialer, Held, Preamble, SessionId, Status, admit};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::input::Input;

const CHANNELS: usize = 3;

/// What an application knows of a channel, by flow.
#[derive(Debug, Default, Clone)]
struct Call {
    ours: bool,
    accepted: bool,
    sent: [u64; 4],
    finished: [bool; 4],
    /// Received, and of that consumed.
    came: [u64; 4],
    consumed: [u64; 4],
    ended: [bool; 4],
    stopped: [bool; 4],
}

struct Party {
    session: Session<Vec<u8>, Vec<u8>, Vec<Channel>>,
    calls: BTreeMap<u16, Call>,
    /// What was sent on channels that have exited.
    exited: BTreeMap<u16, [u64; 4]>,
    pipe: Vec<u8>,
}

struct World {
    parties: [Party; 2],
    dialer: Dialer,
    attempt: Option<u64>,
    now: Instant,
    is_tampered: bool,
    is_closed: bool,
}

/// What applications, transports, the wire and the clock do.
pub fn wire(data: &[u8]) {
    let mut input = Input::new(data);
    let ring = 512 << (input.byte() % 6);
    let mut world = World {
        parties: [Side::Client, Side::Agent].map(|side| Party::new(side, ring)),
        dialer: Dialer::new(SessionId([7; 16])),
        attempt: None,
        now: Instant::default(),
        is_tampered: false,
        is_closed: false,
    };
    world.connect(false);
    while let Some(action) = input.taken() {
        world.act(action, &mut input);
        if world.is_closed
            || (world.is_tampered && world.parties.iter().any(|party| party.session.end().is_some()))
        {
            return;
        }
    }
    if !world.is_tampered {
        world.settle();
    }
}

/// The byte at an offset of a flow.
fn byte(channel: u16, flow: Flow, offset: u64) -> u8 {
    let key = u64::from(channel) << 40 | (flow as u64) << 32;
    ((key ^ offset).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

impl World {
    fn act(&mut self, action: u8, input: &mut Input<'_>) {
        let at = usize::from(action >> 7);
        let now = self.now;
        let may_lie = self.is_tampered;
        let party = &mut self.parties[at];
        match action % 24 {
            0..=2 => party.transmit(input.short().into(), now),
            3..=6 => {
                let length = input.short().into();
                self.deliver(at, length, input.byte());
            }
            7 | 8 => _ = party.open(),
            9..=11 => party.send(input),
            12 => party.finish(input),
            13 | 14 => party.consume(input, may_lie),
            15 => party.stop(input),
            16 | 17 => party.accept(input),
            18 => party.end(input),
            19 => {
                self.now = now.after(u64::from(input.short()) * 1000);
                self.parties[at].session.handle_timeout(self.now);
            }
            20 | 21 => {
                for at in [0, 1] {
                    let length = input.short().into();
                    self.deliver(at, length, 255);
                }
                // Who heard that it is over does not take the rest, and does not dial.
                if !self.is_closed {
                    self.connect(input.once_in(4));
                }
            }
            22 if input.once_in(8) => party.session.close(CloseCode::Normal),
            22 => party.session.ask(),
            _ if input.once_in(3) => {
                let place = usize::from(input.short()) % party.pipe.len().max(1);
                if let Some(byte) = party.pipe.get_mut(place) {
                    *byte ^= 1 << (input.byte() % 8);
                    self.is_tampered = true;
                }
            }
            _ => {}
        }
    }

    /// Bytes that a party has sent come to the other, whose sinks take `appetite` of each piece.
    fn deliver(&mut self, from: usize, length: usize, appetite: u8) {
        let pipe = &mut self.parties[from].pipe;
        let length = length.min(pipe.len());
        let bytes: Vec<u8> = pipe.drain(..length).collect();
        let exited = std::mem::take(&mut self.parties[from].exited);
        let party = &mut self.parties[1 - from];
        let is_closed = party.hear(&bytes, appetite.into(), self.now, (!self.is_tampered).then_some(&exited));
        self.parties[from].exited = exited;
        self.is_closed |= is_closed;
        for party in &self.parties {
            let end = party.session.end();
            if let Some(end) = end.filter(|_| !self.is_tampered) {
                assert_eq!(end.code(), CloseCode::Normal, "nobody broke a rule");
                self.is_closed = true;
            }
        }
    }

    /// The wire is cut, and the client dials; the first answer may be lost.
    fn connect(&mut self, is_lost: bool) {
        for party in &mut self.parties {
            party.session.detach();
            party.pipe.clear();
        }
        for is_lost in [is_lost, false] {
            let [client, agent] = &mut self.parties;
            let preamble = self.dialer.next_preamble(client.session.link().received(), [0; 16]);
            let preamble = Preamble::parse(&preamble.encode()).expect("it is ours");
            let link = agent.session.link();
            let (resend, received) = (link.resend_range(), link.received());
            let held = self.attempt.map(|attempt| Held { attempt, resend, received });
            let answer: Answer = admit(&preamble, held);
            if !matches!(answer.status, Status::Created | Status::Resumed) {
                assert!(self.is_tampered, "{answer:?}");
                self.is_closed = true;
                return;
            }
            self.attempt = Some(preamble.attempt);
            agent.session.attach(preamble.received, self.now).expect("it was asked about");
            if is_lost {
                continue;
            }
            match self.dialer.handle_answer(&answer.encode()) {
                Ok(received) if client.session.attach(received, self.now).is_ok() => {}
                other => {
                    assert!(self.is_tampered, "{other:?}");
                    self.is_closed = true;
                }
            }
            return;
        }
    }

    /// With a wire that holds, all arrives that anybody waits for.
    fn settle(&mut self) {
        self.connect(false);
        for round in 0.. {
            assert!(round < 100_000, "it never ends");
            let now = self.now;
            let mut moved = false;
            for at in [0, 1] {
                self.parties[at].transmit(usize::MAX, now);
                moved |= !self.parties[at].pipe.is_empty();
                self.deliver(at, usize::MAX, 255);
                moved |= self.parties[1 - at].consume_all();
            }
            if self.is_closed {
                return;
            }
            if !moved {
                break;
            }
        }
        let [client, agent] = &self.parties;
        assert!(client.calls.keys().eq(agent.calls.keys()), "{:?} {:?}", client.calls, agent.calls);
        for (id, one) in &client.calls {
            let other = &agent.calls[id];
            for (from, to) in [(one, other), (other, one)] {
                for flow in 0..4 {
                    if Flow::ALL[flow].is_openers() == from.ours
                        && !to.stopped[flow]
                        && (from.ours || from.accepted)
                    {
                        assert_eq!(from.sent[flow], to.came[flow], "flow {flow} of {id}");
                        assert_eq!(from.finished[flow], to.ended[flow], "end of flow {flow} of {id}");
                    }
                }
            }
        }
    }
}

impl Party {
    fn new(side: Side, ring: usize) -> Self {
        let memory = Memory {
            ring: vec![0; ring],
            pool: vec![0; pool_len(CHANNELS, 8)],
            channels: vec![Channel::FREE; 2 * CHANNELS],
            channels_max: CHANNELS,
        };
        let hello = Hello::new("fuzz", CHANNELS as u32, 1 << 16, 0);
        let session = Session::new(side, memory, hello, Some(5_000_000));
        Self { session, calls: BTreeMap::new(), exited: BTreeMap::new(), pipe: Vec::new() }
    }

    fn transmit(&mut self, length: usize, now: Instant) {
        while let Some(transmit) = self.session.poll_transmit(now) {
            let mut said = [transmit.head, transmit.first, transmit.second].concat();
            said.truncate(length);
            self.session.handle_transmitted(said.len(), now);
            self.pipe.extend_from_slice(&said);
            if length < usize::MAX {
                break;
            }
        }
    }

    /// Takes bytes; whether the session was closed. Nothing is expected without `exited`, which has what the other side sent.
    fn hear(
        &mut self,
        bytes: &[u8],
        appetite: usize,
        now: Instant,
        exited: Option<&BTreeMap<u16, [u64; 4]>>,
    ) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, event) = self.session.handle_received(rest, now);
            rest = &rest[taken..];
            match event {
                Some(Event::Closed { .. }) => return true,
                Some(event) => self.handle(event, appetite, exited),
                None => assert!(rest.is_empty()),
            }
        }
        false
    }

    fn handle(&mut self, event: Event<'_>, appetite: usize, exited: Option<&BTreeMap<u16, [u64; 4]>>) {
        match event {
            Event::Opened { channel, .. } => {
                assert!(self.calls.insert(channel.0, Call::default()).is_none(), "opened twice");
            }
            Event::Accepted { channel, .. } => self.call(channel).accepted = true,
            Event::Data { channel, flow, bytes } => {
                let (call, at) = (self.call(channel), flow as usize);
                assert!(!call.ended[at] && !call.stopped[at]);
                if exited.is_some() {
                    for (offset, found) in (call.came[at]..).zip(bytes) {
                        assert_eq!(byte(channel.0, flow, offset), *found, "{flow:?} at {offset}");
                    }
                }
                call.came[at] += bytes.len() as u64;
                let waits = !self.session.parked(channel, flow).is_empty();
                let taken = if waits { 0 } else { appetite.min(bytes.len()) };
                self.session.deliver(channel, flow, bytes, taken);
                self.call(channel).consumed[at] += taken as u64;
            }
            Event::Finished { channel, flow } => {
                let ended = &mut self.call(channel).ended[flow as usize];
                assert!(!std::mem::replace(ended, true), "ended twice");
            }
            Event::Stopped { channel, flow } => self.call(channel).finished[flow as usize] = true,
            Event::Exited { channel, .. } => {
                let call = self.call(channel).clone();
                for flow in [Flow::Output, Flow::Error].map(|flow| flow as usize) {
                    if let Some(exited) = exited.filter(|_| !call.stopped[flow]) {
                        assert!(call.ended[flow]);
                        assert_eq!(exited[&channel.0][flow], call.came[flow]);
                    }
                }
                self.session.release(channel);
                self.calls.remove(&channel.0);
            }
            Event::Refused { channel, .. } | Event::Reset { channel, .. } => {
                assert!(self.calls.remove(&channel.0).is_some(), "of a channel that is gone");
            }
            Event::Hello
            | Event::Credit { .. }
            | Event::Signal { .. }
            | Event::Resized { .. }
            | Event::Detach { .. }
            | Event::Closed { .. } => {}
        }
    }

    fn call(&mut self, channel: ChannelId) -> &mut Call {
        self.calls.get_mut(&channel.0).expect("an event of a channel that is ours")
    }

    fn any(&mut self, input: &mut Input<'_>) -> Option<(ChannelId, &mut Call)> {
        let at = input.below(self.calls.len());
        self.calls.iter_mut().nth(at).map(|(&id, call)| (ChannelId(id), call))
    }

    fn open(&mut self) -> Option<()> {
        let channel = self.session.open(ChannelKind::Exec).ok()?;
        let call = Call { ours: true, ..Call::default() };
        assert!(self.calls.insert(channel.0, call).is_none());
        Some(())
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let (flow, length) = (input.pick(&Flow::ALL), usize::from(input.short()));
        let Some((channel, call)) = self.any(input) else { return };
        let from = call.sent[flow as usize];
        let bytes: Vec<u8> = (from..).take(length).map(|offset| byte(channel.0, flow, offset)).collect();
        let sent = self.session.send(channel, flow, &bytes);
        self.call(channel).sent[flow as usize] += sent as u64;
    }

    fn finish(&mut self, input: &mut Input<'_>) {
        let flow = input.pick(&Flow::ALL);
        let Some((channel, call)) = self.any(input) else { return };
        if flow.is_openers() == call.ours && (call.ours || call.accepted) {
            call.finished[flow as usize] = true;
            self.session.finish(channel, flow);
        }
    }

    fn consume(&mut self, input: &mut Input<'_>, may_lie: bool) {
        let (flow, length) = (input.pick(&Flow::ALL), usize::from(input.short()));
        let Some((channel, call)) = self.any(input) else { return };
        let from = call.consumed[flow as usize];
        let parked = self.session.parked(channel, flow);
        let length = length.min(parked.len());
        for (offset, found) in (from..).zip(parked.iter().take(length)).filter(|_| !may_lie) {
            assert_eq!(byte(channel.0, flow, offset), *found, "{flow:?} at {offset}");
        }
        self.session.consume(channel, flow, length);
        self.call(channel).consumed[flow as usize] += length as u64;
    }

    fn consume_all(&mut self) -> bool {
        let mut moved = false;
        for &id in self.calls.keys() {
            for flow in Flow::ALL {
                let parked = self.session.parked(ChannelId(id), flow).len();
                self.session.consume(ChannelId(id), flow, parked);
                moved |= parked > 0;
            }
        }
        moved
    }

    fn stop(&mut self, input: &mut Input<'_>) {
        let flow = input.pick(&Flow::ALL);
        let Some((channel, call)) = self.any(input) else { return };
        if flow.is_openers() != call.ours {
            call.stopped[flow as usize] = true;
            self.session.stop(channel, flow);
        }
    }

    fn accept(&mut self, input: &mut Input<'_>) {
        let Some((channel, call)) = self.any(input) else { return };
        if !call.ours {
            call.accepted = true;
            self.session.accept(channel, 1);
        }
    }

    /// Whatever ends a channel for us.
    fn end(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some((channel, call)) = self.any(input) else { return };
        match (call.ours, call.accepted, choice % 4) {
            (_, _, 0) => self.session.reset(channel, CloseCode::Cancelled),
            (true, ..) => self.session.release(channel),
            (false, true, _) => {
                let sent = call.sent;
                self.exited.insert(channel.0, sent);
                self.session.exit(channel, Outcome::Exited(choice.into()), b"text");
            }
            (false, false, _) => self.session.refuse(channel, RefusalCode::System, 2, b"text"),
        }
        self.calls.remove(&channel.0);
    }
}
