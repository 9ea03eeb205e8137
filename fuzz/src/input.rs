//! The input of a target, taken as choices: bytes, small numbers, pieces.

/// What is left of it. Where nothing is left every choice is the first.
#[derive(Debug, Clone)]
pub struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    /// All of it.
    #[must_use]
    pub const fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    /// Nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; none at the end.
    pub fn taken(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.taken().unwrap_or(0)
    }

    /// Once in `times`, more or less.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// A number below `end`, which is at most 2^16.
    pub fn below(&mut self, end: usize) -> usize {
        let number = if end > 256 { usize::from(self.short()) } else { usize::from(self.byte()) };
        number % end.max(1)
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Four bytes.
    pub fn number(&mut self) -> u32 {
        u32::from(self.short()) | u32::from(self.short()) << 16
    }

    /// A long number: small, or near the ends of its type, or any.
    pub fn long(&mut self) -> u64 {
        match self.byte() {
            small @ 0..200 => small.into(),
            200..225 => self.number().into(),
            225..240 => u64::MAX - u64::from(self.byte()),
            _ => u64::from(self.number()) | u64::from(self.number()) << 32,
        }
    }

    /// At most `length` bytes.
    pub fn bytes(&mut self, length: usize) -> &'d [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// As many bytes as the next one says.
    pub fn piece(&mut self) -> &'d [u8] {
        let length = self.byte();
        self.bytes(length.into())
    }

    /// The rest.
    pub fn rest(&mut self) -> &'d [u8] {
        std::mem::take(&mut self.0)
    }
}

/// How a parser is fed: whole, byte by byte, and in pieces that the input chose.
#[must_use]
pub fn ways(data: &[u8], chosen: u8) -> [usize; 3] {
    [data.len().max(1), 1, usize::from(chosen % 61) + 2]
}
