//! Connections that split, stall and die: two pipes of bytes each.

use std::collections::VecDeque;

use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to agent.
    Up,
    /// Agent to client.
    Down,
}

#[derive(Debug)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Until then nothing comes out.
    pub ready_at: u64,
    /// What is written is lost; what is in it may still be read.
    pub cut: bool,
}

impl Pipe {
    fn new(capacity: usize, ready_at: u64) -> Self {
        Self { bytes: VecDeque::new(), capacity, ready_at, cut: false }
    }

    /// Takes bytes from the front of `bytes`, at most `max`; says how many. A writer does not see that it is cut.
    pub fn write(&mut self, bytes: &[u8], max: usize) -> usize {
        if self.cut {
            return bytes.len().min(max);
        }
        let length = bytes.len().min(max).min(self.capacity.saturating_sub(self.bytes.len()));
        self.bytes.extend(&bytes[..length]);
        length
    }

    /// Takes all of `bytes`, whatever its capacity.
    pub fn fill(&mut self, bytes: &[u8]) {
        if !self.cut {
            self.bytes.extend(bytes);
        }
    }

    /// At most `max` bytes; none while it stalls.
    pub fn read(&mut self, max: usize, now: u64) -> Vec<u8> {
        let length = if now < self.ready_at { 0 } else { max.min(self.bytes.len()) };
        self.bytes.drain(..length).collect()
    }

    /// The reader sees the end.
    pub fn is_over(&self, now: u64) -> bool {
        self.cut && self.bytes.is_empty() && now >= self.ready_at
    }

    /// When the reader will see something that it does not see now.
    pub fn wakes_at(&self) -> Option<u64> {
        (self.cut || !self.bytes.is_empty()).then_some(self.ready_at)
    }

    fn cut_after(&mut self, kept: usize) {
        self.bytes.truncate(kept);
        self.cut = true;
    }
}

#[derive(Debug)]
pub struct Connection {
    pub up: Pipe,
    pub down: Pipe,
    /// The client has left it: no answer on it can matter.
    pub left: bool,
}

impl Connection {
    pub fn new(random: &mut Random, capacity: usize, now: u64, late: bool) -> Self {
        let delay = if late { random.below(4_000_000) } else { 0 };
        Self { up: Pipe::new(capacity, now + delay), down: Pipe::new(capacity, now), left: false }
    }

    pub fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// Dies: of what is in flight a part of any length still arrives.
    pub fn cut(&mut self, random: &mut Random) {
        for pipe in [&mut self.up, &mut self.down] {
            let kept = random.below(pipe.bytes.len() as u64 + 1) as usize;
            pipe.cut_after(kept);
        }
    }

    /// The side that writes `direction` closes: what it wrote arrives, what comes to it is lost.
    pub fn close(&mut self, direction: Direction) {
        let (written, read) = match direction {
            Direction::Up => (&mut self.up, &mut self.down),
            Direction::Down => (&mut self.down, &mut self.up),
        };
        written.cut = true;
        read.cut_after(0);
    }

    pub fn stall(&mut self, random: &mut Random, now: u64) {
        let direction = random.pick(&[Direction::Up, Direction::Down]);
        let pipe = self.pipe(direction);
        pipe.ready_at = pipe.ready_at.max(now + random.length(3_000_000));
    }
}
