//! Removing (`R-9.12`): a directory with what is in it one entry at a step. What of that cannot be removed is told on flow 1,
//! and the rest goes.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::{ChannelId, Outcome};
use vsock_shell_proto::items::{Meta, encode_problem};

use super::Core;
use super::base::Base;
use super::identity::Rights;
use super::landing::keep_time;
use super::tasks::Step;
use super::transfer::{Failed, Leased, Memory, Pending, meta_of};
use super::walk::{Name, c_str};

/// A removal on its way.
pub struct Remove {
    channel: ChannelId,
    rights: Rights,
    memory: Leased,
    pending: Pending,
    /// Where the first directory is, and its name there.
    folder: OwnedFd,
    name: Name,
    /// Something was removed since a directory was read from its beginning.
    has_moved: bool,
    has_failed: bool,
    is_over: bool,
    /// Nobody listens to problems any more.
    is_stopped: bool,
    /// The directory that it was in, where that keeps its time.
    before: Option<Meta>,
}

impl Remove {
    /// Removes what is at `path`, but for a directory of which all has to go first. `flags` are bits of [`flag`].
    ///
    /// # Errors
    /// It cannot be removed, or read.
    pub fn begin(
        channel: ChannelId,
        path: &CStr,
        base: &Base,
        flags: u32,
        rights: Rights,
    ) -> Result<Self, Errno> {
        let mut memory = Memory::lease().map_err(|_| Errno::USERS)?;
        let (folder, name, before) = rights.with(|| {
            let (folder, name) = base.parent(path)?;
            let keeps = flags & flag::KEEP_TIME != 0;
            let before = if keeps { Some(meta_of(&rustix::fs::fstat(&folder)?)) } else { None };
            if flags & flag::TREE != 0 {
                if let Some(entered) = take_away(folder.as_fd(), c_str(&name))? {
                    memory.walk.enter(entered)?;
                }
            } else if let Err(errno) = rustix::fs::unlinkat(&folder, c_str(&name), AtFlags::empty()) {
                if errno != Errno::ISDIR {
                    return Err(errno);
                }
                rustix::fs::unlinkat(&folder, c_str(&name), AtFlags::REMOVEDIR)?;
            }
            Ok((folder, name, before))
        })?;
        let is_over = memory.walk.levels.depth() == 0;
        Ok(Self {
            channel,
            rights,
            memory,
            pending: Pending::default(),
            folder,
            name,
            has_moved: false,
            has_failed: false,
            is_over,
            is_stopped: false,
            before,
        })
    }

    /// The client takes no more of what is told.
    pub fn stop(&mut self) {
        self.is_stopped = true;
        self.pending = Pending::default();
    }

    /// Removes on.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        if !self.pending.is_empty() {
            return self.pending.send(core, self.channel, &self.memory.item);
        }
        if self.is_over {
            if let Some(before) = &self.before {
                self.rights.with(|| keep_time(self.folder.as_fd(), before));
            }
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
            if !self.is_stopped {
                self.pending.set(length);
            }
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
