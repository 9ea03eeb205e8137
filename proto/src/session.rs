//! A session: link and mux together, as a driver holds it.
//!
//! A driver does four things, in this order, each time around its loop:
//!
//! 1. **Bytes in.** Read the transport into a buffer, and call [`Session::handle_received`] until all of it is taken. Each
//!    call returns at most one [`Event`]. For [`Event::Data`]: offer the bytes to their sink if nothing of the flow is
//!    parked, then call [`Session::deliver`] with all bytes and how many the sink took. Bytes of several events may be
//!    offered together before they are delivered one by one, as long as nothing else of the flow is handled between.
//! 2. **Sinks and sources.** Where a sink can take more, write [`Session::parked`] and [`Session::consume`] what it took.
//!    Where [`Session::writable`] is not 0, read the source straight into [`Session::reserve`] and [`Session::commit`].
//! 3. **Time.** Call [`Session::handle_timeout`] when [`Session::poll_timeout`] is due.
//! 4. **Bytes out.** Write [`Session::poll_transmit`] and [`Session::handle_transmitted`] what was taken, until nothing is
//!    left or the transport is full.
//!
//! Verbs never block and never fail: what cannot be sent now is sent by a later `poll_transmit`. A verb on a channel
//! that is gone does nothing. When [`Session::end`] says how the session ended and nothing is left to transmit, the
//! driver drops it.

use core::ops::DerefMut;

use crate::channel::Channel as ChannelState;
use crate::code::{CloseCode, RefusalCode};
use crate::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome, WindowSize};
use crate::limits::HEADER_LEN;
use crate::link::{End, Link, RolledBack, Transmit};
use crate::mux::{Event, Mux, Reservation, Reserved, Side, TooMany};
use crate::time::Instant;

pub use crate::channel::Channel;

/// The memory of a session, all of it zero ([`Channel::FREE`]) at start: slices that can be
/// changed, wherever they are.
#[derive(Debug)]
pub struct Memory<R, P, C> {
    /// The transmit ring: [`RING_LEN`](crate::limits::RING_LEN) bytes in programs.
    pub ring: R,
    /// The pool: [`pool_len`](crate::limits::pool_len) bytes for `channels_max` and some surplus.
    pub pool: P,
    /// The table of channels, indexed by their ids: twice as many as either side may open.
    pub channels: C,
    /// Channels that the pool is made for.
    pub channels_max: usize,
}

/// One side of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session<R, P, C> {
    link: Link<R>,
    mux: Mux<P, C>,
    /// Bytes at the front of the next input that the link has taken already and the mux has not.
    ahead: usize,
}

impl<R, P, C> Session<R, P, C>
where
    R: DerefMut<Target = [u8]>,
    P: DerefMut<Target = [u8]>,
    C: DerefMut<Target = [ChannelState]>,
{
    /// A session without a connection. `keepalive_micros`: see [`Link::new`].
    #[must_use]
    pub fn new(side: Side, memory: Memory<R, P, C>, hello: Hello, keepalive_micros: Option<u64>) -> Self {
        let Memory { ring, pool, channels, channels_max } = memory;
        Self {
            link: Link::new(ring, keepalive_micros),
            mux: Mux::new(side, pool, channels, channels_max, hello),
            ahead: 0,
        }
    }

    // Connections.

    /// A connection begins; see [`Link::attach`].
    ///
    /// # Errors
    /// [`RolledBack`]: the session cannot go on.
    pub fn attach(&mut self, peer_received: u64, now: Instant) -> Result<(), RolledBack> {
        debug_assert!(self.ahead == 0, "received bytes were not given to their end");
        self.link.attach(peer_received, now)
    }

    /// The connection is over; see [`Link::detach`].
    pub fn detach(&mut self) {
        self.link.detach();
    }

    /// The link, for what a preamble says and for [`Link::silence_micros`].
    #[must_use]
    pub fn link(&self) -> &Link<R> {
        &self.link
    }

    /// How the session ended, when it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.link.end()
    }

    /// What the peer said of itself, once [`Event::Hello`] came.
    #[must_use]
    pub fn peer(&self) -> Option<&Hello> {
        self.mux.peer()
    }

    /// The text of the latest [`Event::Refused`] or [`Event::Exited`]: hostile bytes.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.mux.text()
    }

    /// Channels that are not free yet.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.mux.open_count()
    }

    /// Ends the session in order: what is unsent is sent, then CLOSE; the peer answers BYE (`R-5.4`).
    pub fn close(&mut self, code: CloseCode) {
        self.mux.close(code);
        self.mux.flush(&mut self.link);
    }

    /// Ends the session at once.
    pub fn abort(&mut self, code: CloseCode) {
        self.link.abort(code);
    }

    // Bytes in and out.

    /// Takes bytes that came from the front of `input`: how many, and what they mean. With no event all were taken.
    /// Work is bounded by the length of `input`.
    ///
    /// What the link finds in `input` counts as received at once, so that an acknowledgement can leave before the work
    /// on it begins ([`Self::is_ack_due`]): the caller has to give the rest of the same input before it attaches another
    /// connection.
    pub fn handle_received<'i>(&mut self, input: &'i [u8], now: Instant) -> (usize, Option<Event<'i>>) {
        let mut taken = 0;
        loop {
            if self.ahead == 0 {
                let (control, data) = self.link.handle_received(input.get(taken..).unwrap_or_default(), now);
                taken += control;
                if data == 0 {
                    return (taken, None);
                }
                self.link.accept(data);
                self.ahead = data;
            }
            match self.mux.handle_received(input.get(taken..taken + self.ahead).unwrap_or_default()) {
                Ok((used, event)) => {
                    self.ahead -= used;
                    taken += used;
                    if let Some(Event::Closed { code }) = event {
                        self.link.close(code);
                    }
                    if event.is_some() {
                        return (taken, event);
                    }
                }
                Err(code) => {
                    self.ahead = 0;
                    self.link.abort(code);
                    return (input.len(), None);
                }
            }
        }
    }

    /// The peer waits for an acknowledgement of what came; see [`Link::is_ack_due`].
    #[must_use]
    pub fn is_ack_due(&self) -> bool {
        self.link.is_ack_due()
    }

    /// What the transport is to send next; see [`Link::poll_transmit`].
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        self.mux.flush(&mut self.link);
        self.link.poll_transmit(now)
    }

    /// The transport took `taken` bytes of the latest [`Transmit`].
    pub fn handle_transmitted(&mut self, taken: usize, now: Instant) {
        self.link.handle_transmitted(taken, now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    /// Asks for a sign of life; see [`Link::ask`].
    pub fn ask(&mut self) {
        self.link.ask();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
    }

    // Sending.

    /// Bytes that may be sent on a flow of ours in one frame now: 0 without credit, without room, or after its end.
    /// To be asked again after [`Self::poll_transmit`], which makes room.
    #[must_use]
    pub fn writable(&self, channel: ChannelId, flow: Flow) -> usize {
        self.mux.writable(&self.link, channel, flow)
    }

    /// Bytes for which there is room now, whatever the credit of a flow: 0 until more has been transmitted or acknowledged.
    #[must_use]
    pub fn room(&self) -> usize {
        self.mux.room(&self.link)
    }

    /// Places for at most `max` bytes of a flow of ours, to be filled and [`committed`](Self::commit). No other verb
    /// sends anything until then.
    #[must_use]
    pub fn reserve(&mut self, channel: ChannelId, flow: Flow, max: usize) -> Option<Reserved<'_>> {
        self.mux.flush(&mut self.link);
        let length = self.writable(channel, flow).min(max);
        if length == 0 {
            return None;
        }
        self.mux.reservation = Some(Reservation { channel, flow, length });
        let (first, second) = self.link.places(HEADER_LEN, length);
        Some(Reserved { first, second })
    }

    /// The first `length` bytes of the places reserved last are filled; with 0 nothing is sent.
    pub fn commit(&mut self, length: usize) {
        self.mux.commit(&mut self.link, length);
    }

    /// Sends bytes that the driver has in memory: as many as [`Self::writable`] allows; says how many.
    #[must_use]
    pub fn send(&mut self, channel: ChannelId, flow: Flow, bytes: &[u8]) -> usize {
        let Some(places) = self.reserve(channel, flow, bytes.len()) else { return 0 };
        let (first, rest) = bytes.split_at(places.first.len().min(bytes.len()));
        places.first.copy_from_slice(first);
        let (second, _) = rest.split_at(places.second.len().min(rest.len()));
        places.second.copy_from_slice(second);
        let sent = first.len() + second.len();
        self.commit(sent);
        sent
    }

    /// The orderly end of a flow of ours.
    pub fn finish(&mut self, channel: ChannelId, flow: Flow) {
        self.mux.finish(channel, flow);
        self.mux.flush(&mut self.link);
    }

    // Receiving.

    /// Accounts for the bytes of [`Event::Data`]: the sink took the first `taken`, the rest is parked. `taken` must be 0
    /// while something of the flow is parked already.
    pub fn deliver(&mut self, channel: ChannelId, flow: Flow, bytes: &[u8], taken: usize) {
        if let Err(code) = self.mux.deliver(channel, flow, bytes, taken) {
            self.link.abort(code);
        }
    }

    /// The first bytes of a flow that wait for their sink, as many as stand together; none when nothing waits.
    #[must_use]
    pub fn parked(&self, channel: ChannelId, flow: Flow) -> &[u8] {
        self.mux.parked(channel, flow)
    }

    /// All that waits for the sink of a flow, in order, for a vectored write.
    pub fn parked_pieces(&self, channel: ChannelId, flow: Flow) -> impl Iterator<Item = &[u8]> {
        self.mux.parked_pieces(channel, flow)
    }

    /// The sink took the first `length` parked bytes.
    pub fn consume(&mut self, channel: ChannelId, flow: Flow, length: usize) {
        self.mux.consume(channel, flow, length);
    }

    /// The flow has finished and nothing of it is parked. True also for a channel that is gone.
    #[must_use]
    pub fn is_drained(&self, channel: ChannelId, flow: Flow) -> bool {
        self.mux.is_drained(channel, flow)
    }

    /// We take no more of a flow: what is parked is dropped, and so is what still comes (`R-6.8`).
    pub fn stop(&mut self, channel: ChannelId, flow: Flow) {
        self.mux.stop(channel, flow);
    }

    // Channels.

    /// Opens a channel. Its request is to be sent on [`Flow::Request`] and finished.
    ///
    /// # Errors
    /// [`TooMany`] channels are open. Before [`Event::Hello`] a client may open one, and an agent none.
    pub fn open(&mut self, kind: ChannelKind) -> Result<ChannelId, TooMany> {
        let channel = self.mux.open(kind)?;
        self.mux.flush(&mut self.link);
        Ok(channel)
    }

    /// Sends a signal to the command of a channel that we opened. A number outside 1 to 64 is ignored.
    pub fn signal(&mut self, channel: ChannelId, number: u32) {
        self.mux.signal(channel, number);
    }

    /// Tells the size of the terminal of a channel that we opened. Of several sizes that were not sent yet the last
    /// counts.
    pub fn resize(&mut self, channel: ChannelId, size: WindowSize) {
        self.mux.resize(channel, size);
    }

    /// Accepts a channel that the peer opened.
    pub fn accept(&mut self, channel: ChannelId, value: u64) {
        self.mux.accept(channel, value);
        self.mux.flush(&mut self.link);
    }

    /// Refuses it. The channel is gone for us. Text beyond [`TEXT_MAX`](crate::limits::TEXT_MAX) bytes is cut.
    pub fn refuse(&mut self, channel: ChannelId, code: RefusalCode, errno: u32, text: &[u8]) {
        self.mux.refuse(channel, code, errno, text);
    }

    /// Tells how the work of an accepted channel ended, after all that was sent on it. The channel is gone for us.
    pub fn exit(&mut self, channel: ChannelId, outcome: Outcome, text: &[u8]) {
        self.mux.exit(channel, outcome, text);
    }

    /// The opener: asks that the command goes on as a job; [`Event::Exited`] tells its number. The acceptor: answers that it
    /// cannot, with the errno that says why not.
    pub fn detach_channel(&mut self, channel: ChannelId, value: u32) {
        self.mux.detach(channel, value);
    }

    /// Aborts a channel. It is gone for us.
    pub fn reset(&mut self, channel: ChannelId, code: CloseCode) {
        self.mux.reset(channel, code);
    }

    /// We are through with a channel that has [`exited`](Event::Exited). It is gone for us.
    pub fn release(&mut self, channel: ChannelId) {
        self.mux.release(channel);
    }
    /// Blocks of the pool that flows are charged beyond their initial windows.
    #[cfg(test)]
    pub(crate) fn charged(&self) -> u16 {
        self.mux.charged()
    }
}
