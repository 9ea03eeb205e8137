//! The 16 random bytes that the kernel gives to every new process: no device and no entropy pool needed.

use super::ffi;

/// The first eight of the bytes at AT_RANDOM, `getauxval(3)`; 0 where the kernel gave none.
pub fn seed() -> u64 {
    const AT_RANDOM: core::ffi::c_ulong = 25;
    // SAFETY: getauxval has no conditions.
    let address = unsafe { ffi::getauxval(AT_RANDOM) } as usize;
    if address == 0 {
        return 0;
    }
    // SAFETY: the kernel put 16 bytes there, at the bottom of the stack, where nothing moves them.
    u64::from_ne_bytes(unsafe { core::ptr::with_exposed_provenance::<[u8; 8]>(address).read_unaligned() })
}
