//! What the fuzz targets do, as ordinary functions. The input is bytes of a peer and, between them, what the application
//! does: it has to survive both.

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::fields::Fields;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome, WindowSize};
use vsock_shell_proto::glob::matches;
use vsock_shell_proto::items::{ItemReader, Stream, VALUE_MAX};
use vsock_shell_proto::limits::{TREE_DEPTH_MAX, pool_len};
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{Answer, Preamble};
use vsock_shell_proto::serial::{Scanned, scan};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

const CHANNELS: usize = 4;
const SURPLUS: usize = 16;
const RING: usize = 4096;

/// The input as choices: bytes, and small numbers.
struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes(&mut self, length: usize) -> &'d [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// One side of a session, whose peer and whose application the input plays.
pub fn session(side: Side, data: &[u8]) {
    let mut input = Input(data);
    let memory = Memory {
        ring: vec![0; RING],
        pool: vec![0; pool_len(CHANNELS, SURPLUS)],
        channels: vec![Channel::FREE; 2 * CHANNELS],
        channels_max: CHANNELS,
    };
    let hello = Hello::new("fuzz", CHANNELS as u32, 1 << 16, 0);
    let mut session = Session::new(side, memory, hello, Some(5_000_000));
    let mut now = Instant::default();
    session.attach(0, now).expect("nothing was sent yet");
    while let Some(action) = input.byte() {
        let channel = ChannelId(u16::from(action >> 5));
        let flow = Flow::ALL[usize::from(action >> 3) & 3];
        match action % 19 {
            0..=4 => {
                let length = usize::from(input.byte().unwrap_or(0));
                let mut rest = input.bytes(length);
                let appetite = usize::from(action >> 4) * 16;
                while !rest.is_empty() {
                    let (taken, event) = session.handle_received(rest, now);
                    rest = &rest[taken..];
                    match event {
                        Some(Event::Data { channel, flow, bytes }) => {
                            let waits = !session.parked(channel, flow).is_empty();
                            let taken = if waits { 0 } else { appetite.min(bytes.len()) };
                            session.deliver(channel, flow, bytes, taken);
                        }
                        Some(_) => {}
                        None => assert!(rest.is_empty()),
                    }
                }
            }
            5 => {
                let parked = session.parked(channel, flow).len();
                session.consume(channel, flow, parked);
            }
            6 => _ = session.open(ChannelKind::Exec),
            7 => session.accept(channel, 1),
            8 => session.refuse(channel, RefusalCode::System, 2, b"text"),
            9 if session.is_drained(channel, Flow::Request) => {
                // Only what was accepted can exit.
                session.accept(channel, 1);
                session.exit(channel, Outcome::Exited(0), b"");
            }
            10 => _ = session.send(channel, flow, &[7; 300]),
            11 => session.finish(channel, flow),
            12 => session.stop(channel, flow),
            13 => session.signal(channel, u32::from(action)),
            14 => session.resize(channel, WindowSize::default()),
            15 => session.reset(channel, CloseCode::Cancelled),
            16 => session.release(channel),
            17 => {
                while let Some(transmit) = session.poll_transmit(now) {
                    let length = transmit.head.len() + transmit.first.len() + transmit.second.len();
                    session.handle_transmitted(length.min(1 + usize::from(action) * 8), now);
                }
            }
            _ => {
                now = now.after(u64::from(action) * 100_000);
                session.handle_timeout(now);
                if action > 250 {
                    let (low, high) = session.link().resend_range();
                    session.detach();
                    _ = session.attach(low + (high - low) / 2, now);
                }
            }
        }
    }
}

/// Reads a stream of items.
fn items(of: Stream, memory: &mut [u8], data: &[u8]) {
    let mut reader = ItemReader::new(of);
    let mut rest = data;
    while !rest.is_empty() {
        match reader.read(memory, rest) {
            Ok((taken, item)) => {
                assert!(taken > 0 && (item.is_some() || taken == rest.len()));
                assert!(reader.depth() <= TREE_DEPTH_MAX);
                rest = &rest[taken..];
            }
            Err(_) => break,
        }
    }
}

/// Everything that is parsed without state, and the readers of streams.
pub fn parsers(data: &[u8]) {
    if let Some(bytes) = data.first_chunk() {
        if let Ok(preamble) = Preamble::parse(bytes) {
            assert_eq!(Preamble::parse(&preamble.encode()).as_ref(), Ok(&preamble));
        }
        if let Ok(answer) = Answer::parse(bytes) {
            assert_eq!(Answer::parse(&answer.encode()).as_ref(), Ok(&answer));
        }
    }
    for field in Fields::new(data).flatten() {
        _ = (field.string(), field.number(), field.is_optional());
    }
    let mut memory = vec![0; VALUE_MAX];
    for of in [Stream::Tree, Stream::List, Stream::Problems, Stream::Wants] {
        items(of, &mut memory, data);
    }
    if let Some((&at, rest)) = data.split_first() {
        let (pattern, name) = rest.split_at(rest.len().min(at.into()));
        _ = matches(pattern, name);
    }
    let mut rest = data;
    while let Scanned::Garbage(used) | Scanned::Record(used, ..) = scan(rest) {
        assert!(used > 0 && used <= rest.len());
        rest = &rest[used..];
    }
}
