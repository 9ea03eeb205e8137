//! Owns metadata of files on this side: read for a guest, and set as a guest says, as far as it is trusted.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::geteuid;
use vsock_shell_proto::items::{Kind, MODE_BITS, Meta, Timestamp, meta_flag};

/// The bits of a mode that give a program the rights of its owner or group.
pub(super) const SET_ID: u32 = 0o6000;

/// What `stat(2)` tells, as the wire has it; without flags.
pub(super) fn meta_of(stat: &Stat) -> Meta {
    let size = match Kind::of_mode(stat.st_mode) {
        Kind::Device => {
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            u64::from(major) | u64::from(minor) << 32
        }
        _ => u64::try_from(stat.st_size).unwrap_or(0),
    };
    Meta {
        mode: stat.st_mode,
        flags: 0,
        size,
        modified: Timestamp { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        owner: stat.st_uid,
        group: stat.st_gid,
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        device: stat.st_dev,
        inode: stat.st_ino,
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        offset: 0,
    }
}

/// Gives a file or a directory its owner, mode and time, in this order: an owner takes bits from the mode.
///
/// # Errors
/// What failed, and why.
pub(super) fn dress(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), (&'static str, Errno)> {
    let mut mode = meta.mode & MODE_BITS;
    let owned = own(file, meta);
    if owned.is_err() {
        // Rights of an owner that it has not.
        mode &= !SET_ID;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(|errno| ("set the mode", errno))?;
    if let Some(times) = times(meta) {
        rustix::fs::futimens(file, &times).map_err(|errno| ("set the time", errno))?;
    }
    // As cp has it: somebody who is not root cannot, and knows it.
    owned.or_else(|errno| if geteuid().is_root() { Err(("set the owner", errno)) } else { Ok(()) })
}

/// Sets the owner, where there is one to be set.
pub(super) fn own(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
    if !meta.has(meta_flag::OWNER) {
        return Ok(());
    }
    let there = rustix::fs::fstat(file)?;
    if (there.st_uid, there.st_gid) == (meta.owner, meta.group) {
        // Even to the same owner, giving a file away takes its capabilities.
        return Ok(());
    }
    let (uid, gid) = owner_of(meta);
    rustix::fs::fchown(file, uid, gid)
}

/// The same for a link, a FIFO or a device, which has its mode.
///
/// # Errors
/// What failed, and why.
pub(super) fn dress_name(
    folder: BorrowedFd<'_>,
    name: impl Arg + Copy,
    meta: &Meta,
) -> Result<(), (&'static str, Errno)> {
    let mut owned = Ok(());
    if meta.has(meta_flag::OWNER) && geteuid().is_root() {
        owned = give_away(folder, name, meta);
    }
    if let Some(times) = times(meta) {
        rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| ("set the time", errno))?;
    }
    owned.map_err(|errno| ("set the owner", errno))
}

/// Gives away what was made under this name, and nothing that took its place: another name of somebody's file.
fn give_away(folder: BorrowedFd<'_>, name: impl Arg, meta: &Meta) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&made)?;
    if stat.st_nlink > 1 || Kind::of_mode(stat.st_mode) != meta.kind() {
        return Err(Errno::STALE);
    }
    let (uid, gid) = owner_of(meta);
    rustix::fs::chownat(made, c"", uid, gid, AtFlags::EMPTY_PATH)
}

/// Gives a directory the time that it had.
pub(super) fn keep_time(folder: BorrowedFd<'_>, before: &Meta) -> std::io::Result<()> {
    match times(before) {
        Some(times) => Ok(rustix::fs::utimensat(folder, c".", &times, AtFlags::empty())?),
        None => Ok(()),
    }
}

/// All ones mean nobody to `chown(2)`.
fn owner_of(meta: &Meta) -> (Option<Uid>, Option<Gid>) {
    let uid = (meta.owner != u32::MAX).then(|| Uid::from_raw(meta.owner));
    let gid = (meta.group != u32::MAX).then(|| Gid::from_raw(meta.group));
    (uid, gid)
}

fn times(meta: &Meta) -> Option<Timestamps> {
    let modified = meta.modified;
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanoseconds) };
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    modified.is_known().then_some(Timestamps { last_access: omit, last_modification: time })
}
