//! Frames, the units of the mux (`PROTOCOL.md` §5): headers read and written, and the vocabulary that both the
//! frames and the driver use.

use arrayvec::ArrayVec;

use crate::code::CloseCode;
use crate::limits::{CONTROL_PAYLOAD_MAX, FRAME_PAYLOAD_MAX, HEADER_LEN, SOFTWARE_MAX, TEXT_MAX};
use crate::wire::{array, beginning, put, u16_at, u32_at, u64_at};

/// A channel of a session. Even: opened by the client; odd: by the agent (`R-6.1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u16);

/// A byte direction inside a channel (`R-6.2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Flow {
    /// Opener to acceptor: standard input, upload.
    Input = 0,
    /// Acceptor to opener: standard output, download.
    Output = 1,
    /// Acceptor to opener: standard error.
    Error = 2,
    /// Opener to acceptor: the request.
    Request = 3,
}

impl Flow {
    /// All flows, by their numbers.
    pub const ALL: [Self; 4] = [Self::Input, Self::Output, Self::Error, Self::Request];

    /// The opener of the channel sends this flow.
    #[must_use]
    pub const fn is_openers(self) -> bool {
        matches!(self, Self::Input | Self::Request)
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What a channel is for (`PROTOCOL.md` §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// A command or a shell.
    Exec,
    /// A file to the agent.
    Put,
    /// A file from the agent.
    Get,
    /// A stream to an address that the acceptor reaches.
    Connect,
    /// Streams from an address on which the acceptor listens.
    Listen,
    /// File system verbs.
    Fs,
    /// System verbs.
    System,
    /// What is done with a job.
    Job,
    /// A kind that this implementation does not know.
    Unknown(u8),
}

impl ChannelKind {
    /// The kind of a number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Exec,
            2 => Self::Put,
            3 => Self::Get,
            4 => Self::Connect,
            5 => Self::Listen,
            6 => Self::Fs,
            7 => Self::System,
            8 => Self::Job,
            other => Self::Unknown(other),
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Exec => 1,
            Self::Put => 2,
            Self::Get => 3,
            Self::Connect => 4,
            Self::Listen => 5,
            Self::Fs => 6,
            Self::System => 7,
            Self::Job => 8,
            Self::Unknown(other) => other,
        }
    }
}

/// The size of a terminal: characters, and pixels where known (`TIOCGWINSZ` of ioctl_tty(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct WindowSize {
    /// Lines of characters.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
    /// Pixels across, or 0.
    pub width: u16,
    /// Pixels down, or 0.
    pub height: u16,
}

impl WindowSize {
    /// Reads the 8 bytes of RESIZE and of the field PTY; missing ones are 0.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            rows: u16_at(bytes, 0),
            columns: u16_at(bytes, 2),
            width: u16_at(bytes, 4),
            height: u16_at(bytes, 6),
        }
    }

    /// The 8 bytes.
    #[must_use]
    pub fn encode(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        for (place, value) in
            bytes.chunks_exact_mut(2).zip([self.rows, self.columns, self.width, self.height])
        {
            place.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

/// How the work of a channel ended (`R-6.10`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It exited with this status.
    Exited(u32),
    /// A signal killed it.
    Killed {
        /// Linux's generic number.
        signal: u32,
        /// Core was dumped.
        core_dumped: bool,
    },
    /// A system call failed with this errno (Linux's generic number). The text says in what.
    Failed(u32),
    /// It goes on as the job of this number.
    Detached(u32),
}

impl Outcome {
    /// Reads the 8 bytes before the text of EXIT; missing ones are 0.
    ///
    /// # Errors
    /// VALUE (`R-7.1`).
    pub fn parse(bytes: &[u8]) -> Result<Self, CloseCode> {
        let value = u32_at(bytes, 4);
        match bytes.first() {
            Some(0) => Ok(Self::Exited(value)),
            Some(1) if is_signal(value) => Ok(Self::Killed {
                signal: value,
                core_dumped: bytes.get(1).is_some_and(|flags| flags & 1 != 0),
            }),
            Some(2) => Ok(Self::Failed(value)),
            Some(3) => Ok(Self::Detached(value)),
            _ => Err(CloseCode::Value),
        }
    }

    /// The 8 bytes.
    #[must_use]
    pub fn encode(self) -> [u8; 8] {
        let (how, flags, value) = match self {
            Self::Exited(status) => (0, 0, status),
            Self::Killed { signal, core_dumped } => (1, u8::from(core_dumped), signal),
            Self::Failed(errno) => (2, 0, errno),
            Self::Detached(job) => (3, 0, job),
        };
        let [a, b, c, d] = value.to_le_bytes();
        [how, flags, 0, 0, a, b, c, d]
    }
}

/// A number that SIGNAL and EXIT may carry.
pub(crate) const fn is_signal(number: u32) -> bool {
    number >= 1 && number <= 64
}

/// What a side says of itself first (`R-5.3`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hello {
    /// Features that the sender offers, one bit each ([`FEATURE_JOBS`]).
    pub features: u64,
    /// Features that the sender cannot do without.
    pub required: u64,
    /// Channels that the receiver may have open at once.
    pub channels: u32,
    /// Bytes that a request may have.
    pub request_max: u32,
    /// How long a session without a connection is kept, in milliseconds.
    pub grace_ms: u32,
    /// What the sender refuses, of [`ability`](crate::ability).
    pub denied: u32,
    /// Name and version, for people.
    pub software: ArrayVec<u8, SOFTWARE_MAX>,
}

/// Jobs: DETACH, its field, and channels of their kind (`PROTOCOL.md` §11).
pub const FEATURE_JOBS: u64 = 1;

/// Features that this implementation knows.
pub const FEATURES: u64 = FEATURE_JOBS;

const HELLO_LEN: usize = 32;

impl Hello {
    /// A hello with this name and version (cut where it is too long), and the features that we know.
    #[must_use]
    pub fn new(software: &str, channels: u32, request_max: u32, grace_ms: u32) -> Self {
        let software = beginning(software.as_bytes());
        Self { features: FEATURES, required: 0, channels, request_max, grace_ms, denied: 0, software }
    }

    /// Reads the payload of HELLO; missing bytes are 0.
    ///
    /// # Errors
    /// FEATURE, where the sender cannot do without one that we do not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, CloseCode> {
        let (fixed, software) = bytes.split_first_chunk::<HELLO_LEN>().unwrap_or((&[0; HELLO_LEN], b""));
        let hello = Self {
            features: u64_at(fixed, 0),
            required: u64_at(fixed, 8),
            channels: u32_at(fixed, 16),
            request_max: u32_at(fixed, 20),
            grace_ms: u32_at(fixed, 24),
            denied: u32_at(fixed, 28),
            software: beginning(software),
        };
        if hello.required & !FEATURES == 0 { Ok(hello) } else { Err(CloseCode::Feature) }
    }

    pub(crate) fn encode(&self) -> ArrayVec<u8, { HELLO_LEN + SOFTWARE_MAX }> {
        let mut bytes = ArrayVec::from([0; HELLO_LEN + SOFTWARE_MAX]);
        put(&mut bytes, 0, &self.features.to_le_bytes());
        put(&mut bytes, 8, &self.required.to_le_bytes());
        put(&mut bytes, 16, &self.channels.to_le_bytes());
        put(&mut bytes, 20, &self.request_max.to_le_bytes());
        put(&mut bytes, 24, &self.grace_ms.to_le_bytes());
        put(&mut bytes, 28, &self.denied.to_le_bytes());
        put(&mut bytes, HELLO_LEN, &self.software);
        bytes.truncate(HELLO_LEN + self.software.len());
        bytes
    }
}

/// The frames that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// What a side says of itself.
    Hello = 0x01,
    /// The end of the session.
    Close = 0x02,
    /// A channel begins.
    Open = 0x10,
    /// It is accepted,
    Accepted = 0x11,
    /// or refused.
    Refused = 0x12,
    /// Bytes of a flow.
    Data = 0x13,
    /// The orderly end of a flow.
    Finish = 0x14,
    /// A flow's receiver takes no more.
    Stop = 0x15,
    /// How much may be sent on a flow.
    Credit = 0x16,
    /// A signal for a command.
    Signal = 0x17,
    /// The size of a terminal.
    Resize = 0x18,
    /// How the work of a channel ended.
    Exit = 0x19,
    /// A channel is aborted.
    Reset = 0x1A,
    /// A side's last frame on a channel.
    Release = 0x1B,
    /// A command goes on as a job.
    Detach = 0x1C,
}

const OPTIONAL: u8 = 0x80;

impl FrameType {
    const ALL: [Self; 15] = [
        Self::Hello,
        Self::Close,
        Self::Open,
        Self::Accepted,
        Self::Refused,
        Self::Data,
        Self::Finish,
        Self::Stop,
        Self::Credit,
        Self::Signal,
        Self::Resize,
        Self::Exit,
        Self::Reset,
        Self::Release,
        Self::Detach,
    ];

    /// The lengths of payload that the type allows.
    const fn lengths(self) -> (usize, usize) {
        match self {
            Self::Hello => (HELLO_LEN, CONTROL_PAYLOAD_MAX),
            Self::Close | Self::Signal | Self::Reset | Self::Detach => (4, 4),
            Self::Open | Self::Accepted | Self::Credit | Self::Resize => (8, 8),
            Self::Refused | Self::Exit => (8, 8 + TEXT_MAX),
            Self::Data => (1, FRAME_PAYLOAD_MAX),
            Self::Finish | Self::Stop | Self::Release => (0, 0),
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// `None`: an optional type that we skip.
    pub kind: Option<FrameType>,
    /// The number of the flow; 0 where the type has none.
    pub flow: u8,
    /// The number of the channel; 0 where the type has none.
    pub channel: u16,
    /// Bytes of payload.
    pub length: u32,
}

impl Header {
    /// Reads a header (`R-5.2`).
    ///
    /// # Errors
    /// FRAME_TYPE and FRAME_LENGTH.
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self, CloseCode> {
        let [number, flow, ..] = bytes;
        let kind = FrameType::ALL.into_iter().find(|&kind| kind as u8 == number);
        let length = u32_at(&bytes, 4);
        let (low, high) = match kind {
            Some(kind) => kind.lengths(),
            None if number & OPTIONAL != 0 => (0, FRAME_PAYLOAD_MAX),
            None => return Err(CloseCode::FrameType),
        };
        if !(low..=high).contains(&(length as usize)) {
            return Err(CloseCode::FrameLength);
        }
        Ok(Self { kind, flow, channel: u16::from_le_bytes(array(&bytes, 2)), length })
    }
}

/// The 8 bytes that begin a frame.
pub(crate) fn header(kind: FrameType, channel: u16, flow: u8, length: usize) -> [u8; HEADER_LEN] {
    let [low, high] = channel.to_le_bytes();
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [kind as u8, flow, low, high, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_5_2_unknown_types_are_skipped_only_when_optional() {
        assert_eq!(Header::parse([0x7F, 0, 0, 0, 0, 0, 0, 0]), Err(CloseCode::FrameType));
        assert_eq!(Header::parse([0xFF, 0, 0, 0, 9, 0, 0, 0]).map(|h| (h.kind, h.length)), Ok((None, 9)));
        assert_eq!(Header::parse([0xFF, 0, 0, 0, 1, 0, 1, 0]), Err(CloseCode::FrameLength));
    }

    #[test]
    fn r_5_2_every_type_has_its_lengths() {
        for kind in FrameType::ALL {
            let (low, high) = kind.lengths();
            for (length, fits) in [(low, true), (high, true), (high + 1, false)] {
                let parsed = Header::parse(header(kind, 2, 1, length));
                assert_eq!(parsed.is_ok(), fits, "{kind:?} {length}");
            }
            if low > 0 {
                assert_eq!(Header::parse(header(kind, 2, 1, low - 1)), Err(CloseCode::FrameLength));
            }
        }
    }

    #[test]
    fn r_5_3_a_required_feature_that_is_not_known_is_told() {
        let mut hello = Hello::new("x", 1, 2, 3);
        assert_eq!(Hello::parse(&hello.encode()).as_ref(), Ok(&hello));
        hello.required = 1 << 63;
        assert_eq!(Hello::parse(&hello.encode()), Err(CloseCode::Feature));
    }

    #[test]
    fn r_5_2_a_longer_hello_is_read() {
        let hello = Hello::new("name 1.2.3", 1, 2, 3);
        let mut bytes = hello.encode().to_vec();
        bytes.resize(HELLO_LEN + SOFTWARE_MAX + 40, 0);
        assert!(Hello::parse(&bytes).is_ok());
    }

    #[test]
    fn an_outcome_survives_its_encoding() {
        for outcome in [
            Outcome::Exited(u32::MAX),
            Outcome::Killed { signal: 64, core_dumped: true },
            Outcome::Failed(28),
            Outcome::Detached(3),
        ] {
            assert_eq!(Outcome::parse(&outcome.encode()), Ok(outcome));
        }
        assert_eq!(Outcome::parse(&[4, 0, 0, 0, 0, 0, 0, 0]), Err(CloseCode::Value));
        assert_eq!(Outcome::parse(&[1, 0, 0, 0, 65, 0, 0, 0]), Err(CloseCode::Value));
    }
}
