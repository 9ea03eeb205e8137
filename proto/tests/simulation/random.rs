//! Where chance comes from: SplitMix64 (Steele, Lea and Flood, 2014), so that a run is its seed.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x5EED)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Less than `end`; 0 for 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A length up to `high`, short ones as likely as long ones.
    pub fn length(&mut self, high: u64) -> u64 {
        let bits = self.below(u64::from(64 - high.leading_zeros()) + 1);
        self.below(1 << bits).min(high)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// The byte at `offset` of the stream `key`: whatever is lost, doubled or swapped shows itself.
pub fn byte(key: u64, offset: u64) -> u8 {
    ((offset ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// The stream of a flow of a channel.
pub fn key(instance: usize, flow: u8) -> u64 {
    mix((instance as u64) << 8 | u64::from(flow))
}
