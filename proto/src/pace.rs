//! How much may be framed and not sent (`R-6.14`): enough to keep a fast transport busy, little enough that a
//! keystroke on a slow one does not wait.
//!
//! What is framed leaves in order, so whatever is unsent is what control has to wait for. The limit doubles each
//! time the backlog drains within [`TARGET_MICROS`], and falls to what the transport takes in that time when it
//! does not.

use crate::limits::{FRESH_MAX, FRESH_MIN, FRESH_START};
use crate::time::Instant;

/// How long what is framed should take to leave, in microseconds.
const TARGET_MICROS: u64 = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    limit: u32,
    /// Since when there has been a backlog, and how much of it has left.
    since: Option<Instant>,
    sent: u64,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Self { limit: FRESH_START as u32, since: None, sent: 0 }
    }

    /// Bytes that may be framed and not sent.
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// There is something to send.
    pub(crate) fn handle_backlog(&mut self, now: Instant) {
        if self.since.is_none() {
            self.since = Some(now);
            self.sent = 0;
        }
    }

    /// The transport took `sent` bytes of the backlog and `left` remain.
    pub(crate) fn handle_sent(&mut self, sent: usize, left: u64, now: Instant) {
        let Some(since) = self.since else { return };
        let took = now.since(since);
        self.sent += sent as u64;
        if left == 0 {
            if took < TARGET_MICROS {
                self.limit = (self.limit * 2).min(FRESH_MAX as u32);
            }
            self.since = None;
        } else if took >= TARGET_MICROS {
            let fitting = self.sent.saturating_mul(TARGET_MICROS) / took;
            self.limit = fitting.clamp(FRESH_MIN as u64, FRESH_MAX as u64) as u32;
            self.since = Some(now);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_transport_gets_the_largest_backlog() {
        let mut pace = Pace::new();
        for round in 0..10 {
            let now = Instant::from_micros(round * 1000);
            pace.handle_backlog(now);
            pace.handle_sent(pace.limit(), 0, now.after(100));
        }
        assert_eq!(pace.limit(), FRESH_MAX);
    }

    #[test]
    fn on_a_uart_little_waits_before_control() {
        // 115,200 baud: 11,520 bytes a second, taken 64 at a time.
        let mut pace = Pace::new();
        let mut now = Instant::default();
        let mut left = pace.limit() as u64;
        pace.handle_backlog(now);
        for _ in 0..300 {
            now = now.after(64 * 1_000_000 / 11_520);
            left = left.saturating_sub(64).max(1);
            pace.handle_sent(64, left, now);
        }
        assert_eq!(pace.limit(), FRESH_MIN, "44 ms at that speed");
    }
}
