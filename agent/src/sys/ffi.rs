//! The C library's functions that the agent calls. Nothing outside `sys` sees them.

use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong};
use rustix::io::Errno;

/// `sigset_t`: 1,024 bits in both libraries, of which the kernel has 64.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct SignalBits(pub(super) [u64; 16]);

#[link(name = "c")]
unsafe extern "C" {
    pub(super) fn _Fork() -> c_int;
    pub(super) fn execve(
        path: *const c_char,
        argv: *const *const c_char,
        envp: *const *const c_char,
    ) -> c_int;
    pub(super) fn _exit(status: c_int) -> !;
    pub(super) fn getauxval(kind: c_ulong) -> c_ulong;
    pub(super) fn sigprocmask(how: c_int, set: *const SignalBits, old: *mut SignalBits) -> c_int;
    pub(super) fn signalfd(fd: c_int, set: *const SignalBits, flags: c_int) -> c_int;
    pub(super) fn accept4(fd: c_int, address: *mut u8, len: *mut u32, flags: c_int) -> c_int;
    pub(super) fn getpeername(fd: c_int, address: *mut u8, len: *mut u32) -> c_int;
    pub(super) fn setfsuid(uid: c_uint) -> c_int;
    pub(super) fn setfsgid(gid: c_uint) -> c_int;
    pub(super) fn getgroups(room: c_int, groups: *mut c_uint) -> c_int;
    pub(super) fn syscall(number: c_long, ...) -> c_long;
    fn __errno_location() -> *mut c_int;

    /// Where the code begins and ends, by the linker.
    pub(super) static __executable_start: u8;
    pub(super) static etext: u8;
}

/// Why the call just made failed.
pub(super) fn last_error() -> Errno {
    // SAFETY: the pointer is this thread's errno, valid for as long as the thread lives.
    Errno::from_raw_os_error(unsafe { *__errno_location() })
}
