//! The groups of this process.

use rustix::fs::Gid;
use rustix::io::Result;

use linux_raw_sys::general::__NR_getgroups;

use super::call::call;

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

    use super::*;

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
