//! Making processes and turning them into programs.

use core::ffi::{CStr, c_int, c_long, c_uint};

use rustix::io::{Errno, Result};
use rustix::process::Pid;

use super::ffi;
use super::pointers::Pointers;

/// Which of the two processes one is after [`fork`].
pub enum Forked {
    /// The new one.
    Child,
    /// The old one, with the id of the new.
    Parent(Pid),
}

/// `fork(2)`, without the handlers of `pthread_atfork(3)`, of which there are none.
///
/// The agent has one thread, no heap and no locks, so that the child can go on with any of its code.
pub fn fork() -> Result<Forked> {
    // SAFETY: nothing in this crate is shared between threads or held across the call, see above.
    let raw = unsafe { ffi::_Fork() };
    match raw {
        ..0 => Err(ffi::last_error()),
        0 => Ok(Forked::Child),
        _ => Pid::from_raw(raw).map(Forked::Parent).ok_or(Errno::INVAL),
    }
}

/// `execve(2)`. Returns only when it failed.
pub fn execve(path: &CStr, argv: &Pointers<'_>, envp: &Pointers<'_>) -> Errno {
    // SAFETY: the path ends with NUL, and `Pointers` keeps valid strings and a null pointer behind them.
    unsafe { ffi::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    ffi::last_error()
}

/// Marks every descriptor from `first` on to be closed by `execve`. Since Linux 5.11.
pub fn close_on_exec_from(first: c_uint) -> Result<()> {
    /// The same number on every architecture.
    const CLOSE_RANGE: c_long = 436;
    const FLAG_CLOEXEC: c_uint = 4;
    // SAFETY: with this flag nothing is closed now, so that no owner of a descriptor notices.
    let raw = unsafe { ffi::syscall(CLOSE_RANGE, first, c_uint::MAX, FLAG_CLOEXEC) };
    if raw == 0 { Ok(()) } else { Err(ffi::last_error()) }
}

/// The descriptors that one without a table of them has to try.
pub const DESCRIPTORS_TRIED: c_int = 4096;
