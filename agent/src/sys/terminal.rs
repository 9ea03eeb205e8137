//! What rustix offers of pseudoterminals only to programs with a heap.

use rustix::fd::BorrowedFd;
use rustix::io::Result;
use rustix::ioctl::{Getter, ioctl, opcode};

/// The number of the pseudoterminal in /dev/pts whose master this is: TIOCGPTN, `ioctl_tty(2)`.
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: this request writes one unsigned int.
    unsafe { ioctl(master, Getter::<{ opcode::read::<u32>(b'T', 0x30) }, u32>::new()) }
}
