//! What is kept of a copy with RESUME (`R-10.10`): parts of files, and the mark of a directory that is not complete.
//!
//! Both have a name that everybody can work out, so that each is believed only where it was made by us for nobody else to read.
//! While a copy writes a part it holds a lock on it; others go elsewhere.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;
use vsock_shell_proto::items::Meta;

use super::{OWN, Spot, Temporary};
use crate::digest::Digest;

/// The name of what is kept of a file with this name (`R-10.10`).
pub fn partial_name(name: &[u8]) -> Temporary {
    let mut digest = Digest::new();
    digest.update(name);
    Temporary::of(digest.finish(), 16)
}

/// What marks a directory as not complete (`R-10.10`): which one that is, and what is copied to it.
pub struct Mark([u8; 16]);

impl Mark {
    /// The mark of the directory of this name, for a source by [`Destination::source`](crate::session::put::Destination::source).
    pub fn of(folder: BorrowedFd<'_>, name: &CStr, source: u64) -> Option<Self> {
        let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let both = u128::from(there.st_ino) | u128::from(source) << 64;
        Some(Self(both.to_le_bytes()))
    }

    /// Sets it. Where that cannot be, the next copy does not go on.
    pub fn set(&self, folder: BorrowedFd<'_>, name: &[u8]) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(folder, partial_name(name).as_c_str(), flags, OWN) {
            let _ = rustix::io::write(file, &self.0);
        }
    }

    /// It is set, by us.
    pub fn is_set(&self, folder: BorrowedFd<'_>, name: &[u8]) -> bool {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(folder, partial_name(name).as_c_str(), flags, Mode::empty()) else {
            return false;
        };
        let mut found = [0; 17];
        rustix::fs::fstat(&file).is_ok_and(|stat| is_ours(&stat))
            && rustix::io::read(&file, &mut found[..]) == Ok(self.0.len())
            && found.starts_with(&self.0)
    }
}

/// It is complete.
pub fn unmark(folder: BorrowedFd<'_>, name: &[u8]) {
    let _ = rustix::fs::unlinkat(folder, partial_name(name).as_c_str(), AtFlags::empty());
}

/// What has the name of what is kept was made by us, for nobody else to read, and has no other name.
pub fn is_ours(stat: &Stat) -> bool {
    stat.st_mode & 0o170_077 == 0o100_000 && stat.st_nlink == 1 && stat.st_uid == geteuid().as_raw()
}

/// Opens what was kept, cut to the offset, or a new file where nothing was; none where another copy writes it, and nothing is
/// lost by going elsewhere.
pub(super) fn open_partial(
    spot: &Spot<'_>,
    meta: &Meta,
) -> Result<Option<(OwnedFd, Temporary)>, (&'static CStr, Errno)> {
    let partial = partial_name(spot.name.to_bytes_with_nul());
    let (folder, name, offset) = (spot.folder, partial.as_c_str(), meta.offset);
    let going_on = |errno| (c"go on", errno);
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |more| rustix::fs::openat(folder, name, flags | more, OWN);
    if offset == 0 {
        let there = open(OFlags::empty());
        match &there {
            Err(Errno::NOENT) => {}
            Err(Errno::ACCESS) => return Ok(None),
            Ok(there) if !hold(there.as_fd(), true) || !has_name(folder, name, there) => return Ok(None),
            // What somebody may have opened before does not get the content. While we hold it nobody else takes its name away.
            _ => drop(rustix::fs::unlinkat(folder, name, AtFlags::empty())),
        }
        let made = open(OFlags::CREATE | OFlags::EXCL);
        if matches!(made, Err(Errno::EXIST)) {
            return Ok(None);
        }
        let file = made.map_err(|errno| (c"create", errno))?;
        let is_ours = hold(file.as_fd(), true) && has_name(folder, name, &file);
        return Ok(is_ours.then_some((file, partial)));
    }
    let file = open(OFlags::empty()).map_err(|_| going_on(Errno::NODATA))?;
    if !hold(file.as_fd(), true) || !has_name(folder, name, &file) {
        return Err(going_on(Errno::BUSY));
    }
    // What the sender has seen of it, and nothing that came there since.
    let stat = rustix::fs::fstat(&file).map_err(going_on)?;
    if !is_ours(&stat) || (stat.st_size as u64, stat.st_dev, stat.st_ino) != (offset, meta.device, meta.inode)
    {
        return Err(going_on(Errno::NODATA));
    }
    rustix::fs::seek(&file, SeekFrom::Start(offset)).map_err(going_on)?;
    Ok(Some((file, partial)))
}

/// Takes or leaves a file that is kept, `flock(2)`: whether it is ours alone. A file system without locks has no others.
pub(super) fn hold(file: BorrowedFd<'_>, is_wanted: bool) -> bool {
    let operation =
        if is_wanted { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingUnlock };
    rustix::fs::flock(file, operation) != Err(Errno::WOULDBLOCK)
}

/// Another copy goes on with it, or will have.
pub fn is_held(file: BorrowedFd<'_>) -> bool {
    let is_held = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    let _ = rustix::fs::flock(file, FlockOperation::NonBlockingUnlock);
    is_held
}

/// The file has this name.
pub(super) fn has_name(folder: BorrowedFd<'_>, name: &CStr, file: &OwnedFd) -> bool {
    let named = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let open = rustix::fs::fstat(file);
    matches!((named, open), (Ok(named), Ok(open)) if (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino))
}
