//! What a session needs to know of how the agent was started.

use core::ffi::CStr;

use rustix::process::Pid;

/// PATH where the agent was started without one.
pub const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The same for all sessions, fixed when the agent starts, but for who started them.
#[derive(Clone, Copy)]
pub struct Config {
    /// The longest that a session without a connection is kept, in milliseconds.
    pub grace_ms: u32,
    /// Whose jobs and sessions are ours: a digest of the addresses, of whether there is a key, and of what is denied. An agent that is
    /// started again has them, another one beside it does not.
    pub realm: u64,
    /// The process of ours that forked the session, and waits for it.
    pub parent: Option<Pid>,
    /// What is refused, of [`ability`](vsock_shell_proto::ability).
    pub denied: u32,
    /// Sessions at once.
    pub sessions_max: u32,
    /// The directory that is served, and nothing else (`R-9.14`).
    pub root: Option<&'static CStr>,
    /// PATH of commands, before their own environment (`R-9.5`).
    pub path: &'static [u8],
}

impl Config {
    /// Nothing is kept, refused or shared.
    pub const fn new(path: &'static [u8]) -> Self {
        Self { grace_ms: 0, realm: 0, parent: None, denied: 0, sessions_max: 0, root: None, path }
    }
}
