//! The rules of sections 5 and 6, one by one: a peer that writes its frames by hand, and what the session makes of them.
//! Each scenario is fed whole, byte by byte, and with the beginning of another frame left over.

mod answers;
mod credit;
mod detach;
mod ending;
mod flows;
mod full_ring;
mod ids;
mod session;
mod signals;

use super::*;
use crate::frame::FrameType::{self, *};
use crate::limits::{
    BLOCK_LEN, CHANNELS_MAX, FRAME_PAYLOAD_MAX, INITIAL_CREDIT, POOL_BLOCKS, RING_LEN, SURPLUS_BLOCKS,
    WINDOW_MAX, pool_len,
};
use crate::link::End;
use crate::session::{Memory, Session};
use crate::time::Instant;

const NOW: Instant = Instant::from_micros(0);
const C0: ChannelId = ChannelId(0);
const C1: ChannelId = ChannelId(1);
const C2: ChannelId = ChannelId(2);
const NONE: [u8; 0] = [];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Bytes,
    LeftOver,
}

/// What the driver of the session under test saw.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Data(ChannelId, Flow, Vec<u8>),
    Event(Event<'static>),
}

struct Kit {
    session: Session<Vec<u8>, Vec<u8>, Vec<Channel>>,
    way: Way,
    /// Bytes of the next frame that were fed already.
    ahead: usize,
    /// The sink takes that many bytes of each piece.
    appetite: usize,
}

/// A frame that every receiver skips.
const SKIPPED: [u8; 8] = [0x80, 0, 0, 0, 0, 0, 0, 0];

fn frame(kind: FrameType, channel: u16, flow: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind as u8, flow];
    bytes.extend(channel.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn hello(channels: u32) -> Vec<u8> {
    let mut payload = [0; 32];
    payload[16..20].copy_from_slice(&channels.to_le_bytes());
    frame(Hello, 0, 0, &payload)
}

fn open(channel: u16) -> Vec<u8> {
    frame(Open, channel, 0, &[1, 0, 0, 0, 0, 0, 0, 0])
}

fn credit(channel: u16, flow: u8, limit: u64) -> Vec<u8> {
    frame(Credit, channel, flow, &limit.to_le_bytes())
}

fn exit(channel: u16, how: u8, value: u8, text: &[u8]) -> Vec<u8> {
    frame(Exit, channel, 0, &[&[how, 0, 0, 0, value, 0, 0, 0], text].concat())
}

fn accepted(channel: u16) -> Vec<u8> {
    frame(Accepted, channel, 0, &[7, 0, 0, 0, 0, 0, 0, 0])
}

/// The stream in the DATA records of `bytes`, and the code of BYE.
fn unwrap_records(mut bytes: &[u8]) -> (Vec<u8>, Option<u32>) {
    let (mut stream, mut bye) = (Vec::new(), None);
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (payload, rest) = rest.split_at(length);
        match head[0] {
            1 => stream.extend_from_slice(payload),
            5 => bye = Some(u32::from_le_bytes(payload.try_into().unwrap())),
            _ => {}
        }
        bytes = rest;
    }
    (stream, bye)
}

impl Kit {
    fn with(side: Side, way: Way, channels: usize, surplus: usize) -> Self {
        Self::with_ring(side, way, channels, surplus, RING_LEN)
    }

    fn with_ring(side: Side, way: Way, channels: usize, surplus: usize, ring: usize) -> Self {
        let memory = Memory {
            ring: vec![0; ring],
            pool: vec![0; pool_len(channels, surplus)],
            channels: vec![Channel::FREE; CHANNEL_IDS],
            channels_max: channels,
        };
        let hello = super::Hello::new("kit", channels as u32, 1 << 20, 0);
        let mut session = Session::new(side, memory, hello, None);
        session.attach(0, NOW).unwrap();
        Self { session, way, ahead: 0, appetite: usize::MAX }
    }

    /// Feeds frames in one DATA record; what the driver saw.
    fn feed(&mut self, frames: &[u8]) -> Vec<Seen> {
        let mut stream = SKIPPED[self.ahead..].to_vec();
        if self.ahead == 0 {
            stream.clear();
        }
        stream.extend_from_slice(frames);
        self.ahead = if self.way == Way::LeftOver { 5 } else { 0 };
        stream.extend_from_slice(&SKIPPED[..self.ahead]);
        let mut record = vec![1, 0, 0, 0];
        record.extend((stream.len() as u32).to_le_bytes());
        record.extend(stream);
        let mut seen = Vec::new();
        for piece in record.chunks(if self.way == Way::Bytes { 1 } else { usize::MAX }) {
            self.feed_piece(piece, &mut seen);
        }
        seen
    }

    fn feed_piece(&mut self, mut piece: &[u8], seen: &mut Vec<Seen>) {
        loop {
            let (taken, event) = self.session.handle_received(piece, NOW);
            piece = &piece[taken..];
            let event = match event {
                Some(event) => event,
                None => break assert!(piece.is_empty()),
            };
            let one = match event {
                Event::Data { channel, flow, bytes } => {
                    let parked = !self.session.parked(channel, flow).is_empty();
                    let taken = if parked { 0 } else { bytes.len().min(self.appetite) };
                    self.session.deliver(channel, flow, bytes, taken);
                    if let Some(Seen::Data(before, same, so_far)) = seen.last_mut()
                        && (*before, *same) == (channel, flow)
                    {
                        so_far.extend_from_slice(bytes);
                        continue;
                    }
                    Seen::Data(channel, flow, bytes.to_vec())
                }
                Event::Hello => Seen::Event(Event::Hello),
                Event::Opened { channel, kind } => Seen::Event(Event::Opened { channel, kind }),
                Event::Accepted { channel, value } => Seen::Event(Event::Accepted { channel, value }),
                Event::Refused { channel, code, errno } => {
                    Seen::Event(Event::Refused { channel, code, errno })
                }
                Event::Finished { channel, flow } => Seen::Event(Event::Finished { channel, flow }),
                Event::Stopped { channel, flow } => Seen::Event(Event::Stopped { channel, flow }),
                Event::Credit { channel, flow } => Seen::Event(Event::Credit { channel, flow }),
                Event::Signal { channel, number } => Seen::Event(Event::Signal { channel, number }),
                Event::Resized { channel, size } => Seen::Event(Event::Resized { channel, size }),
                Event::Detach { channel, value } => Seen::Event(Event::Detach { channel, value }),
                Event::Exited { channel, outcome } => Seen::Event(Event::Exited { channel, outcome }),
                Event::Reset { channel, code } => Seen::Event(Event::Reset { channel, code }),
                Event::Closed { code } => Seen::Event(Event::Closed { code }),
            };
            seen.push(one);
        }
    }

    /// Everything that the session sends now.
    fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(parts) = self.session.poll_transmit(NOW) {
            let bytes = [parts.head, parts.first, parts.second].concat();
            out.extend_from_slice(&bytes);
            self.session.handle_transmitted(bytes.len(), NOW);
        }
        out
    }

    fn acknowledge(&mut self, offset: u64) {
        let ack = [&[2, 0, 0, 0, 8, 0, 0, 0][..], &offset.to_le_bytes()].concat();
        assert_eq!(self.session.handle_received(&ack, NOW).1, None);
    }

    /// The same, acknowledged: its stream, and the code of BYE.
    fn sent_with_bye(&mut self) -> (Vec<u8>, Option<u32>) {
        let out = self.transmit();
        let (_, sent) = self.session.link().resend_range();
        self.acknowledge(sent);
        unwrap_records(&out)
    }

    fn sent(&mut self) -> Vec<u8> {
        self.sent_with_bye().0
    }

    /// Feeds what breaks a rule; the session ends with `code`, also in BYE.
    fn breaks(&mut self, frames: &[u8], code: CloseCode) {
        self.feed(frames);
        assert_eq!(self.session.end(), Some(End::Own(code)), "{:?} {frames:02X?}", self.way);
        assert_eq!(self.sent_with_bye().1, Some(code.number()));
    }

    fn alive(&self) {
        assert_eq!(self.session.end(), None, "{:?}", self.way);
    }
}

const WAYS: [Way; 3] = [Way::Whole, Way::Bytes, Way::LeftOver];

/// An agent that has had the client's HELLO, in each way of feeding.
fn agents(scenario: impl Fn(&mut Kit)) {
    for way in WAYS {
        let mut kit = Kit::with(Side::Agent, way, 4, 64);
        assert_eq!(kit.feed(&hello(4)), [Seen::Event(Event::Hello)]);
        kit.sent();
        scenario(&mut kit);
    }
}

/// An agent on which the client opened channel 0.
fn acceptors(scenario: impl Fn(&mut Kit)) {
    agents(|kit| {
        let opened = Event::Opened { channel: C0, kind: ChannelKind::Exec };
        assert_eq!(kit.feed(&open(0)), [Seen::Event(opened)]);
        scenario(kit);
    });
}

/// A client that has opened channel 0.
fn openers(scenario: impl Fn(&mut Kit)) {
    for way in WAYS {
        let mut kit = Kit::with(Side::Client, way, 4, 64);
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
        assert_eq!(kit.feed(&hello(4)), [Seen::Event(Event::Hello)]);
        assert!(kit.sent().ends_with(&open(0)));
        scenario(&mut kit);
    }
}

/// A client whose channel 0 was accepted.
fn accepted_openers(scenario: impl Fn(&mut Kit)) {
    openers(|kit| {
        assert_eq!(kit.feed(&accepted(0)), [Seen::Event(Event::Accepted { channel: C0, value: 7 })]);
        scenario(kit);
    });
}
