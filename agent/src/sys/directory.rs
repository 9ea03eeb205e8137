//! Directories as the kernel lists them, in memory of the caller's: rustix's iterator keeps its memory borrowed for as long
//! as it lives.

use linux_raw_sys::general::__NR_getdents64;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

use super::call::call;

/// Fills `listing` with the next records of a directory, `getdents64(2)`: how many bytes, 0 at its end.
///
/// # Errors
/// See `getdents(2)`; ENOENT where the directory was removed.
pub fn list(folder: BorrowedFd<'_>, listing: &mut [u8]) -> Result<usize> {
    let at = listing.as_mut_ptr() as usize;
    // SAFETY: the kernel writes at most as many bytes as `listing` has, and it is borrowed for us.
    unsafe { call(__NR_getdents64, folder.as_raw_fd() as usize, at, listing.len(), 0) }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;
    use rustix::fs::{Mode, OFlags, open};

    use super::list;

    #[test]
    fn a_directory_is_listed_to_its_end() {
        let open = |path| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let folder = open(c"/proc/self");
        let mut listing = [0; 4096];
        assert!(list(folder.as_fd(), &mut listing).unwrap() > 0);
        while list(folder.as_fd(), &mut listing).unwrap() > 0 {}
        let file = open(c"/proc/self/stat");
        assert!(list(file.as_fd(), &mut listing).is_err());
    }
}
