//! Connections that were accepted and have no session yet: their preamble is on its way, they are at the gate ([`crate::gate`]), or
//! they wait to hear that they may not come in.
//!
//! The table is bounded, and where it is full, a random entry makes room: whoever opens connections and says nothing
//! cannot lock out the owner, who needs only to be quicker than his own eviction. Nothing here knows what the 64
//! bytes mean.

use core::cell::Cell;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::Status;

use crate::gate;

/// Connections that are kept at once.
pub const HALF_OPEN_MAX: usize = 128;
/// How long a connection may take for its preamble, and again for its proof.
pub const DEADLINE_MS: u64 = 5000;
/// How long somebody with a wrong key waits to hear it.
pub const DELAY_MS: u64 = 1000;

/// The table.
pub struct HalfOpen<'e> {
    entries: &'e mut [Option<Entry>; HALF_OPEN_MAX],
    random: Random,
}

/// A connection and the part of its preamble that has come.
pub struct Entry {
    /// The connection.
    pub stream: OwnedFd,
    /// What has come.
    pub preamble: Partial,
    /// How far it is. In a cell, so that an empty entry has nothing but zeros ([`Storage`](crate::sys::storage)).
    pub stage: Cell<Stage>,
    deadline_ms: u64,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its preamble is on its way.
    Preamble,
    /// The same of a peer that may not connect, and will hear so.
    Forbidden,
    /// This process is with it at the gate.
    Gate(Pid),
    /// It may go on.
    Proved,
    /// When its time is up it hears this.
    Refused(Status),
}

impl Stage {
    /// Whether a preamble is on its way.
    pub fn is_reading(self) -> bool {
        matches!(self, Self::Preamble | Self::Forbidden)
    }
}

/// A preamble on its way.
pub struct Partial {
    bytes: [u8; PREAMBLE_LEN],
    len: usize,
}

/// How reading a preamble went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    Pending,
    /// All 64 bytes are there.
    Complete,
    /// The peer is gone.
    Closed,
}

impl Partial {
    /// A preamble of which nothing has come.
    pub const fn new() -> Self {
        Self { bytes: [0; PREAMBLE_LEN], len: 0 }
    }

    /// Reads on, and never a byte beyond the preamble: what follows belongs to the session's process.
    #[inline(never)]
    pub fn read(&mut self, read: &mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>) -> Progress {
        // A turn reads at least one byte, so there are at most 64; EINTR does not happen, as signals are blocked.
        loop {
            let Some(room) = self.bytes.get_mut(self.len..).filter(|room| !room.is_empty()) else {
                return Progress::Complete;
            };
            match read(room) {
                Ok(0) => return Progress::Closed,
                Ok(count) => self.len = (self.len + count).min(PREAMBLE_LEN),
                Err(Errno::AGAIN | Errno::INTR) => return Progress::Pending,
                Err(_) => return Progress::Closed,
            }
        }
    }

    /// The 64 bytes; meaningful once [`Progress::Complete`].
    pub fn bytes(&self) -> &[u8; PREAMBLE_LEN] {
        &self.bytes
    }
}

impl Default for Partial {
    fn default() -> Self {
        Self::new()
    }
}

impl<'e> HalfOpen<'e> {
    /// A table of these entries, which are empty; `seed` decides who is evicted.
    pub fn new(entries: &'e mut [Option<Entry>; HALF_OPEN_MAX], seed: u64) -> Self {
        Self { entries, random: Random::new(seed) }
    }

    /// Keeps a connection and gives its place, and the connection that had to make room.
    pub fn insert(
        &mut self,
        stream: OwnedFd,
        preamble: Partial,
        stage: Stage,
        now_ms: u64,
    ) -> (usize, Option<Entry>) {
        let free = self.entries.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| self.random.below(HALF_OPEN_MAX));
        let entry = Entry {
            stream,
            preamble,
            stage: Cell::new(stage),
            deadline_ms: now_ms.saturating_add(DEADLINE_MS),
        };
        (place, self.entries.get_mut(place).and_then(|slot| slot.replace(entry)))
    }

    /// The process at the gate with one of them has ended. Who has shown a wrong key stays a moment.
    pub fn leave_gate(&mut self, pid: Pid, status: Option<i32>, now_ms: u64) {
        let is_there =
            |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.stage.get() == Stage::Gate(pid));
        let Some(slot) = self.entries.iter_mut().find(|entry| is_there(entry)) else { return };
        let Some(entry) = slot else { return };
        // That process has waited for what it read.
        let _ = rustix::fs::fcntl_setfl(&entry.stream, OFlags::NONBLOCK);
        match status {
            Some(gate::PROVED) => entry.stage.set(Stage::Proved),
            Some(gate::WRONG) => {
                entry.stage.set(Stage::Refused(Status::WrongKey));
                entry.deadline_ms = now_ms.saturating_add(DELAY_MS);
            }
            _ => *slot = None,
        }
    }

    /// Takes out a connection that may go on.
    pub fn take_proved(&mut self) -> Option<Entry> {
        let is_proved =
            |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.stage.get() == Stage::Proved);
        let place = self.entries.iter().position(is_proved)?;
        self.take(place)
    }

    /// Reads on at `place`. Where nothing is there (any more), that is [`Progress::Pending`].
    pub fn read(&mut self, place: usize) -> Progress {
        match self.entries.get_mut(place) {
            Some(Some(Entry { stream, preamble, stage, .. })) if stage.get().is_reading() => {
                preamble.read(&mut |room| rustix::io::read(&*stream, room))
            }
            _ => Progress::Pending,
        }
    }

    /// The connection at `place`.
    pub fn stream(&self, place: usize) -> Option<BorrowedFd<'_>> {
        self.entries.get(place)?.as_ref().map(|entry| entry.stream.as_fd())
    }

    /// Takes the connection at `place` out.
    pub fn take(&mut self, place: usize) -> Option<Entry> {
        self.entries.get_mut(place)?.take()
    }

    /// Takes any connection out, a random one of them.
    pub fn evict(&mut self) -> Option<Entry> {
        let start = self.random.below(HALF_OPEN_MAX);
        (start..HALF_OPEN_MAX).chain(0..start).find_map(|place| self.take(place))
    }

    /// Takes a connection out whose time is up.
    #[inline(never)]
    pub fn expire(&mut self, now_ms: u64) -> Option<Entry> {
        let late = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.deadline_ms <= now_ms);
        let place = self.entries.iter().position(late)?;
        self.take(place)
    }

    /// When the next connection's time is up.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.entries.iter().flatten().map(|entry| entry.deadline_ms).min()
    }
}

/// Marsaglia's xorshift: unpredictable enough for a peer that sees none of its output.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> OwnedFd {
        rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap()
    }

    /// Feeds 100 bytes in pieces of `step`, each followed by EAGAIN, and tells how many were taken.
    fn feed(step: usize) -> (usize, [u8; 64]) {
        let sent: Vec<u8> = (0..100).collect();
        let (mut at, mut partial) = (0, Partial::new());
        loop {
            let mut blocked = false;
            let progress = partial.read(&mut |room| {
                if core::mem::replace(&mut blocked, true) {
                    return Err(Errno::AGAIN);
                }
                let count = step.min(room.len());
                room[..count].copy_from_slice(&sent[at..at + count]);
                at += count;
                Ok(count)
            });
            match progress {
                Progress::Pending => {}
                Progress::Complete => return (at, *partial.bytes()),
                Progress::Closed => panic!("closed"),
            }
        }
    }

    #[test]
    fn a_preamble_is_64_bytes_whatever_their_pieces_and_whatever_follows() {
        for step in [1, 2, 3, 63, 64, 65, 100] {
            let (taken, bytes) = feed(step);
            assert_eq!(taken, 64, "pieces of {step}");
            assert!(bytes.iter().enumerate().all(|(i, &byte)| usize::from(byte) == i));
        }
    }

    #[test]
    fn a_peer_that_is_gone_is_closed() {
        assert_eq!(Partial::new().read(&mut |_| Ok(0)), Progress::Closed);
        assert_eq!(Partial::new().read(&mut |_| Err(Errno::CONNRESET)), Progress::Closed);
    }

    #[test]
    fn a_full_table_evicts_at_random() {
        let mut entries = [const { None }; HALF_OPEN_MAX];
        let mut table = HalfOpen::new(&mut entries, 1);
        for expected in 0..HALF_OPEN_MAX {
            let (place, evicted) = table.insert(stream(), Partial::new(), Stage::Preamble, 0);
            assert_eq!((place, evicted.is_none()), (expected, true));
        }
        let mut hit = [false; HALF_OPEN_MAX];
        for _ in 0..20 * HALF_OPEN_MAX {
            let (place, evicted) = table.insert(stream(), Partial::new(), Stage::Preamble, 0);
            assert!(evicted.is_some());
            hit[place] = true;
        }
        assert!(hit.iter().all(|&hit| hit), "every place is hit sooner or later");
    }

    #[test]
    fn what_is_late_expires_and_nothing_else() {
        let mut entries = [const { None }; HALF_OPEN_MAX];
        let mut table = HalfOpen::new(&mut entries, 1);
        table.insert(stream(), Partial::new(), Stage::Preamble, 100);
        table.insert(stream(), Partial::new(), Stage::Preamble, 200);
        assert_eq!(table.next_deadline_ms(), Some(100 + DEADLINE_MS));
        assert!(table.expire(100 + DEADLINE_MS).is_some());
        assert!(table.expire(100 + DEADLINE_MS).is_none());
        assert_eq!(table.next_deadline_ms(), Some(200 + DEADLINE_MS));
    }

    #[test]
    fn evicting_empties_the_table() {
        let mut entries = [const { None }; HALF_OPEN_MAX];
        let mut table = HalfOpen::new(&mut entries, u64::MAX);
        for _ in 0..3 {
            table.insert(stream(), Partial::new(), Stage::Preamble, 0);
        }
        assert_eq!(core::iter::from_fn(|| table.evict()).count(), 3);
        assert_eq!(table.next_deadline_ms(), None);
        assert_eq!(table.read(0), Progress::Pending);
    }
}
