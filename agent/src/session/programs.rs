//! Programs that were put into memory, until they are executed (`R-9.15`).

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;
use vsock_shell_proto::frame::ChannelId;

/// Programs at once; the oldest makes room.
const PROGRAMS_MAX: usize = 8;

/// Each with the channel that brought it, which is its number.
pub struct Programs(ArrayVec<(ChannelId, OwnedFd), PROGRAMS_MAX>);

impl Programs {
    /// None.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Keeps one. Another one of the same number, whose channel is long gone, makes room.
    #[inline(never)]
    pub fn add(&mut self, channel: ChannelId, program: OwnedFd) {
        self.0.retain(|(of, _)| *of != channel);
        if self.0.is_full() {
            self.0.remove(0);
        }
        let _ = self.0.try_push((channel, program));
    }

    /// Gives one away.
    #[inline(never)]
    pub fn take(&mut self, number: u32) -> Option<OwnedFd> {
        let at = self.0.iter().position(|(of, _)| u32::from(of.0) == number)?;
        Some(self.0.remove(at).1)
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        rustix::fs::memfd_create(c"test", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn r_9_15_a_program_is_there_once() {
        let mut programs = Programs::new();
        programs.add(ChannelId(2), file());
        programs.add(ChannelId(2), file());
        assert!(programs.take(3).is_none());
        assert!(programs.take(2).is_some());
        assert!(programs.take(2).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut programs = Programs::new();
        for number in 0..=PROGRAMS_MAX as u16 {
            programs.add(ChannelId(number), file());
        }
        assert!(programs.take(0).is_none());
        assert!(programs.take(1).is_some());
    }
}
