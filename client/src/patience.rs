//! Owns how long a client tries: to reach an agent, to get a lost connection back, and with a guest that is silent.

use std::time::Duration;

/// How long to try to reach an agent, and to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the first connection, while it can still succeed; zero: once.
    pub connect: Duration,
    /// For another one where it was lost, as far as the agent keeps the session; zero: not at all.
    pub reconnect: Duration,
    /// With a guest that says nothing although it can be reached; `None`: for ever.
    pub dead_after: Option<Duration>,
}

impl Patience {
    /// How long a lost connection is dialled again where nobody says.
    pub const RECONNECT: Duration = Duration::from_secs(30);
}

impl From<Duration> for Patience {
    /// For the first connection; the rest as usual.
    fn from(connect: Duration) -> Self {
        Self { connect, reconnect: Self::RECONNECT, dead_after: None }
    }
}
