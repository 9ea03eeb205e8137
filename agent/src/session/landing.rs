//! Where what is received gets its name: everything is made under a temporary name in the directory it belongs in, dressed
//! with its metadata, and renamed (`R-10.4`).

mod kept;

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Gid, MemfdFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps,
    UTIME_OMIT, Uid,
};
use rustix::io::{Errno, IoSlice};
use rustix::process::{geteuid, getpid};
use vsock_shell_proto::items::{FileEnd, Kind, MODE_BITS, Meta, meta_flag};

use super::PIECES_MAX;
use super::transfer::{Failed, GARBLED};
use crate::clock::now_us;
use crate::digest::Digest;
use crate::sys::random;
pub use kept::{Mark, is_held, is_ours, partial_name, unmark};
use kept::{has_name, hold, open_partial};

/// What temporary names begin with.
const PREFIX: [u8; 13] = *b".vsock-shell-";
/// Bytes of a temporary name, with its NUL.
const TEMPORARY_LEN: usize = 32;
/// Times that a link is tried to a name that others replace meanwhile.
const LINK_TRIES: u32 = 8;
/// Other temporary names that are tried where one exists.
const TRIES: u32 = 16;
/// The mode of what is not complete.
const OWN: Mode = Mode::RUSR.union(Mode::WUSR);
/// The bits of a mode that give a program rights of its owner.
pub const SET_ID: u32 = 0o6000;

/// Content that is written together.
pub type Gathered<'i> = ArrayVec<&'i [u8], PIECES_MAX>;

/// A name that something has until it gets its own.
#[derive(Clone, Copy)]
pub struct Temporary([u8; TEMPORARY_LEN]);

impl Temporary {
    fn of(number: u64, digits: usize) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut name = [0; TEMPORARY_LEN];
        let (prefix, rest) = name.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(&PREFIX);
        for (at, place) in rest.iter_mut().take(digits).enumerate() {
            *place = DIGITS.get((number >> (at * 4)) as usize & 15).copied().unwrap_or(b'0');
        }
        Self(name)
    }

    /// For a system call.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// Names that nobody else has, one after the other.
pub struct Names(u64);

impl Names {
    /// The kernel's random bytes are those of the listener; the time and the process make them differ.
    pub fn new() -> Self {
        let own = u64::from(getpid().as_raw_pid().unsigned_abs()) << 32;
        Self((random::seed() ^ now_us().rotate_left(20)).wrapping_add(own))
    }

    fn draw(&mut self) -> Temporary {
        self.0 = self.0.wrapping_add(1);
        Temporary::of(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8, 10)
    }

    /// Makes something under a name that nothing has.
    fn try_each<T>(
        &mut self,
        make: &mut dyn FnMut(&CStr) -> Result<T, Errno>,
    ) -> Result<(T, Temporary), Errno> {
        for _ in 0..TRIES {
            let temporary = self.draw();
            match make(temporary.as_c_str()) {
                Ok(made) => return Ok((made, temporary)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

/// Where something is to be made.
pub struct Spot<'s> {
    /// In this directory.
    pub folder: BorrowedFd<'s>,
    /// Under this name.
    pub name: &'s CStr,
    /// The directory holds nothing but what was made here.
    pub is_empty: bool,
    /// For the meantime.
    pub names: &'s mut Names,
}

/// A file that is being received.
pub struct Landing {
    file: OwnedFd,
    /// The name that it has; none where it is written in place.
    temporary: Option<Temporary>,
    meta: Meta,
    size: u64,
    digest: Digest,
    /// What has come is kept where it does not become complete.
    is_kept: bool,
}

impl Landing {
    /// A file that will be in this spot; with `is_kept`, what there is of it already.
    ///
    /// # Errors
    /// What failed.
    #[inline(never)]
    pub fn create(spot: &mut Spot<'_>, meta: Meta, is_kept: bool) -> Result<Self, Failed> {
        can_replace(spot, Kind::File)?;
        let folder = spot.folder;
        let kept = if is_kept {
            open_partial(spot, &meta).map_err(|(what, errno)| Failed::new(what, errno))?
        } else if meta.offset > 0 {
            return Err(Failed::new(c"go on", Errno::NODATA));
        } else {
            None
        };
        let is_kept = kept.is_some();
        let (file, temporary) = match kept {
            Some(kept) => kept,
            None => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let open = &mut |name: &CStr| rustix::fs::openat(folder, name, flags, OWN);
                spot.names.try_each(open).map_err(Failed::to(c"create"))?
            }
        };
        let mut landing = Self::of(file, meta);
        landing.temporary = Some(temporary);
        landing.is_kept = is_kept;
        Ok(landing)
    }

    /// A file that is there, and is written from its beginning.
    pub fn of(file: OwnedFd, meta: Meta) -> Self {
        let size = meta.offset;
        Self { file, temporary: None, meta, size, digest: Digest::new(), is_kept: false }
    }

    /// A file in memory.
    ///
    /// # Errors
    /// See `memfd_create(2)`.
    pub fn memory(meta: Meta) -> Result<Self, Failed> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::EXEC;
        let create = |flags| rustix::fs::memfd_create(c"vsock-shell", flags);
        // Before Linux 6.3 every file in memory can be executed.
        let file = create(flags).or_else(|_| create(MemfdFlags::CLOEXEC));
        Ok(Self::of(file.map_err(Failed::to(c"create a file in memory"))?, meta))
    }

    /// Its descriptor.
    pub fn into_file(self) -> OwnedFd {
        self.file
    }

    /// The same, with its owner: giving a file away takes the capabilities that are among its attributes.
    pub fn owned(&self) -> BorrowedFd<'_> {
        if self.meta.has(meta_flag::OWNER) {
            // Whether that could be is told at the end.
            let _ = own(self.file.as_fd(), &self.meta);
        }
        self.file.as_fd()
    }

    /// Leaves what is kept to others while nothing comes, or takes it again; whether it is as it was left.
    pub fn hold(&self, folder: BorrowedFd<'_>, is_wanted: bool) -> bool {
        !self.is_kept || (hold(self.file.as_fd(), is_wanted) && self.is_intact(folder))
    }

    /// It has its name, and what has come of it.
    fn is_intact(&self, folder: BorrowedFd<'_>) -> bool {
        let (name, stat) = (self.temporary.as_ref(), rustix::fs::fstat(&self.file));
        name.is_some_and(|name| has_name(folder, name.as_c_str(), &self.file))
            && stat.is_ok_and(|stat| stat.st_size as u64 == self.size)
    }

    /// Counts content that is written next.
    pub fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Leaves a hole.
    ///
    /// # Errors
    /// EFBIG; EOPNOTSUPP of a device that would keep what it has.
    pub fn skip(&mut self, length: u64) -> Result<(), Failed> {
        let before = self.size;
        let size = self.size.checked_add(length).filter(|&size| i64::try_from(size).is_ok());
        self.size = size.ok_or(Failed::new(c"write", Errno::FBIG))?;
        rustix::fs::seek(&self.file, SeekFrom::Start(self.size)).map_err(Failed::to(c"write"))?;
        // A file that ends with it has to have its size.
        let mut left = rustix::fs::ftruncate(&self.file, self.size);
        if left == Err(Errno::INVAL) {
            let zeros = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
            left = rustix::fs::fallocate(&self.file, zeros, before, length);
        }
        left.map_err(Failed::to(c"leave a hole"))
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// See `write(2)`.
    pub fn write(&mut self, gathered: &mut Gathered<'_>) -> Result<(), Failed> {
        while !gathered.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            for (slice, piece) in slices.iter_mut().zip(&*gathered) {
                *slice = IoSlice::new(piece);
            }
            let slices = slices.get(..gathered.len()).unwrap_or_default();
            let mut left = match rustix::io::writev(&self.file, slices) {
                Ok(0) => return Err(Failed::new(c"write", Errno::NOSPC)),
                Ok(written) => written,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(Failed::new(c"write", errno)),
            };
            // What was not written stands at the front.
            gathered.retain(|piece| {
                let part = left.min(piece.len());
                left -= part;
                *piece = piece.get(part..).unwrap_or_default();
                !piece.is_empty()
            });
        }
        Ok(())
    }

    /// Checks what came, gives it its metadata, and puts it in its place.
    ///
    /// # Errors
    /// [`GARBLED`]; or what failed.
    pub fn finish(
        &mut self,
        folder: Option<BorrowedFd<'_>>,
        name: &CStr,
        end: FileEnd,
    ) -> Result<(), Failed> {
        if end.size != self.size || end.digest != self.digest.finish() {
            self.is_kept = false;
            return Err(GARBLED);
        }
        let (Some(temporary), Some(folder)) = (&self.temporary, folder) else { return Ok(()) };
        if self.is_kept && !self.is_intact(folder) {
            return Err(Failed::new(c"complete what another copy has taken", Errno::BUSY));
        }
        // The content is there, whatever else cannot be: it is kept, and that is told.
        let dressed = dress(self.file.as_fd(), &self.meta);
        rustix::fs::renameat(folder, temporary.as_c_str(), folder, name).map_err(Failed::to(c"rename"))?;
        self.temporary = None;
        dressed
    }

    /// Removes it, unless what has come of it is kept.
    pub fn discard(self, folder: BorrowedFd<'_>) {
        let is_gone = |temporary: &Temporary| !has_name(folder, temporary.as_c_str(), &self.file);
        if let Some(temporary) =
            self.temporary.filter(|name| (!self.is_kept || self.size == 0) && !is_gone(name))
        {
            // Where even this fails the file system is of no use any more.
            let _ = rustix::fs::unlinkat(folder, temporary.as_c_str(), AtFlags::empty());
        }
    }
}

/// Neither a directory nor a device is to be replaced by something else.
fn can_replace(spot: &Spot<'_>, by: Kind) -> Result<(), Failed> {
    if spot.is_empty {
        return Ok(());
    }
    let there = rustix::fs::statat(spot.folder, spot.name, AtFlags::SYMLINK_NOFOLLOW);
    match there.map(|there| Kind::of_mode(there.st_mode)) {
        Err(_) | Ok(Kind::File | Kind::Symlink) => Ok(()),
        Ok(Kind::Directory) => Err(Failed::new(c"write", Errno::ISDIR)),
        Ok(kind) if kind == by => Ok(()),
        Ok(_) => Err(Failed::new(c"replace what is no regular file", Errno::EXIST)),
    }
}

/// What is made at once, besides files and directories.
pub enum Made<'n> {
    /// Another name of a file.
    Link {
        /// In this directory.
        folder: BorrowedFd<'n>,
        /// Of this name.
        name: &'n CStr,
    },
    /// A symbolic link.
    Symlink(&'n CStr),
    /// A FIFO or a device.
    Node,
}

/// Makes it under a temporary name, and renames it.
///
/// # Errors
/// What failed.
#[inline(never)]
pub fn make(spot: &mut Spot<'_>, meta: &Meta, made: &Made<'_>) -> Result<(), Failed> {
    can_replace(spot, meta.kind())?;
    let (folder, name) = (spot.folder, spot.name);
    let make = &mut |temporary: &CStr| match made {
        // What had the name a moment ago may have lost it, and then another has it.
        Made::Link { folder: of, name } => (1..LINK_TRIES)
            .map(|_| rustix::fs::linkat(of, *name, folder, temporary, AtFlags::empty()))
            .find(|linked| *linked != Err(Errno::NOENT))
            .unwrap_or(Err(Errno::NOENT)),
        Made::Symlink(target) => rustix::fs::symlinkat(*target, folder, temporary),
        Made::Node => {
            // Its mode is set as it is made, because a name could be another thing afterwards.
            let mask = rustix::process::umask(Mode::empty());
            let kind = FileType::from_raw_mode(meta.mode);
            let mode = Mode::from_raw_mode(meta.mode & MODE_BITS & !SET_ID);
            let device = rustix::fs::makedev(meta.size as u32, (meta.size >> 32) as u32);
            let device = if meta.kind() == Kind::Device { device } else { 0 };
            let made = rustix::fs::mknodat(folder, temporary, kind, mode, device);
            rustix::process::umask(mask);
            made
        }
    };
    let ((), temporary) = spot.names.try_each(make).map_err(Failed::to(c"create"))?;
    let temporary = temporary.as_c_str();
    let dressed = match made {
        Made::Link { .. } => Ok(()),
        _ => dress_name(folder, temporary, meta),
    };
    let renamed = rustix::fs::renameat(folder, temporary, folder, name).map_err(Failed::to(c"rename"));
    if renamed.is_err() || matches!(made, Made::Link { .. }) {
        // Renaming one name of a file to another does nothing, `rename(2)`.
        let _ = rustix::fs::unlinkat(folder, temporary, AtFlags::empty());
    }
    renamed.and(dressed)
}

/// Gives a file or a directory its owner, mode and time, in this order: an owner takes bits from the mode.
///
/// # Errors
/// What failed.
pub fn dress(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Failed> {
    let mut mode = meta.mode & MODE_BITS;
    let mut owned = Ok(());
    if meta.has(meta_flag::OWNER)
        && let Err(errno) = own(file, meta)
    {
        // Rights of an owner that it has not. Somebody who is not root knows that.
        mode &= !SET_ID;
        if geteuid().is_root() {
            owned = Err(Failed::new(c"set the owner", errno));
        }
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(Failed::to(c"set the mode"))?;
    if let Some(times) = times(meta) {
        rustix::fs::futimens(file, &times).map_err(Failed::to(c"set the time"))?;
    }
    owned
}

/// The same for what is not opened, which has its mode.
fn dress_name(folder: BorrowedFd<'_>, name: &CStr, meta: &Meta) -> Result<(), Failed> {
    let mut owned = Ok(());
    if meta.has(meta_flag::OWNER) && geteuid().is_root() {
        owned = give_away(folder, name, meta).map_err(Failed::to(c"set the owner"));
    }
    if let Some(times) = times(meta) {
        rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Failed::to(c"set the time"))?;
    }
    owned
}

/// Gives away what was made under this name, and nothing that took its place: another name of somebody's file.
fn give_away(folder: BorrowedFd<'_>, name: &CStr, meta: &Meta) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&made)?;
    if stat.st_nlink > 1 || Kind::of_mode(stat.st_mode) != meta.kind() {
        return Err(Errno::STALE);
    }
    let (owner, group) = owner_of(meta);
    rustix::fs::chownat(made, c"", owner, group, AtFlags::EMPTY_PATH)
}

fn own(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
    let there = rustix::fs::fstat(file)?;
    if (there.st_uid, there.st_gid) == (meta.owner, meta.group) {
        // Even to the same owner, giving a file away takes its capabilities.
        return Ok(());
    }
    let (owner, group) = owner_of(meta);
    rustix::fs::fchown(file, owner, group)
}

fn owner_of(meta: &Meta) -> (Option<Uid>, Option<Gid>) {
    // All ones mean nobody to `chown(2)`.
    let uid = (meta.owner != u32::MAX).then(|| Uid::from_raw(meta.owner));
    let gid = (meta.group != u32::MAX).then(|| Gid::from_raw(meta.group));
    (uid, gid)
}

/// Gives a directory this time, where that can be.
pub fn keep_time(folder: BorrowedFd<'_>, meta: &Meta) {
    if let Some(times) = times(meta) {
        let _ = rustix::fs::utimensat(folder, c".", &times, AtFlags::empty());
    }
}

fn times(meta: &Meta) -> Option<Timestamps> {
    let modified = meta.modified;
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanoseconds) };
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    modified.is_known().then_some(Timestamps { last_access: omit, last_modification: time })
}
