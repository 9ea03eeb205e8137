//! The rules of sections 5 and 6, one by one: a peer that writes its frames by hand, and what the session makes of them.
//! Each scenario is fed whole, byte by byte, and with the beginning of another frame left over.

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

// Section 5.

#[test]
fn r_5_1_hello_comes_first_and_once() {
    for way in WAYS {
        Kit::with(Side::Agent, way, 4, 0).breaks(&open(0), CloseCode::Hello);
        Kit::with(Side::Agent, way, 4, 0).breaks(&SKIPPED, CloseCode::Hello);
    }
    agents(|kit| kit.breaks(&hello(4), CloseCode::Hello));
}

#[test]
fn r_5_1_neither_side_waits_for_the_others_hello() {
    for side in [Side::Client, Side::Agent] {
        let sent = Kit::with(side, Way::Whole, 4, 0).sent();
        assert_eq!(sent[0], Hello as u8);
    }
}

#[test]
fn r_5_2_unknown_frames_are_skipped_when_optional() {
    agents(|kit| {
        let unknown = [&[0xC7, 9, 9, 9, 3, 0, 0, 0, 1, 2, 3][..], &open(0)].concat();
        assert_eq!(kit.feed(&unknown).len(), 1);
        kit.alive();
        kit.breaks(&[0x47, 0, 0, 0, 0, 0, 0, 0], CloseCode::FrameType);
    });
}

#[test]
fn r_5_2_every_type_has_its_lengths() {
    let wrong: [(FrameType, &[usize]); 14] = [
        (Hello, &[31, 513]),
        (Close, &[3, 5]),
        (Open, &[7, 9]),
        (Accepted, &[7, 9]),
        (Refused, &[7, 265]),
        (Data, &[0, FRAME_PAYLOAD_MAX + 1]),
        (Finish, &[1]),
        (Stop, &[1]),
        (Credit, &[7, 9]),
        (Signal, &[3, 5]),
        (Resize, &[7, 9]),
        (Exit, &[7, 265]),
        (Reset, &[3, 5]),
        (Release, &[1]),
    ];
    for (kind, lengths) in wrong {
        for &length in lengths {
            // The header alone is enough.
            let header = &frame(kind, 0, 0, &vec![0; length])[..8];
            acceptors(|kit| kit.breaks(header, CloseCode::FrameLength));
        }
    }
}

#[test]
fn r_5_3_a_required_feature_ends_the_session() {
    let mut required = hello(4);
    required[8 + 8] = 1;
    Kit::with(Side::Agent, Way::Whole, 4, 0).breaks(&required, CloseCode::Feature);
}

#[test]
fn r_5_3_the_peers_channels_are_not_exceeded() {
    let mut kit = Kit::with(Side::Client, Way::Whole, 4, 0);
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany), "one before the agent has said how many");
    kit.feed(&hello(2));
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2));
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany));
    let mut kit = Kit::with(Side::Agent, Way::Whole, 4, 0);
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany), "an agent waits for HELLO");
    kit.feed(&hello(1));
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C1));
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany));
}

#[test]
fn r_5_4_close_is_answered_with_its_code_after_what_came_before() {
    acceptors(|kit| {
        let input = [frame(Data, 0, 0, b"last"), frame(Close, 0, 0, &1u32.to_le_bytes())].concat();
        let closed = Seen::Event(Event::Closed { code: CloseCode::ShuttingDown });
        assert_eq!(kit.feed(&input), [Seen::Data(C0, Flow::Input, b"last".to_vec()), closed]);
        assert_eq!(kit.feed(&open(2)), []);
        assert_eq!(kit.sent_with_bye().1, Some(1));
        assert_eq!(kit.session.end(), Some(End::Own(CloseCode::ShuttingDown)));
    });
}

#[test]
fn r_5_4_who_closed_drops_what_still_comes() {
    acceptors(|kit| {
        kit.session.close(CloseCode::Normal);
        assert_eq!(kit.sent(), frame(Close, 0, 0, &[0; 4]));
        let late = [open(2), frame(Data, 0, 0, b"late"), frame(Finish, 40, 0, b"")].concat();
        assert_eq!(kit.feed(&late), []);
        assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany));
        kit.alive();
    });
}

#[test]
fn r_5_4_two_that_close_at_once_answer_each_other() {
    agents(|kit| {
        kit.session.close(CloseCode::Normal);
        assert_eq!(kit.sent(), frame(Close, 0, 0, &[0; 4]));
        let closed = Seen::Event(Event::Closed { code: CloseCode::Cancelled });
        assert_eq!(kit.feed(&frame(Close, 0, 0, &[3, 0, 0, 0])), [closed]);
        assert_eq!(kit.sent_with_bye(), (vec![], Some(3)));
    });
}

// Section 6: ids.

#[test]
fn r_6_1_ids_have_the_parity_of_their_opener() {
    agents(|kit| kit.breaks(&open(1), CloseCode::ChannelId));
    openers(|kit| kit.breaks(&open(2), CloseCode::ChannelId));
    openers(|kit| assert_eq!(kit.feed(&open(1)).len(), 1));
}

#[test]
fn r_6_1_ids_are_below_what_was_announced() {
    agents(|kit| kit.breaks(&open(8), CloseCode::ChannelId));
    agents(|kit| kit.breaks(&open(1024), CloseCode::ChannelId));
    agents(|kit| kit.breaks(&open(65534), CloseCode::ChannelId));
    let mut kit = Kit::with(Side::Agent, Way::Whole, CHANNELS_MAX, 0);
    kit.feed(&hello(4));
    assert_eq!(kit.feed(&open(1022)).len(), 1);
    kit.breaks(&open(1024), CloseCode::ChannelId);
}

#[test]
fn r_6_1_an_id_in_use_is_not_opened() {
    acceptors(|kit| kit.breaks(&open(0), CloseCode::ChannelId));
}

#[test]
fn r_6_4_more_channels_than_there_is_memory_for_are_refused() {
    agents(|kit| {
        for _ in 0..2 {
            kit.session.open(ChannelKind::Listen).unwrap();
        }
        kit.sent();
        kit.feed(&[open(0), open(2)].concat());
        assert_eq!(kit.feed(&[open(4), frame(Data, 4, 3, &[0; INITIAL_CREDIT])].concat()), []);
        let refused = frame(Refused, 4, 0, &[4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kit.sent(), [refused, frame(Release, 4, 0, b"")].concat());
        assert_eq!(kit.session.open_count(), 5);
        kit.feed(&frame(Release, 4, 0, b""));
        assert_eq!(kit.session.open_count(), 4);
        kit.alive();
    });
}

// Flows.

#[test]
fn r_6_2_flows_have_their_directions() {
    for flow in [1, 2, 4, 255] {
        acceptors(|kit| kit.breaks(&frame(Data, 0, flow, b"x"), CloseCode::Flow));
        acceptors(|kit| kit.breaks(&frame(Finish, 0, flow, b""), CloseCode::Flow));
    }
    for flow in [0, 3, 9] {
        acceptors(|kit| kit.breaks(&frame(Stop, 0, flow, b""), CloseCode::Flow));
        acceptors(|kit| kit.breaks(&credit(0, flow, 9000), CloseCode::Flow));
        accepted_openers(|kit| kit.breaks(&frame(Data, 0, flow, b"x"), CloseCode::Flow));
        accepted_openers(|kit| kit.breaks(&frame(Finish, 0, flow, b""), CloseCode::Flow));
    }
    for flow in [1, 2] {
        openers(|kit| kit.breaks(&frame(Stop, 0, flow, b""), CloseCode::Flow));
        openers(|kit| kit.breaks(&credit(0, flow, 9000), CloseCode::Flow));
    }
}

#[test]
fn r_6_2_nothing_follows_finish() {
    let finish = frame(Finish, 0, 0, b"");
    acceptors(|kit| {
        assert_eq!(kit.feed(&finish), [Seen::Event(Event::Finished { channel: C0, flow: Flow::Input })]);
        kit.breaks(&frame(Data, 0, 0, b"x"), CloseCode::Flow);
    });
    acceptors(|kit| kit.breaks(&[&finish[..], &finish].concat(), CloseCode::Flow));
}

#[test]
fn r_6_3_an_opener_sends_at_once_and_an_acceptor_when_it_has_accepted() {
    openers(|kit| {
        assert_eq!(kit.session.send(C0, Flow::Request, b"req"), 3);
        kit.session.finish(C0, Flow::Request);
        assert_eq!(kit.session.send(C0, Flow::Input, b"in"), 2);
        let want = [frame(Data, 0, 3, b"req"), frame(Finish, 0, 3, b""), frame(Data, 0, 0, b"in")].concat();
        assert_eq!(kit.sent(), want);
    });
    acceptors(|kit| {
        assert_eq!(kit.session.writable(C0, Flow::Output), 0);
        kit.session.finish(C0, Flow::Error);
        assert_eq!(kit.sent(), NONE);
        kit.session.accept(C0, 7);
        assert_eq!(kit.session.send(C0, Flow::Output, b"out"), 3);
        let want = [accepted(0), frame(Finish, 0, 2, b""), frame(Data, 0, 1, b"out")].concat();
        assert_eq!(kit.sent(), want);
    });
}

// Answers.

#[test]
fn r_6_4_an_acceptor_says_nothing_before_it_answers() {
    openers(|kit| kit.breaks(&frame(Data, 0, 1, b"x"), CloseCode::ChannelState));
    openers(|kit| kit.breaks(&frame(Finish, 0, 1, b""), CloseCode::ChannelState));
    openers(|kit| kit.breaks(&exit(0, 0, 0, b""), CloseCode::ChannelState));
    openers(|kit| kit.breaks(&frame(Release, 0, 0, b""), CloseCode::ChannelState));
    openers(|kit| {
        assert_eq!(kit.feed(&credit(0, 3, 9000)).len(), 1);
        assert_eq!(kit.feed(&frame(Stop, 0, 0, b"")).len(), 1);
        kit.alive();
    });
}

#[test]
fn r_6_4_an_answer_comes_once_and_from_the_acceptor() {
    let refused = frame(Refused, 0, 0, &[1, 0, 0, 0, 0, 0, 0, 0]);
    accepted_openers(|kit| kit.breaks(&accepted(0), CloseCode::ChannelState));
    accepted_openers(|kit| kit.breaks(&refused, CloseCode::ChannelState));
    openers(|kit| kit.breaks(&[&refused[..], &accepted(0)].concat(), CloseCode::ChannelState));
    for answer in [accepted(0), refused.clone(), exit(0, 0, 0, b"")] {
        acceptors(|kit| kit.breaks(&answer, CloseCode::ChannelState));
    }
}

#[test]
fn r_6_4_a_refusal_tells_why_and_frees_the_id() {
    openers(|kit| {
        let refused = frame(Refused, 0, 0, &[&[9, 0, 0, 0, 13, 0, 0, 0][..], b"open /x"].concat());
        let event = Event::Refused { channel: C0, code: RefusalCode::System, errno: 13 };
        assert_eq!(kit.feed(&refused), [Seen::Event(event)]);
        assert_eq!(kit.session.text(), b"open /x");
        assert_eq!(kit.sent(), frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 1);
        kit.feed(&frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 0);
    });
}

#[test]
fn r_6_4_a_text_is_kept_until_it_is_sent_and_cut_to_its_limit() {
    acceptors(|kit| {
        // The pool's place of the input is what the text gets.
        kit.appetite = 0;
        kit.feed(
            &[frame(Data, 0, 0, &[1; INITIAL_CREDIT]), frame(Data, 0, 3, &[2; INITIAL_CREDIT])].concat(),
        );
        kit.session.refuse(C0, RefusalCode::NoShell, 2, &[b't'; 300]);
        let want = frame(Refused, 0, 0, &[&[6, 0, 0, 0, 2, 0, 0, 0][..], &[b't'; 256]].concat());
        assert_eq!(kit.sent(), [want, frame(Release, 0, 0, b"")].concat());
    });
    acceptors(|kit| {
        kit.session.accept(C0, 7);
        kit.session.exit(C0, Outcome::Failed(5), b"write: x");
        let end = [exit(0, 2, 5, b"write: x"), frame(Release, 0, 0, b"")].concat();
        let flows = [frame(Finish, 0, 1, b""), frame(Finish, 0, 2, b"")].concat();
        assert_eq!(kit.sent(), [accepted(0), flows, end].concat());
    });
}

// Credit.

#[test]
fn r_6_5_credit_begins_at_4096_and_is_not_exceeded() {
    for flow in [0, 3] {
        acceptors(|kit| {
            assert_eq!(kit.feed(&frame(Data, 0, flow, &[0; INITIAL_CREDIT])).len(), 1);
            kit.alive();
        });
        // At the header, before a byte of it came.
        let beyond = &frame(Data, 0, flow, &[0; INITIAL_CREDIT + 1])[..8];
        acceptors(|kit| kit.breaks(beyond, CloseCode::CreditExceeded));
        acceptors(|kit| {
            kit.appetite = 0;
            kit.feed(&frame(Data, 0, flow, &[0; INITIAL_CREDIT]));
            assert_eq!(kit.sent(), NONE, "what is not consumed gives no credit");
            kit.breaks(&frame(Data, 0, flow, b"x"), CloseCode::CreditExceeded);
        });
    }
}

#[test]
fn r_6_5_what_we_send_keeps_to_the_credit() {
    openers(|kit| {
        let bytes = [5; 9000];
        assert_eq!(kit.session.send(C0, Flow::Input, &bytes), INITIAL_CREDIT);
        assert_eq!(kit.session.send(C0, Flow::Input, &bytes), 0);
        assert_eq!(
            kit.feed(&credit(0, 0, 4100)),
            [Seen::Event(Event::Credit { channel: C0, flow: Flow::Input })]
        );
        assert_eq!(kit.session.send(C0, Flow::Input, &bytes), 4);
        assert_eq!(kit.session.writable(C0, Flow::Request), INITIAL_CREDIT, "flows do not share it");
    });
}

#[test]
fn r_6_5_credit_never_goes_back() {
    openers(|kit| kit.breaks(&credit(0, 0, 4095), CloseCode::CreditRange));
    openers(|kit| {
        kit.feed(&[credit(0, 0, u64::MAX), credit(0, 0, u64::MAX)].concat());
        kit.alive();
        kit.breaks(&credit(0, 0, u64::MAX - 1), CloseCode::CreditRange);
    });
}

#[test]
fn r_6_5_credit_is_what_was_consumed() {
    acceptors(|kit| {
        kit.appetite = 0;
        kit.feed(&frame(Data, 0, 0, &[7; INITIAL_CREDIT]));
        assert_eq!(kit.session.parked(C0, Flow::Input).len(), BLOCK_LEN);
        let mut consumed = 0;
        while !kit.session.parked(C0, Flow::Input).is_empty() {
            kit.session.consume(C0, Flow::Input, 512);
            consumed += 512;
        }
        assert_eq!(consumed, INITIAL_CREDIT);
        let sent = kit.sent();
        assert_eq!(sent[..8], credit(0, 0, 0)[..8]);
        let limit = u64::from_le_bytes(sent[8..16].try_into().unwrap());
        assert!((INITIAL_CREDIT + 2048..=INITIAL_CREDIT * 3).contains(&(limit as usize)), "{limit}");
    });
}

/// The limit in the last CREDIT of `stream` for channel 0's flow.
fn last_credit(stream: &[u8], flow: u8) -> Option<u64> {
    let head = &credit(0, flow, 0)[..8];
    stream
        .windows(16)
        .filter(|w| w[..8] == *head)
        .map(|w| u64::from_le_bytes(w[8..].try_into().unwrap()))
        .next_back()
}

#[test]
fn r_6_6_the_window_of_a_fast_sink_grows_to_its_largest_and_no_further() {
    let mut kit = Kit::with(Side::Agent, Way::Whole, 4, SURPLUS_BLOCKS);
    kit.feed(&[hello(4), open(0)].concat());
    let (mut sent, mut limit, mut widest) = (0u64, INITIAL_CREDIT as u64, 0);
    for _ in 0..400 {
        let length = (limit - sent).min(FRAME_PAYLOAD_MAX as u64);
        kit.feed(&frame(Data, 0, 0, &vec![1; length as usize]));
        sent += length;
        limit = last_credit(&kit.sent(), 0).unwrap_or(limit);
        widest = widest.max(limit - sent);
    }
    assert_eq!(widest, WINDOW_MAX as u64);
    kit.alive();
}

#[test]
fn r_6_6_a_slow_sink_costs_no_more_than_its_window() {
    acceptors(|kit| {
        kit.appetite = 0;
        let (mut sent, mut limit) = (0u64, INITIAL_CREDIT as u64);
        for _ in 0..200 {
            kit.feed(&frame(Data, 0, 0, &vec![1; (limit - sent).max(1) as usize]));
            sent = limit;
            while last_credit(&kit.sent(), 0).inspect(|&raised| limit = raised).is_none() {
                let length = kit.session.parked(C0, Flow::Input).len().min(100);
                kit.session.consume(C0, Flow::Input, length);
            }
            assert!(limit - sent <= (64 * BLOCK_LEN / 4) as u64, "a quarter of the surplus at the most");
        }
        kit.alive();
    });
}

#[test]
fn r_6_6_512_channels_with_full_initial_windows_lose_nothing() {
    let mut kit = Kit::with(Side::Agent, Way::Whole, CHANNELS_MAX, SURPLUS_BLOCKS);
    assert_eq!(POOL_BLOCKS, crate::limits::pool_blocks(CHANNELS_MAX, SURPLUS_BLOCKS));
    kit.feed(&hello(4));
    let byte = |id: u16, flow: u8, at: usize| (at as u16 ^ id.wrapping_mul(31) ^ u16::from(flow)) as u8;
    let window = |id, flow| (0..INITIAL_CREDIT).map(|at| byte(id, flow, at)).collect::<Vec<_>>();
    // The first flow has taken all the surplus that it can before the others come.
    let mut limit = INITIAL_CREDIT as u64;
    let mut sent = 0;
    kit.feed(&open(0));
    for _ in 0..100 {
        kit.feed(&frame(Data, 0, 0, &vec![0; (limit - sent).min(60_000) as usize]));
        sent += (limit - sent).min(60_000);
        limit = last_credit(&kit.sent(), 0).unwrap_or(limit);
    }
    kit.appetite = 0;
    while sent < limit {
        let length = (limit - sent).min(60_000);
        kit.feed(&frame(Data, 0, 0, &vec![0; length as usize]));
        sent += length;
    }
    for id in (2..1024).step_by(2) {
        kit.feed(&open(id));
        for flow in [0, 3] {
            kit.feed(&frame(Data, id, flow, &window(id, flow)));
        }
    }
    kit.alive();
    assert_eq!(kit.session.open_count(), CHANNELS_MAX);
    for id in (2..1024).step_by(2) {
        for flow in [Flow::Input, Flow::Request] {
            let mut have = Vec::new();
            while !kit.session.parked(ChannelId(id), flow).is_empty() {
                let piece = kit.session.parked(ChannelId(id), flow).to_vec();
                kit.session.consume(ChannelId(id), flow, piece.len());
                have.extend(piece);
            }
            assert!(have == window(id, flow as u8), "channel {id} {flow:?}");
        }
    }
}

#[test]
fn r_6_6_what_is_dropped_is_not_charged() {
    acceptors(|kit| {
        for leave in 0..4 {
            let (id, channel) = (2, ChannelId(2));
            kit.feed(&open(id));
            kit.appetite = usize::MAX;
            let mut limit = INITIAL_CREDIT as u64;
            let mut sent = 0;
            for _ in 0..6 {
                kit.feed(&frame(Data, id, 0, &vec![0; (limit - sent) as usize]));
                sent = limit;
                let stream = kit.sent();
                let head = &credit(id, 0, 0)[..8];
                let raised = stream.windows(16).filter(|w| w[..8] == *head);
                limit = raised
                    .map(|w| u64::from_le_bytes(w[8..].try_into().unwrap()))
                    .next_back()
                    .unwrap_or(limit);
            }
            kit.appetite = 0;
            kit.feed(&frame(Data, id, 0, &vec![0; (limit - sent) as usize]));
            assert!(kit.session.charged() > 0);
            match leave {
                0 => kit.session.stop(channel, Flow::Input),
                1 => kit.session.refuse(channel, RefusalCode::Denied, 0, b""),
                2 => kit.session.reset(channel, CloseCode::Cancelled),
                _ => kit.session.stop(channel, Flow::Input),
            }
            // What a driver may still do, and what may still come.
            kit.session.consume(channel, Flow::Input, 0);
            assert_eq!(kit.session.charged(), 0, "{leave}");
            kit.feed(&frame(Finish, id, 0, b""));
            kit.session.consume(channel, Flow::Input, 0);
            assert_eq!(kit.session.charged(), 0, "{leave}");
            kit.session.reset(channel, CloseCode::Cancelled);
            kit.sent();
            kit.feed(&frame(Release, id, 0, b""));
            assert_eq!((kit.session.charged(), kit.session.open_count()), (0, 1));
        }
    });
}

#[test]
fn r_6_7_finish_needs_no_credit() {
    openers(|kit| {
        assert_eq!(kit.session.send(C0, Flow::Input, &[1; INITIAL_CREDIT]), INITIAL_CREDIT);
        kit.session.finish(C0, Flow::Input);
        assert!(kit.sent().ends_with(&frame(Finish, 0, 0, b"")));
    });
}

#[test]
fn r_6_8_stop_leads_to_finish() {
    openers(|kit| {
        let stopped = Event::Stopped { channel: C0, flow: Flow::Input };
        assert_eq!(kit.feed(&frame(Stop, 0, 0, b"")), [Seen::Event(stopped)]);
        assert_eq!(kit.session.send(C0, Flow::Input, b"more"), 0);
        assert_eq!(kit.sent(), frame(Finish, 0, 0, b""));
        assert_eq!(kit.feed(&frame(Stop, 0, 0, b"")), [], "once is enough");
        assert_eq!(kit.sent(), NONE);
    });
}

#[test]
fn r_6_8_what_comes_after_stop_is_dropped_and_gets_no_credit() {
    acceptors(|kit| {
        kit.session.stop(C0, Flow::Input);
        assert_eq!(kit.sent(), frame(Stop, 0, 0, b""));
        assert_eq!(kit.feed(&frame(Data, 0, 0, &[1; INITIAL_CREDIT])), []);
        assert_eq!(kit.feed(&frame(Finish, 0, 0, b"")), []);
        assert!(kit.session.is_drained(C0, Flow::Input));
        assert_eq!(kit.sent(), NONE);
    });
    acceptors(|kit| {
        kit.session.stop(C0, Flow::Input);
        kit.breaks(&frame(Data, 0, 0, &[1; INITIAL_CREDIT + 1]), CloseCode::CreditExceeded);
    });
}

// Signals and sizes.

#[test]
fn r_6_9_signals_are_1_to_64() {
    acceptors(|kit| {
        for number in [1u32, 15, 64] {
            let event = Event::Signal { channel: C0, number };
            assert_eq!(kit.feed(&frame(Signal, 0, 0, &number.to_le_bytes())), [Seen::Event(event)]);
        }
    });
    for number in [0u32, 65, u32::MAX] {
        acceptors(|kit| kit.breaks(&frame(Signal, 0, 0, &number.to_le_bytes()), CloseCode::Value));
    }
    openers(|kit| {
        kit.session.signal(C0, 64);
        kit.session.signal(C0, 1);
        kit.session.signal(C0, 0);
        kit.session.signal(C0, 65);
        assert_eq!(
            kit.sent(),
            [frame(Signal, 0, 0, &[1, 0, 0, 0]), frame(Signal, 0, 0, &[64, 0, 0, 0])].concat()
        );
    });
}

#[test]
fn r_6_9_signals_and_sizes_from_an_acceptor_are_ignored() {
    accepted_openers(|kit| {
        let both = [frame(Signal, 0, 0, &[1, 0, 0, 0]), frame(Resize, 0, 0, &[1; 8])].concat();
        assert_eq!(kit.feed(&both), []);
        kit.alive();
    });
}

#[test]
fn r_6_9_the_last_size_counts() {
    openers(|kit| {
        for rows in [24, 25] {
            kit.session.resize(C0, WindowSize { rows, columns: 80, width: 0, height: 3 });
        }
        assert_eq!(kit.sent(), frame(Resize, 0, 0, &[25, 0, 80, 0, 0, 0, 3, 0]));
    });
    acceptors(|kit| {
        let size = WindowSize { rows: 25, columns: 80, width: 0, height: 3 };
        let resize = frame(Resize, 0, 0, &[25, 0, 80, 0, 0, 0, 3, 0]);
        assert_eq!(kit.feed(&resize), [Seen::Event(Event::Resized { channel: C0, size })]);
    });
}

// The end of a channel.

fn finishes() -> Vec<u8> {
    [frame(Finish, 0, 1, b""), frame(Finish, 0, 2, b"")].concat()
}

#[test]
fn r_6_10_exit_follows_accepted_and_both_finishes() {
    accepted_openers(|kit| kit.breaks(&exit(0, 0, 0, b""), CloseCode::ChannelState));
    let half = [frame(Finish, 0, 1, b""), exit(0, 0, 0, b"")].concat();
    accepted_openers(|kit| kit.breaks(&half, CloseCode::ChannelState));
    accepted_openers(|kit| {
        let event = Event::Exited { channel: C0, outcome: Outcome::Exited(3) };
        assert_eq!(kit.feed(&[finishes(), exit(0, 0, 3, b"why")].concat())[2], Seen::Event(event));
        assert_eq!(kit.session.text(), b"why");
        kit.breaks(&exit(0, 0, 3, b""), CloseCode::ChannelState);
    });
}

#[test]
fn r_6_10_how_is_one_of_three() {
    for (how, value) in [(3, 0), (255, 1), (1, 0), (1, 65)] {
        let bad = [finishes(), exit(0, how, value, b"")].concat();
        accepted_openers(|kit| kit.breaks(&bad, CloseCode::Value));
    }
}

#[test]
fn r_6_11_reset_is_answered_release_and_the_id_is_free() {
    acceptors(|kit| {
        let event = Event::Reset { channel: C0, code: CloseCode::Cancelled };
        assert_eq!(kit.feed(&frame(Reset, 0, 0, &[3, 0, 0, 0])), [Seen::Event(event)]);
        assert_eq!(kit.sent(), frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 0);
        assert_eq!(kit.feed(&open(0)).len(), 1, "the id is used again");
    });
}

#[test]
fn r_6_11_resets_that_cross_free_the_id() {
    acceptors(|kit| {
        kit.session.reset(C0, CloseCode::Internal);
        assert_eq!(kit.sent(), frame(Reset, 0, 0, &[4, 0, 0, 0]));
        assert_eq!(kit.feed(&frame(Reset, 0, 0, &[3, 0, 0, 0])), []);
        assert_eq!((kit.sent(), kit.session.open_count()), (vec![], 0));
    });
    acceptors(|kit| {
        kit.session.reset(C0, CloseCode::Internal);
        assert_eq!(kit.feed(&frame(Reset, 0, 0, &[3, 0, 0, 0])), [], "before ours was written");
        assert_eq!(kit.sent(), frame(Reset, 0, 0, &[4, 0, 0, 0]));
        assert_eq!(kit.session.open_count(), 0);
    });
}

#[test]
fn r_6_11_what_comes_after_our_reset_is_dropped() {
    acceptors(|kit| {
        kit.session.reset(C0, CloseCode::Internal);
        kit.sent();
        let late = [frame(Data, 0, 0, b"late"), frame(Finish, 0, 0, b""), frame(Signal, 0, 0, &[2, 0, 0, 0])];
        assert_eq!(kit.feed(&late.concat()), []);
        assert_eq!(kit.session.open_count(), 1, "until the peer has released it");
        kit.feed(&frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 0);
        kit.breaks(&frame(Finish, 0, 3, b""), CloseCode::ChannelState);
    });
}

#[test]
fn r_6_12_the_id_is_free_when_both_have_released() {
    accepted_openers(|kit| {
        kit.feed(&[finishes(), exit(0, 0, 3, b""), frame(Release, 0, 0, b"")].concat());
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2), "id 0 is ours until we release it");
        kit.session.release(C0);
        assert!(kit.sent().ends_with(&frame(Release, 0, 0, b"")));
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    });
    accepted_openers(|kit| {
        kit.feed(&[finishes(), exit(0, 0, 3, b"")].concat());
        kit.session.release(C0);
        kit.sent();
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2), "the acceptor has not released id 0");
        kit.feed(&frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    });
}

#[test]
fn r_6_12_an_acceptor_releases_only_after_refused_or_exit() {
    accepted_openers(|kit| kit.breaks(&frame(Release, 0, 0, b""), CloseCode::ChannelState));
    accepted_openers(|kit| {
        kit.breaks(&[finishes(), frame(Release, 0, 0, b"")].concat(), CloseCode::ChannelState);
    });
}

#[test]
fn r_6_12_an_openers_early_release_is_a_reset() {
    acceptors(|kit| {
        kit.session.accept(C0, 7);
        let event = Event::Reset { channel: C0, code: CloseCode::Cancelled };
        assert_eq!(kit.feed(&frame(Release, 0, 0, b"")), [Seen::Event(event)]);
        assert!(kit.sent().ends_with(&frame(Release, 0, 0, b"")));
        assert_eq!(kit.session.open_count(), 0);
    });
}

#[test]
fn r_6_13_nothing_comes_for_a_channel_that_is_not_open() {
    for bad in [
        frame(Data, 2, 0, b"x"),
        frame(Finish, 2, 0, b""),
        frame(Stop, 2, 1, b""),
        credit(2, 1, 9000),
        frame(Signal, 2, 0, &[1, 0, 0, 0]),
        frame(Resize, 2, 0, &[0; 8]),
        frame(Reset, 2, 0, &[0; 4]),
        frame(Release, 2, 0, b""),
        frame(Data, 4000, 0, b"x"),
    ] {
        acceptors(|kit| kit.breaks(&bad, CloseCode::ChannelState));
    }
}

#[test]
fn r_6_13_nothing_follows_release() {
    for bad in [
        frame(Data, 0, 0, b"x"),
        frame(Finish, 0, 0, b""),
        frame(Release, 0, 0, b""),
        frame(Reset, 0, 0, &[0; 4]),
    ] {
        acceptors(|kit| {
            kit.feed(&frame(Reset, 0, 0, &[0; 4]));
            kit.breaks(&bad, CloseCode::ChannelState);
        });
    }
    accepted_openers(|kit| {
        kit.feed(&[finishes(), exit(0, 0, 0, b""), frame(Release, 0, 0, b"")].concat());
        kit.breaks(&credit(0, 0, 9000), CloseCode::ChannelState);
    });
}

/// A client with channel 0 whose ring of 128 bytes is full, and how many bytes it has sent.
fn full_ring() -> (Kit, u64) {
    let mut kit = Kit::with_ring(Side::Client, Way::Whole, 4, 0, 128);
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    kit.feed(&hello(4));
    let free = kit.session.link().free();
    assert_eq!(kit.session.send(C0, Flow::Request, &[0; 200]), free - 8);
    kit.transmit();
    assert_eq!(kit.session.link().free(), 0);
    (kit, 128)
}

#[test]
fn r_6_13_nothing_comes_for_a_channel_whose_open_was_not_sent() {
    let (mut kit, _) = full_ring();
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2));
    kit.breaks(&accepted(2), CloseCode::ChannelState);
}

#[test]
fn r_6_14_control_that_waits_for_room_is_not_overtaken_by_bulk() {
    let (mut kit, _) = full_ring();
    kit.session.signal(C0, 2);
    kit.acknowledge(11);
    assert_eq!(kit.session.send(C0, Flow::Input, &[1; 100]), 0, "SIGNAL needs 12 bytes");
    assert_eq!(kit.session.writable(C0, Flow::Input), 0);
    kit.acknowledge(22);
    assert_eq!(kit.session.send(C0, Flow::Input, &[1; 100]), 0, "bulk does not go out in crumbs");
    let stream = unwrap_records(&kit.transmit()).0;
    assert_eq!(stream, frame(Signal, 0, 0, &[2, 0, 0, 0]));
}
