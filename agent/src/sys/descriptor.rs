//! Descriptors that exist as numbers: the three standard ones and what a parent process left open.

use core::ffi::c_int;
use core::mem::MaybeUninit;

use rustix::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{Errno, FdFlags, Result};

use super::process::{DESCRIPTORS_TRIED, close_on_exec_from};

/// The descriptor `raw` for as long as a call lasts. Where it is not open, the call fails with EBADF.
fn borrow(raw: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: -1 is excluded. Nothing is assumed of the number but that the kernel refuses it when it is not open;
    // the reference is used for one call each and then gone.
    (raw >= 0).then(|| unsafe { BorrowedFd::borrow_raw(raw) })
}

/// Whether the descriptor `raw` is open.
pub fn is_open(raw: RawFd) -> bool {
    borrow(raw).is_some_and(|fd| rustix::io::fcntl_getfd(fd).is_ok())
}

/// Whether the descriptor `raw` is a terminal.
pub fn is_terminal(raw: RawFd) -> bool {
    borrow(raw).is_some_and(rustix::termios::isatty)
}

/// A duplicate of the descriptor `raw` that is none of the standard three and is closed by `execve`.
pub fn duplicate(raw: RawFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(borrow(raw).ok_or(Errno::BADF)?, 3)
}

/// Takes over the descriptor `raw` that the process was started with, not one of the standard three. Once each.
pub fn adopt(raw: RawFd) -> Result<OwnedFd> {
    let fd = borrow(raw).filter(|_| raw > 2).ok_or(Errno::BADF)?;
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, as the call above found, and it came from outside, so that nothing here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Keeps `fd` open for good and gives its number.
pub fn leak(fd: OwnedFd) -> RawFd {
    fd.into_raw_fd()
}

/// `write(2)` to the descriptor `raw`, which need not be open.
pub fn write(raw: RawFd, bytes: &[u8]) -> Result<usize> {
    rustix::io::write(borrow(raw).ok_or(Errno::BADF)?, bytes)
}

/// Puts something harmless at those of the descriptors 0, 1 and 2 that are closed, so that nothing that is opened
/// later gets such a number: what a command writes to its standard error must not end in a socket.
pub fn fill_standard() {
    for raw in 0..3 {
        if !is_open(raw) {
            // The lowest free number is `raw`, because those below it are open.
            if let Ok(fd) = open_null() {
                leak(fd);
            }
        }
    }
}

/// Puts /dev/null in the place of the standard descriptors: whoever waits for their end shall not wait for us.
///
/// # Errors
/// Of `open` and `dup2`.
pub fn leave_standard() -> Result<()> {
    let null = open_null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}

/// Opens /dev/null, or where there is no /dev yet, the root directory: it takes the number, which is what counts.
pub fn open_null() -> Result<OwnedFd> {
    rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())
        .or_else(|_| rustix::fs::open(c"/", OFlags::DIRECTORY, Mode::empty()))
}

/// Marks what the parent process left open, beyond the standard three, to be closed by `execve`.
///
/// Everything that the agent opens itself is born so. Done once at the start, this leaves nothing for the way to
/// each command.
pub fn mark_inherited() {
    if close_on_exec_from(3).is_ok() || mark_listed().is_ok() {
        return;
    }
    for raw in 3..DESCRIPTORS_TRIED {
        mark(raw);
    }
}

fn mark(raw: c_int) {
    if let Some(fd) = borrow(raw) {
        let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
}

/// Marks the descriptors that /proc lists.
fn mark_listed() -> Result<()> {
    let directory = rustix::fs::open(
        c"/proc/self/fd",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let number = crate::account::decimal(entry?.file_name().to_bytes());
        if let Some(raw) = number.and_then(|number| c_int::try_from(number).ok()).filter(|&raw| raw > 2) {
            mark(raw);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_number_that_is_open_is_taken_over_and_no_other() {
        let raw = leak(duplicate(open_null().unwrap().as_raw_fd()).unwrap());
        assert!(is_open(raw) && !is_terminal(raw));
        assert_eq!(write(raw, b"x"), Ok(1));
        let adopted = adopt(raw).unwrap();
        assert_eq!((adopted.as_raw_fd(), rustix::io::fcntl_getfd(&adopted)), (raw, Ok(FdFlags::CLOEXEC)));
        for raw in [-1, c_int::MAX] {
            assert!(!is_open(raw));
            assert_eq!(write(raw, b"x"), Err(Errno::BADF));
            assert!(duplicate(raw).is_err() && adopt(raw).is_err());
        }
        assert_eq!(adopt(2).unwrap_err(), Errno::BADF);
    }
}
