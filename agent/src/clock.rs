//! The clock that deadlines are measured by.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of CLOCK_MONOTONIC, which stands still while the machine is suspended: a peer is not blamed for it.
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// Microseconds of the same clock.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
