//! Little-endian integers at places in byte slices, and copies of slices, without a way to panic.

use arrayvec::ArrayVec;

/// The `N` bytes at `at`; zeros where `bytes` is too short (callers have checked the length).
#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Copies `value` to `at`, or nothing where it does not fit.
#[inline]
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

/// As many of `bytes` as there is room for: one `memcpy`, where collecting or cloning an `ArrayVec` asks at each byte.
#[inline]
pub(crate) fn beginning<const N: usize>(bytes: &[u8]) -> ArrayVec<u8, N> {
    let mut copy = ArrayVec::new_const();
    let fits = copy.try_extend_from_slice(bytes.get(..N).unwrap_or(bytes));
    debug_assert!(fits.is_ok(), "it was cut");
    copy
}
