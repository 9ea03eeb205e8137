//! The mux (`PROTOCOL.md` §5, §6): channels, flows and credit inside the link's byte stream.
//!
//! It owns the table of channels and the pool; it knows nothing of connections. Control frames are not queued but
//! made from state (`transmit`), so that they cannot overflow anything: a verb sets a mark, and the frame is written
//! when the ring has room. What comes is taken apart in `receive`.
//!
//! The life of a channel, seen from one side (`LEFT`: our driver is through with it):
//!
//! ```text
//!  free ──OPEN──→ asked ──ACCEPTED──→ open ──EXIT──→ over ──RELEASE both ways──→ free
//!                   └─────REFUSED────────────────────→ over
//!  from anywhere: RESET by us → LEFT, drop what comes until the peer's RELEASE or RESET
//!                 RESET by the peer → LEFT, answer RELEASE
//! ```

mod event;
mod receive;
mod transmit;

use core::ops::DerefMut;

use arrayvec::ArrayVec;

use crate::channel::{Channel, FlowMarks, Marks};
use crate::code::{CloseCode, RefusalCode};
use crate::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome, WindowSize, is_signal};
use crate::limits::{CHANNEL_IDS, TEXT_MAX};
use crate::pool::Pool;
pub use event::{Event, Reserved, TooMany};
use receive::Receiver;

/// Which side of a session we are: decides the ids of the channels that we open, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that dials; opens even channels.
    Client,
    /// The side that is dialled; opens odd channels.
    Agent,
}

/// A frame whose payload the driver is filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reservation {
    pub(crate) channel: ChannelId,
    pub(crate) flow: Flow,
    pub(crate) length: usize,
}

/// How far the session frames have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Closing {
    /// Neither side has closed.
    No,
    /// CLOSE is due.
    Due(CloseCode),
    /// CLOSE was written: what still comes is dropped.
    Sent,
    /// The peer's CLOSE came.
    Received,
}

/// One side of a mux. `P` holds the pool, `C` the table of channels, indexed by their ids. In this order for the reason
/// that [`Channel`] has one: what is large stands behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Mux<P, C> {
    side: Side,
    pool: Pool<P>,
    channels: C,
    /// Channels open, and as many as the pool is made for.
    open: usize,
    open_max: usize,
    hello_due: bool,
    closing: Closing,
    pub(crate) reservation: Option<Reservation>,
    /// A frame is due for which the ring had no room: bulk does not take what becomes free (`R-6.14`).
    starved: bool,
    /// Channels that have frames due, one bit each.
    due: [u64; CHANNEL_IDS / 64],
    receiver: Receiver,
    hello: Hello,
    peer: Option<Hello>,
    text: ArrayVec<u8, TEXT_MAX>,
}

impl<P: DerefMut<Target = [u8]>, C: DerefMut<Target = [Channel]>> Mux<P, C> {
    pub(crate) fn new(side: Side, pool: P, channels: C, open_max: usize, hello: Hello) -> Self {
        Self {
            side,
            pool: Pool::new(pool, open_max),
            channels,
            open: 0,
            open_max,
            due: [0; CHANNEL_IDS / 64],
            hello,
            hello_due: true,
            peer: None,
            closing: Closing::No,
            reservation: None,
            starved: false,
            receiver: Receiver::new(),
            text: ArrayVec::new_const(),
        }
    }

    pub(crate) fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    #[cfg(test)]
    pub(crate) fn charged(&self) -> u16 {
        self.pool.charged()
    }

    /// The channel `id`, if the driver still has it.
    fn channel(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.any_channel(id).filter(|channel| !channel.marks.has(Marks::LEFT))
    }

    /// The channel `id`, if the id is in use.
    fn any_channel(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(usize::from(id.0)).filter(|channel| channel.marks.has(Marks::OPEN))
    }

    fn channel_ref(&self, id: ChannelId) -> Option<&Channel> {
        let gone = |channel: &&Channel| channel.marks.has(Marks::OPEN) && !channel.marks.has(Marks::LEFT);
        self.channels.get(usize::from(id.0)).filter(gone)
    }

    fn mark_due(&mut self, id: ChannelId) {
        if let Some(word) = self.due.get_mut(usize::from(id.0) / 64) {
            *word |= 1 << (id.0 % 64);
        }
    }

    // Verbs of the opener.

    pub(crate) fn open(&mut self, kind: ChannelKind) -> Result<ChannelId, TooMany> {
        let first = match self.side {
            Side::Client => 0,
            Side::Agent => 1,
        };
        // Before we know how many the peer takes, one that it may not take would end the session (R-6.1): a client opens
        // one then, so that a command costs no round trip more, and an agent none.
        let peer_max = match (&self.peer, self.side) {
            (Some(hello), _) => hello.channels as usize,
            (None, Side::Client) => 1,
            (None, Side::Agent) => 0,
        };
        let end = self.channels.len().min(CHANNEL_IDS).min(peer_max.saturating_mul(2));
        if self.open >= self.open_max || self.closing != Closing::No {
            return Err(TooMany);
        }
        let places = self.channels.iter_mut().enumerate().take(end).skip(first).step_by(2);
        let (at, place) = { places }.find(|(_, place)| !place.marks.has(Marks::OPEN)).ok_or(TooMany)?;
        *place = Channel::new(kind, true);
        self.open += 1;
        let id = ChannelId(at as u16);
        self.mark_due(id);
        Ok(id)
    }

    pub(crate) fn signal(&mut self, id: ChannelId, number: u32) {
        if let Some(channel) = self.channel(id).filter(|_| is_signal(number)) {
            channel.signals |= 1 << (number - 1);
            self.mark_due(id);
        }
    }

    pub(crate) fn resize(&mut self, id: ChannelId, size: WindowSize) {
        if let Some(channel) = self.channel(id) {
            channel.size = size;
            channel.marks.set(Marks::RESIZE_DUE);
            self.mark_due(id);
        }
    }

    // Verbs of the acceptor.

    pub(crate) fn accept(&mut self, id: ChannelId, value: u64) {
        if let Some(channel) = self.channel(id).filter(|channel| !channel.marks.has(Marks::ANSWERED)) {
            channel.value = value;
            channel.marks.set(Marks::ANSWERED.and(Marks::ACCEPTED_DUE));
            self.mark_due(id);
        }
    }

    pub(crate) fn refuse(&mut self, id: ChannelId, code: RefusalCode, errno: u32, text: &[u8]) {
        let Some(channel) = self.channel(id).filter(|channel| !channel.marks.has(Marks::ANSWERED)) else {
            return;
        };
        channel.value = u64::from(code.number()) | u64::from(errno) << 32;
        channel.marks.set(Marks::ANSWERED.and(Marks::REFUSED_DUE).and(Marks::RELEASE_DUE));
        for flow in Flow::ALL {
            channel.flow(flow).marks.take(FlowMarks::FINISH_DUE);
        }
        self.leave(id);
        self.keep_text(id, text);
    }

    pub(crate) fn exit(&mut self, id: ChannelId, outcome: Outcome, text: &[u8]) {
        let Some(channel) = self.channel(id) else { return };
        debug_assert!(channel.marks.has(Marks::ANSWERED), "a channel that was not accepted cannot exit");
        channel.set_outcome(outcome);
        channel.marks.set(Marks::EXIT_DUE.and(Marks::RELEASE_DUE));
        for flow in [Flow::Output, Flow::Error] {
            let state = channel.flow(flow);
            if !state.marks.has(FlowMarks::FINISHED) {
                state.marks.set(FlowMarks::FINISH_DUE);
            }
        }
        self.leave(id);
        self.keep_text(id, text);
    }

    /// Keeps the text of REFUSED or EXIT in the pool, where the channel's request or input has left its place.
    fn keep_text(&mut self, id: ChannelId, text: &[u8]) {
        let text = text.get(..TEXT_MAX).unwrap_or(text);
        let channel = self.channels.get_mut(usize::from(id.0));
        if let Some(channel) = channel {
            // Without the text the code still tells why.
            let kept = self.pool.push(&mut channel.text, text);
            debug_assert!(kept, "a channel that is left has given its blocks back");
        }
    }

    // Verbs of both.

    pub(crate) fn detach(&mut self, id: ChannelId, value: u32) {
        if let Some(channel) = self.channel(id) {
            channel.detach = value;
            channel.marks.set(Marks::DETACH_DUE);
            self.mark_due(id);
        }
    }

    pub(crate) fn finish(&mut self, id: ChannelId, flow: Flow) {
        if let Some(channel) = self.channel(id).filter(|channel| channel.sends(flow)) {
            let state = channel.flow(flow);
            if !state.marks.has(FlowMarks::FINISHED) {
                state.marks.set(FlowMarks::FINISH_DUE);
                self.mark_due(id);
            }
        }
    }

    pub(crate) fn stop(&mut self, id: ChannelId, flow: Flow) {
        let Some(channel) = self.channel(id).filter(|channel| !channel.sends(flow)) else { return };
        let state = channel.flow(flow);
        if !state.marks.has(FlowMarks::STOPPED) {
            state.marks.set(FlowMarks::STOPPED);
            if !state.marks.has(FlowMarks::FINISHED) {
                state.marks.set(FlowMarks::STOP_DUE);
            }
            self.drop_flow(id, flow);
            self.mark_due(id);
        }
    }

    pub(crate) fn reset(&mut self, id: ChannelId, code: CloseCode) {
        if let Some(channel) = self.channel(id) {
            channel.value = u64::from(code.number());
            channel.marks.set(Marks::RESET_DUE);
            self.leave(id);
        }
    }

    pub(crate) fn release(&mut self, id: ChannelId) {
        if let Some(channel) = self.channel(id) {
            channel.marks.set(Marks::RELEASE_DUE);
            self.leave(id);
        }
    }

    pub(crate) fn close(&mut self, code: CloseCode) {
        if self.closing == Closing::No {
            self.closing = Closing::Due(code);
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing != Closing::No
    }

    // Received data.

    pub(crate) fn deliver(
        &mut self,
        id: ChannelId,
        flow: Flow,
        bytes: &[u8],
        taken: usize,
    ) -> Result<(), CloseCode> {
        // The driver may have left the channel or stopped the flow since the event.
        if !self.wants(id, flow) {
            return Ok(());
        }
        let Some(channel) = self.channels.get_mut(usize::from(id.0)) else { return Ok(()) };
        let state = channel.flow(flow);
        let parked = !state.queue.is_empty();
        debug_assert!(taken == 0 || !parked, "bytes were taken before those that wait");
        debug_assert!(taken <= bytes.len());
        let rest = bytes.get(taken..).unwrap_or_default();
        if !self.pool.push(&mut state.queue, rest) || (parked && taken > 0) {
            return Err(CloseCode::Internal);
        }
        self.consumed(id, flow, taken);
        Ok(())
    }

    pub(crate) fn parked(&self, id: ChannelId, flow: Flow) -> &[u8] {
        self.channel_ref(id).map_or(&[], |channel| self.pool.front(&channel.flow_ref(flow).queue))
    }

    pub(crate) fn parked_pieces(&self, id: ChannelId, flow: Flow) -> impl Iterator<Item = &[u8]> {
        let channel = self.channel_ref(id);
        channel.into_iter().flat_map(move |channel| self.pool.pieces(&channel.flow_ref(flow).queue))
    }

    pub(crate) fn consume(&mut self, id: ChannelId, flow: Flow, length: usize) {
        // What was dropped is not charged any more, and must not be again.
        if !self.wants(id, flow) {
            return;
        }
        let Some(channel) = self.channels.get_mut(usize::from(id.0)) else { return };
        let popped = self.pool.pop(&mut channel.flow(flow).queue, length);
        debug_assert_eq!(popped, length, "more was consumed than is parked");
        self.consumed(id, flow, popped);
    }

    pub(crate) fn is_drained(&self, id: ChannelId, flow: Flow) -> bool {
        self.channel_ref(id).is_none_or(|channel| {
            let state = channel.flow_ref(flow);
            state.marks.has(FlowMarks::FINISHED.and(FlowMarks::STOPPED)) && state.queue.is_empty()
        })
    }

    /// The driver still takes bytes of a flow, and it is one that we receive: the credit of another is the peer's.
    fn wants(&self, id: ChannelId, flow: Flow) -> bool {
        self.channel_ref(id).is_some_and(|channel| {
            !channel.sends(flow) && !channel.flow_ref(flow).marks.has(FlowMarks::STOPPED)
        })
    }

    /// A sink took `length` bytes: they are no longer charged, and credit may be due.
    fn consumed(&mut self, id: ChannelId, flow: Flow, length: usize) {
        let Some(channel) = self.channels.get_mut(usize::from(id.0)) else { return };
        let state = channel.flow(flow);
        state.consumed += length as u64;
        state.recharge(&mut self.pool);
        if state.marks.has(FlowMarks::FINISHED.and(FlowMarks::STOPPED)) {
            return;
        }
        let wanted = state.widen();
        let window = self.pool.window(wanted, state.charged);
        let limit = state.consumed + u64::from(window);
        // Credit in halves of a window: few frames, and the peer never waits while we take what it sends.
        if limit >= state.limit + u64::from(window / 2) {
            state.limit = limit;
            state.marks.set(FlowMarks::CREDIT_DUE);
            state.recharge(&mut self.pool);
            self.mark_due(id);
        }
    }

    /// The driver is through with a channel: what waits is dropped, and what still comes will be.
    fn leave(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(usize::from(id.0)) {
            channel.marks.set(Marks::LEFT);
            if self.reservation.is_some_and(|reservation| reservation.channel == id) {
                self.reservation = None;
            }
        }
        for flow in Flow::ALL {
            self.drop_flow(id, flow);
        }
        self.mark_due(id);
    }

    fn drop_flow(&mut self, id: ChannelId, flow: Flow) {
        if let Some(channel) = self.channels.get_mut(usize::from(id.0)) {
            let sends = channel.sends(flow);
            let state = channel.flow(flow);
            if !sends {
                self.pool.clear(&mut state.queue);
                self.pool.recharge(&mut state.charged, 0);
                state.marks.take(FlowMarks::CREDIT_DUE);
            }
        }
    }

    /// Frees the id once both sides have released it.
    fn settle(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(usize::from(id.0))
            && channel.marks.has(Marks::RELEASED)
            && channel.marks.has(Marks::PEER_RELEASED)
        {
            self.pool.clear(&mut channel.text);
            *channel = Channel::FREE;
            self.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
