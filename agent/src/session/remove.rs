//! Removing a directory with what is in it (`R-9.12`), one entry at a step. What cannot be removed is told on flow 1, and the
//! rest goes.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use vsock_shell_proto::frame::{ChannelId, Outcome};
use vsock_shell_proto::items::encode_problem;

use super::Core;
use super::base::Base;
use super::identity::Rights;
use super::tasks::Step;
use super::transfer::{Failed, Memory, Pending};
use super::walk::Name;
use crate::sys::storage::Lease;

/// A removal on its way.
pub struct Remove {
    channel: ChannelId,
    rights: Rights,
    memory: Lease<Memory>,
    pending: Pending,
    /// Where the first directory is, and its name there.
    folder: OwnedFd,
    name: Name,
    /// Something was removed since a directory was read from its beginning.
    has_moved: bool,
    has_failed: bool,
    is_over: bool,
}

impl Remove {
    /// Removes what is no directory at once, and begins with one.
    ///
    /// # Errors
    /// It cannot be removed, or read.
    pub fn begin(channel: ChannelId, path: &CStr, base: &Base, rights: Rights) -> Result<Self, Failed> {
        let failed = |errno| Failed::new(c"remove", errno);
        let mut memory = Memory::lease()?;
        memory.walk.clear(b"");
        let (folder, name, is_over) = rights.with(|| {
            let (folder, name) = base.parent(path).map_err(failed)?;
            let entered = take_away(folder.as_fd(), c_str(&name)).map_err(failed)?;
            let is_over = entered.is_none();
            if let Some(entered) = entered {
                memory.walk.enter(entered).map_err(failed)?;
            }
            Ok::<_, Failed>((folder, name, is_over))
        })?;
        let (pending, has_moved, has_failed) = (Pending::default(), false, false);
        Ok(Self { channel, rights, memory, pending, folder, name, has_moved, has_failed, is_over })
    }

    /// Removes on.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        if !self.pending.is_empty() {
            return self.pending.send(core, self.channel, &self.memory.item);
        }
        if self.is_over {
            core.exit(self.channel, Outcome::Exited(0), b"");
            return Step::Done;
        }
        let Self { rights, memory, folder, name, has_moved, .. } = self;
        if let Err((what, errno)) =
            rights.with(|| advance(memory, folder.as_fd(), name, has_moved, self.has_failed))
        {
            self.has_failed = true;
            let Memory { item, walk, .. } = &mut *self.memory;
            let failed = Failed::new(what, errno);
            let length = encode_problem(item, failed.number(), walk.levels.path(), failed.what.as_bytes());
            self.pending.set(length);
        }
        self.is_over = self.memory.walk.levels.depth() == 0;
        Step::Progress
    }
}

/// Removes the next entry of the innermost directory, or that directory.
fn advance(
    memory: &mut Memory,
    folder: BorrowedFd<'_>,
    name: &Name,
    has_moved: &mut bool,
    has_failed: bool,
) -> Result<(), (&'static CStr, Errno)> {
    let removing = |errno| (c"remove", errno);
    let walk = &mut memory.walk;
    match walk.read_next() {
        Ok(Some(found)) => {
            let Some(top) = walk.levels.top() else { return Ok(()) };
            match take_away(top, c_str(&found.name)).map_err(removing)? {
                Some(entered) => walk.enter(entered).map_err(removing)?,
                None => *has_moved = true,
            }
            return Ok(());
        }
        Ok(None) => {}
        Err(errno @ Errno::NAMETOOLONG) => return Err((c"remove", errno)),
        // What is left in it says so when it is removed.
        Err(_) => {}
    }
    let Some(left) = walk.leave() else { return Ok(()) };
    let path = walk.levels.path();
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let own = super::base::name(last);
    let (parent, name) = match (walk.levels.top(), &own) {
        (Some(top), Ok(own)) => (top, own),
        _ => (folder, name),
    };
    match rustix::fs::unlinkat(parent, c_str(name), AtFlags::REMOVEDIR) {
        Ok(()) => {
            *has_moved = true;
            Ok(())
        }
        // On some file systems removing a name moves the others past where we read.
        Err(Errno::NOTEMPTY | Errno::EXIST) if *has_moved && !has_failed => {
            *has_moved = false;
            walk.enter(left).map_err(removing)?;
            walk.rewind();
            Ok(())
        }
        // What is still in it was told.
        Err(Errno::NOTEMPTY | Errno::EXIST) if has_failed => Ok(()),
        Err(errno) => Err((c"remove", errno)),
    }
}

/// Removes what has this name, or opens it where it is a directory.
fn take_away(folder: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => Ok(None),
        // POSIX says EPERM where Linux says EISDIR.
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(folder, name, flags, Mode::empty())
                .map(Some)
                .map_err(|opening| if opening == Errno::NOTDIR { errno } else { opening })
        }
        Err(errno) => Err(errno),
    }
}

fn c_str(name: &Name) -> &CStr {
    CStr::from_bytes_until_nul(name).unwrap_or_default()
}
