//! Random bytes: 16 that the kernel gives to every new process, without a device and an entropy pool; and, where they have to be
//! secret, those of the pool.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_raw_sys::general::__NR_getrandom;
use rustix::io::{Errno, Result};

use super::call::call;

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

/// Fills `place`, `getrandom(2)`, unless the kernel has no randomness yet.
///
/// # Errors
/// EAGAIN then; ENOSYS before Linux 3.17.
pub fn fill(place: &mut [u8]) -> Result<()> {
    const GRND_NONBLOCK: usize = 1;
    let mut have = 0;
    while let Some(room) = place.get_mut(have..).filter(|room| !room.is_empty()) {
        let (address, length) = (room.as_mut_ptr().expose_provenance(), room.len());
        // SAFETY: the kernel writes into what we have borrowed, so many bytes.
        match unsafe { call(__NR_getrandom, address, length, GRND_NONBLOCK, 0) } {
            Ok(count) => have += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_place_becomes_random() {
        let mut places = [[0; 512]; 2];
        places.iter_mut().for_each(|place| fill(place).unwrap());
        assert_ne!(places[0], places[1]);
        assert!(places.iter().all(|place| place.chunks(16).all(|part| part != [0; 16])));
        fill(&mut []).unwrap();
    }
}
