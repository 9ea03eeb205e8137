//! Tree streams (`PROTOCOL.md` §10): what put and get carry. Headers of items, read and written; content passes by
//! untouched.
//!
//! Whoever sends composes an item into memory of its own ([`encode_entry`] and its like) and sends it in whatever pieces
//! there is room for. Whoever receives gives an [`ItemReader`] what came, in pieces of any length.

mod reader;
#[cfg(test)]
mod tests;

use core::ffi::CStr;

use crate::limits::{ATTRIBUTE_MAX, FRAME_PAYLOAD_MAX, NAME_MAX, PATH_MAX};
use crate::wire::{array, put, u32_at, u64_at};

pub use reader::{ItemReader, Stream};

/// Bytes before the value of an item.
pub const ITEM_HEADER_LEN: usize = 8;
/// The most content in a BYTES item: an item fills a frame at the most.
pub const CONTENT_MAX: usize = FRAME_PAYLOAD_MAX - ITEM_HEADER_LEN;
/// Bytes of metadata.
pub const META_LEN: usize = 80;
/// Bytes of the longest value but BYTES: what an [`ItemReader`] needs to gather one.
pub const VALUE_MAX: usize = NAME_MAX + 1 + ATTRIBUTE_MAX;
/// Bytes of the longest item but BYTES.
pub const ITEM_MAX: usize = ITEM_HEADER_LEN + VALUE_MAX;
/// The text of a PROBLEM.
const PROBLEM_TEXT_MAX: usize = 255;

const _: () = assert!(META_LEN + NAME_MAX + 1 + PATH_MAX < VALUE_MAX);
const _: () = assert!(24 + PATH_MAX + PROBLEM_TEXT_MAX < VALUE_MAX);

/// The permission bits of a mode.
pub const MODE_BITS: u32 = 0o7777;

/// The size of what nobody knows the size of.
pub const UNKNOWN: u64 = u64::MAX;

const ENTRY: u8 = 1;
const BYTES: u8 = 2;
const HOLE: u8 = 3;
const END: u8 = 4;
const LEAVE: u8 = 5;
const ATTRIBUTE: u8 = 6;
const PROBLEM: u8 = 7;
const WANT: u8 = 8;

/// What an entry is, by the bits of its mode that say so (`inode(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A block device, or one of characters.
    Device,
    /// A socket, or what no kernel has.
    Other,
}

impl Kind {
    /// What has this mode.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o020_000 | 0o060_000 => Self::Device,
            _ => Self::Other,
        }
    }
}

/// Bits of [`Meta::flags`].
pub mod meta_flag {
    /// What follows belongs to the entry, up to its END or LEAVE.
    pub const OPEN: u32 = 1;
    /// Owner and group are to be set.
    pub const OWNER: u32 = 2;
    /// Device and inode tell which entries are one file.
    pub const IDENTITY: u32 = 4;
    /// It is the same file as an entry before.
    pub const LINK: u32 = 8;
}

/// A time since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds; what is above 999,999,999 says that there is no time (`R-10.6`).
    pub nanoseconds: u32,
}

impl Timestamp {
    /// No time.
    pub const NONE: Self = Self { seconds: 0, nanoseconds: u32::MAX };

    /// It is one.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.nanoseconds < 1_000_000_000
    }
}

/// What is known of an entry besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Bits of [`meta_flag`].
    pub flags: u32,
    /// Bytes that are expected, or [`UNKNOWN`]; of a device, its major number in the lower half and the minor in the upper.
    pub size: u64,
    /// Modification time.
    pub modified: Timestamp,
    /// The user that owns it.
    pub owner: u32,
    /// The group that owns it.
    pub group: u32,
    /// Its names.
    pub links: u32,
    /// The device that holds it.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// Where the content that follows begins (`R-10.2`).
    pub offset: u64,
}

impl Meta {
    /// A regular file of which only this is known.
    #[must_use]
    pub const fn file(mode: u32, size: u64, modified: Timestamp) -> Self {
        Self {
            mode: 0o100_000 | (mode & MODE_BITS),
            flags: meta_flag::OPEN,
            size,
            modified,
            owner: 0,
            group: 0,
            links: 1,
            device: 0,
            inode: 0,
            blocks: 0,
            offset: 0,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }

    /// It has this bit of [`meta_flag`].
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Bytes that are expected, where that is known and it is a regular file.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        (self.kind() == Kind::File && self.size != UNKNOWN).then_some(self.size)
    }

    #[inline(never)]
    fn encode(&self) -> [u8; META_LEN] {
        let mut out = [0; META_LEN];
        let shorts = [
            (0, self.mode),
            (4, self.flags),
            (24, self.modified.nanoseconds),
            (28, self.owner),
            (32, self.group),
            (36, self.links),
        ];
        for (at, value) in shorts {
            put(&mut out, at, &value.to_le_bytes());
        }
        let longs = [
            (8, self.size),
            (16, self.modified.seconds as u64),
            (40, self.device),
            (48, self.inode),
            (56, self.blocks),
            (64, self.offset),
        ];
        for (at, value) in longs {
            put(&mut out, at, &value.to_le_bytes());
        }
        out
    }

    #[inline(never)]
    fn parse(value: &[u8]) -> Self {
        Self {
            mode: u32_at(value, 0),
            flags: u32_at(value, 4),
            size: u64_at(value, 8),
            modified: Timestamp {
                seconds: i64::from_le_bytes(array(value, 16)),
                nanoseconds: u32_at(value, 24),
            },
            owner: u32_at(value, 28),
            group: u32_at(value, 32),
            links: u32_at(value, 36),
            device: u64_at(value, 40),
            inode: u64_at(value, 48),
            blocks: u64_at(value, 56),
            offset: u64_at(value, 64),
        }
    }
}

/// What ends a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEnd {
    /// XXH3-64 of all content in order (`R-10.3`).
    pub digest: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
}

/// What the receiver of a list wants next (`R-10.12`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want<'m> {
    /// Bytes that it has.
    pub length: u64,
    /// Their digest.
    pub digest: u64,
    /// Bits of [`flag`](crate::fields::flag).
    pub flags: u32,
    /// Where it is, from PATH on.
    pub path: &'m CStr,
}

/// An item, as its receiver sees it. What lies in the reader's memory is there until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'m, 'i> {
    /// An entry begins, and ends too where it is not open.
    Entry {
        /// What is known of it.
        meta: Meta,
        /// Its name; empty for the first.
        name: &'m CStr,
        /// Where a symbolic link leads, or what a hard link is one to.
        target: &'m CStr,
    },
    /// Content: a piece of a BYTES item, of whatever length came.
    Content(&'i [u8]),
    /// That many bytes of zero.
    Hole(u64),
    /// The file is complete.
    End(FileEnd),
    /// The directory is complete.
    Leave(Meta),
    /// An extended attribute of the file or directory.
    Attribute {
        /// Its name.
        name: &'m CStr,
        /// Its value.
        value: &'m [u8],
    },
    /// Something went wrong at the sender.
    Problem {
        /// Why; 0 where the text says it all.
        errno: u32,
        /// With what, from the first directory on. Hostile bytes.
        path: &'m CStr,
        /// What was tried. Hostile bytes.
        text: &'m [u8],
        /// It stands for the end of the file.
        ends_file: bool,
    },
    /// The opener of a list wants this.
    Want(Want<'m>),
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemError {
    /// An item of an unknown type, of a wrong length, or out of order.
    Malformed,
    /// A name that is none (`R-10.1`).
    Name,
    /// More directories inside each other than there may be.
    TooDeep,
}

/// The 8 bytes that begin a BYTES item of `length` bytes.
#[must_use]
pub const fn content_header(length: usize) -> [u8; ITEM_HEADER_LEN] {
    header(BYTES, length)
}

const fn header(kind: u8, length: usize) -> [u8; ITEM_HEADER_LEN] {
    let [a, b, c, _] = (length as u32).to_le_bytes();
    [kind, a, b, c, 0, 0, 0, 0]
}

/// Puts an item together in `out`: its length, or 0 where it does not fit.
#[inline(never)]
fn compose(out: &mut [u8], kind: u8, parts: &[&[u8]]) -> usize {
    let mut end = ITEM_HEADER_LEN;
    for part in parts {
        let Some(place) = out.get_mut(end..end + part.len()) else { return 0 };
        place.copy_from_slice(part);
        end += part.len();
    }
    put(out, 0, &header(kind, end - ITEM_HEADER_LEN));
    end
}

/// Writes ENTRY: its length, or 0 where it does not fit.
pub fn encode_entry(out: &mut [u8], meta: &Meta, name: &[u8], target: &[u8]) -> usize {
    compose(out, ENTRY, &[&meta.encode(), name, &[0], target, &[0]])
}

/// Writes LEAVE: its length, or 0 where it does not fit.
pub fn encode_leave(out: &mut [u8], meta: &Meta) -> usize {
    compose(out, LEAVE, &[&meta.encode()])
}

/// Writes HOLE: its length, or 0 where it does not fit.
pub fn encode_hole(out: &mut [u8], length: u64) -> usize {
    compose(out, HOLE, &[&length.to_le_bytes()])
}

/// Writes END: its length, or 0 where it does not fit.
pub fn encode_end(out: &mut [u8], end: &FileEnd) -> usize {
    compose(out, END, &[&end.digest.to_le_bytes(), &end.size.to_le_bytes()])
}

/// Writes ATTRIBUTE, whose value `read` puts in its place: its length, or 0 where the name does not fit.
///
/// # Errors
/// What `read` failed in.
pub fn encode_attribute<E>(
    out: &mut [u8],
    name: &[u8],
    read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<usize, E> {
    let value_at = compose(out, ATTRIBUTE, &[name, &[0]]);
    let Some(place) = out.get_mut(value_at..).filter(|_| value_at > 0) else { return Ok(0) };
    let room = place.len().min(ATTRIBUTE_MAX);
    let end = value_at + read(place.get_mut(..room).unwrap_or_default())?;
    put(out, 0, &header(ATTRIBUTE, end - ITEM_HEADER_LEN));
    Ok(end)
}

/// Writes PROBLEM: its length, or 0 where it does not fit.
pub fn encode_problem(out: &mut [u8], errno: u32, path: &[u8], text: &[u8]) -> usize {
    let text = text.get(..PROBLEM_TEXT_MAX).unwrap_or(text);
    compose(out, PROBLEM, &[&errno.to_le_bytes(), &[0; 4], path, &[0], text])
}

/// Writes WANT: its length, or 0 where it does not fit.
pub fn encode_want(out: &mut [u8], want: &Want<'_>) -> usize {
    let path = want.path.to_bytes_with_nul();
    let (length, digest) = (want.length.to_le_bytes(), want.digest.to_le_bytes());
    compose(out, WANT, &[&length, &digest, &want.flags.to_le_bytes(), &[0; 4], path])
}
