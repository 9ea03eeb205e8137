//! An agent that says what a test wants it to say: it keeps to the protocol of channels and credit, and to nothing above.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vsock_shell_proto::preamble::{Answer, Preamble, Status};

use super::{DEADLINE, Directory};

/// The items that follow each other on flow 1.
pub type Items = Box<dyn Iterator<Item = Vec<u8>>>;

/// What it says to a request.
pub enum Say {
    /// These items, and that all went well.
    Items(Items),
    /// REFUSED with an errno and a text.
    Refused(u32, Vec<u8>),
    /// These items, and EXIT failed with an errno and a text.
    Failed(Items, u32, Vec<u8>),
}

/// A request.
pub struct Asked {
    /// The kind of the channel.
    pub kind: u8,
    /// The request.
    pub request: Vec<u8>,
}

/// All of these items.
pub fn items(items: impl IntoIterator<Item = Vec<u8>, IntoIter: 'static>) -> Say {
    Say::Items(Box::new(items.into_iter()))
}

/// A socket on which it listens.
pub struct Fake {
    /// Where the socket is, and what else the test needs.
    pub directory: Directory,
}

impl Fake {
    /// One that asks what to say to each request.
    pub fn start(mut answer: impl FnMut(Asked) -> Say + Send + 'static) -> Self {
        let directory = Directory::in_memory();
        let listener = UnixListener::bind(directory.path("socket")).unwrap();
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                // How the client takes it is what the test looks at.
                _ = Session {
                    stream,
                    received: 0,
                    records: Vec::new(),
                    frames: Vec::new(),
                    channels: BTreeMap::new(),
                }
                .serve(&mut answer);
            }
        });
        Self { directory }
    }

    /// A file of it, as `cp` takes it.
    pub fn remote(&self, path: impl AsRef<Path>) -> OsString {
        let mut operand = OsString::from(format!("unix%{}:", self.directory.path("socket").display()));
        operand.push(path.as_ref());
        operand
    }
}

#[derive(Default)]
struct Channel {
    kind: u8,
    request: Vec<u8>,
    is_asked: bool,
    credit: u64,
    sent: u64,
    is_over: bool,
}

struct Session {
    stream: UnixStream,
    received: u64,
    records: Vec<u8>,
    frames: Vec<u8>,
    channels: BTreeMap<u16, Channel>,
}

fn frame(kind: u8, flow: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let [low, high] = channel.to_le_bytes();
    [&[kind, flow, low, high], &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

impl Session {
    fn serve(&mut self, answer: &mut dyn FnMut(Asked) -> Say) -> io::Result<()> {
        let mut preamble = [0; 64];
        self.stream.read_exact(&mut preamble)?;
        let preamble = Preamble::parse(&preamble).map_err(|_| io::Error::other("no preamble"))?;
        self.stream.write_all(&Answer::new(&preamble, Status::Created).encode())?;
        let mut hello = [0; 32];
        hello[16..20].copy_from_slice(&64_u32.to_le_bytes());
        hello[20..24].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        self.say(&frame(0x01, 0, 0, &hello))?;
        loop {
            let next = self.channels.iter().find(|(_, channel)| channel.is_asked);
            let Some(id) = next.map(|(id, _)| *id) else {
                self.hear()?;
                continue;
            };
            let channel = self.channels.get_mut(&id).unwrap();
            channel.is_asked = false;
            let asked = Asked { kind: channel.kind, request: std::mem::take(&mut channel.request) };
            match answer(asked) {
                Say::Refused(errno, text) => {
                    const SYSTEM: u32 = 9;
                    let payload = [&SYSTEM.to_le_bytes()[..], &errno.to_le_bytes(), &text].concat();
                    self.say(&[frame(0x12, 0, id, &payload), frame(0x1B, 0, id, &[])].concat())?;
                }
                Say::Items(items) => self.answer(id, items, &[0; 8])?,
                Say::Failed(items, errno, text) => {
                    let payload = [&[2, 0, 0, 0], &errno.to_le_bytes()[..], &text].concat();
                    self.answer(id, items, &payload)?;
                }
            }
        }
    }

    fn answer(&mut self, id: u16, items: Items, exit: &[u8]) -> io::Result<()> {
        self.say(&frame(0x11, 0, id, &[0; 8]))?;
        // All that the client wants to send.
        self.say(&frame(0x16, 0, id, &(1_u64 << 40).to_le_bytes()))?;
        let mut gathered = Vec::new();
        for item in items {
            gathered.extend_from_slice(&item);
            if gathered.len() > 30_000 && !self.send(id, &mut gathered)? {
                return Ok(());
            }
        }
        if !self.send(id, &mut gathered)? {
            return Ok(());
        }
        let end = [
            frame(0x14, 1, id, &[]),
            frame(0x14, 2, id, &[]),
            frame(0x19, 0, id, exit),
            frame(0x1B, 0, id, &[]),
        ];
        self.say(&end.concat())
    }

    /// Sends on flow 1 as credit comes; whether the channel is still there.
    fn send(&mut self, id: u16, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let mut at = 0;
        loop {
            while at == bytes.len() && self.has_heard()?
                || self.channels.get(&id).is_some_and(Channel::is_full)
            {
                self.hear()?;
            }
            let Some(channel) = self.channels.get_mut(&id).filter(|channel| !channel.is_over) else {
                return Ok(false);
            };
            if at == bytes.len() {
                bytes.clear();
                return Ok(true);
            }
            let part = (bytes.len() - at).min((channel.credit - channel.sent) as usize).min(60_000);
            channel.sent += part as u64;
            let framed = frame(0x13, 1, id, &bytes[at..at + part]);
            at += part;
            self.say(&framed)?;
        }
    }

    fn say(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(&[&[1, 0, 0, 0], &(frames.len() as u32).to_le_bytes()[..], frames].concat())
    }

    fn has_heard(&self) -> io::Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&now))? > 0)
    }

    /// Reads what the client says, at least some.
    fn hear(&mut self) -> io::Result<()> {
        let mut piece = [0; 65_536];
        let count = self.stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.records.extend_from_slice(&piece[..count]);
        while let Some(length) = length_at(&self.records, 4).filter(|length| self.records.len() >= 8 + length)
        {
            let record: Vec<u8> = self.records.drain(..8 + length).collect();
            match record[0] {
                1 => {
                    self.received += length as u64;
                    self.frames.extend_from_slice(&record[8..]);
                    let ack = [&[2, 0, 0, 0, 8, 0, 0, 0], &self.received.to_le_bytes()[..]].concat();
                    self.stream.write_all(&ack)?;
                }
                3 => self.stream.write_all(&[&[4, 0, 0, 0, 8, 0, 0, 0], &record[8..]].concat())?,
                _ => {}
            }
        }
        while let Some(length) = length_at(&self.frames, 4).filter(|length| self.frames.len() >= 8 + length) {
            let frame: Vec<u8> = self.frames.drain(..8 + length).collect();
            self.heed(&frame)?;
        }
        Ok(())
    }

    fn heed(&mut self, frame: &[u8]) -> io::Result<()> {
        let id = u16::from_le_bytes([frame[2], frame[3]]);
        if frame[0] == 0x02 {
            // CLOSE is answered by BYE.
            self.stream.write_all(&[5, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0])?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let channel = self.channels.entry(id).or_default();
        match (frame[0], frame[1]) {
            (0x10, _) => *channel = Channel { kind: frame[8], credit: 4096, ..Channel::default() },
            (0x13, 3) => channel.request.extend_from_slice(&frame[8..]),
            (0x14, 3) => channel.is_asked = true,
            (0x15, 1) => channel.is_over = true,
            (0x16, 1) => channel.credit = u64::from_le_bytes(frame[8..16].try_into().unwrap()),
            (0x1A | 0x1B, _) => {
                let was_reset = frame[0] == 0x1A && !channel.is_over;
                channel.is_over = true;
                if was_reset {
                    self.say(&self::frame(0x1B, 0, id, &[]))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Channel {
    fn is_full(&self) -> bool {
        !self.is_over && self.sent >= self.credit
    }
}
