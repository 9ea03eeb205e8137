//! Where the first entry of an upload goes, as its request says it.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::items::Kind;

use crate::digest::Digest;
use crate::session::base::{Base, name as single_name};
use crate::session::landing::Mark;
use crate::session::transfer::Failed;
use crate::session::walk::{Levels, Name, c_str};

/// Bits of [`flag`] that a request may have.
pub const FLAGS: u32 = flag::SYNC | flag::DIRECTORY | flag::RESUME | flag::IN_PLACE | flag::MEMORY;

/// Where something is to go.
pub struct Destination<'r> {
    /// Its path, or the directory that it goes into; none with [`flag::MEMORY`].
    pub path: &'r CStr,
    /// Its name in that directory.
    pub name: Option<&'r CStr>,
    /// Bits of [`flag`].
    pub flags: u32,
}

impl Destination<'_> {
    /// A digest of what the copy calls its source, of nothing where it says nothing.
    pub fn source(&self) -> u64 {
        let mut digest = Digest::new();
        digest.update(self.name.unwrap_or_default().to_bytes());
        digest.finish()
    }
}

/// Where the first entry goes.
pub(super) enum Place {
    /// Into a directory, under this name.
    In(OwnedFd, Name),
    /// It is this directory.
    Itself(OwnedFd),
    /// A directory of this name may be made, and nothing else: this is wrong with the path.
    OnlyDirectory(OwnedFd, Name, Errno),
    /// It is written into what is there.
    There(OwnedFd),
    /// It stays in memory.
    Memory,
}

impl Place {
    /// The directory in which the entry is that comes next.
    pub(super) fn folder<'f>(&'f self, levels: &'f Levels) -> Option<BorrowedFd<'f>> {
        levels.top().or_else(|| match self {
            Self::In(folder, _) | Self::Itself(folder) | Self::OnlyDirectory(folder, ..) => {
                Some(folder.as_fd())
            }
            Self::There(file) => Some(file.as_fd()),
            Self::Memory => None,
        })
    }
}

/// Finds where the first entry goes.
#[inline(never)]
pub(super) fn find(to: &Destination<'_>, base: &Base) -> Result<Place, Failed> {
    if to.flags & flag::MEMORY != 0 {
        return if base.is_confined() {
            Err(Failed::new(c"keep a program", Errno::PERM))
        } else {
            Ok(Place::Memory)
        };
    }
    if to.flags & flag::IN_PLACE != 0 {
        let failed = |errno| Failed::new(c"open", errno);
        let stat = base.at(to.path, OFlags::PATH).and_then(rustix::fs::fstat).map_err(failed)?;
        match Kind::of_mode(stat.st_mode) {
            Kind::File => {}
            Kind::Device if !base.is_confined() => {}
            // A pipe would wait for somebody who reads it.
            _ => return Err(failed(Errno::INVAL)),
        }
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOCTTY | OFlags::NONBLOCK;
        return base.at(to.path, flags).map(Place::There).map_err(failed);
    }
    let named = to.name.map(|name| single_name(name.to_bytes())).transpose().map_err(Failed::to(c"write"))?;
    let errno = match base.at(to.path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(folder) => {
            if to.flags & flag::RESUME != 0
                && to.flags & flag::DIRECTORY == 0
                && let Ok((parent, name)) = base.parent(to.path)
                && let Some(mark) = Mark::of(parent.as_fd(), c_str(&name), to.source())
                && mark.is_set(parent.as_fd(), &name)
            {
                return Ok(Place::In(parent, name));
            }
            return Ok(match named {
                Some(name) => Place::In(folder, name),
                None => Place::Itself(folder),
            });
        }
        Err(errno) => errno,
    };
    if to.flags & flag::DIRECTORY != 0 {
        return Err(Failed::new(c"open the folder", errno));
    }
    let path = to.path.to_bytes();
    let (folder, name) = base.parent(to.path).map_err(|errno| {
        Failed::new(if errno == Errno::INVAL { c"write" } else { c"open the folder" }, errno)
    })?;
    Ok(if path.ends_with(b"/") { Place::OnlyDirectory(folder, name, errno) } else { Place::In(folder, name) })
}
