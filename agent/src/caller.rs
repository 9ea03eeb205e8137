//! Calls of ours to somebody who waits for them: one connection at a time, until its peer sends a preamble.
//!
//! Pure but for the descriptor that it keeps; the listener makes the calls. Once a session has begun, the next call is made,
//! so that the other side always finds one. A call that is answered and says nothing is kept: whoever asks to be called may
//! take his time.

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::args::Peer;
use crate::half_open::{Partial, Progress};

/// How long to wait after the first failure, and after a session has begun; it doubles up to [`PAUSE_MAX_MS`].
const PAUSE_MIN_MS: u64 = 100;
/// The longest that somebody who begins to listen has to wait for the next call.
const PAUSE_MAX_MS: u64 = 2000;

/// Reads from a call; EAGAIN when nothing is there now.
type Read<'r> = &'r dyn Fn(&OwnedFd, &mut [u8]) -> Result<usize, Errno>;

/// Somebody to call, and the call.
pub struct Caller<'a> {
    /// Who.
    pub peer: Peer<'a>,
    call: Option<(OwnedFd, Partial)>,
    due_ms: u64,
    pause_ms: u64,
}

impl<'a> Caller<'a> {
    /// To be called at once.
    pub const fn new(peer: Peer<'a>) -> Self {
        Self { peer, call: None, due_ms: 0, pause_ms: PAUSE_MIN_MS }
    }

    /// When to call; never while there is a call.
    pub fn due_ms(&self) -> Option<u64> {
        self.call.is_none().then_some(self.due_ms)
    }

    /// A call was made.
    pub fn handle_called(&mut self, stream: OwnedFd) {
        self.call = Some((stream, Partial::new()));
    }

    /// There is no call, or it has ended; whether that is new.
    pub fn handle_failed(&mut self, now_ms: u64) -> bool {
        let is_first = self.pause_ms == PAUSE_MIN_MS;
        self.call = None;
        self.due_ms = now_ms.saturating_add(self.pause_ms);
        self.pause_ms = (2 * self.pause_ms).min(PAUSE_MAX_MS);
        is_first
    }

    /// Something came on the call: `read` reads it. Where that makes the preamble whole, both are given out.
    pub fn handle_readable(&mut self, now_ms: u64, read: Read<'_>) -> Option<(OwnedFd, Partial)> {
        let (stream, preamble) = self.call.as_mut()?;
        match preamble.read(&mut |room| read(stream, room)) {
            Progress::Pending => None,
            Progress::Closed => {
                self.handle_failed(now_ms);
                None
            }
            Progress::Complete => {
                self.pause_ms = PAUSE_MIN_MS;
                self.due_ms = now_ms.saturating_add(PAUSE_MIN_MS);
                self.call.take()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> OwnedFd {
        rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn who_does_not_answer_is_called_ever_more_seldom() {
        let mut caller = Caller::new(Peer::Unix(c"/a"));
        let (mut now, mut pauses) = (0, Vec::new());
        for call in 0..7 {
            assert_eq!(caller.due_ms(), Some(now));
            assert_eq!(caller.handle_failed(now), call == 0, "told once");
            pauses.push(caller.due_ms().unwrap() - now);
            now = caller.due_ms().unwrap();
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn a_call_is_kept_until_its_preamble_is_whole_and_then_the_next_is_made() {
        let mut caller = Caller::new(Peer::Unix(c"/a"));
        caller.handle_failed(0);
        caller.handle_called(stream());
        assert_eq!(caller.due_ms(), None);
        assert!(caller.handle_readable(1, &|_, _| Err(Errno::AGAIN)).is_none());
        assert_eq!(caller.due_ms(), None);
        assert!(caller.handle_readable(1000, &|_, room| Ok(room.len())).is_some());
        assert_eq!(caller.due_ms(), Some(1100));
        assert!(caller.handle_failed(2000), "a failure after a session is new");
    }

    #[test]
    fn a_call_that_ends_is_made_again() {
        let mut caller = Caller::new(Peer::Unix(c"/a"));
        caller.handle_called(stream());
        assert!(caller.handle_readable(5, &|_, _| Ok(0)).is_none());
        assert_eq!(caller.due_ms(), Some(105));
        assert!(caller.handle_readable(6, &|_, room| Ok(room.len())).is_none(), "there is none");
    }
}
