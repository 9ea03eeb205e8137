//! Pseudoterminals: making one, its size, its foreground process group, its end-of-file character. See `pty(7)`.

use linux_raw_sys::general::VEOF;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::process::Pid;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use vsock_shell_proto::frame::WindowSize;

use crate::line::{Line, Part, text};
use crate::modes;
use crate::path::PathBuffer;
use crate::sys;

/// A master that does not block, and the terminal of this size and these [`modes`] behind it.
///
/// # Errors
/// ENOENT or ENODEV where no devpts is mounted; ENOSPC where there are no more terminals.
pub fn open(size: WindowSize, encoded: &[u8]) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let multiplexer = |path| rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty());
    // A devpts without a node in /dev, as in a container or an initramfs that has no devtmpfs.
    let master =
        multiplexer(c"/dev/ptmx").or_else(|errno| multiplexer(c"/dev/pts/ptmx").map_err(|_| errno))?;
    // Borrowed once: each time there is a check that the number is one.
    let fd = master.as_fd();
    rustix::pty::unlockpt(fd)?;
    rustix::termios::tcsetwinsize(fd, winsize(size))?;
    let terminal = open_peer(fd, flags)?;
    if !encoded.is_empty() {
        let fd = terminal.as_fd();
        let mut modes = sys::terminal::modes(fd)?;
        modes::apply(&mut modes, encoded);
        sys::terminal::set_modes(fd, modes)?;
    }
    Ok((master, terminal))
}

/// Opens the terminal through its master, which works whatever is mounted where; by name before Linux 4.13.
#[inline(never)]
fn open_peer(master: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    let peer_flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    match rustix::pty::ioctl_tiocgptpeer(master, peer_flags) {
        Err(Errno::NOTTY | Errno::INVAL) => {
            let number = sys::terminal::number(master)?;
            let path = Line::of(&[text(c"/dev/pts/"), Part::Number(u64::from(number))]);
            rustix::fs::open(PathBuffer::new().join(&[path.as_bytes()])?, flags, Mode::empty())
        }
        result => result,
    }
}

fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: size.width, ws_ypixel: size.height }
}

/// The process group that Ctrl-C would go to.
pub fn foreground(master: BorrowedFd<'_>) -> Option<Pid> {
    rustix::termios::tcgetpgrp(master).ok()
}

/// Changes the size; the foreground group gets SIGWINCH from the kernel.
///
/// # Errors
/// Of TIOCSWINSZ.
pub fn resize(master: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    rustix::termios::tcsetwinsize(master, winsize(size))
}

/// The character that ends the input (`R-9.8`): Ctrl-D, unless the command chose another; `None` where it disabled
/// it.
pub fn eof_character(master: BorrowedFd<'_>) -> Option<u8> {
    const CTRL_D: u8 = 4;
    const DISABLED: u8 = 0;
    let eof = sys::terminal::modes(master)
        .map_or(CTRL_D, |modes| modes.c_cc.get(VEOF as usize).copied().unwrap_or(CTRL_D));
    (eof != DISABLED).then_some(eof)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: WindowSize = WindowSize { rows: 31, columns: 97, width: 1, height: 2 };

    #[test]
    fn a_terminal_has_its_size_from_the_beginning() {
        let (master, terminal) = open(SIZE, b"").unwrap();
        assert_eq!(rustix::termios::tcgetwinsize(&terminal).unwrap().ws_col, 97);
        resize(master.as_fd(), WindowSize { rows: 1, ..SIZE }).unwrap();
        assert_eq!(rustix::termios::tcgetwinsize(&terminal).unwrap().ws_row, 1);
    }

    #[test]
    fn a_master_does_not_block_and_both_are_closed_by_execve() {
        let (master, terminal) = open(SIZE, b"").unwrap();
        assert_eq!(rustix::io::read(&master, &mut [0; 1]).err(), Some(Errno::AGAIN));
        for fd in [&master, &terminal] {
            assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn the_end_of_file_character_is_control_d() {
        let (master, _terminal) = open(SIZE, b"").unwrap();
        assert_eq!(eof_character(master.as_fd()), Some(4));
    }

    #[test]
    fn the_number_of_a_terminal_is_its_name() {
        let (master, _terminal) = open(SIZE, b"").unwrap();
        let number = sys::terminal::number(master.as_fd()).unwrap();
        assert!(std::path::Path::new(&format!("/dev/pts/{number}")).exists());
    }
}
