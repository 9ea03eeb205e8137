//! The state of one channel and of its flows: what is due to be sent, what came, what may still come. Pure state;
//! frames are made of it in [`crate::mux`].

use crate::frame::{ChannelKind, Flow, Outcome, WindowSize};
use crate::limits::{FLOWS, INITIAL_CREDIT, WINDOW_MAX};
use core::ops::DerefMut;

use crate::pool::{Pool, Queue};

/// A place in the table of channels. All zero when free. In this order, because an instruction reaches what stands in the
/// first 128 bytes with three bytes less, and everybody asks for the marks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Channel {
    pub(crate) marks: Marks,
    pub(crate) kind: u8,
    pub(crate) size: WindowSize,
    /// The value of DETACH.
    pub(crate) detach: u32,
    /// Signals due, by number less one.
    pub(crate) signals: u64,
    /// The value of ACCEPTED, or the codes of REFUSED or RESET: a channel says only one of them at a time.
    pub(crate) value: u64,
    /// How the work ended, as on the wire.
    pub(crate) outcome: [u8; 8],
    /// The text that goes with it, in the pool.
    pub(crate) text: Queue,
    pub(crate) flows: [FlowState; FLOWS],
}

/// A set of marks on a channel or a flow: events of its life that happened, and frames that are due.
macro_rules! marks {
    ($(#[$doc:meta])* $name:ident($number:ty) { $($(#[$mark_doc:meta])* $mark:ident = $bit:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub(crate) struct $name($number);

        impl $name {
            const NONE: Self = Self(0);
            $($(#[$mark_doc])* pub(crate) const $mark: Self = Self(1 << $bit);)*

            /// Any of `marks` is set.
            pub(crate) const fn has(self, marks: Self) -> bool {
                self.0 & marks.0 != 0
            }

            pub(crate) const fn and(self, marks: Self) -> Self {
                Self(self.0 | marks.0)
            }

            pub(crate) fn set(&mut self, marks: Self) {
                self.0 |= marks.0;
            }

            /// Clears `marks`; says whether any was set.
            pub(crate) fn take(&mut self, marks: Self) -> bool {
                let had = self.has(marks);
                self.0 &= !marks.0;
                had
            }
        }
    };
}

marks! {
    /// Marks of a channel.
    Marks(u16) {
        /// The id is in use.
        OPEN = 0;
        /// We opened it.
        OURS = 1;
        OPEN_DUE = 2;
        /// ACCEPTED or REFUSED was sent or received, or is due.
        ANSWERED = 3;
        ACCEPTED_DUE = 4;
        REFUSED_DUE = 5;
        RESIZE_DUE = 6;
        EXIT_DUE = 7;
        /// REFUSED or EXIT was received.
        OVER = 8;
        RESET_DUE = 9;
        RELEASE_DUE = 10;
        /// The driver is through with the channel: what still comes is dropped.
        LEFT = 11;
        /// Our last frame, RELEASE or RESET, was sent.
        RELEASED = 12;
        /// The peer's last frame came.
        PEER_RELEASED = 13;
        DETACH_DUE = 14;
    }
}

marks! {
    /// Marks of a flow.
    FlowMarks(u8) {
        FINISH_DUE = 0;
        /// FINISH was sent or received.
        FINISHED = 1;
        STOP_DUE = 2;
        /// The receiver takes no more.
        STOPPED = 3;
        CREDIT_DUE = 4;
    }
}

/// One flow. Which of the fields mean something depends on its direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FlowState {
    pub(crate) marks: FlowMarks,
    /// Bytes that may ever be sent: what the peer lets us send, or what we let it send.
    pub(crate) limit: u64,
    /// Bytes that were sent, or came.
    pub(crate) offset: u64,
    /// Bytes that the driver's sink took; received flows only.
    pub(crate) consumed: u64,
    /// How much of the peer's may be outstanding, and from where on we count to widen it.
    pub(crate) window: u32,
    pub(crate) widened_at: u64,
    /// Blocks of the pool that the flow is charged beyond its initial window.
    pub(crate) charged: u16,
    /// What came and was not taken.
    pub(crate) queue: Queue,
}

impl FlowState {
    const FREE: Self = Self {
        marks: FlowMarks::NONE,
        limit: 0,
        offset: 0,
        consumed: 0,
        window: 0,
        widened_at: 0,
        charged: 0,
        queue: Queue::EMPTY,
    };

    fn new() -> Self {
        Self { limit: INITIAL_CREDIT as u64, window: INITIAL_CREDIT as u32, ..Self::FREE }
    }

    /// Bytes that the driver may send on a flow of ours.
    pub(crate) fn writable(&self) -> usize {
        let closed = FlowMarks::FINISH_DUE.and(FlowMarks::FINISHED).and(FlowMarks::STOPPED);
        if self.marks.has(closed) {
            0
        } else {
            usize::try_from(self.limit - self.offset).unwrap_or(usize::MAX)
        }
    }

    /// What the peer may still send, and what waits.
    pub(crate) fn outstanding(&self) -> u64 {
        self.limit - self.consumed
    }

    /// Charges the flow for what is outstanding now.
    pub(crate) fn recharge<P: DerefMut<Target = [u8]>>(&mut self, pool: &mut Pool<P>) {
        let outstanding = self.outstanding();
        pool.recharge(&mut self.charged, outstanding);
    }

    /// The window for the next credit: twice as wide once a whole window was consumed since it was widened last.
    pub(crate) fn widen(&mut self) -> u32 {
        if self.consumed - self.widened_at >= u64::from(self.window) {
            self.window = (self.window * 2).min(WINDOW_MAX as u32);
            self.widened_at = self.consumed;
        }
        self.window
    }
}

impl Channel {
    /// A free place.
    pub const FREE: Self = Self {
        marks: Marks::NONE,
        kind: 0,
        size: WindowSize { rows: 0, columns: 0, width: 0, height: 0 },
        detach: 0,
        signals: 0,
        value: 0,
        outcome: [0; 8],
        text: Queue::EMPTY,
        flows: [const { FlowState::FREE }; FLOWS],
    };

    pub(crate) fn new(kind: ChannelKind, ours: bool) -> Self {
        let marks = if ours { Marks::OPEN.and(Marks::OURS).and(Marks::OPEN_DUE) } else { Marks::OPEN };
        Self { marks, kind: kind.number(), flows: core::array::from_fn(|_| FlowState::new()), ..Self::FREE }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.marks.has(Marks::OURS)
    }

    /// We send `flow`.
    pub(crate) fn sends(&self, flow: Flow) -> bool {
        self.is_ours() == flow.is_openers()
    }

    #[inline(never)]
    pub(crate) fn flow(&mut self, flow: Flow) -> &mut FlowState {
        let [input, output, error, request] = &mut self.flows;
        match flow {
            Flow::Input => input,
            Flow::Output => output,
            Flow::Error => error,
            Flow::Request => request,
        }
    }

    #[inline(never)]
    pub(crate) fn flow_ref(&self, flow: Flow) -> &FlowState {
        let [input, output, error, request] = &self.flows;
        match flow {
            Flow::Input => input,
            Flow::Output => output,
            Flow::Error => error,
            Flow::Request => request,
        }
    }

    pub(crate) fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = outcome.encode();
    }
}

const _: () = assert!(size_of::<Channel>() <= 384, "the table of channels is counted in limits.rs");
