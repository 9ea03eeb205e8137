//! The pool: where bytes wait that a sink refused. A fixed number of blocks, chained into one queue a flow.
//!
//! Its memory is plain bytes, zero at start, so that a driver can have it from wherever zeros cost nothing until they
//! are touched. A block is [`BLOCK_LEN`] bytes of content and two that number the next block.
//!
//! **Invariant**: the blocks charged to flows ([`Pool::recharge`]) never exceed the blocks there are, and a queue never
//! needs more than it is charged. So a push always finds a block.

use core::ops::DerefMut;

use crate::limits::{BLOCK_LEN, BLOCK_STRIDE, BLOCKS_PER_FLOW, FLOWS_IN, INITIAL_CREDIT, WINDOW_MAX};
use crate::wire::{put, u16_at};

/// Where in a block the number of the block behind it stands: the next of its queue, or of the list of free blocks.
/// Blocks are numbered from 1; 0 is none.
const NEXT: usize = BLOCK_LEN;

/// Bytes of one flow, first in first out. All zero when empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    /// Numbered from 1; 0 when the queue is empty.
    head: u16,
    tail: u16,
    /// Where the bytes begin in the first block.
    start: u16,
    /// Where they end in the last.
    end: u16,
}

impl Queue {
    pub(crate) const EMPTY: Self = Self { head: 0, tail: 0, start: 0, end: 0 };

    pub(crate) fn is_empty(&self) -> bool {
        self.head == 0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pool<P> {
    blocks: P,
    /// Blocks that were used and are free again.
    recycled: u16,
    /// Blocks before this one have been used.
    touched: u16,
    /// Blocks beyond the initial windows of all channels, and how many of them are charged.
    surplus: u16,
    charged: u16,
}

impl<P: DerefMut<Target = [u8]>> Pool<P> {
    /// A pool for `channels` channels at once.
    pub(crate) fn new(blocks: P, channels: usize) -> Self {
        let length = (blocks.len() / BLOCK_STRIDE).min(usize::from(u16::MAX));
        let surplus = length.saturating_sub(channels * FLOWS_IN * BLOCKS_PER_FLOW) as u16;
        Self { blocks, recycled: 0, touched: 0, surplus, charged: 0 }
    }

    /// Appends `bytes`. `false` when the pool is exhausted, which the invariant excludes.
    #[must_use]
    pub(crate) fn push(&mut self, queue: &mut Queue, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if queue.head == 0 || usize::from(queue.end) == BLOCK_LEN {
                let Some(fresh) = self.take() else { return false };
                if queue.head == 0 {
                    *queue = Queue { head: fresh, tail: fresh, start: 0, end: 0 };
                } else {
                    self.set_next(queue.tail, fresh);
                    queue.tail = fresh;
                    queue.end = 0;
                }
            }
            let end = usize::from(queue.end);
            let length = (BLOCK_LEN - end).min(bytes.len());
            let (now, later) = bytes.split_at(length);
            put(self.block(queue.tail), end, now);
            queue.end += length as u16;
            bytes = later;
        }
        true
    }

    /// The first bytes, as many as stand together.
    pub(crate) fn front(&self, queue: &Queue) -> &[u8] {
        self.pieces(queue).next().unwrap_or_default()
    }

    /// All bytes in order, each time as many as stand together.
    pub(crate) fn pieces(&self, queue: &Queue) -> impl Iterator<Item = &[u8]> {
        let (tail, end) = (queue.tail, usize::from(queue.end));
        let (mut number, mut start) = (queue.head, usize::from(queue.start));
        core::iter::from_fn(move || {
            let at = usize::from(number).checked_sub(1)? * BLOCK_STRIDE;
            let block = self.blocks.get(at..)?.get(..BLOCK_STRIDE)?;
            let end = if number == tail { end } else { BLOCK_LEN };
            number = if number == tail { 0 } else { u16_at(block, NEXT) };
            block.get(core::mem::take(&mut start)..end)
        })
    }

    /// Drops the first `length` bytes, or as many as there are; says how many.
    pub(crate) fn pop(&mut self, queue: &mut Queue, length: usize) -> usize {
        let mut left = length;
        while left > 0 && !queue.is_empty() {
            let here = self.front(queue).len();
            let part = here.min(left);
            left -= part;
            if part < here {
                queue.start += part as u16;
            } else {
                self.drop_head(queue);
            }
        }
        length - left
    }

    /// Drops all bytes.
    pub(crate) fn clear(&mut self, queue: &mut Queue) {
        while !queue.is_empty() {
            self.drop_head(queue);
        }
    }

    fn drop_head(&mut self, queue: &mut Queue) {
        let head = queue.head;
        let next = self.next(head);
        self.set_next(head, self.recycled);
        self.recycled = head;
        if head == queue.tail {
            *queue = Queue::EMPTY;
        } else {
            queue.head = next;
            queue.start = 0;
        }
    }

    /// The bytes of a block; none where there is no such block.
    fn block(&mut self, number: u16) -> &mut [u8] {
        let at = usize::from(number).wrapping_sub(1).wrapping_mul(BLOCK_STRIDE);
        self.blocks.get_mut(at..).and_then(|rest| rest.get_mut(..BLOCK_STRIDE)).unwrap_or_default()
    }

    fn next(&mut self, number: u16) -> u16 {
        u16_at(self.block(number), NEXT)
    }

    fn set_next(&mut self, number: u16, next: u16) {
        put(self.block(number), NEXT, &next.to_le_bytes());
    }

    /// A free block: one that was used before, so that few are ever touched.
    fn take(&mut self) -> Option<u16> {
        let number = self.recycled;
        if number == 0 {
            let fresh = self.touched.checked_add(1)?;
            if self.block(fresh).is_empty() {
                return None;
            }
            self.touched = fresh;
            return Some(fresh);
        }
        self.recycled = self.next(number);
        self.set_next(number, 0);
        Some(number)
    }

    // The account of windows.

    /// A flow is charged for `outstanding` bytes that it may hold or get. `charged` is what it is charged beyond its
    /// initial window, in blocks.
    pub(crate) fn recharge(&mut self, charged: &mut u16, outstanding: u64) {
        let blocks = outstanding.div_ceil(BLOCK_LEN as u64) + 1;
        let beyond = blocks.saturating_sub(BLOCKS_PER_FLOW as u64) as u16;
        self.charged = self.charged - *charged + beyond;
        *charged = beyond;
        debug_assert!(self.charged <= self.surplus, "windows exceed the pool");
    }

    /// The window that a flow may have that wants `wanted` bytes and is charged `charged` blocks now.
    ///
    /// Each may have a quarter of what would be left without it: the dynamic threshold of Choudhury and Hahne
    /// ("Dynamic queue length thresholds for shared-memory packet switches", 1998). The first flows get all they want,
    /// and there is always something for the next.
    pub(crate) fn window(&self, wanted: u32, charged: u16) -> u32 {
        let free = usize::from(self.surplus - self.charged + charged);
        // The block that a partly read queue wastes is among those of the initial window.
        let share = free / 4 * BLOCK_LEN;
        (wanted as usize).min(share).clamp(INITIAL_CREDIT, WINDOW_MAX) as u32
    }

    /// Blocks charged beyond initial windows.
    #[cfg(test)]
    pub(crate) fn charged(&self) -> u16 {
        self.charged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(blocks: usize, channels: usize) -> Pool<Vec<u8>> {
        Pool::new(vec![0; blocks * BLOCK_STRIDE], channels)
    }

    fn byte(offset: u64) -> u8 {
        (offset.wrapping_mul(0x9E37_79B9) >> 13) as u8
    }

    #[test]
    fn queues_are_first_in_first_out_whatever_the_pieces() {
        let mut pool = pool(64, 1);
        let mut queues = [Queue::EMPTY, Queue::EMPTY];
        let (mut pushed, mut popped) = ([0u64; 2], [0u64; 2]);
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let which = (random >> 60) as usize & 1;
            let length = (random >> 33) % 3000;
            let held = pushed[which] - popped[which];
            if random >> 63 == 0 && held + length < 30 * 1024 {
                let bytes: Vec<u8> = (pushed[which]..pushed[which] + length).map(byte).collect();
                assert!(pool.push(&mut queues[which], &bytes));
                pushed[which] += length;
            } else {
                let front = pool.front(&queues[which]);
                let want: Vec<u8> = (popped[which]..popped[which] + front.len() as u64).map(byte).collect();
                assert_eq!(front, want);
                popped[which] += pool.pop(&mut queues[which], length as usize) as u64;
            }
            assert_eq!(queues[which].is_empty(), pushed[which] == popped[which]);
        }
    }

    #[test]
    fn a_queue_needs_no_more_blocks_than_it_is_charged() {
        // 4 KiB are outstanding: 4 blocks and one that is partly read.
        let mut pool = pool(BLOCKS_PER_FLOW, 0);
        let mut queue = Queue::EMPTY;
        for start in 0..BLOCK_LEN {
            assert!(pool.push(&mut queue, &vec![1; start]));
            assert_eq!(pool.pop(&mut queue, start), start);
            assert!(pool.push(&mut queue, &[2; 1]));
            assert_eq!(pool.pop(&mut queue, 1), 1);
            assert!(pool.push(&mut queue, &[3; INITIAL_CREDIT]), "start {start}");
            pool.clear(&mut queue);
        }
    }

    #[test]
    fn an_exhausted_pool_says_so() {
        let mut pool = pool(2, 0);
        assert!(!pool.push(&mut Queue::EMPTY.clone(), &[0; 3 * BLOCK_LEN]));
    }

    #[test]
    fn windows_leave_something_for_the_next_flow() {
        let mut pool = pool(4096, 0);
        let mut charges = Vec::new();
        let mut before = WINDOW_MAX as u32;
        for _ in 0..600 {
            let mut charged = 0;
            let window = pool.window(WINDOW_MAX as u32, charged);
            pool.recharge(&mut charged, u64::from(window));
            assert!(window <= before && window >= INITIAL_CREDIT as u32);
            before = window;
            charges.push(charged);
        }
        assert_eq!(pool.charged(), charges.iter().sum::<u16>());
        for mut charged in charges {
            pool.recharge(&mut charged, 0);
        }
        assert_eq!(pool.charged(), 0);
    }
}
