//! What rustix offers of terminals only to programs with a heap, or with more than the agent needs.

use linux_raw_sys::ioctl::{TCGETS, TCSETS, TIOCOUTQ};
use rustix::fd::BorrowedFd;
use rustix::io::Result;
use rustix::ioctl::{Getter, Setter, ioctl, opcode};

/// Modes and special characters as the kernel has them. A pseudoterminal has no speed; finding that out from its code
/// and back, as rustix does, takes 1 KiB of the file.
pub use linux_raw_sys::general::termios as Modes;

/// The number of the pseudoterminal in /dev/pts whose master this is: TIOCGPTN, `ioctl_tty(2)`.
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: this request writes one unsigned int.
    unsafe { ioctl(master, Getter::<{ opcode::read::<u32>(b'T', 0x30) }, u32>::new()) }
}

/// The modes of a terminal: TCGETS, `ioctl_tty(2)`.
pub fn modes(terminal: BorrowedFd<'_>) -> Result<Modes> {
    // SAFETY: this request writes one such structure.
    unsafe { ioctl(terminal, Getter::<{ TCGETS }, Modes>::new()) }
}

/// Bytes that wait to be sent on a line: TIOCOUTQ, `ioctl_tty(2)`.
pub fn output_queue(line: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: this request writes one int.
    unsafe { ioctl(line, Getter::<{ TIOCOUTQ }, u32>::new()) }
}

/// Sets the modes of a terminal at once: TCSETS, `ioctl_tty(2)`.
pub fn set_modes(terminal: BorrowedFd<'_>, modes: Modes) -> Result<()> {
    // SAFETY: this request reads one such structure.
    unsafe { ioctl(terminal, Setter::<{ TCSETS }, Modes>::new(modes)) }
}

#[cfg(test)]
mod tests {
    use linux_raw_sys::general::{ECHO, VEOF};
    use rustix::fd::AsFd;
    use rustix::termios::{LocalModes, SpecialCodeIndex};

    use super::*;

    #[test]
    fn the_modes_are_those_that_rustix_sees() {
        let (_master, terminal) = crate::terminal::open(Default::default(), b"").unwrap();
        let mut changed = modes(terminal.as_fd()).unwrap();
        changed.c_lflag &= !ECHO;
        changed.c_cc[VEOF as usize] = 7;
        set_modes(terminal.as_fd(), changed).unwrap();
        let seen = rustix::termios::tcgetattr(&terminal).unwrap();
        assert!(
            !seen.local_modes.contains(LocalModes::ECHO) && seen.local_modes.contains(LocalModes::ICANON)
        );
        assert_eq!(seen.special_codes[SpecialCodeIndex::VEOF], 7);
        assert_eq!(seen.output_speed(), 38_400);
    }
}
