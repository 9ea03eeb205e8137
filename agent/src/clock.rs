//! The clock that deadlines are measured by.

use rustix::event::Timespec;

pub use crate::sys::clock::monotonic_us as now_us;

/// The first of these moments, of which each may be missing.
#[inline(never)]
pub fn earliest(moments: &[Option<u64>]) -> Option<u64> {
    moments.iter().flatten().copied().min()
}

/// Milliseconds of CLOCK_MONOTONIC, which stands still while the machine is suspended: a peer is not blamed for it.
#[inline(never)]
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// How long it is until `deadline_ms` of the clock: a timeout for `poll` and `epoll_wait`.
#[inline(never)]
pub fn until(deadline_ms: u64) -> Timespec {
    let left = deadline_ms.saturating_sub(now_ms());
    Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 }
}
