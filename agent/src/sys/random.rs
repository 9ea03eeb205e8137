//! The 16 random bytes that the kernel gives to every new process: no device and no entropy pool needed.

use core::sync::atomic::{AtomicU64, Ordering};

static SEED: AtomicU64 = AtomicU64::new(0);

/// The first eight of the bytes at AT_RANDOM, `getauxval(3)`; 0 where the kernel gave none, and in a process that did
/// not begin with [`Start`](super::start::Start).
pub fn seed() -> u64 {
    SEED.load(Ordering::Relaxed)
}

/// Keeps the bytes for [`seed`].
pub(super) fn keep(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
}
