//! What the mux and its driver hand each other: events, places for payload, and the one refusal.

use crate::code::{CloseCode, RefusalCode};
use crate::frame::{ChannelId, ChannelKind, Flow, Outcome, WindowSize};

/// What the core tells its driver. `'i` is the input that was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'i> {
    /// The peer's hello came: [`Session::peer`](crate::session::Session::peer).
    Hello,
    /// The peer opened a channel. Its request follows on [`Flow::Request`].
    Opened {
        /// The channel.
        channel: ChannelId,
        /// What it is for.
        kind: ChannelKind,
    },
    /// The peer accepted a channel that we opened.
    Accepted {
        /// The channel.
        channel: ChannelId,
        /// The process id of a command.
        value: u64,
    },
    /// The peer refused it; the text is in [`Session::text`](crate::session::Session::text). The channel is gone.
    Refused {
        /// The channel.
        channel: ChannelId,
        /// Why.
        code: RefusalCode,
        /// The errno that goes with it, or 0.
        errno: u32,
    },
    /// Bytes came. The driver calls [`Session::deliver`](crate::session::Session::deliver) with all of them.
    Data {
        /// The channel.
        channel: ChannelId,
        /// The flow.
        flow: Flow,
        /// At least one byte.
        bytes: &'i [u8],
    },
    /// A flow ended in order. What is parked of it comes before.
    Finished {
        /// The channel.
        channel: ChannelId,
        /// The flow.
        flow: Flow,
    },
    /// The peer takes no more of a flow that we send.
    Stopped {
        /// The channel.
        channel: ChannelId,
        /// The flow.
        flow: Flow,
    },
    /// The peer lets us send more.
    Credit {
        /// The channel.
        channel: ChannelId,
        /// The flow.
        flow: Flow,
    },
    /// A signal for the command.
    Signal {
        /// The channel.
        channel: ChannelId,
        /// Linux's generic number, 1 to 64.
        number: u32,
    },
    /// The size of the terminal changed.
    Resized {
        /// The channel.
        channel: ChannelId,
        /// The new size.
        size: WindowSize,
    },
    /// The command is to become a job; or, on a channel that we opened, it cannot.
    Detach {
        /// The channel.
        channel: ChannelId,
        /// Flags ([`DETACH_HOLD`](crate::fields::DETACH_HOLD)); or the errno that says why not.
        value: u32,
    },
    /// The work ended; the text is in [`Session::text`](crate::session::Session::text). Both flows have finished before.
    Exited {
        /// The channel.
        channel: ChannelId,
        /// How.
        outcome: Outcome,
    },
    /// The peer aborted the channel. It is gone.
    Reset {
        /// The channel.
        channel: ChannelId,
        /// Why.
        code: CloseCode,
    },
    /// The peer closed the session: every channel is gone.
    Closed {
        /// Why.
        code: CloseCode,
    },
}

impl Event<'_> {
    /// The channel that it is about; none where it is about the session.
    #[must_use]
    pub const fn channel(&self) -> Option<ChannelId> {
        match *self {
            Self::Opened { channel, .. }
            | Self::Accepted { channel, .. }
            | Self::Refused { channel, .. }
            | Self::Data { channel, .. }
            | Self::Finished { channel, .. }
            | Self::Stopped { channel, .. }
            | Self::Credit { channel, .. }
            | Self::Signal { channel, .. }
            | Self::Resized { channel, .. }
            | Self::Detach { channel, .. }
            | Self::Exited { channel, .. }
            | Self::Reset { channel, .. } => Some(channel),
            Self::Hello | Self::Closed { .. } => None,
        }
    }
}

/// No channel can be opened now: as many are open as the peer or our own table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// Places in the ring for the payload of one DATA frame, in two parts where they wrap. At least one byte in all.
#[derive(Debug)]
pub struct Reserved<'r> {
    /// The places,
    pub first: &'r mut [u8],
    /// and the rest of them.
    pub second: &'r mut [u8],
}

impl<'r> Reserved<'r> {
    /// Bytes in all.
    #[must_use]
    pub fn length(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// The first `at` bytes, and the rest.
    #[must_use]
    pub fn split(self, at: usize) -> (Self, Self) {
        let in_first = at.min(self.first.len());
        let (head, first) = self.first.split_at_mut(in_first);
        let in_second = (at - in_first).min(self.second.len());
        let (tail, second) = self.second.split_at_mut(in_second);
        (Self { first: head, second: tail }, Self { first, second })
    }

    /// Copies as much of `bytes` as there are places; says how much.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let mut filled = 0;
        for (place, byte) in self.first.iter_mut().chain(self.second.iter_mut()).zip(bytes) {
            *place = *byte;
            filled += 1;
        }
        filled
    }
}
