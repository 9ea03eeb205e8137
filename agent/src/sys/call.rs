//! System calls by their numbers: those that rustix does not have.
//!
//! Not by libc's `syscall(3)`, because that writes `errno` into memory of the thread that only libc's start code sets
//! up, and the static file does without it (see [`start`](super::start)).

use rustix::io::{Errno, Result};

/// Makes the system call `number`, one of `linux_raw_sys::general::__NR_*`; arguments beyond its own are ignored.
///
/// # Safety
/// The arguments are what the call's manual page asks for.
#[inline(never)]
pub(super) unsafe fn call(number: u32, a: usize, b: usize, c: usize, d: usize) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { call5(number, a, b, c, d, 0) }
}

/// The same with an argument more.
///
/// # Safety
/// As for [`call`].
#[inline(never)]
pub(super) unsafe fn call5(number: u32, a: usize, b: usize, c: usize, d: usize, e: usize) -> Result<usize> {
    // SAFETY: the caller's promise.
    let result = unsafe { raw(number as usize, a, b, c, d, e) };
    // The kernel has no errno above 4095, and no result so near the end of the numbers.
    if result > -4096_isize as usize {
        Err(Errno::from_raw_os_error(result.wrapping_neg() as i32))
    } else {
        Ok(result)
    }
}

/// `syscall(2)`, "Architecture calling conventions".
#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> usize {
    let result;
    // SAFETY: the kernel changes these three registers and what the arguments point to.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// `syscall(2)`, "Architecture calling conventions".
#[cfg(target_arch = "aarch64")]
unsafe fn raw(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> usize {
    let result;
    // SAFETY: the kernel changes one register and what the arguments point to.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, options(nostack));
    }
    result
}

/// By libc, whose start code is there on such an architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> usize {
    use core::ffi::{c_int, c_long};
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
        fn __errno_location() -> *mut c_int;
    }
    // SAFETY: the caller's promise; the pointer is this thread's errno.
    unsafe {
        match syscall(number as c_long, a, b, c, d, e) {
            -1 => (*__errno_location() as usize).wrapping_neg(),
            result => result as usize,
        }
    }
}

// The compiler's own calls of `memcpy` and the like; the agent calls no function of libc.
#[link(name = "c")]
unsafe extern "C" {}

#[cfg(test)]
mod tests {
    use linux_raw_sys::general::{__NR_close, __NR_getppid};

    use super::*;

    #[test]
    fn a_call_gives_its_result() {
        // SAFETY: it has no arguments.
        let parent = unsafe { call(__NR_getppid, 0, 0, 0, 0) };
        assert_eq!(parent, Ok(std::os::unix::process::parent_id() as usize));
    }

    #[test]
    fn a_call_that_fails_gives_its_errno() {
        // SAFETY: nothing can be open by such a number.
        assert_eq!(unsafe { call(__NR_close, usize::MAX, 0, 0, 0) }, Err(Errno::BADF));
    }
}
