//! A way through a directory tree: the directories that are open, one inside the other, and what is in the innermost.
//!
//! Nothing is ever named by more than one component, from an open directory on, so that a tree that changes meanwhile leads
//! nowhere else. Names are read in one piece of memory: when a directory is left, the one around it is read again
//! from where it was, by the position that the kernel gave with each name.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use vsock_shell_proto::items::Kind;
use vsock_shell_proto::limits::{NAME_MAX, PATH_MAX, TREE_DEPTH_MAX};

use crate::sys::directory::list;

/// Bytes of names that are read at once: some hundred names.
const LISTING_LEN: usize = 16 * 1024;
/// Bytes before the name in a record of `getdents64(2)`: inode u64, position u64, length u16, type u8.
const RECORD_NAME: usize = 19;

/// A name with its NUL.
pub type Name = ArrayVec<u8, { NAME_MAX + 1 }>;

/// The name, for a system call.
pub fn c_str(name: &Name) -> &CStr {
    CStr::from_bytes_until_nul(name).unwrap_or_default()
}

/// The directories that are open, and the path of the innermost from the first one on.
pub struct Levels {
    open: ArrayVec<Level, TREE_DEPTH_MAX>,
    path: ArrayVec<u8, PATH_MAX>,
}

struct Level {
    folder: OwnedFd,
    path_len: usize,
    /// Where it is read on.
    position: u64,
    /// It was made just now.
    is_new: bool,
}

impl Levels {
    /// No directory.
    pub const fn new() -> Self {
        Self { open: ArrayVec::new_const(), path: ArrayVec::new_const() }
    }

    /// Leaves all directories. Paths begin with `path`.
    pub fn clear(&mut self, path: &[u8]) {
        self.open.clear();
        self.path.clear();
        let _ = self.path.try_extend_from_slice(path.get(..PATH_MAX).unwrap_or(path));
    }

    /// The innermost.
    pub fn top(&self) -> Option<BorrowedFd<'_>> {
        self.open.last().map(|level| level.folder.as_fd())
    }

    /// The first.
    pub fn first(&self) -> Option<BorrowedFd<'_>> {
        self.open.first().map(|level| level.folder.as_fd())
    }

    /// How many there are.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Goes into a directory: what [`Self::path`] says is its path.
    ///
    /// # Errors
    /// ENAMETOOLONG where too many are open.
    pub fn enter(&mut self, folder: OwnedFd, is_new: bool) -> Result<(), Errno> {
        let level = Level { folder, path_len: self.path.len(), position: 0, is_new };
        self.open.try_push(level).map_err(|_| Errno::NAMETOOLONG)
    }

    /// Whether the innermost was made just now.
    pub fn is_new(&self) -> bool {
        self.open.last().is_some_and(|level| level.is_new)
    }

    /// Leaves the innermost, which now is [`Self::path`]; and whether it was made just now.
    pub fn leave(&mut self) -> Option<(OwnedFd, bool)> {
        let level = self.open.pop()?;
        self.path.truncate(level.path_len);
        Some((level.folder, level.is_new))
    }

    /// Makes [`Self::path`] that of a name in the innermost directory.
    ///
    /// # Errors
    /// ENAMETOOLONG; then it is that of the directory.
    pub fn name(&mut self, name: &[u8]) -> Result<(), Errno> {
        let Some(level) = self.open.last() else { return Ok(()) };
        self.path.truncate(level.path_len);
        let separator: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
        if self.path.remaining_capacity() < separator.len() + name.len() {
            return Err(Errno::NAMETOOLONG);
        }
        let _ = self.path.try_extend_from_slice(separator);
        let _ = self.path.try_extend_from_slice(name);
        Ok(())
    }

    /// The path of what was named, entered or left last.
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self::new()
    }
}

/// What was found in a directory.
pub struct Found {
    /// Its name, with its NUL.
    pub name: Name,
    /// What it is, where the directory says so.
    pub kind: Option<Kind>,
}

/// The way.
pub struct Walk {
    /// The directories.
    pub levels: Levels,
    listing: [u8; LISTING_LEN],
    at: usize,
    end: usize,
}

impl Walk {
    /// At no place.
    pub const fn new() -> Self {
        Self { levels: Levels::new(), listing: [0; LISTING_LEN], at: 0, end: 0 }
    }

    /// Begins anew, with paths that begin with `path`.
    pub fn clear(&mut self, path: &[u8]) {
        self.levels.clear(path);
        self.end = 0;
        self.at = 0;
    }

    /// Goes into a directory, as [`Levels::enter`].
    ///
    /// # Errors
    /// The same.
    pub fn enter(&mut self, folder: OwnedFd) -> Result<(), Errno> {
        self.levels.enter(folder, false)?;
        self.at = self.end;
        Ok(())
    }

    /// Leaves the innermost directory.
    pub fn leave(&mut self) -> Option<OwnedFd> {
        let left = self.levels.leave().map(|(folder, _)| folder);
        self.at = self.end;
        if let Some(level) = self.levels.open.last() {
            // Where that fails the directory seems to end here.
            let _ = rustix::fs::seek(&level.folder, SeekFrom::Start(level.position));
        }
        left
    }

    /// Reads the innermost directory from its beginning again.
    pub fn rewind(&mut self) {
        self.at = self.end;
        if let Some(level) = self.levels.open.last() {
            let _ = rustix::fs::seek(&level.folder, SeekFrom::Start(0));
        }
    }

    /// What is next in the innermost directory, which then is [`Levels::path`]; nothing at its end.
    ///
    /// # Errors
    /// The directory cannot be read on.
    #[inline(never)]
    pub fn read_next(&mut self) -> Result<Option<Found>, Errno> {
        loop {
            let Some(level) = self.levels.open.last_mut() else { return Ok(None) };
            if self.at >= self.end {
                self.at = 0;
                self.end = 0;
                self.end = match list(level.folder.as_fd(), &mut self.listing) {
                    // It was removed: nothing is in it.
                    Err(Errno::NOENT) => 0,
                    listed => listed?,
                };
                if self.end == 0 {
                    return Ok(None);
                }
            }
            let record = self.listing.get(self.at..self.end).unwrap_or_default();
            let Some((&fixed, rest)) = record.split_first_chunk::<RECORD_NAME>() else {
                return Err(Errno::IO);
            };
            let [.., length, length_high, kind] = fixed;
            let position = fixed.get(8..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
            level.position = u64::from_ne_bytes(position);
            self.at += usize::from(u16::from_ne_bytes([length, length_high])).max(RECORD_NAME);
            let name = CStr::from_bytes_until_nul(rest).map_err(|_| Errno::IO)?.to_bytes_with_nul();
            if matches!(name, b".\0" | b"..\0") {
                continue;
            }
            // The types of records are the upper bits of modes.
            let kind = (kind != 0).then(|| Kind::of_mode(u32::from(kind) << 12));
            let name = Name::try_from(name).map_err(|_| Errno::NAMETOOLONG)?;
            self.levels.name(name.split_last().map_or(&[], |(_, name)| name))?;
            return Ok(Some(Found { name, kind }));
        }
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}
