//! The inner loop of XXH3 for long inputs, by whatever vectors the processor has: AVX2 where it is found, else SSE2, on ARM
//! NEON, elsewhere pairs of integers.

/// Bytes of a stripe.
pub const STRIPE_LEN: usize = 64;
/// Stripes after which the lanes are scrambled: as many as the secret has places for.
const BLOCK: usize = (SECRET.len() - STRIPE_LEN) / 8;
const PRIME32_1: i64 = 0x9E37_79B1;

/// The algorithm's default secret.
#[rustfmt::skip]
pub static SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

/// The sums of the stripes of one input.
pub struct Stripes {
    /// Eight sums of 64 bits, one after the other, little endian.
    lanes: [u8; STRIPE_LEN],
    /// Stripes of this block that were taken.
    taken: usize,
    sum: Sum,
}

/// Adds stripes to the lanes.
///
/// # Safety
/// The processor has what it is made for.
type Sum = unsafe fn(&mut [u8; STRIPE_LEN], &mut usize, &[[u8; STRIPE_LEN]]);

impl Stripes {
    /// Sums that begin with `lanes`.
    pub fn new(lanes: [u64; 8]) -> Self {
        let mut bytes = [0; STRIPE_LEN];
        for (place, lane) in bytes.as_chunks_mut().0.iter_mut().zip(lanes) {
            *place = lane.to_le_bytes();
        }
        Self { lanes: bytes, taken: 0, sum: best() }
    }

    /// Adds whole stripes; what is left of the last is not taken.
    pub fn sum(&mut self, bytes: &[u8]) {
        // SAFETY: `best` found out what the processor has.
        unsafe { (self.sum)(&mut self.lanes, &mut self.taken, bytes.as_chunks().0) }
    }

    /// The sums, one after the other, little endian.
    pub fn lanes(&self) -> [u8; STRIPE_LEN] {
        self.lanes
    }
}

/// What a stripe at this place of its block is mixed with.
fn key(place: usize) -> &'static [u8; STRIPE_LEN] {
    SECRET.get(8 * place..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; STRIPE_LEN])
}

/// Makes a [`Sum`] of vectors and their instructions. The sums are written out one by one: a loop over them would not be
/// unrolled where size counts, and would keep them in memory.
macro_rules! sum {
    (
        $(#[$attribute:meta])? $name:ident of $vector:ty: $($sum:ident $index:literal)*,
        $load:ident $store:ident $repeat:ident $add:ident $xor:ident $right:ident $left:ident $product:ident $swap:ident
    ) => {
        $(#[$attribute])?
        pub(super) unsafe fn $name(lanes: &mut [u8; STRIPE_LEN], taken: &mut usize, stripes: &[[u8; STRIPE_LEN]]) {
            const {
                // As many vectors as the stripe has.
                assert!([$($index),*].len() * size_of::<$vector>() == STRIPE_LEN);
            }
            let place = |bytes: &[u8; STRIPE_LEN], index: usize| bytes.as_ptr().wrapping_add(index * size_of::<$vector>());
            // SAFETY: the caller's promise; all places are those of whole vectors in 64 bytes, at any address.
            unsafe {
                $(let mut $sum = $load(place(lanes, $index).cast());)*
                // Through the reference it would be written at each stripe.
                let mut at = *taken;
                for stripe in stripes {
                    let secret = key(at);
                    $(
                        let data = $load(place(stripe, $index).cast());
                        let mixed = $xor(data, $load(place(secret, $index).cast()));
                        $sum = $add($add($sum, $swap::<SWAP>(data)), $product(mixed, $right::<32>(mixed)));
                    )*
                    at += 1;
                    if at == BLOCK {
                        at = 0;
                        let (secret, prime) = (key(BLOCK), $repeat(PRIME32_1));
                        $(
                            let mixed = $xor($xor($sum, $right::<47>($sum)), $load(place(secret, $index).cast()));
                            let high = $product($right::<32>(mixed), prime);
                            $sum = $add($product(mixed, prime), $left::<32>(high));
                        )*
                    }
                }
                *taken = at;
                $($store(lanes.as_mut_ptr().add($index * size_of::<$vector>()).cast(), $sum);)*
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::asm;
    use core::arch::x86_64::*;
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::{BLOCK, PRIME32_1, STRIPE_LEN, Sum, key};

    /// For the shuffles of 32 bits: the halves of 64 bits of each lane of 128 change places.
    const SWAP: i32 = 0b01_00_11_10;

    sum! {
        #[target_feature(enable = "avx2")]
        by_avx2 of __m256i: a 0 b 1,
        _mm256_loadu_si256 _mm256_storeu_si256 _mm256_set1_epi64x _mm256_add_epi64 _mm256_xor_si256
        _mm256_srli_epi64 _mm256_slli_epi64 _mm256_mul_epu32 _mm256_shuffle_epi32
    }

    sum! {
        by_sse2 of __m128i: a 0 b 1 c 2 d 3,
        _mm_loadu_si128 _mm_storeu_si128 _mm_set1_epi64x _mm_add_epi64 _mm_xor_si128
        _mm_srli_epi64 _mm_slli_epi64 _mm_mul_epu32 _mm_shuffle_epi32
    }

    /// Found out once: CPUID ends the turn of a virtual machine, which for a small file takes longer than its digest.
    pub fn best() -> Sum {
        const UNKNOWN: u8 = 0;
        const OLD: u8 = 1;
        const NEW: u8 = 2;
        static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);
        if FOUND.load(Ordering::Relaxed) == UNKNOWN {
            FOUND.store(if has_avx2() { NEW } else { OLD }, Ordering::Relaxed);
        }
        if FOUND.load(Ordering::Relaxed) == NEW { by_avx2 } else { by_sse2 }
    }

    /// The processor has AVX2, and the kernel keeps the registers (Intel's manual, volume 1, 14.3).
    #[allow(unused_unsafe, reason = "`__cpuid` became safe")]
    fn has_avx2() -> bool {
        const AVX_AND_OSXSAVE: u32 = 1 << 28 | 1 << 27;
        const AVX2: u32 = 1 << 5;
        const SSE_AND_AVX_STATE: u32 = 0b110;
        // SAFETY: every processor of this architecture has CPUID; XGETBV is there where OSXSAVE says so.
        unsafe {
            if __cpuid(0).eax < 7 || __cpuid(1).ecx & AVX_AND_OSXSAVE != AVX_AND_OSXSAVE {
                return false;
            }
            let state: u32;
            asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack));
            state & SSE_AND_AVX_STATE == SSE_AND_AVX_STATE && __cpuid_count(7, 0).ebx & AVX2 != 0
        }
    }
}
#[cfg(target_arch = "x86_64")]
use x86::best;

#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::*;

    use super::{BLOCK, PRIME32_1, STRIPE_LEN, Sum, key};

    const SWAP: i32 = 1;

    sum! {
        by_neon of uint64x2_t: a 0 b 1 c 2 d 3,
        vld1q_u64 vst1q_u64 repeat vaddq_u64 veorq_u64 vshrq_n_u64 vshlq_n_u64 product swap
    }

    fn repeat(value: i64) -> uint64x2_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vdupq_n_u64(value as u64) }
    }

    fn product(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vmull_u32(vmovn_u64(a), vmovn_u64(b)) }
    }

    fn swap<const BY: i32>(a: uint64x2_t) -> uint64x2_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vextq_u64::<BY>(a, a) }
    }

    pub fn best() -> Sum {
        by_neon
    }
}
#[cfg(target_arch = "aarch64")]
use neon::best;

#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod pairs {
    use super::{BLOCK, PRIME32_1, STRIPE_LEN, key};

    type Pair = [u64; 2];
    const SWAP: i32 = 1;

    sum! {
        by_pairs of Pair: a 0 b 1 c 2 d 3,
        load store repeat add xor right left product swap
    }

    unsafe fn load(from: *const [u8; 16]) -> Pair {
        // SAFETY: the caller's promise that 16 bytes are there.
        let bytes = unsafe { *from };
        [0, 8].map(|at| u64::from_le_bytes(core::array::from_fn(|byte| bytes[at + byte])))
    }

    unsafe fn store(to: *mut [u8; 16], [a, b]: Pair) {
        // SAFETY: the caller's promise that there is room for 16 bytes.
        unsafe { *to = (u128::from(b) << 64 | u128::from(a)).to_le_bytes() };
    }

    fn repeat(value: i64) -> Pair {
        [value as u64; 2]
    }

    fn add(a: Pair, b: Pair) -> Pair {
        [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
    }

    fn xor(a: Pair, b: Pair) -> Pair {
        [a[0] ^ b[0], a[1] ^ b[1]]
    }

    fn right<const BY: i32>(a: Pair) -> Pair {
        a.map(|half| half >> BY)
    }

    fn left<const BY: i32>(a: Pair) -> Pair {
        a.map(|half| half << BY)
    }

    /// Of the lower halves.
    fn product(a: Pair, b: Pair) -> Pair {
        let low = |half: u64| half & 0xFFFF_FFFF;
        [low(a[0]).wrapping_mul(low(b[0])), low(a[1]).wrapping_mul(low(b[1]))]
    }

    fn swap<const BY: i32>([a, b]: Pair) -> Pair {
        [b, a]
    }
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn best() -> Sum {
    pairs::by_pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_vectors_give_the_same_sums() {
        let content: Vec<u8> =
            (0..100 * 64_u32).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 21) as u8).collect();
        let kinds = [
            pairs::by_pairs as Sum,
            best(),
            #[cfg(target_arch = "x86_64")]
            x86::by_sse2,
        ];
        let sums = kinds.into_iter().map(|sum| {
            let mut stripes = Stripes { sum, ..Stripes::new([3, 1, 4, 1, 5, 9, 2, u64::MAX]) };
            // At any address, in pieces that end within blocks.
            stripes.sum(&content[1..1 + 15 * 64]);
            stripes.sum(&content[1 + 15 * 64..99 * 64 + 1]);
            (stripes.lanes, stripes.taken)
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.windows(2).all(|two| two[0] == two[1]), "{sums:?}");
        assert_eq!(sums[0].1, 99 % 16);
    }
}
