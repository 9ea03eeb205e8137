//! Sending files and trees (`PROTOCOL.md` §10). Content is read straight into the ring, behind the header of its item;
//! everything else is put together in the transfer's memory and sent in whatever pieces there is room for.
//!
//! ```text
//!           ┌──────────────── directory ───────────────┐
//!           v                                           │
//!   Next ──> ENTRY ──file──> [Hash] ──> Content ──> Attributes ──> END or LEAVE ──> Next
//!     │
//!     └── nothing left ──> Want (LIST) or the end
//! ```

mod content;
mod entry;

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::glob::Excludes;
use vsock_shell_proto::items::{Item, ItemReader, Kind, Meta, Stream, UNKNOWN, Want, encode_problem};

use super::Core;
use super::base::Base;
use super::identity::Rights;
use super::landing::{is_held, is_ours, partial_name};
use super::tasks::Step;
use super::transfer::{Failed, GARBLED, Leased, Memory, Pending, exit_failed};
use super::walk::{Found, Name};
use crate::digest::Digest;
use crate::path::PathBuffer;

/// For what is read, and never waits for somebody who writes.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Bits of [`flag`] that a request may have.
pub const FLAGS: u32 =
    flag::TREE | flag::PRESERVE | flag::META | flag::DIGEST | flag::LIST | flag::SHALLOW | flag::NO_FOLLOW;

/// What is done next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The next entry, or the end of the directory.
    Next,
    /// The digest of what the opener has, or of the whole file: so many bytes are left.
    Hash { left: u64 },
    /// The content of the file.
    Content,
    /// The attributes of the file, or of the innermost directory: those from here on.
    Attributes { at: usize, end: usize },
    /// END.
    End,
    /// LEAVE.
    Leave,
    /// All was sent.
    Over,
}

/// A file that is being sent.
struct Open {
    file: OwnedFd,
    meta: Meta,
    /// How far it was read.
    position: u64,
    /// Up to here there is content; behind may be a hole.
    extent: u64,
}

/// A transfer on its way.
pub struct Get {
    rights: Rights,
    sender: Sender,
}

/// The transfer, but for the rights with which it is done.
struct Sender {
    channel: ChannelId,
    base: Base,
    /// Of the request, and of the want that is answered.
    flags: u32,
    own_flags: u32,
    memory: Leased,
    pending: Pending,
    part: Part,
    file: Option<Open>,
    digest: Digest,
    /// What the opener has of the file.
    has: (u64, u64),
    wants: ItemReader,
    /// What is told when the file is over.
    afterwards: Option<Failed>,
    excludes_len: usize,
    is_stopped: bool,
}

/// What is to be sent.
pub struct Source<'r> {
    /// Where it is.
    pub path: &'r CStr,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Patterns that are left out.
    pub excludes: &'r mut dyn Iterator<Item = &'r CStr>,
}

impl Get {
    /// Opens what is to be sent.
    ///
    /// # Errors
    /// What failed. A directory without TREE is refused with EISDIR, what can never end (a pipe, a terminal) with EINVAL.
    pub fn begin(channel: ChannelId, source: Source<'_>, base: Base, rights: Rights) -> Result<Self, Failed> {
        let mut sender = Sender {
            channel,
            base,
            flags: source.flags,
            own_flags: source.flags,
            memory: Memory::lease()?,
            pending: Pending::default(),
            part: Part::Next,
            file: None,
            digest: Digest::new(),
            has: (UNKNOWN, 0),
            wants: ItemReader::new(Stream::Wants),
            afterwards: None,
            excludes_len: 0,
            is_stopped: false,
        };
        sender.memory.links.fill((0, 0));
        for pattern in source.excludes {
            sender.exclude(pattern)?;
        }
        rights.with(|| {
            if source.flags & flag::LIST != 0 {
                sender.base.descend(source.path).map_err(Failed::to(c"open the directory"))
            } else {
                sender.begin(source.path)
            }
        })?;
        Ok(Self { rights, sender })
    }

    /// The client takes no more of it.
    pub fn stop(&mut self) {
        self.sender.is_stopped = true;
    }

    /// Sends on.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        let sender = &mut self.sender;
        self.rights.with(|| sender.step(core))
    }
}

impl Sender {
    fn exclude(&mut self, pattern: &CStr) -> Result<(), Failed> {
        let pattern = pattern.to_bytes_with_nul();
        let end = self.excludes_len + pattern.len();
        let place = self.memory.excludes.get_mut(self.excludes_len..end);
        place.ok_or(Failed::new(c"leave out so much", Errno::TOOBIG))?.copy_from_slice(pattern);
        self.excludes_len = end;
        Ok(())
    }

    fn has_flag(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    #[inline(never)]
    fn step(&mut self, core: &mut Core) -> Step {
        if self.is_stopped {
            exit_failed(core, self.channel, Failed::new(c"send", Errno::PIPE));
            return Step::Done;
        }
        if !self.pending.is_empty() {
            return self.pending.send(core, self.channel, &self.memory.item);
        }
        match self.part {
            Part::Next if self.memory.walk.levels.depth() > 0 => self.next(),
            Part::Next if self.own_flags & flag::LIST != 0 => return self.next_want(core),
            Part::Next | Part::Over => {
                core.exit(self.channel, Outcome::Exited(0), b"");
                return Step::Done;
            }
            Part::Hash { left } => self.hash(left),
            Part::Content => return self.send_content(core),
            Part::Attributes { at, end } => self.attribute(at, end),
            Part::End => self.end(),
            Part::Leave => self.leave(),
        }
        Step::Progress
    }

    /// An item stands in the memory, and is sent before anything else is done.
    fn pend(&mut self, length: usize) {
        debug_assert!(length > 0, "an item fits");
        self.pending.set(length);
    }

    /// Tells what went wrong with what was named last.
    fn problem(&mut self, failed: Failed) {
        let Memory { item, walk, .. } = &mut *self.memory;
        let length = encode_problem(item, failed.number(), walk.levels.path(), failed.what.as_bytes());
        self.pend(length);
    }

    /// Takes the next want.
    fn next_want(&mut self, core: &mut Core) -> Step {
        let parked = core.parked(self.channel, Flow::Input);
        if parked.is_empty() {
            if !core.is_drained(self.channel, Flow::Input) {
                return Step::Idle;
            }
            if self.wants.is_ended() {
                self.part = Part::Over;
                return Step::Progress;
            }
        }
        let mut buffer = PathBuffer::new();
        let (taken, want) = match self.wants.read(&mut self.memory.item, parked) {
            Ok((taken, item)) if taken > 0 => (taken, item),
            _ => {
                exit_failed(core, self.channel, GARBLED);
                return Step::Done;
            }
        };
        if let Some(Item::Want(Want { length, digest, flags, path })) = want {
            self.has = (length, digest);
            self.flags = self.own_flags | flags;
            if flags & !(FLAGS | flag::PARTIAL) != 0 {
                exit_failed(core, self.channel, GARBLED);
                return Step::Done;
            }
            let begun = match buffer.join(&[path.to_bytes()]) {
                Ok(path) => {
                    self.memory.walk.clear(path.to_bytes());
                    self.begin(path)
                }
                Err(errno) => Err(Failed::new(c"open", errno)),
            };
            if let Err(failed) = begun {
                self.problem(failed);
            }
        }
        core.consume(self.channel, Flow::Input, taken);
        Step::Progress
    }

    /// Begins with what is at `path`.
    fn begin(&mut self, path: &CStr) -> Result<(), Failed> {
        let failed = |errno| Failed::new(c"open", errno);
        let no_follow = if self.has_flag(flag::NO_FOLLOW) { OFlags::NOFOLLOW } else { OFlags::empty() };
        if self.has_flag(flag::PARTIAL) {
            let (folder, name) = self.base.parent(path).map_err(failed)?;
            let partial = partial_name(&name);
            let flags = READ | OFlags::NOFOLLOW;
            let file =
                rustix::fs::openat(&folder, partial.as_c_str(), flags, Mode::empty()).map_err(failed)?;
            let stat = rustix::fs::fstat(&file).map_err(failed)?;
            return if is_ours(&stat) && !is_held(file.as_fd()) {
                self.present_file(file, &stat, b"")
            } else {
                Err(failed(Errno::INVAL))
            };
        }
        let seen = self.base.at(path, OFlags::PATH | no_follow).map_err(failed)?;
        let stat = rustix::fs::fstat(&seen).map_err(failed)?;
        match Kind::of_mode(stat.st_mode) {
            Kind::Directory if self.has_flag(flag::TREE) => {
                // Anew, because what can be read cannot always be entered.
                let folder = self.base.at(path, READ | OFlags::DIRECTORY | no_follow).map_err(failed)?;
                let stat = rustix::fs::fstat(&folder).map_err(failed)?;
                self.present_directory(folder, &stat, b"")
            }
            Kind::Directory if !self.has_flag(flag::META) => Err(Failed::new(c"read", Errno::ISDIR)),
            Kind::File if self.reads_content() => {
                let file = self.base.at(path, READ | no_follow).map_err(failed)?;
                self.present_file(file, &stat, b"")
            }
            Kind::Device
                if !self.has_flag(flag::META | flag::TREE) && is_block(&stat) && !self.base.is_confined() =>
            {
                let file = self.base.at(path, READ | no_follow).map_err(failed)?;
                self.present_file(file, &stat, b"")
            }
            Kind::Fifo | Kind::Device | Kind::Other if !self.has_flag(flag::META | flag::TREE) => {
                Err(Failed::new(c"read what is no regular file", Errno::INVAL))
            }
            _ => self.present_other(Some(seen.as_fd()), c"", &stat),
        }
    }

    /// The content of regular files is sent, or its digest.
    fn reads_content(&self) -> bool {
        !self.has_flag(flag::META) || self.has_flag(flag::DIGEST)
    }

    /// Goes on in the innermost directory.
    #[inline(never)]
    fn next(&mut self) {
        match self.memory.walk.read_next() {
            Ok(Some(Found { name, kind })) => {
                if let Err(failed) = self.visit(&name, kind) {
                    self.problem(failed);
                }
            }
            Ok(None) => self.begin_attributes(Part::Leave),
            Err(errno) => {
                self.problem(Failed::new(c"read", errno));
                if errno != Errno::NAMETOOLONG {
                    self.part = Part::Leave;
                }
            }
        }
    }

    /// Sends an entry of the innermost directory.
    fn visit(&mut self, name: &Name, kind: Option<Kind>) -> Result<(), Failed> {
        let failed = |errno| Failed::new(c"open", errno);
        let name = CStr::from_bytes_until_nul(name).map_err(|_| failed(Errno::INVAL))?;
        let Memory { walk, excludes, .. } = &*self.memory;
        let folder = walk.levels.top().ok_or_else(|| failed(Errno::NOENT))?;
        let stat_at = |name| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed);
        let open = |flags| rustix::fs::openat(folder, name, READ | OFlags::NOFOLLOW | flags, Mode::empty());
        let seen = if kind.is_none() { Some(stat_at(name)?) } else { None };
        let kind = kind.or_else(|| seen.map(|stat| Kind::of_mode(stat.st_mode)));
        let excludes = Excludes(excludes.get(..self.excludes_len).unwrap_or_default());
        if excludes.matches(walk.levels.path(), kind == Some(Kind::Directory)) {
            return Ok(());
        }
        match kind {
            Some(Kind::Directory) if !self.has_flag(flag::SHALLOW) => {
                let opened = open(OFlags::DIRECTORY).map_err(failed)?;
                let stat = rustix::fs::fstat(&opened).map_err(failed)?;
                self.present_directory(opened, &stat, name.to_bytes())
            }
            Some(Kind::File) if self.reads_content() => {
                let file = open(OFlags::empty()).map_err(failed)?;
                let stat = rustix::fs::fstat(&file).map_err(failed)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(failed(Errno::STALE));
                }
                self.present_file(file, &stat, name.to_bytes())
            }
            _ => {
                let stat = match seen {
                    Some(stat) => stat,
                    None => stat_at(name)?,
                };
                self.present_other(None, name, &stat)
            }
        }
    }
}

fn is_block(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice
}
