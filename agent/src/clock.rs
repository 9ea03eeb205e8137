//! The clock that deadlines are measured by.

use rustix::event::Timespec;
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

/// How long it is until `deadline_ms` of the clock: a timeout for `poll` and `epoll_wait`.
#[inline(never)]
pub fn until(deadline_ms: u64) -> Timespec {
    let left = deadline_ms.saturating_sub(now_ms());
    Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 }
}
