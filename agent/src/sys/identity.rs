//! The ids by which file access is judged.

use rustix::fs::{Gid, Uid};
use rustix::io::Result;

use linux_raw_sys::general::{__NR_getgroups, __NR_setfsgid, __NR_setfsuid};

use super::call::call;

/// Sets both ids of this thread, `setfsuid(2)` and `setfsgid(2)`: the group first, while we may.
pub fn set_file_ids(uid: Uid, gid: Gid) {
    // SAFETY: both take any number; they tell of no error, and change nothing where they have none.
    unsafe {
        let _ = call(__NR_setfsgid, gid.as_raw() as usize, 0, 0, 0);
        let _ = call(__NR_setfsuid, uid.as_raw() as usize, 0, 0, 0);
    }
}

/// The user by which files are judged now.
pub fn file_user() -> u32 {
    // SAFETY: it takes any number, and changes nothing for one that is no user's, `setfsuid(2)`.
    unsafe { call(__NR_setfsuid, u32::MAX as usize, 0, 0, 0) }.map_or(u32::MAX, |uid| uid as u32)
}

/// The supplementary groups of this process, as many as `buffer` holds them all; `getgroups(2)`.
///
/// # Errors
/// EINVAL where there are more.
pub fn groups(buffer: &mut [Gid]) -> Result<&[Gid]> {
    // SAFETY: the pointer and the number are those of the buffer, and `Gid` is a transparent `gid_t`.
    let count = unsafe { call(__NR_getgroups, buffer.len(), buffer.as_mut_ptr().expose_provenance(), 0, 0) }?;
    Ok(buffer.get(..count).unwrap_or_default())
}
