//! The clock that deadlines are measured by.

pub use crate::sys::clock::monotonic_us as now_us;

/// The first of these moments, of which each may be missing.
#[inline(never)]
pub fn earliest(moments: &[Option<u64>]) -> Option<u64> {
    moments.iter().flatten().copied().min()
}

/// Milliseconds of CLOCK_MONOTONIC, which stands still while the machine is suspended: a peer is not blamed for it.
pub fn now_ms() -> u64 {
    now_us() / 1000
}
