//! Records and frames, fed whole, byte by byte and in pieces: what they mean does not depend on that.

use vsock_shell_proto::frame::{Flow, Hello, Outcome, WindowSize};
use vsock_shell_proto::limits::pool_len;
use vsock_shell_proto::link::{End, Link};
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::input::{Input, ways};

const RING: usize = 512;
/// Bytes that the peer may acknowledge.
const SENT: usize = 100;

/// What a link made of records.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    stream: Vec<u8>,
    end: Option<End>,
    resend: (u64, u64),
    answers: Vec<u8>,
}

/// Records to a link.
pub fn records(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    let records = input.rest();
    let [whole, bytes, pieces] = ways(records, chosen).map(|piece| hear(records, piece));
    assert_eq!(whole, bytes);
    assert_eq!(whole, pieces);
}

fn hear(records: &[u8], piece: usize) -> Heard {
    let now = Instant::default();
    let mut link = Link::new(vec![0; RING], None);
    link.attach(0, now).expect("nothing was sent yet");
    link.write(&[7; SENT]);
    while let Some(transmit) = link.poll_transmit(now) {
        let length = transmit.head.len() + transmit.first.len() + transmit.second.len();
        link.handle_transmitted(length, now);
    }
    let mut stream = Vec::new();
    for mut rest in records.chunks(piece) {
        while !rest.is_empty() {
            let (control, length) = link.handle_received(rest, now);
            stream.extend_from_slice(&rest[control..control + length]);
            link.accept(length);
            rest = &rest[control + length..];
        }
    }
    assert_eq!(link.received(), stream.len() as u64);
    let mut answers = Vec::new();
    while let Some(transmit) = link.poll_transmit(now) {
        let said = [transmit.head, transmit.first, transmit.second].concat();
        link.handle_transmitted(said.len(), now);
        answers.extend(said);
    }
    Heard { stream, end: link.end(), resend: link.resend_range(), answers }
}

/// What a session made of frames: events, the bytes of each flow, and what it answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Understood {
    events: Vec<String>,
    parked: Vec<Vec<u8>>,
    end: Option<End>,
    answers: Vec<u8>,
}

const CHANNELS: usize = 4;

/// Frames to a session of either side.
pub fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    let side = if chosen & 1 == 0 { Side::Agent } else { Side::Client };
    values(&mut input.clone());
    let stream = input.rest();
    // In records of any length.
    let records: Vec<u8> = stream
        .chunks(usize::from(chosen >> 1) + 1)
        .flat_map(|part| [&[1, 0, 0, 0], &(part.len() as u32).to_le_bytes()[..], part].concat())
        .collect();
    let [whole, bytes, pieces] = ways(&records, chosen).map(|piece| understand(side, &records, piece));
    assert_eq!(whole, bytes);
    assert_eq!(whole, pieces);
}

fn understand(side: Side, records: &[u8], piece: usize) -> Understood {
    let now = Instant::default();
    let memory = Memory {
        ring: vec![0; 4096],
        pool: vec![0; pool_len(CHANNELS, 4)],
        channels: vec![Channel::FREE; 2 * CHANNELS],
        channels_max: CHANNELS,
    };
    let mut session = Session::new(side, memory, Hello::new("fuzz", CHANNELS as u32, 1 << 16, 0), None);
    session.attach(0, now).expect("nothing was sent yet");
    if side == Side::Client {
        let channel = session.open(vsock_shell_proto::frame::ChannelKind::Exec).expect("one may be opened");
        session.finish(channel, Flow::Request);
    }
    let mut understood = Understood::default();
    // What was opened is sent before anything comes.
    transmit(&mut session, now, &mut understood.answers);
    for mut rest in records.chunks(piece) {
        while !rest.is_empty() {
            let (taken, event) = session.handle_received(rest, now);
            rest = &rest[taken..];
            match event {
                // Nothing is consumed, so that credit does not depend on the pieces.
                Some(Event::Data { channel, flow, bytes }) => session.deliver(channel, flow, bytes, 0),
                Some(Event::Hello) => understood.events.push(format!("{:?}", session.peer())),
                Some(event) => understood.events.push(format!("{event:?} {:?}", session.text())),
                None => assert!(rest.is_empty()),
            }
        }
    }
    for id in 0..2 * CHANNELS as u16 {
        for flow in Flow::ALL {
            let channel = vsock_shell_proto::frame::ChannelId(id);
            understood.parked.push(session.parked_pieces(channel, flow).flatten().copied().collect());
        }
    }
    understood.end = session.end();
    // How much the link had acknowledged when a rule was broken does depend on them.
    if understood.end.is_none() {
        transmit(&mut session, now, &mut understood.answers);
    }
    understood
}

type Core = Session<Vec<u8>, Vec<u8>, Vec<Channel>>;

fn transmit(session: &mut Core, now: Instant, into: &mut Vec<u8>) {
    while let Some(transmit) = session.poll_transmit(now) {
        let said = [transmit.head, transmit.first, transmit.second].concat();
        session.handle_transmitted(said.len(), now);
        into.extend(said);
    }
}

/// Payloads with encoders of their own.
fn values(input: &mut Input<'_>) {
    let bytes = input.bytes(8);
    if let Ok(outcome) = Outcome::parse(bytes) {
        assert_eq!(Outcome::parse(&outcome.encode()), Ok(outcome));
    }
    let size = WindowSize::parse(bytes);
    assert_eq!(WindowSize::parse(&size.encode()), size);
}
