//! The 64 bytes each way that begin a connection (`PROTOCOL.md` §3), and what both sides decide from them:
//! [`Dialer`] for the client, [`admit`] for the agent. Offsets are those of the link's streams.

use crate::limits::PREAMBLE_LEN;
use crate::wire::{array, put, u16_at, u64_at};

/// What both begin with: a byte that is not ASCII, a name, and the line ends that text-mode transports destroy.
pub const MAGIC: [u8; 8] = *b"\x89VSSH\r\x1a\n";
/// The lowest version of the protocol that this implementation speaks.
pub const VERSION_MIN: u16 = 1;
/// The highest version of the protocol that this implementation speaks.
pub const VERSION_MAX: u16 = 1;

const FLAG_MUST_EXIST: u8 = 1;
const FLAG_PROOF: u8 = 2;

/// 128 random bits that name a session and are known to its two sides alone (`R-3.1`). Not shown by `Debug`.
#[derive(Clone, Copy)]
pub struct SessionId(pub [u8; 16]);

impl core::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SessionId(secret)")
    }
}

impl PartialEq for SessionId {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Eq for SessionId {}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session, created or resumed.
    Session,
    /// A kind that this implementation does not know.
    Unknown(u8),
}

/// What the client sends first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// Lowest version that the client speaks.
    pub version_min: u16,
    /// Highest version that the client speaks.
    pub version_max: u16,
    /// What the connection is for.
    pub kind: Kind,
    /// The agent must hold the session already (`R-3.3`).
    pub must_exist: bool,
    /// The client has a key, and both sides are to prove that they have it (`R-3.13`).
    pub wants_proof: bool,
    /// The session.
    pub id: SessionId,
    /// Counts the dials of this session, from 1.
    pub attempt: u64,
    /// Bytes of the agent's stream that the client holds.
    pub received: u64,
    /// Random bytes for authentication; may be zero.
    pub nonce: [u8; 16],
}

/// These 64 bytes do not begin a connection (`R-3.9`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPreamble;

impl Preamble {
    /// Reads the 64 bytes.
    ///
    /// # Errors
    /// A foreign magic, a zero field that is not zero, attempt 0, or a highest version below the lowest.
    pub fn parse(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, NotAPreamble> {
        let preamble = Self {
            version_min: u16_at(bytes, 8),
            version_max: u16_at(bytes, 10),
            kind: match bytes[12] {
                0 => Kind::Session,
                other => Kind::Unknown(other),
            },
            must_exist: Self::must_exist(bytes),
            wants_proof: Self::wants_proof(bytes),
            id: SessionId(array(bytes, 16)),
            attempt: u64_at(bytes, 32),
            received: u64_at(bytes, 40),
            nonce: array(bytes, 48),
        };
        let zeros = bytes[13] & !(FLAG_MUST_EXIST | FLAG_PROOF) == 0 && u16_at(bytes, 14) == 0;
        let versions = preamble.version_min <= preamble.version_max;
        if array(bytes, 0) == MAGIC && zeros && versions && preamble.attempt > 0 {
            Ok(preamble)
        } else {
            Err(NotAPreamble)
        }
    }

    /// Whether these bytes, if they are a preamble, are of a session that an agent is said to hold.
    #[must_use]
    pub const fn must_exist(bytes: &[u8; PREAMBLE_LEN]) -> bool {
        bytes[13] & FLAG_MUST_EXIST != 0
    }

    /// Whether these bytes, if they are a preamble, are of a client that has a key.
    #[must_use]
    pub const fn wants_proof(bytes: &[u8; PREAMBLE_LEN]) -> bool {
        bytes[13] & FLAG_PROOF != 0
    }

    /// The 64 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.version_min.to_le_bytes());
        put(&mut bytes, 10, &self.version_max.to_le_bytes());
        bytes[12] = match self.kind {
            Kind::Session => 0,
            Kind::Unknown(other) => other,
        };
        bytes[13] = u8::from(self.must_exist) * FLAG_MUST_EXIST + u8::from(self.wants_proof) * FLAG_PROOF;
        put(&mut bytes, 16, &self.id.0);
        put(&mut bytes, 32, &self.attempt.to_le_bytes());
        put(&mut bytes, 40, &self.received.to_le_bytes());
        put(&mut bytes, 48, &self.nonce);
        bytes
    }

    /// The version that both speak, or nothing (`R-3.8`).
    #[must_use]
    pub fn version(&self) -> Option<u16> {
        let version = self.version_max.min(VERSION_MAX);
        (version >= self.version_min.max(VERSION_MIN)).then_some(version)
    }
}

/// How the agent answers a preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// A session began.
    Created = 0,
    /// The session goes on.
    Resumed = 1,
    /// The agent holds no such session.
    Gone = 2,
    /// One side is in an older state than the other remembers.
    RolledBack = 3,
    /// No common version.
    Version = 4,
    /// As many sessions as the agent takes.
    Full = 5,
    /// A later attempt was seen.
    Stale = 6,
    /// The kind is not supported.
    Kind = 7,
    /// The peer may not connect.
    Forbidden = 8,
    /// The agent is ending.
    ShuttingDown = 9,
    /// The guest could not start a session.
    NoResources = 10,
    /// The agent has a key, and the client shows none.
    KeyWanted = 11,
    /// The client has a key, and the agent has none.
    NoKey = 12,
    /// The client's key is not the agent's.
    WrongKey = 13,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Created,
        Self::Resumed,
        Self::Gone,
        Self::RolledBack,
        Self::Version,
        Self::Full,
        Self::Stale,
        Self::Kind,
        Self::Forbidden,
        Self::ShuttingDown,
        Self::NoResources,
        Self::KeyWanted,
        Self::NoKey,
        Self::WrongKey,
    ];

    /// What the status means, for people: a phrase without a full stop.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Created => "a session began",
            Self::Resumed => "the session goes on",
            Self::Gone => "the agent no longer has this session",
            Self::RolledBack => "the guest was rolled back to an older state",
            Self::Version => "the agent speaks no common version of the protocol",
            Self::Full => "the agent has as many sessions as it takes",
            Self::Stale => "a later connection of this session exists",
            Self::Kind => "the agent does not support this kind of connection",
            Self::Forbidden => "the agent does not accept this peer",
            Self::ShuttingDown => "the agent is shutting down",
            Self::NoResources => "the guest has no memory, process or descriptor left for a session",
            Self::KeyWanted => "the agent wants a key",
            Self::NoKey => "the agent has no key",
            Self::WrongKey => "the agent has another key",
        }
    }
}

/// What the agent sends first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The version chosen; 0 where refused.
    pub version: u16,
    /// Highest version that the agent speaks.
    pub version_max: u16,
    /// Created, resumed, or why not.
    pub status: Status,
    /// The session, repeated.
    pub id: SessionId,
    /// The attempt, repeated.
    pub attempt: u64,
    /// Bytes of the client's stream that the agent holds.
    pub received: u64,
    /// Random bytes for authentication; may be zero.
    pub nonce: [u8; 16],
}

impl Answer {
    /// The answer to `preamble` with `status`, received offset 0 and no nonce.
    #[must_use]
    pub fn new(preamble: &Preamble, status: Status) -> Self {
        let accepted = matches!(status, Status::Created | Status::Resumed);
        Self {
            version: if accepted { preamble.version().unwrap_or(0) } else { 0 },
            version_max: VERSION_MAX,
            status,
            id: preamble.id,
            attempt: preamble.attempt,
            received: 0,
            nonce: [0; 16],
        }
    }

    /// Reads the 64 bytes.
    ///
    /// # Errors
    /// A foreign magic, an unknown status, or a zero field that is not zero.
    pub fn parse(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, NotAPreamble> {
        let status = Status::ALL.get(usize::from(bytes[12])).copied().ok_or(NotAPreamble)?;
        if array(bytes, 0) != MAGIC || bytes[13] != 0 || u16_at(bytes, 14) != 0 {
            return Err(NotAPreamble);
        }
        Ok(Self {
            version: u16_at(bytes, 8),
            version_max: u16_at(bytes, 10),
            status,
            id: SessionId(array(bytes, 16)),
            attempt: u64_at(bytes, 32),
            received: u64_at(bytes, 40),
            nonce: array(bytes, 48),
        })
    }

    /// The 64 bytes.
    #[must_use]
    #[inline(never)]
    pub fn encode(&self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 10, &self.version_max.to_le_bytes());
        bytes[12] = self.status as u8;
        put(&mut bytes, 16, &self.id.0);
        put(&mut bytes, 32, &self.attempt.to_le_bytes());
        put(&mut bytes, 40, &self.received.to_le_bytes());
        put(&mut bytes, 48, &self.nonce);
        bytes
    }
}

/// The client's side of create-or-resume: what the next preamble says, and what its answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialer {
    id: SessionId,
    attempt: u64,
    existed: bool,
}

/// Why a dial ended without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialError {
    /// What came is no answer to our preamble (`R-3.9`).
    NotAnAnswer,
    /// The agent refused. After [`Status::Stale`] only this connection is over.
    Refused(Status),
}

impl Dialer {
    /// A dialer of the session `id`, which no agent knows yet.
    #[must_use]
    pub const fn new(id: SessionId) -> Self {
        Self { id, attempt: 0, existed: false }
    }

    /// The preamble of the next attempt. `received` is [`Link::received`](crate::link::Link::received).
    ///
    /// From the first byte of it that is sent, nothing more may be taken from a former connection, also when this attempt
    /// is given up: bytes taken there would come twice, and acknowledgements sent there could overtake the preamble,
    /// which would then look rolled back (`R-3.6`).
    pub fn next_preamble(&mut self, received: u64, nonce: [u8; 16]) -> Preamble {
        self.attempt += 1;
        Preamble {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            kind: Kind::Session,
            must_exist: self.existed,
            wants_proof: false,
            id: self.id,
            attempt: self.attempt,
            received,
            nonce,
        }
    }

    /// What the answer to the latest preamble means: the number of bytes of our stream that the agent holds, to
    /// be given to [`Link::attach`](crate::link::Link::attach).
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn handle_answer(&mut self, bytes: &[u8; PREAMBLE_LEN]) -> Result<u64, DialError> {
        let answer = Answer::parse(bytes).map_err(|NotAPreamble| DialError::NotAnAnswer)?;
        if answer.id != self.id || answer.attempt != self.attempt {
            return Err(DialError::NotAnAnswer);
        }
        match answer.status {
            Status::Created if self.existed || answer.received != 0 => Err(DialError::NotAnAnswer),
            Status::Created | Status::Resumed => {
                if !(VERSION_MIN..=VERSION_MAX).contains(&answer.version) {
                    return Err(DialError::NotAnAnswer);
                }
                self.existed = true;
                Ok(answer.received)
            }
            refused => Err(DialError::Refused(refused)),
        }
    }
}

/// What an agent knows of a session that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The highest attempt that was answered.
    pub attempt: u64,
    /// What the client may say that it holds of our stream: [`Link::resend_range`](crate::link::Link::resend_range).
    pub resend: (u64, u64),
    /// Bytes of the client's stream that we hold, computed after the former connection was left (`R-3.5`).
    pub received: u64,
}

/// The agent's decision on a preamble (`R-3.2`, `R-3.4`, `R-3.6`, `R-3.8`). `held` is what it knows of the session
/// of that id. Statuses other than created and resumed end the connection.
#[must_use]
pub fn admit(preamble: &Preamble, held: Option<Held>) -> Answer {
    let status = if preamble.version().is_none() {
        Status::Version
    } else if preamble.kind != Kind::Session {
        Status::Kind
    } else {
        match held {
            None if preamble.must_exist || preamble.received > 0 => Status::Gone,
            None => Status::Created,
            Some(held) if preamble.attempt <= held.attempt => Status::Stale,
            Some(held) if preamble.received < held.resend.0 || preamble.received > held.resend.1 => {
                Status::RolledBack
            }
            Some(_) => Status::Resumed,
        }
    };
    let received = match (status, held) {
        (Status::Resumed, Some(held)) => held.received,
        _ => 0,
    };
    Answer { received, ..Answer::new(preamble, status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([7; 16]);

    fn held(attempt: u64, low: u64, high: u64, received: u64) -> Option<Held> {
        Some(Held { attempt, resend: (low, high), received })
    }

    #[test]
    fn r_3_2_an_unknown_id_creates_only_at_offset_0() {
        let mut dialer = Dialer::new(ID);
        assert_eq!(admit(&dialer.next_preamble(0, [0; 16]), None).status, Status::Created);
        assert_eq!(admit(&dialer.next_preamble(1, [0; 16]), None).status, Status::Gone);
    }

    #[test]
    fn r_3_3_a_session_that_once_was_answered_is_never_created_again() {
        let mut dialer = Dialer::new(ID);
        let answer = admit(&dialer.next_preamble(0, [0; 16]), None);
        assert_eq!(dialer.handle_answer(&answer.encode()), Ok(0));
        let again = dialer.next_preamble(0, [0; 16]);
        assert_eq!(admit(&again, None).status, Status::Gone);
        let lie = Answer::new(&again, Status::Created);
        assert_eq!(dialer.handle_answer(&lie.encode()), Err(DialError::NotAnAnswer));
    }

    #[test]
    fn r_3_3_a_lost_first_answer_is_resumed() {
        let mut dialer = Dialer::new(ID);
        let lost = dialer.next_preamble(0, [0; 16]);
        assert_eq!(admit(&lost, None).status, Status::Created);
        let again = admit(&dialer.next_preamble(0, [0; 16]), held(1, 0, 50, 0));
        assert_eq!(again.status, Status::Resumed);
        assert_eq!(dialer.handle_answer(&again.encode()), Ok(0));
    }

    #[test]
    fn r_3_4_an_attempt_that_is_not_higher_is_stale() {
        let mut dialer = Dialer::new(ID);
        let first = dialer.next_preamble(0, [0; 16]);
        assert_eq!(admit(&first, held(1, 0, 0, 0)).status, Status::Stale);
        assert_eq!(admit(&dialer.next_preamble(0, [0; 16]), held(1, 0, 0, 9)).received, 9);
    }

    #[test]
    fn r_3_6_an_offset_outside_what_is_held_was_rolled_back() {
        let mut dialer = Dialer::new(ID);
        for (received, status) in
            [(9, Status::RolledBack), (10, Status::Resumed), (20, Status::Resumed), (21, Status::RolledBack)]
        {
            assert_eq!(admit(&dialer.next_preamble(received, [0; 16]), held(0, 10, 20, 0)).status, status);
        }
    }

    #[test]
    fn r_3_8_the_highest_common_version_is_chosen() {
        let mut preamble = Dialer::new(ID).next_preamble(0, [0; 16]);
        preamble.version_max = 900;
        assert_eq!(admit(&preamble, None).version, VERSION_MAX);
        preamble.version_min = VERSION_MAX + 1;
        assert_eq!(admit(&preamble, None).status, Status::Version);
    }

    #[test]
    fn r_3_9_every_byte_of_magic_and_zeros_counts() {
        let good = Dialer::new(ID).next_preamble(5, [3; 16]).encode();
        assert!(Preamble::parse(&good).is_ok());
        for at in (0..8).chain([14, 15]) {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert_eq!(Preamble::parse(&bad), Err(NotAPreamble), "byte {at}");
        }
        let mut bad = good;
        bad[13] = 4;
        assert_eq!(Preamble::parse(&bad), Err(NotAPreamble));
    }

    #[test]
    fn an_answer_to_another_dial_is_not_ours() {
        let mut dialer = Dialer::new(ID);
        let answer = Answer::new(&dialer.next_preamble(0, [0; 16]), Status::Created);
        let _ = dialer.next_preamble(0, [0; 16]);
        assert_eq!(dialer.handle_answer(&answer.encode()), Err(DialError::NotAnAnswer));
    }
}
