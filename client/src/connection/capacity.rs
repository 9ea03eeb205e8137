//! Owns for how many channels a connection has memory.

use vsock_shell_proto::limits::CHANNELS_MAX;

/// How many channels a connection is made for.
#[derive(Clone, Copy)]
pub(crate) struct Capacity {
    /// Those that are open at once.
    pub channels: usize,
    /// Those that the agent may open.
    pub taken: u32,
}

impl Capacity {
    /// For what is done one after another.
    pub const CALLS: Self = Self { channels: 8, taken: 0 };
    /// For connections that are forwarded besides.
    pub const FORWARDS: Self = Self { channels: CHANNELS_MAX, taken: CHANNELS_MAX as u32 };
}
