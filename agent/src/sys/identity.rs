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

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::process::{getegid, geteuid};

    use super::*;

    #[test]
    fn files_are_judged_by_the_ids_that_were_set() {
        set_file_ids(geteuid(), getegid());
        assert_eq!(file_user(), geteuid().as_raw());
    }

    /// Nobody's: the last is no group at all.
    const UNUSED: u32 = u32::MAX - 1;

    #[test]
    fn groups_are_all_there_or_none() {
        let mut all = vec![Gid::from_raw(UNUSED); 65_536];
        let count = groups(&mut all).unwrap().len();
        assert!(all[..count].iter().all(|group| group.as_raw() != UNUSED));
        // With no room at all the call only counts.
        if count > 1 {
            assert_eq!(groups(&mut all[..count - 1]), Err(Errno::INVAL));
        }
        assert_eq!(groups(&mut []), Ok(&[][..]));
    }
}
