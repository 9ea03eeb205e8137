//! What a session waits for: an epoll descriptor. What is read is registered once, edge-triggered; the room in the
//! transport is asked for each time that it was missing.

use rustix::event::epoll::EventFlags;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Result;

/// Events taken in one go; the kernel keeps the others.
const EVENTS: usize = 32;

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The transport can be read.
    Input,
    /// The transport can be written.
    Output,
    /// A signal came.
    Signals,
    /// Somebody is at the door.
    Door,
    /// The port is to be given back.
    Heir,
    /// A descriptor of a task.
    Task {
        /// The task's place in the table.
        place: usize,
        /// Which of its descriptors.
        part: usize,
    },
}

/// Descriptors that one task may have.
pub const PARTS: usize = 4;

/// What can be done with a descriptor now. An error or a hang-up counts as both: the next call tells.
#[derive(Clone, Copy)]
pub struct Readiness {
    /// Reading would not block.
    pub readable: bool,
    /// Writing would not block.
    pub writable: bool,
    /// Nothing more will come but what is there already, and nothing more be told.
    pub ended: bool,
}

/// Told each time that more can be read, and when nothing more will come.
pub const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
/// Told of both, for a socket.
pub const READ_WRITE: EventFlags = READ.union(WRITE);
/// Told when the other end is gone.
pub const ENDED: EventFlags = EventFlags::ET;
/// Told each time that there is room again.
pub const WRITE: EventFlags = EventFlags::OUT.union(EventFlags::ET);
/// Told once that there is room. Who writes all the time would otherwise be woken whenever the other side has read.
pub const WRITE_ONCE: EventFlags = EventFlags::OUT.union(EventFlags::ONESHOT);

const INPUT: u64 = u64::MAX;
const OUTPUT: u64 = u64::MAX - 1;
const SIGNALS: u64 = u64::MAX - 2;
const DOOR: u64 = u64::MAX - 3;
const HEIR: u64 = u64::MAX - 4;

impl Token {
    fn encode(self) -> u64 {
        match self {
            Self::Input => INPUT,
            Self::Output => OUTPUT,
            Self::Signals => SIGNALS,
            Self::Door => DOOR,
            Self::Heir => HEIR,
            Self::Task { place, part } => (place * PARTS + part) as u64,
        }
    }

    fn decode(number: u64) -> Self {
        match number {
            INPUT => Self::Input,
            OUTPUT => Self::Output,
            SIGNALS => Self::Signals,
            DOOR => Self::Door,
            HEIR => Self::Heir,
            _ => Self::Task { place: number as usize / PARTS, part: number as usize % PARTS },
        }
    }
}

/// The epoll descriptor.
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches nothing.
    ///
    /// # Errors
    /// Of `epoll_create1`.
    pub fn new() -> Result<Self> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Self)
    }

    /// Watches `fd` until it is closed. It is told at once what is possible now.
    ///
    /// # Errors
    /// Of `epoll_ctl`; EPERM for files, which never block.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: EventFlags) -> Result<()> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(token.encode()), interest)
    }

    /// Waits for room once more.
    ///
    /// # Errors
    /// Of `epoll_ctl`, which there are none of once `fd` was added.
    pub fn rearm(&self, fd: impl AsFd, token: Token) -> Result<()> {
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(token.encode()), WRITE_ONCE)
    }

    /// Waits for `timeout_us` microseconds, without one for ever, and tells what happened.
    pub fn wait(&self, timeout_us: Option<u64>, happened: &mut dyn FnMut(Token, Readiness)) {
        let empty = epoll::Event { flags: EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [empty; EVENTS];
        let timeout = timeout_us
            .map(|us| Timespec { tv_sec: (us / 1_000_000) as i64, tv_nsec: (us % 1_000_000 * 1000) as i64 });
        // The errors are a signal, after which the caller looks around, and wrong descriptors, which these are not.
        let count = epoll::wait(&self.0, &mut events, timeout.as_ref()).unwrap_or(0);
        for event in events.iter().take(count) {
            let flags = event.flags;
            let ended = flags.intersects(EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP);
            let readiness = Readiness {
                ended,
                readable: ended || flags.contains(EventFlags::IN),
                writable: ended || flags.contains(EventFlags::OUT),
            };
            happened(Token::decode(event.data.u64()), readiness);
        }
    }
}
