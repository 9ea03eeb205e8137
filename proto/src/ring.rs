//! A ring of bytes addressed by absolute 64-bit offsets: what the link has to send, and to send again.
//!
//! The ring owns nothing but places: the offset `o` stands at `o mod length`. Who may be where is the link's to
//! know; a length that is a power of two keeps the places when offsets wrap around 2⁶⁴, which they never do.

/// Copies `bytes` to the places from `offset` on. At most the ring's length is copied.
pub(crate) fn write(ring: &mut [u8], offset: u64, bytes: &[u8]) {
    let (first, second) = slices_mut(ring, offset, bytes.len());
    let (head, tail) = bytes.split_at(first.len().min(bytes.len()));
    first.copy_from_slice(head);
    for (place, byte) in second.iter_mut().zip(tail) {
        *place = *byte;
    }
}

/// The `length` bytes from `offset` on, in two parts where they wrap.
pub(crate) fn slices(ring: &[u8], offset: u64, length: usize) -> (&[u8], &[u8]) {
    let (at, first, second) = parts(ring.len(), offset, length);
    let (low, high) = ring.split_at(at);
    (high.get(..first).unwrap_or_default(), low.get(..second).unwrap_or_default())
}

/// The same, to be written.
pub(crate) fn slices_mut(ring: &mut [u8], offset: u64, length: usize) -> (&mut [u8], &mut [u8]) {
    let (at, first, second) = parts(ring.len(), offset, length);
    let (low, high) = ring.split_at_mut(at);
    (high.get_mut(..first).unwrap_or_default(), low.get_mut(..second).unwrap_or_default())
}

/// Where `length` bytes from `offset` on begin in a ring of `size` bytes, how many stand to its end, and how many
/// at its beginning. More than the ring holds is cut.
fn parts(size: usize, offset: u64, length: usize) -> (usize, usize, usize) {
    if size == 0 {
        return (0, 0, 0);
    }
    // A remainder of a usize fits a usize.
    let at = (offset % size as u64) as usize;
    let length = length.min(size);
    let first = length.min(size - at);
    (at, first, length - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_every_place_and_length() {
        for offset in 0..24u64 {
            for length in 0..=8 {
                let mut ring = [0xEE; 8];
                let bytes: [u8; 8] = core::array::from_fn(|i| (offset as u8).wrapping_mul(31) + i as u8);
                write(&mut ring, offset, &bytes[..length]);
                let (first, second) = slices(&ring, offset, length);
                let read: Vec<u8> = first.iter().chain(second).copied().collect();
                assert_eq!(read, bytes[..length], "offset {offset} length {length}");
                assert_eq!(ring.iter().filter(|&&byte| byte == 0xEE).count(), 8 - length);
            }
        }
    }

    #[test]
    fn more_than_the_ring_is_cut() {
        let ring = [1; 4];
        let (first, second) = slices(&ring, 3, 9);
        assert_eq!((first.len(), second.len()), (1, 3));
    }
}
