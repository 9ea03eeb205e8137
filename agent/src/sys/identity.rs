//! The ids by which file access is judged.

use rustix::fs::{Gid, Uid};
use rustix::io::Result;

use super::ffi;

/// Sets both ids of this thread, `setfsuid(2)` and `setfsgid(2)`: the group first, while we may.
pub fn set_file_ids(uid: Uid, gid: Gid) {
    // SAFETY: both take any number; they tell of no error, and change nothing where they have none.
    unsafe {
        ffi::setfsgid(gid.as_raw());
        ffi::setfsuid(uid.as_raw());
    }
}

/// The supplementary groups of this process, as many as `buffer` holds them all; `getgroups(2)`.
///
/// # Errors
/// EINVAL where there are more.
pub fn groups(buffer: &mut [u32]) -> Result<&[u32]> {
    let room = core::ffi::c_int::try_from(buffer.len()).unwrap_or(core::ffi::c_int::MAX);
    // SAFETY: the pointer and the number are those of the buffer.
    let count = unsafe { ffi::getgroups(room, buffer.as_mut_ptr()) };
    usize::try_from(count).ok().and_then(|count| buffer.get(..count)).ok_or_else(ffi::last_error)
}
