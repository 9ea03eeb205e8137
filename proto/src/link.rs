//! The link (`PROTOCOL.md` §4): one reliable byte stream in each direction, over connections that may die.
//!
//! It owns the transmit ring, the offsets of both streams, acknowledgement, keepalive, and the end of the session.
//! It leaves frames to the mux, and dialling to the driver. [`Session`](crate::session::Session) drives it; a
//! model checker can drive it alone, with a ring of eight bytes (`heapless::Vec<u8, 8>`).
//!
//! The transmit stream, by offsets that only grow:
//!
//! ```text
//!        acked            sent             written
//!  ────────┼────────────────┼────────────────┼──────→
//!  forgotten   kept to be      not sent yet     room, up to acked + the ring's length
//!              sent again
//! ```
//!
//! Its states:
//!
//! ```text
//!   detached ──attach──→ attached ──BYE sent or received──→ ended
//!       ↑                   │
//!       └──────detach───────┘
//! ```

mod receive;

use core::ops::DerefMut;

use arrayvec::ArrayVec;

use crate::code::CloseCode;
use crate::limits::{ACK_EVERY, HEADER_LEN, RECORD_PAYLOAD_MAX};
use crate::pace::Pace;
use crate::record::{CONTROL_LEN, Control, data_header};
use crate::ring;
use crate::time::Instant;
use receive::Receiving;

/// How long a side that is owed something waits before it asks (`R-4.9`), in microseconds.
pub const PING_AFTER_MICROS: u64 = 1_000_000;

/// Staged before each run of stream bytes: ACK, PONG, PING, BYE, and the header of DATA.
const STAGE_LEN: usize = 4 * CONTROL_LEN + HEADER_LEN;

/// How the session ended, as the link sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The peer said BYE.
    Peer(CloseCode),
    /// We said BYE: what the peer asked for with CLOSE, or the rule that it broke.
    Own(CloseCode),
}

impl End {
    /// Why.
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Peer(code) | Self::Own(code) => code,
        }
    }
}

/// The peer holds less or more of our stream than it can (`R-3.6`): the session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledBack;

/// Bytes for the transport, in the order of the fields. Some may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'l> {
    /// Records and the header of DATA.
    pub head: &'l [u8],
    /// Bytes of the ring,
    pub first: &'l [u8],
    /// and the rest of them where they wrap.
    pub second: &'l [u8],
}

/// One side of a link. `R` holds the ring: as many bytes as may be unacknowledged and unsent together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link<R> {
    ring: R,
    attached: bool,
    end: Option<End>,

    acked: u64,
    sent: u64,
    written: u64,
    /// The highest `sent` of all connections.
    sent_max: u64,
    /// Records staged for the transport, how much of them it took, and how many ring bytes belong to the DATA record
    /// whose header was staged last.
    stage: ArrayVec<u8, STAGE_LEN>,
    staged: usize,
    record_left: u32,
    pace: Pace,

    received: u64,
    /// The highest offset that we acknowledged.
    told: u64,
    ack_every: u64,
    receiving: Receiving,
    /// A header, or the payload of a control record, as far as it came.
    partial: ArrayVec<u8, HEADER_LEN>,

    pong_due: Option<u64>,
    bye_due: Option<CloseCode>,
    ping_due: bool,
    ping_token: u64,
    ping_unanswered: bool,
    keepalive_micros: Option<u64>,
    heard: Instant,
    owed_since: Instant,
}

impl<R: DerefMut<Target = [u8]>> Link<R> {
    /// A link without a connection. `keepalive_micros`: how long the peer may be silent, with nothing owed, before
    /// it is asked for a sign of life; `None`: for ever.
    #[must_use]
    pub fn new(ring: R, keepalive_micros: Option<u64>) -> Self {
        // A peer's ring is as long as ours; acknowledge early enough that it cannot fill.
        let ack_every = ACK_EVERY.min(ring.len() / 2).max(1) as u64;
        Self {
            ring,
            attached: false,
            end: None,
            acked: 0,
            sent: 0,
            written: 0,
            sent_max: 0,
            stage: ArrayVec::new_const(),
            staged: 0,
            record_left: 0,
            pace: Pace::new(),
            received: 0,
            told: 0,
            ack_every,
            receiving: Receiving::Header,
            partial: ArrayVec::new_const(),
            pong_due: None,
            bye_due: None,
            ping_due: false,
            ping_token: 0,
            ping_unanswered: false,
            keepalive_micros,
            heard: Instant::default(),
            owed_since: Instant::default(),
        }
    }

    // Connections.

    /// A connection begins on which the peer said that it holds `peer_received` bytes of our stream.
    ///
    /// # Errors
    /// [`RolledBack`] when we no longer hold, or never sent, what follows that offset. Nothing has changed then.
    #[inline(never)]
    pub fn attach(&mut self, peer_received: u64, now: Instant) -> Result<(), RolledBack> {
        let (low, high) = self.resend_range();
        if peer_received < low || peer_received > high {
            return Err(RolledBack);
        }
        self.detach();
        self.attached = true;
        self.acked = peer_received;
        self.sent = peer_received;
        self.told = self.received;
        self.heard = now;
        self.owed_since = now;
        self.check();
        Ok(())
    }

    /// The connection is over. What was not acknowledged is kept for the next.
    pub fn detach(&mut self) {
        self.attached = false;
        self.stage.clear();
        self.staged = 0;
        self.record_left = 0;
        self.receiving = Receiving::Header;
        self.partial.clear();
        self.pong_due = None;
        self.ping_due = false;
        self.ping_unanswered = false;
    }

    /// The offsets between which, both included, a peer may say that it holds our stream.
    #[must_use]
    pub fn resend_range(&self) -> (u64, u64) {
        (self.acked, self.sent_max)
    }

    /// Bytes of the peer's stream that we hold: what a preamble or its answer says.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// A connection is there.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// How the session ended, when it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The session has ended, or will with what is sent next: nothing more may be written.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.end.is_some() || self.bye_due.is_some()
    }

    // Sending.

    /// Bytes that the ring has room for.
    #[must_use]
    pub fn free(&self) -> usize {
        self.ring.len() - (self.written - self.acked) as usize
    }

    /// Bytes of bulk that may be written now: less than [`Self::free`] where the transport is slow (`R-6.14`). It is 0
    /// until half of that is free, so that bulk goes out in few large frames and not in crumbs (RFC 1122 §4.2.3.4).
    #[must_use]
    pub fn room(&self) -> usize {
        let unsent = (self.written - self.sent) as usize;
        let limit = self.pace.limit().min(self.ring.len());
        let room = self.free().min(limit.saturating_sub(unsent));
        if room < limit / 2 { 0 } else { room }
    }

    /// Everything written was acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.acked == self.written
    }

    /// Appends `bytes` to our stream. The caller has asked for [`Self::free`]; what does not fit is misuse and ends
    /// the session.
    pub fn write(&mut self, bytes: &[u8]) {
        self.write_at(0, bytes);
        self.advance(bytes.len());
    }

    /// Places for `length` bytes that begin `skip` bytes after the end of our stream. They belong to it once
    /// [`Self::advance`] is called. Shorter where the ring has less room.
    pub fn places(&mut self, skip: usize, length: usize) -> (&mut [u8], &mut [u8]) {
        let length = length.min(self.free().saturating_sub(skip));
        ring::slices_mut(&mut self.ring, self.written + skip as u64, length)
    }

    /// Writes into the places that begin `skip` bytes after the end of our stream.
    pub fn write_at(&mut self, skip: usize, bytes: &[u8]) {
        if skip + bytes.len() <= self.free() {
            ring::write(&mut self.ring, self.written + skip as u64, bytes);
        }
    }

    /// The next `length` places have been filled: they are part of our stream.
    pub fn advance(&mut self, length: usize) {
        if length > self.free() {
            debug_assert!(false, "written beyond the ring");
            self.abort(CloseCode::Internal);
            return;
        }
        self.written += length as u64;
    }

    /// Ends the session: BYE is sent after what is unsent, and nothing after it.
    pub fn close(&mut self, code: CloseCode) {
        if self.end.is_none() && self.bye_due.is_none() {
            self.bye_due = Some(code);
        }
    }

    /// Ends the session at once: what is unsent is dropped, but for the record that has begun.
    pub fn abort(&mut self, code: CloseCode) {
        if self.end.is_none() {
            self.written = self.sent + u64::from(self.record_left);
            // What was sent before and dropped now cannot be asked for again.
            self.sent_max = self.sent_max.min(self.written);
            self.bye_due = Some(code);
            self.receiving = Receiving::Header;
            self.end = Some(End::Own(code));
        }
    }

    /// Something is there for the transport.
    #[must_use]
    pub fn can_transmit(&self) -> bool {
        let data = self.written > self.sent;
        let control = self.pong_due.is_some() || self.ping_due || self.bye_due.is_some() || self.is_ack_due();
        let listening = self.attached && !matches!(self.end, Some(End::Peer(_)));
        listening && (self.staged < self.stage.len() || data || control)
    }

    /// What the transport is to send next. The driver tells how much of it was taken with
    /// [`Self::handle_transmitted`], and polls again until nothing comes. Work is bounded: at most four control
    /// records and one header are staged.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        if !self.attached || matches!(self.end, Some(End::Peer(_))) {
            return None;
        }
        if self.staged == self.stage.len() && self.record_left == 0 {
            self.stage(now);
        }
        let head = self.stage.get(self.staged..).unwrap_or_default();
        let (first, second) = ring::slices(&self.ring, self.sent, self.record_left as usize);
        (!head.is_empty() || !first.is_empty()).then_some(Transmit { head, first, second })
    }

    /// The record that tells the peer of the present connection that another one takes the session over; `None` in the middle of
    /// another record. Nothing may follow it there.
    #[must_use]
    pub fn farewell(&self) -> Option<ArrayVec<u8, CONTROL_LEN>> {
        let is_between = self.attached && self.staged == self.stage.len() && self.record_left == 0;
        is_between.then(|| Control::Bye(CloseCode::TakenOver).encode())
    }

    /// The transport took `taken` bytes of the latest [`Transmit`].
    pub fn handle_transmitted(&mut self, taken: usize, now: Instant) {
        let head = taken.min(self.stage.len() - self.staged);
        self.staged += head;
        let data = (taken - head).min(self.record_left as usize);
        debug_assert_eq!(head + data, taken, "more was sent than polled");
        if data > 0 {
            if !self.is_owed() {
                self.owed_since = now;
            }
            self.record_left -= data as u32;
            self.sent += data as u64;
            self.sent_max = self.sent_max.max(self.sent);
            self.pace.handle_sent(data, self.written - self.sent, now);
        }
        self.check();
    }

    #[inline(never)]
    fn stage(&mut self, now: Instant) {
        self.stage.clear();
        self.staged = 0;
        let unsent = self.written - self.sent;
        let other = unsent > 0 || self.pong_due.is_some() || self.ping_due || self.bye_due.is_some();
        if self.received > self.told && (other || self.is_ack_due()) {
            self.told = self.received;
            self.stage_control(Control::Ack(self.received));
        }
        if let Some(token) = self.pong_due.take() {
            self.stage_control(Control::Pong(token));
        }
        if self.ping_due {
            self.ping_due = false;
            if !self.is_owed() {
                self.owed_since = now;
            }
            self.ping_unanswered = true;
            self.stage_control(Control::Ping(self.ping_token));
        }
        if unsent > 0 {
            self.pace.handle_backlog(now);
            let length = unsent.min(RECORD_PAYLOAD_MAX as u64) as u32;
            self.record_left = length;
            self.stage_bytes(&data_header(length));
        } else if let Some(code) = self.bye_due.take() {
            self.stage_control(Control::Bye(code));
            self.end.get_or_insert(End::Own(code));
        }
    }

    fn stage_control(&mut self, record: Control) {
        self.stage_bytes(&record.encode());
    }

    fn stage_bytes(&mut self, bytes: &[u8]) {
        let fits = self.stage.try_extend_from_slice(bytes);
        debug_assert!(fits.is_ok(), "STAGE_LEN is the sum of what is staged");
    }

    /// So much came that the peer is to know it, whatever else there is to send (`R-4.6`).
    #[must_use]
    pub fn is_ack_due(&self) -> bool {
        self.received - self.told >= self.ack_every
    }

    // Time.

    /// The peer owes us an acknowledgement or a PONG.
    fn is_owed(&self) -> bool {
        self.acked < self.sent || self.ping_unanswered
    }

    /// How long the peer has been silent although it owes us something, in microseconds; 0 where it owes nothing.
    #[must_use]
    pub fn silence_micros(&self, now: Instant) -> u64 {
        if self.attached && self.is_owed() { now.since(self.heard.max(self.owed_since)) } else { 0 }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.attached || self.end.is_some() || self.ping_unanswered || self.ping_due {
            return None;
        }
        if self.is_owed() {
            return Some(self.heard.max(self.owed_since).after(PING_AFTER_MICROS));
        }
        self.keepalive_micros.map(|interval| self.heard.after(interval))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.ask();
        }
    }

    /// Asks the peer for a sign of life, unless it owes us one: for a driver that has a better idea than a keepalive of when.
    pub fn ask(&mut self) {
        if self.attached && self.end.is_none() && !self.ping_unanswered && !self.ping_due {
            self.ping_due = true;
            self.ping_token = self.ping_token.wrapping_add(1);
        }
    }

    /// What holds between any two calls.
    fn check(&self) {
        debug_assert!(self.acked <= self.sent && self.sent <= self.sent_max);
        debug_assert!(self.sent + u64::from(self.record_left) <= self.written);
        debug_assert!(self.written - self.acked <= self.ring.len() as u64);
        debug_assert!(self.told <= self.received);
        debug_assert!(self.staged <= self.stage.len());
    }
}

#[cfg(test)]
mod tests;
