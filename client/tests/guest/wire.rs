//! One end of a connection, record by record and frame by frame: what a test says here keeps to no rule but its own.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::DEADLINE;

/// A record: ACK.
pub const ACK: u8 = 2;
/// A record: PING.
pub const PING: u8 = 3;
/// A record: PONG.
pub const PONG: u8 = 4;
/// A record: BYE.
pub const BYE: u8 = 5;

/// Frames by their names in `PROTOCOL.md` §5.
pub mod kind {
    pub const HELLO: u8 = 0x01;
    pub const CLOSE: u8 = 0x02;
    pub const OPEN: u8 = 0x10;
    pub const ACCEPTED: u8 = 0x11;
    pub const REFUSED: u8 = 0x12;
    pub const DATA: u8 = 0x13;
    pub const FINISH: u8 = 0x14;
    pub const STOP: u8 = 0x15;
    pub const CREDIT: u8 = 0x16;
    pub const SIGNAL: u8 = 0x17;
    pub const RESIZE: u8 = 0x18;
    pub const EXIT: u8 = 0x19;
    pub const RESET: u8 = 0x1A;
    pub const RELEASE: u8 = 0x1B;
    pub const DETACH: u8 = 0x1C;
}

/// A record, whatever its type.
pub fn record(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, flags, 0, 0], &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

/// A frame, whatever its type.
pub fn frame(kind: u8, flow: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let [low, high] = channel.to_le_bytes();
    [&[kind, flow, low, high], &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

/// A field of a request.
pub fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag], &(value.len() as u32).to_le_bytes()[..3], value].concat()
}

/// HELLO with all the channels there are, a grace in milliseconds, and JOBS.
pub fn hello(grace_ms: u32) -> Vec<u8> {
    let mut payload = [0; 32];
    payload[0] = 1;
    payload[16..20].copy_from_slice(&512_u32.to_le_bytes());
    payload[20..24].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    payload[24..28].copy_from_slice(&grace_ms.to_le_bytes());
    frame(kind::HELLO, 0, 0, &payload)
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flow: u8,
    pub channel: u16,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number at this place of the payload.
    #[track_caller]
    pub fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// What came.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame(Frame),
    /// A record but DATA: its type and its payload.
    Record(u8, Vec<u8>),
    /// The connection has ended.
    End,
}

/// One end of a connection.
pub struct Wire {
    stream: UnixStream,
    records: Vec<u8>,
    frames: Vec<u8>,
    /// Bytes of the peer's stream that came.
    pub received: u64,
    /// Bytes of our stream that were sent.
    pub sent: u64,
}

impl Wire {
    /// The end that we hold.
    pub fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, records: Vec::new(), frames: Vec::new(), received: 0, sent: 0 }
    }

    /// Says these bytes. Who has heard enough may have left.
    pub fn write(&mut self, bytes: &[u8]) {
        _ = self.stream.write_all(bytes);
    }

    /// Bytes as they come.
    #[track_caller]
    pub fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Says these frames, in one record.
    pub fn say(&mut self, frames: &[Vec<u8>]) {
        let frames = frames.concat();
        self.sent += frames.len() as u64;
        self.write(&record(1, 0, &frames));
    }

    /// What comes next. DATA is acknowledged, and PING answered.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        loop {
            if let Some(frame) = cut(&mut self.frames) {
                let channel = u16::from_le_bytes([frame[2], frame[3]]);
                let (kind, flow, payload) = (frame[0], frame[1], frame[8..].to_vec());
                return Heard::Frame(Frame { kind, flow, channel, payload });
            }
            let Some(came) = cut(&mut self.records) else {
                let mut piece = [0; 65_536];
                match self.stream.read(&mut piece) {
                    Ok(0) => return Heard::End,
                    Ok(count) => self.records.extend_from_slice(&piece[..count]),
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return Heard::End,
                    Err(error) => panic!("{error}"),
                }
                continue;
            };
            match came[0] {
                1 => {
                    self.frames.extend_from_slice(&came[8..]);
                    self.received += came.len() as u64 - 8;
                    self.write(&record(ACK, 0, &self.received.to_le_bytes()));
                }
                PING => self.write(&record(PONG, 0, &came[8..])),
                kind => return Heard::Record(kind, came[8..].to_vec()),
            }
        }
    }

    /// The next frame of this type; others before it are passed over.
    #[track_caller]
    pub fn next(&mut self, kind: u8) -> Frame {
        loop {
            match self.hear() {
                Heard::Frame(frame) if frame.kind == kind => return frame,
                Heard::Frame(_) => {}
                Heard::Record(BYE, code) => panic!("BYE {code:?} in the place of {kind:#x}"),
                Heard::Record(..) => {}
                Heard::End => panic!("closed in the place of {kind:#x}"),
            }
        }
    }

    /// The code of BYE, with which the connection ends; nothing where that ends without.
    #[track_caller]
    pub fn bye(&mut self) -> Option<u32> {
        let mut code = None;
        loop {
            match self.hear() {
                Heard::Record(BYE, bytes) => code = Some(u32::from_le_bytes(bytes.try_into().unwrap())),
                Heard::End => return code,
                other => assert!(code.is_none(), "{other:?} behind BYE"),
            }
        }
    }

    /// The session goes on: whoever is at the other end answers.
    #[track_caller]
    pub fn is_alive(&mut self) {
        let token = [0x5A; 8];
        self.write(&record(PING, 0, &token));
        loop {
            match self.hear() {
                Heard::Record(PONG, answer) if answer == token => return,
                Heard::Record(BYE, code) => panic!("BYE {code:?}"),
                Heard::End => panic!("closed"),
                _ => {}
            }
        }
    }

    /// Nothing more is said here; what comes is still heard.
    pub fn end(&self) {
        _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

/// Cuts the first record, or frame, off what came.
fn cut(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    (bytes.len() >= 8 + length).then(|| bytes.drain(..8 + length).collect())
}
