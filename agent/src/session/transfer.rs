//! What transfers have in common: memory, what the kernel knows of a file as the peer gets it, and failures.

use core::ffi::CStr;
use core::ops::{Deref, DerefMut};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::items::{ITEM_MAX, Meta, Timestamp};
use vsock_shell_proto::limits::{EXCLUDES_MAX, PATH_MAX};

use super::Core;
use super::tasks::Step;
use super::walk::Walk;
use crate::sys::storage::{Lease, Storage};
use crate::sys::text::Text;

/// Transfers of a session at once; they have memory for so many.
pub const TRANSFERS_MAX: usize = 64;
/// Bytes for a PROBLEM, or for the names of a file's attributes.
const ASIDE_LEN: usize = 2 * PATH_MAX;
/// Files of more than one name that are remembered, each in a place of its own.
pub const LINKS_LEN: usize = 512;

/// What a transfer needs for as long as it lasts.
pub struct Memory {
    /// An item that is put together, or gathered.
    pub item: [u8; ITEM_MAX],
    /// For what stands beside it.
    pub aside: [u8; ASIDE_LEN],
    /// Where it is.
    pub walk: Walk,
    /// Device and inode of files with several names that were sent.
    pub links: [(u64, u64); LINKS_LEN],
    /// Patterns that are left out, each with its NUL.
    pub excludes: [u8; EXCLUDES_MAX],
}

static MEMORY: [Storage<Memory>; TRANSFERS_MAX] = [const {
    Storage::new(Memory {
        item: [0; ITEM_MAX],
        aside: [0; ASIDE_LEN],
        walk: Walk::new(),
        links: [(0, 0); LINKS_LEN],
        excludes: [0; EXCLUDES_MAX],
    })
}; TRANSFERS_MAX];

impl Memory {
    /// Memory for a transfer.
    ///
    /// # Errors
    /// There are too many.
    pub fn lease() -> Result<Leased, Failed> {
        let lease = MEMORY.iter().find_map(Storage::lease);
        lease.map(Leased).ok_or(Failed::new(c"do so much at once", Errno::USERS))
    }
}

/// The memory of a transfer. When it is given back no directory stays open.
pub struct Leased(Lease<Memory>);

impl Deref for Leased {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.0
    }
}

impl DerefMut for Leased {
    fn deref_mut(&mut self) -> &mut Memory {
        &mut self.0
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.0.walk.clear(b"");
    }
}

/// What a transfer failed in, and why.
#[derive(Clone, Copy)]
pub struct Failed {
    /// What was tried.
    pub what: Text,
    /// Why it failed; nothing where the text says it all.
    pub errno: Option<Errno>,
}

impl Failed {
    /// A failure to do `what`.
    pub const fn new(what: &'static CStr, errno: Errno) -> Self {
        Self { what: Text::new(what), errno: Some(errno) }
    }

    /// What is told, and is no failure of ours.
    pub const fn note(what: &'static CStr) -> Self {
        Self { what: Text::new(what), errno: None }
    }

    /// The same, once it is known why.
    pub fn to(what: &'static CStr) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::new(what, errno)
    }

    /// Its number on the wire.
    pub fn number(&self) -> u32 {
        self.errno.map_or(0, |errno| errno.raw_os_error().unsigned_abs())
    }
}

/// The stream breaks its rules, ends early, or brought something else than was sent.
pub const GARBLED: Failed = Failed::new(c"use what arrived", Errno::BADMSG);

/// What is known of a file.
#[inline(never)]
pub fn meta_of(stat: &Stat) -> Meta {
    let size = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice | FileType::CharacterDevice => {
            u64::from(rustix::fs::major(stat.st_rdev)) | u64::from(rustix::fs::minor(stat.st_rdev)) << 32
        }
        _ => stat.st_size as u64,
    };
    Meta {
        mode: stat.st_mode,
        flags: 0,
        size,
        modified: Timestamp { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        owner: stat.st_uid,
        group: stat.st_gid,
        links: stat.st_nlink as u32,
        device: stat.st_dev,
        inode: stat.st_ino,
        blocks: stat.st_blocks as u64,
        offset: 0,
    }
}

/// Ends a transfer that failed.
pub fn exit_failed(core: &mut Core, channel: ChannelId, failed: Failed) {
    core.exit(channel, Outcome::Failed(failed.number()), failed.what.as_bytes());
}

/// What is missing where nothing can be sent: room in the ring, or credit.
pub fn blocked(core: &Core) -> Step {
    if core.room() == 0 { Step::NoRoom } else { Step::Idle }
}

/// An item that is being sent, and how much of it was.
#[derive(Default)]
pub struct Pending {
    at: usize,
    end: usize,
}

impl Pending {
    /// An item of `length` bytes is to be sent.
    pub fn set(&mut self, length: usize) {
        self.at = 0;
        self.end = length;
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Sends on what stands in `memory`, in whatever pieces there is room for.
    #[inline(never)]
    pub fn send(&mut self, core: &mut Core, channel: ChannelId, memory: &[u8]) -> Step {
        let sent = core.send(channel, Flow::Output, memory.get(self.at..self.end).unwrap_or_default());
        self.at += sent;
        if sent > 0 { Step::Progress } else { blocked(core) }
    }
}
