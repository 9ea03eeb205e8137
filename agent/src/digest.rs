//! XXH3-64 of a file's content as it passes (`R-10.3`), with seed 0 and the default secret, after its
//! [specification](https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
//!
//! Content of up to 240 bytes is mixed at its end. Longer content is summed up in stripes of 64 bytes as it comes, straight
//! from where it lies, by [`stripes`](crate::sys::stripes). Our own, because it touches every byte of an upload: the
//! crates choose their instructions when they are compiled, or need std to choose later, and take twice the room.

use crate::sys::stripes::{SECRET, STRIPE_LEN, Stripes};

/// Up to here a whole input is held; the algorithm for the short ends a little earlier.
const HELD_MAX: usize = 256;
/// The longest input that has no stripes.
const SHORT_MAX: u64 = 240;
/// Where in the secret begins what the last stripe, the merging of the lanes, and the end of a middling input are mixed with.
const SECRET_LAST: usize = 121;
const SECRET_MERGE: usize = 11;
const SECRET_MIDDLE: usize = 3;
const SECRET_MIDDLE_LAST: usize = 119;

const PRIME32_1: u64 = 0x9E37_79B1;
const PRIME32_2: u64 = 0x85EB_CA77;
const PRIME32_3: u64 = 0xC2B2_AE3D;
const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME64_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME64_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME64_5: u64 = 0x27D4_EB2F_1656_67C5;
const PRIME_MX1: u64 = 0x1656_6791_9E37_79F9;
const PRIME_MX2: u64 = 0x9FB2_1C65_1E98_DF25;

const LANES: [u64; 8] =
    [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];

/// A digest on its way: `held` bytes that wait for more, and before them stripes, of which the last is kept.
///
/// A stripe is summed up only when more follows, because the last 64 bytes of an input are its last stripe, whatever
/// stripe they begin in.
pub struct Digest {
    stripes: Stripes,
    last: [u8; STRIPE_LEN],
    buffer: [u8; HELD_MAX],
    held: usize,
    total: u64,
}

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { stripes: Stripes::new(LANES), last: [0; STRIPE_LEN], buffer: [0; HELD_MAX], held: 0, total: 0 }
    }

    /// Takes the next bytes of the content.
    #[inline(never)]
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.held > 0 || bytes.len() <= HELD_MAX {
            let (now, later) = bytes.split_at(bytes.len().min(HELD_MAX - self.held));
            self.hold(now);
            bytes = later;
            if bytes.is_empty() {
                return;
            }
            let full = self.buffer;
            self.sum(&full);
            self.held = 0;
        }
        let (whole, rest) = bytes.split_at((bytes.len() - 1) / STRIPE_LEN * STRIPE_LEN);
        self.sum(whole);
        self.hold(rest);
    }

    fn hold(&mut self, bytes: &[u8]) {
        copy(&mut self.buffer, self.held, bytes);
        self.held += bytes.len();
    }

    /// Sums up whole stripes that more follows.
    fn sum(&mut self, stripes: &[u8]) {
        self.stripes.sum(stripes);
        if let Some(last) = stripes.last_chunk() {
            self.last = *last;
        }
    }

    /// The digest of all that was taken; nothing can be taken after it.
    #[inline(never)]
    pub fn finish(&mut self) -> u64 {
        let held = self.buffer.get(..self.held).unwrap_or_default();
        if self.total <= SHORT_MAX {
            return short(held);
        }
        self.stripes.sum(held.get(..(self.held - 1) / STRIPE_LEN * STRIPE_LEN).unwrap_or_default());
        // The last 64 bytes of all begin in the stripe before where fewer are held.
        let mut end = [0; 2 * STRIPE_LEN];
        copy(&mut end, 0, &self.last);
        copy(&mut end, STRIPE_LEN, held.get(held.len().saturating_sub(STRIPE_LEN)..).unwrap_or_default());
        let begin = held.len().min(STRIPE_LEN);
        let mut lanes = self.stripes.lanes();
        for lane in 0..8 {
            let data = word(&end, begin + 8 * lane);
            let mixed = data ^ word(&SECRET, SECRET_LAST + 8 * lane);
            let product = (mixed & 0xFFFF_FFFF).wrapping_mul(mixed >> 32);
            add(&mut lanes, lane ^ 1, data);
            add(&mut lanes, lane, product);
        }
        let mixed = (0..4).map(|pair| mix(&lanes, 16 * pair, SECRET_MERGE + 16 * pair));
        avalanche(mixed.fold(self.total.wrapping_mul(PRIME64_1), u64::wrapping_add))
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts bytes into their place, as far as there is room.
#[inline(never)]
fn copy(to: &mut [u8], at: usize, bytes: &[u8]) {
    let room = to.get_mut(at..).unwrap_or_default();
    let len = room.len().min(bytes.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..len), bytes.get(..len)) {
        room.copy_from_slice(bytes);
    }
}

fn add(lanes: &mut [u8; STRIPE_LEN], lane: usize, value: u64) {
    let sum = word(lanes, 8 * lane).wrapping_add(value);
    if let Some(place) = lanes.get_mut(8 * lane..).and_then(<[u8]>::first_chunk_mut) {
        *place = sum.to_le_bytes();
    }
}

/// The digest of at most [`SHORT_MAX`] bytes.
fn short(input: &[u8]) -> u64 {
    let len = input.len();
    let long = len as u64;
    let flip = |at| word(&SECRET, at) ^ word(&SECRET, at + 8);
    match len {
        0 => avalanche_of_xxh64(flip(56)),
        1..=3 => {
            let byte = |at: usize| u64::from(input.get(at).copied().unwrap_or(0));
            let combined = byte(0) << 16 | byte(len / 2) << 24 | byte(len - 1) | long << 8;
            let secret = word(&SECRET, 0);
            avalanche_of_xxh64(combined ^ ((secret ^ secret >> 32) & 0xFFFF_FFFF))
        }
        4..=8 => {
            let half = |at| word(input.get(at..at + 4).unwrap_or_default(), 0);
            let mut hash = (half(len - 4).wrapping_add(half(0) << 32)) ^ flip(8);
            hash ^= hash.rotate_left(49) ^ hash.rotate_left(24);
            hash = hash.wrapping_mul(PRIME_MX2);
            hash ^= (hash >> 35).wrapping_add(long);
            hash = hash.wrapping_mul(PRIME_MX2);
            hash ^ hash >> 28
        }
        9..=16 => {
            let (low, high) = (word(input, 0) ^ flip(24), word(input, len - 8) ^ flip(40));
            avalanche(long.wrapping_add(low.swap_bytes()).wrapping_add(high).wrapping_add(fold(low, high)))
        }
        _ => {
            let mut hash = long.wrapping_mul(PRIME64_1);
            let mut mix_in = |at, secret| hash = hash.wrapping_add(mix(input, at, secret));
            if len <= 128 {
                for pair in 0..=(len - 1) / 32 {
                    mix_in(16 * pair, 32 * pair);
                    mix_in(len - 16 * (pair + 1), 32 * pair + 16);
                }
                return avalanche(hash);
            }
            for round in 0..8 {
                mix_in(16 * round, 16 * round);
            }
            hash = avalanche(hash);
            let mut mix_in = |at, secret| hash = hash.wrapping_add(mix(input, at, secret));
            for round in 8..len / 16 {
                mix_in(16 * round, 16 * (round - 8) + SECRET_MIDDLE);
            }
            mix_in(len - 16, SECRET_MIDDLE_LAST);
            avalanche(hash)
        }
    }
}

/// Eight bytes of `bytes`, or as many as there are.
#[inline(never)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Sixteen bytes of `bytes`, mixed with sixteen of the secret.
#[inline(never)]
fn mix(bytes: &[u8], at: usize, secret: usize) -> u64 {
    fold(word(bytes, at) ^ word(&SECRET, secret), word(bytes, at + 8) ^ word(&SECRET, secret + 8))
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline(never)]
fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 37;
    hash = hash.wrapping_mul(PRIME_MX1);
    hash ^ hash >> 32
}

fn avalanche_of_xxh64(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(PRIME64_2);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(PRIME64_3);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 11) as u8).collect()
    }

    #[test]
    fn it_is_the_digest_of_the_specification() {
        let mut digest = Digest::new();
        assert_eq!(digest.finish(), 0x2D06_8005_38D3_94C2, "nothing");
        digest.update(b"hel");
        digest.update(b"lo");
        assert_eq!(digest.finish(), 0x9555_E855_5C62_DCFD, "the vector of the protocol");
    }

    #[test]
    fn it_is_the_librarys_digest_at_every_length() {
        let content = content(4 * 1024);
        for length in 0..=content.len() {
            let mut digest = Digest::new();
            digest.update(&content[..length]);
            assert_eq!(digest.finish(), xxh3_64(&content[..length]), "{length} bytes");
        }
    }

    #[test]
    fn it_is_the_same_whatever_the_pieces() {
        let content = content(70_000);
        let expected = xxh3_64(&content);
        for piece in (1..600).chain([1023, 1024, 1025, 61_440]) {
            let mut digest = Digest::new();
            for bytes in content.chunks(piece) {
                digest.update(bytes);
            }
            assert_eq!(digest.finish(), expected, "pieces of {piece}");
        }
    }
}
