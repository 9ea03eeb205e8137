//! What a session needs to know of how the agent was started.

/// PATH where the agent was started without one.
pub const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The same for all sessions, fixed when the agent starts.
#[derive(Clone, Copy)]
pub struct Config {
    /// The longest that a session without a connection is kept, in milliseconds.
    pub grace_ms: u32,
    /// PATH of commands, before their own environment (`R-9.5`).
    pub path: &'static [u8],
}
