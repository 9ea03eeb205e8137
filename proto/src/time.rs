//! Time as the core sees it: an argument of the calls that need it, never read.

use core::time::Duration;

/// Microseconds of a monotonic clock whose zero means nothing. The driver reads it (`clock_gettime(2)`,
/// CLOCK_MONOTONIC, or a clock that goes on while the machine sleeps).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant `micros` microseconds after the clock's zero.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock's zero.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// `micros` microseconds later.
    #[must_use]
    pub const fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`; 0 where that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long to wait from `now` on; nothing where the instant has passed.
    #[must_use]
    pub const fn duration_from(self, now: Self) -> Duration {
        Duration::from_micros(self.since(now))
    }
}
