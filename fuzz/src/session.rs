//! One side of a session: the input is its peer, its application, and its clock, and it has to survive all three.

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome, WindowSize};
use vsock_shell_proto::limits::pool_len;
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::input::Input;

const CHANNELS: usize = 4;
const SURPLUS: usize = 16;
const RING: usize = 4096;

struct Driven {
    session: Session<Vec<u8>, Vec<u8>, Vec<Channel>>,
    now: Instant,
}

/// The agent's side; its peer says any bytes.
pub fn agent(data: &[u8]) {
    Driven::new(Side::Agent).drive(&mut Input::new(data), |input| input.piece().to_vec());
}

/// The client's side; its peer says any bytes.
pub fn client(data: &[u8]) {
    Driven::new(Side::Client).drive(&mut Input::new(data), |input| input.piece().to_vec());
}

/// Either side; its peer says frames and records that are mostly right.
pub fn mux(data: &[u8]) {
    let mut input = Input::new(data);
    let side = if input.once_in(2) { Side::Client } else { Side::Agent };
    let mut driven = Driven::new(side);
    driven.feed(&record(&frame_of(0x01, 0, 0, &hello(&mut input))), 64);
    driven.drive(&mut input, said);
}

impl Driven {
    fn new(side: Side) -> Self {
        let memory = Memory {
            ring: vec![0; RING],
            pool: vec![0; pool_len(CHANNELS, SURPLUS)],
            channels: vec![Channel::FREE; 2 * CHANNELS],
            channels_max: CHANNELS,
        };
        let hello = Hello::new("fuzz", CHANNELS as u32, 1 << 16, 0);
        let mut session = Session::new(side, memory, hello, Some(5_000_000));
        let now = Instant::default();
        session.attach(0, now).expect("nothing was sent yet");
        Self { session, now }
    }

    fn drive(&mut self, input: &mut Input<'_>, mut says: impl FnMut(&mut Input<'_>) -> Vec<u8>) {
        while let Some(action) = input.taken() {
            match action % 24 {
                0..=8 => {
                    let said = says(input);
                    self.feed(&said, usize::from(action >> 4) * 16);
                }
                _ => self.act(action, input),
            }
        }
    }

    /// Takes bytes of the peer. Sinks take at most `appetite` of each piece.
    fn feed(&mut self, bytes: &[u8], appetite: usize) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, event) = self.session.handle_received(rest, self.now);
            rest = &rest[taken..];
            match event {
                Some(Event::Data { channel, flow, bytes }) => {
                    assert!(!bytes.is_empty());
                    let waits = !self.session.parked(channel, flow).is_empty();
                    let taken = if waits { 0 } else { appetite.min(bytes.len()) };
                    self.session.deliver(channel, flow, bytes, taken);
                }
                Some(_) => {}
                None => assert!(rest.is_empty()),
            }
        }
    }

    /// What the application and the transport do.
    fn act(&mut self, action: u8, input: &mut Input<'_>) {
        let session = &mut self.session;
        let channel = ChannelId(u16::from(action >> 5));
        let flow = Flow::ALL[usize::from(action >> 3) & 3];
        match action % 24 {
            9 => {
                let parked = session.parked(channel, flow).len();
                session.consume(channel, flow, parked.min(input.short().into()));
            }
            10 => {
                _ = session.open(input.pick(&[ChannelKind::Exec, ChannelKind::Put, ChannelKind::Unknown(9)]));
            }
            11 => session.accept(channel, 1),
            12 => session.refuse(channel, RefusalCode::System, 2, input.piece()),
            13 if session.is_drained(channel, Flow::Request) => {
                // Only what was accepted can exit.
                session.accept(channel, 1);
                session.exit(channel, Outcome::Exited(0), input.piece());
            }
            14 => _ = session.send(channel, flow, &[7; 300]),
            15 => session.finish(channel, flow),
            16 => session.stop(channel, flow),
            17 => session.signal(channel, u32::from(action)),
            18 => session.resize(channel, WindowSize::default()),
            19 if input.once_in(2) => session.detach_channel(channel, 1),
            19 => session.reset(channel, CloseCode::Cancelled),
            20 => session.release(channel),
            21 => self.transmit(1 + usize::from(action) * 8),
            22 => {
                self.now = self.now.after(u64::from(action) * 100_000);
                assert!(session.link().silence_micros(self.now) <= self.now.micros());
                session.handle_timeout(self.now);
            }
            23 if action > 250 => session.close(CloseCode::Normal),
            23 => {
                let (low, high) = session.link().resend_range();
                session.detach();
                for wrong in [low.checked_sub(1), high.checked_add(1)].into_iter().flatten() {
                    assert!(session.attach(wrong, self.now).is_err());
                    assert_eq!(session.link().resend_range(), (low, high));
                }
                _ = session.attach(low + (high - low) / 2, self.now);
            }
            _ => {}
        }
    }

    /// Sends all that there is, in writes of at most `length`.
    fn transmit(&mut self, length: usize) {
        while let Some(transmit) = self.session.poll_transmit(self.now) {
            let there = transmit.head.len() + transmit.first.len() + transmit.second.len();
            self.session.handle_transmitted(there.min(length), self.now);
        }
    }
}

/// What stands before a record or a frame is made of four bytes and a length.
fn headed(head: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&head, &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

/// A DATA record.
pub(crate) fn record(payload: &[u8]) -> Vec<u8> {
    headed([1, 0, 0, 0], payload)
}

/// A frame.
pub(crate) fn frame_of(kind: u8, flow: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    headed([kind, flow, channel, 0], payload)
}

fn hello(input: &mut Input<'_>) -> Vec<u8> {
    let mut hello = vec![0; 32];
    hello[16] = input.byte();
    hello[20..22].copy_from_slice(&input.short().to_le_bytes());
    hello.extend_from_slice(b"peer");
    hello
}

/// A record whose type and length are mostly right.
pub(crate) fn said(input: &mut Input<'_>) -> Vec<u8> {
    match input.byte() {
        0..=15 => headed([2, 0, 0, 0], &input.long().to_le_bytes()),
        16..=23 => headed([3, 0, 0, 0], &input.long().to_le_bytes()),
        24..=31 => headed([4, 0, 0, 0], &input.long().to_le_bytes()),
        32 => headed([5, 0, 0, 0], &input.number().to_le_bytes()),
        33..=35 => headed([input.byte(), input.byte(), 0, 0], input.piece()),
        36..=40 => input.piece().to_vec(),
        frames => {
            let frames: Vec<Vec<u8>> = (0..=frames % 4).map(|_| frame(input)).collect();
            record(&frames.concat())
        }
    }
}

/// A frame whose type, channel and length are mostly right.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    const KINDS: [u8; 24] = [
        0x13, 0x13, 0x13, 0x13, 0x13, 0x10, 0x10, 0x10, 0x11, 0x11, 0x12, 0x14, 0x14, 0x14, 0x15, 0x16, 0x16,
        0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x90,
    ];
    let choice = input.byte();
    let kind = match choice {
        255 => input.byte(),
        254 => 0x02,
        _ => KINDS[usize::from(choice) % KINDS.len()],
    };
    let place = input.byte();
    let (channel, flow) = (place & 7, place >> 3 & 3);
    let payload = match kind {
        0x10 => vec![input.byte() % 9, 0, 0, 0, 0, 0, 0, 0],
        0x11 | 0x16 => input.long().to_le_bytes().to_vec(),
        0x12 | 0x19 => {
            let mut payload = vec![input.byte() % 5, 0, 0, 0, input.byte(), 0, 0, 0];
            payload.extend_from_slice(input.piece());
            payload
        }
        0x13 => vec![7; input.short().into()],
        0x14 | 0x15 | 0x1B => Vec::new(),
        0x18 => vec![0; 8],
        0x02 | 0x17 | 0x1A | 0x1C => vec![input.byte() % 66, 0, 0, 0],
        _ => input.piece().to_vec(),
    };
    frame_of(kind, flow, channel, &payload)
}
