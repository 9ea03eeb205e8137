//! Clocks, read by a system call.
//!
//! rustix would look into the vDSO, and what finds its function there takes 2 KiB of the file.

use linux_raw_sys::general::{
    __NR_clock_gettime, __NR_clock_settime, CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME,
};
use rustix::io::{Errno, Result};

use super::call::call;

/// Microseconds of CLOCK_MONOTONIC, `clock_gettime(2)`.
pub fn monotonic_us() -> u64 {
    let [seconds, nanoseconds] = read(CLOCK_MONOTONIC);
    seconds as u64 * 1_000_000 + nanoseconds as u64 / 1000
}

/// Seconds since the machine was started, the time included in which it was suspended.
pub fn uptime_seconds() -> u64 {
    let [seconds, _] = read(CLOCK_BOOTTIME);
    seconds as u64
}

/// Seconds and nanoseconds since 1970.
pub fn time() -> [u64; 2] {
    read(CLOCK_REALTIME).map(|number| number as u64)
}

/// Sets that clock, `clock_settime(2)`.
///
/// # Errors
/// EPERM without CAP_SYS_TIME; EINVAL for what is no time.
pub fn set_time(time: [u64; 2]) -> Result<()> {
    let [seconds, nanoseconds] = time.map(usize::try_from);
    let time = [seconds.map_err(|_| Errno::INVAL)?, nanoseconds.map_err(|_| Errno::INVAL)?];
    // SAFETY: the structure is valid for the call.
    unsafe { call(__NR_clock_settime, CLOCK_REALTIME as usize, time.as_ptr().expose_provenance(), 0, 0) }
        .map(|_| ())
}

/// Seconds and nanoseconds; the kernel's `timespec` of this call is two words of the machine.
fn read(clock: u32) -> [usize; 2] {
    let mut time = [0; 2];
    // SAFETY: the structure is valid for the call. There is no kernel that lacks these clocks.
    let _ = unsafe { call(__NR_clock_gettime, clock as usize, time.as_mut_ptr().expose_provenance(), 0, 0) };
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_are_those_of_std() {
        let before = monotonic_us();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(time()[0].abs_diff(now) <= 1 && time()[1] < 1_000_000_000);
        assert!(monotonic_us() >= before && before > 0);
        assert!(uptime_seconds() >= before / 1_000_000);
    }

    #[test]
    fn what_is_no_time_is_not_set() {
        assert_eq!(set_time([0, 1_000_000_000]), Err(Errno::INVAL));
        assert_eq!(set_time([u64::MAX, 0]), Err(Errno::INVAL));
    }
}
