//! Random input into everything that reads what a peer sent: bytes without sense, and transcripts that were cut and
//! changed. With debug assertions nothing panics; a session ends or goes on. `fuzz/` looks further.
#![allow(missing_docs)]

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::fields::Fields;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome, WindowSize};
use vsock_shell_proto::glob::matches;
use vsock_shell_proto::items::{
    FileEnd, ITEM_MAX, ItemReader, Meta, Stream, Timestamp, VALUE_MAX, Want, content_header,
    encode_attribute, encode_end, encode_entry, encode_hole, encode_leave, encode_problem, encode_want,
};
use vsock_shell_proto::limits::{CHANNEL_IDS, PREAMBLE_LEN, SERIAL_PAYLOAD_MAX, pool_len};
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{Answer, Dialer, Held, Preamble, SessionId, admit};
use vsock_shell_proto::serial::{self, SERIAL_RECORD_MAX, Scanned, SerialHeader};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

const RUNS: u64 = if cfg!(debug_assertions) { 4_000 } else { 40_000 };

type Core = Session<Vec<u8>, Vec<u8>, Vec<Channel>>;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.below(max + 1)).map(|_| self.next() as u8).collect()
    }

    /// Changes, drops, doubles and inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), self.next() as u8),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                _ if !bytes.is_empty() => bytes[at] = self.next() as u8,
                _ => {}
            }
        }
    }
}

fn core(side: Side, random: &mut Random) -> Core {
    let memory = Memory {
        ring: vec![0; 272 + random.below(3000)],
        pool: vec![0; pool_len(3, random.below(60))],
        channels: vec![Channel::FREE; [6, CHANNEL_IDS][random.below(2)]],
        channels_max: 3,
    };
    let mut core = Session::new(side, memory, Hello::new("random", 3, 4096, 0), Some(5_000_000));
    core.attach(0, Instant::default()).expect("a new session begins at 0");
    core
}

/// A frame whose header is mostly right.
fn frame(random: &mut Random) -> Vec<u8> {
    let kinds = [
        0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x13, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x90,
    ];
    let kind = kinds[random.below(kinds.len())];
    let length = match kind {
        0x01 => 32,
        0x02 | 0x17 | 0x1A => 4,
        0x10 | 0x11 | 0x16 | 0x18 => 8,
        0x12 | 0x19 => 8 + random.below(20),
        0x13 if random.below(2) == 0 => 1 + random.below(3000),
        0x13 => 1 + random.below(40),
        0x90 => random.below(9),
        _ => 0,
    };
    let mut payload: Vec<u8> = match (kind, random.below(3)) {
        (0x16, 0) => (random.below(100_000) as u64).to_le_bytes().to_vec(),
        (_, 1) => (0..length).map(|_| random.next() as u8).collect(),
        _ => (0..length).map(|_| random.below(3) as u8).collect(),
    };
    payload.resize(length, 0);
    let mut bytes = vec![kind, random.below(4) as u8, random.below(5) as u8, 0];
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// Frames in DATA records, with other records between.
fn transcript(random: &mut Random) -> Vec<u8> {
    let mut hello = vec![0; 40];
    (hello[0], hello[4], hello[24]) = (1, 32, random.below(5) as u8);
    let mut stream = hello;
    for _ in 0..random.below(30) {
        stream.extend(frame(random));
    }
    let mut bytes = Vec::new();
    while !stream.is_empty() {
        if random.below(4) == 0 {
            let kind = [2, 3, 4, 77][random.below(4)];
            bytes.extend([kind, 0, 0, 0, 8, 0, 0, 0]);
            bytes.extend((random.below(200) as u64 * (random.below(2) as u64)).to_le_bytes());
        }
        let length = 1 + random.below(stream.len());
        bytes.extend([1, 0, 0, 0]);
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend(stream.drain(..length));
    }
    bytes
}

/// Some verb on some channel, as a driver that has lost track might call it.
fn meddle(core: &mut Core, random: &mut Random, now: Instant) {
    let channel = ChannelId(random.below(5) as u16);
    let flow = Flow::ALL[random.below(4)];
    match random.below(14) {
        0 => drop(core.open(ChannelKind::Exec)),
        1 => drop(core.send(channel, flow, &[7; 50])),
        2 => core.finish(channel, flow),
        3 => core.stop(channel, flow),
        4 => core.reset(channel, CloseCode::Cancelled),
        5 => core.release(channel),
        6 => core.signal(channel, random.below(70) as u32),
        7 => core.resize(channel, WindowSize::default()),
        8 => core.refuse(channel, RefusalCode::Denied, 1, &[b'x'; 300]),
        9 => {
            core.accept(channel, 5);
            // An acceptor's verb: on our own channel and before ACCEPTED it would be misuse.
            if core.writable(channel, Flow::Output) > 0 {
                core.exit(channel, Outcome::Exited(1), b"text");
            }
        }
        10 => core.handle_timeout(now),
        11 if random.below(20) == 0 => core.close(CloseCode::Normal),
        12 => {
            core.detach();
            let (low, high) = core.link().resend_range();
            let _ = core.attach(low + random.below((high - low + 2) as usize) as u64, now);
        }
        _ => {
            let parked = core.parked(channel, flow).len();
            core.consume(channel, flow, random.below(parked + 1));
        }
    }
}

/// Feeds `input` in random pieces to a driver that does random things.
fn drive(side: Side, input: &[u8], random: &mut Random) {
    let mut core = core(side, random);
    let mut now = Instant::from_micros(1);
    let mut rest = input;
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at((1 + random.below(300)).min(rest.len()));
        rest = later;
        loop {
            let (taken, event) = core.handle_received(piece, now);
            piece = &piece[taken..];
            let Some(event) = event else { break };
            if let Event::Data { channel, flow, bytes } = event {
                let parked = !core.parked(channel, flow).is_empty();
                let taken = if parked { 0 } else { random.below(bytes.len() + 1) };
                core.deliver(channel, flow, bytes, taken);
            }
        }
        assert!(piece.is_empty());
        if random.below(2) == 0 {
            meddle(&mut core, random, now);
        }
        if let Some(parts) = core.poll_transmit(now) {
            let length = parts.head.len() + parts.first.len() + parts.second.len();
            core.handle_transmitted(random.below(length + 1), now);
        }
        now = now.after(random.below(700_000) as u64);
    }
}

#[test]
fn a_session_takes_any_bytes() {
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let mut input = if seed % 4 == 0 { random.bytes(400) } else { transcript(&mut random) };
        if seed % 4 != 1 {
            random.mutate(&mut input);
        }
        for side in [Side::Client, Side::Agent] {
            drive(side, &input, &mut random);
        }
    }
}

#[test]
fn preambles_and_answers_take_any_bytes() {
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let mut dialer = Dialer::new(SessionId([3; 16]));
        let preamble = dialer.next_preamble(random.next(), [0; 16]);
        let held =
            Held { attempt: random.next() % 3, resend: (random.next() % 9, random.next()), received: 5 };
        let answer = admit(&preamble, [None, Some(held)][random.below(2)]);
        for mut bytes in [preamble.encode().to_vec(), answer.encode().to_vec(), random.bytes(80)] {
            random.mutate(&mut bytes);
            bytes.resize(PREAMBLE_LEN, 0);
            let bytes: [u8; PREAMBLE_LEN] = bytes.try_into().expect("just resized");
            if let Ok(preamble) = Preamble::parse(&bytes) {
                assert_eq!(Preamble::parse(&preamble.encode()).as_ref(), Ok(&preamble));
                let _ = admit(&preamble, Some(held));
            }
            if let Ok(answer) = Answer::parse(&bytes) {
                assert_eq!(Answer::parse(&answer.encode()), Ok(answer));
            }
            let _ = dialer.handle_answer(&bytes);
        }
    }
}

#[test]
fn fields_take_any_bytes() {
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let mut bytes = b"\x01\x03\0\0ls\0\x06\x08\0\0\x18\0\x50\0\0\0\0\0\x12\x04\0\0\x01\0\0\0".to_vec();
        random.mutate(&mut bytes);
        for bytes in [bytes, random.bytes(60)] {
            let count = Fields::new(&bytes).inspect(|field| {
                if let Ok(field) = field {
                    let _ =
                        (field.string(), field.number(), field.is_optional(), WindowSize::parse(field.value));
                }
            });
            assert!(count.count() <= bytes.len());
        }
    }
}

/// Items of every kind, in an order that may be.
fn tree() -> Vec<u8> {
    let file = Meta::file(0o600, 5, Timestamp::NONE);
    let directory = Meta { mode: 0o040_700, ..file };
    let mut out = vec![0; ITEM_MAX];
    let mut stream = Vec::new();
    let mut add = |write: &dyn Fn(&mut [u8]) -> usize| {
        let length = write(&mut out);
        stream.extend_from_slice(&out[..length]);
    };
    add(&|out| encode_entry(out, &directory, b"", b""));
    add(&|out| encode_attribute(out, b"user.x", |_| Ok::<_, ()>(5)).expect("it is read"));
    add(&|out| encode_entry(out, &file, b"name", b"target"));
    add(&|out| {
        out[..13].copy_from_slice(&[&content_header(5)[..], b"hello"].concat());
        13
    });
    add(&|out| encode_hole(out, 9));
    add(&|out| encode_end(out, &FileEnd { digest: 1, size: 14 }));
    add(&|out| encode_problem(out, 2, b"p", b"open"));
    add(&|out| encode_leave(out, &directory));
    stream
}

#[test]
fn item_streams_take_any_bytes() {
    let tree = tree();
    let mut want = vec![0; 64];
    let length = encode_want(&mut want, &Want { length: 0, digest: 0, flags: 0, path: c"a/b" });
    want.truncate(length);
    let mut memory = vec![0; VALUE_MAX];
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let of = [Stream::Tree, Stream::List, Stream::Problems, Stream::Wants][random.below(4)];
        let mut bytes = if of == Stream::Wants { want.repeat(3) } else { tree.clone() };
        random.mutate(&mut bytes);
        for bytes in [bytes, random.bytes(200)] {
            let mut reader = ItemReader::new(of);
            let mut rest = &bytes[..];
            while let Ok((taken, item)) =
                reader.read(&mut memory, &rest[..rest.len().min(1 + random.below(50))])
            {
                assert!(taken > 0 || item.is_none());
                rest = &rest[taken..];
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}

#[test]
fn patterns_take_any_bytes() {
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let mut bytes = b"a*[!b-c]**/?\\x]".to_vec();
        random.mutate(&mut bytes);
        for bytes in [bytes, random.bytes(30)] {
            let _ = matches(&bytes, b"abc/def/x");
            assert!(!bytes.iter().all(u8::is_ascii_lowercase) || matches(&bytes, &bytes));
        }
    }
}

#[test]
fn serial_records_take_any_bytes() {
    let mut out = vec![0; SERIAL_RECORD_MAX];
    for seed in 0..RUNS / 4 {
        let mut random = Random(seed);
        let mut bytes = random.bytes(30);
        for _ in 0..random.below(4) {
            let header =
                SerialHeader { connection: random.next() as u32, start: seed % 2 == 0, end: seed % 3 == 0 };
            let payload = random.bytes([20, SERIAL_PAYLOAD_MAX][usize::from(seed % 64 == 0)]);
            let length = serial::encode(header, &payload, &mut out).expect("it fits");
            bytes.extend_from_slice(&out[..length]);
        }
        random.mutate(&mut bytes);
        let mut rest = &bytes[..];
        loop {
            match serial::scan(rest) {
                Scanned::Garbage(length) | Scanned::Record(length, ..) => {
                    assert!(length > 0 && length <= rest.len());
                    rest = &rest[length..];
                }
                Scanned::Partial => break assert!(rest.len() < SERIAL_RECORD_MAX),
            }
        }
    }
}
