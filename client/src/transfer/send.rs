//! Owns uploads: entries of this side become items. Content is read straight into the ring, behind the header of its item.
//!
//! ```text
//!            ┌───────────── directory ─────────────┐
//!            v                                      │
//!   Next ──> ENTRY ──file──> Content ──> Attributes ──> END or LEAVE ──> Next ──> Sent
//! ```

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, IoSliceMut, Read as _, Seek as _};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use twox_hash::XxHash3_64;
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{
    CONTENT_MAX, FileEnd, ITEM_HEADER_LEN, ITEM_MAX, Item, ItemReader, Meta, Stream, VALUE_MAX,
    content_header, encode_attribute, encode_end, encode_entry, encode_hole, encode_leave, encode_problem,
};
use vsock_shell_proto::limits::PATH_MAX;
use vsock_shell_proto::mux::Event;

use super::compare::{Known, Plan};
use super::digest::is_prefix;
use super::metadata::meta_of;
use super::report::Report;
use super::source::{Content, Found, Origin, Tree, attribute_names};
use crate::call::Call;
use crate::connection::Core;
use crate::drive::Task;
use crate::error::Error;
use crate::signals::Signals;

/// Content in an item: whole pages, so that the file is read and written at page boundaries, and with its headers no more
/// than a Unix socket keeps in one buffer of its own (`unix_stream_sendmsg`).
const CONTENT_LEN: usize = 32 * 1024;
const _: () = assert!(CONTENT_LEN <= CONTENT_MAX);

/// Bounds what one step does, so that the stream is not kept waiting: some dozen small files, or a few pieces of a large one.
const ROUNDS: usize = 64;

enum Part {
    /// What was found, or the next entry.
    Next(Option<Found>),
    Content,
    /// Those names, from the last on.
    Attributes(Vec<CString>),
    End,
    Leave,
    Sent,
}

/// A file on its way.
struct Open {
    content: Content,
    meta: Meta,
    position: u64,
    /// Up to here there is content; behind may be a hole.
    extent: u64,
}

pub(super) struct Send<'s> {
    call: Call<'s>,
    report: &'s mut Report,
    tree: Tree,
    /// As messages call what was named.
    name: String,
    plan: &'s Plan,
    /// Holes are zeros to what is written in place.
    has_holes: bool,
    preserves: bool,
    /// What was met, where that is asked for.
    came: Option<HashSet<Vec<u8>>>,
    part: Part,
    file: Option<Open>,
    digest: XxHash3_64,
    /// An item, and how much of it was sent.
    item: Vec<u8>,
    pending: std::ops::Range<usize>,
    /// What the guest could not keep.
    problems: ItemReader,
    memory: Vec<u8>,
    polled: Cell<bool>,
}

/// How something is sent.
pub(super) struct Manner<'s> {
    /// With owners, attributes and links.
    pub(super) preserves: bool,
    /// With holes.
    pub(super) has_holes: bool,
    /// What was sent is told.
    pub(super) remembers: bool,
    /// What the guest has of it.
    pub(super) plan: &'s Plan,
}

impl<'s> Send<'s> {
    pub(super) fn new(
        core: &mut Core,
        request: Vec<u8>,
        origin: Origin,
        manner: &Manner<'s>,
        signals: Option<&'s mut Signals>,
        report: &'s mut Report,
    ) -> Result<Self, Error> {
        Ok(Self {
            call: Call::open(core, ChannelKind::Put, request, signals)?,
            report,
            tree: origin.tree,
            name: origin.name,
            plan: manner.plan,
            has_holes: manner.has_holes,
            preserves: manner.preserves,
            came: manner.remembers.then(HashSet::new),
            part: Part::Next(Some(origin.first)),
            file: None,
            digest: XxHash3_64::new(),
            item: vec![0; ITEM_MAX],
            pending: 0..0,
            problems: ItemReader::new(Stream::Problems),
            memory: vec![0; VALUE_MAX],
            polled: Cell::new(false),
        })
    }

    /// What came of it: the value of ACCEPTED, and what was sent.
    pub(super) fn finish(
        self,
        core: &mut Core,
        driven: Result<(), Error>,
    ) -> Result<(u64, HashSet<Vec<u8>>), Error> {
        let value = self.call.value();
        match self.call.finish(core, driven)? {
            Outcome::Exited(0) => Ok((value, self.came.unwrap_or_default())),
            _ => Err(Error::Reset(CloseCode::Internal)),
        }
    }

    fn pend(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let length = write(&mut self.item);
        debug_assert!(length > 0, "an item fits");
        self.pending = 0..length;
    }

    /// Moves on; whether it could.
    fn advance(&mut self, core: &mut Core) -> Result<bool, Error> {
        if !self.pending.is_empty() {
            let item = self.item.get(self.pending.clone()).unwrap_or_default();
            let sent = core.send(self.call.channel(), Flow::Input, item);
            self.pending.start += sent;
            return Ok(sent > 0);
        }
        match &mut self.part {
            Part::Next(found) => match found.take() {
                Some(found) => self.present(found)?,
                None if self.tree.depth() == 0 => {
                    core.finish(self.call.channel(), Flow::Input);
                    self.part = Part::Sent;
                }
                None => self.next(),
            },
            Part::Content => return self.send_content(core),
            Part::Attributes(names) => match names.pop() {
                Some(name) => self.attribute(&name),
                None if self.file.is_some() => self.part = Part::End,
                None => self.part = Part::Leave,
            },
            Part::End => self.end(),
            Part::Leave => {
                self.part = Part::Next(None);
                if let Some(meta) = self.tree.leave() {
                    self.report.directory();
                    self.pend(|out| encode_leave(out, &meta));
                }
            }
            Part::Sent => return Ok(false),
        }
        Ok(true)
    }

    fn next(&mut self) {
        let next = self.tree.next();
        if let (Some(came), false) = (&mut self.came, matches!(next, Ok(Found::End))) {
            came.insert(self.tree.path().to_owned());
        }
        match next {
            Ok(Found::End) => self.begin_attributes(Part::Leave),
            Ok(found) => self.part = Part::Next(Some(found)),
            Err((what, errno)) => {
                self.report.failed(self.tree.path(), what, errno);
                self.pend_problem(errno.raw_os_error(), what);
            }
        }
    }

    /// Lets the guest know that the latest entry does not come.
    fn pend_problem(&mut self, errno: i32, what: &str) {
        let path = self.tree.path();
        let path = path.get(..PATH_MAX).unwrap_or(path).to_owned();
        self.pend(|out| encode_problem(out, errno.unsigned_abs(), &path, what.as_bytes()));
    }

    /// Sends the ENTRY of what was found.
    fn present(&mut self, found: Found) -> Result<(), Error> {
        match found {
            Found::End => {}
            Found::LeftOut("") => {}
            Found::LeftOut(why) => self.report.note(why),
            Found::Directory { meta } => self.entry(&meta, b""),
            Found::Other { meta, target } => {
                self.report.other();
                self.entry(&meta, &target);
            }
            Found::File { content, mut meta } => {
                let (mut extent, mut position) = (u64::MAX, 0);
                if let Content::File(file) = &content {
                    let is_sparse =
                        meta.expected().is_some_and(|size| meta.blocks.saturating_mul(512) < size);
                    match self.plan.known(self.tree.path()) {
                        Some(Known::Same) => {
                            self.report.unchanged(meta.expected().unwrap_or(0));
                            meta.flags &= !vsock_shell_proto::items::meta_flag::OPEN;
                            self.entry(&meta, b"");
                            return Ok(());
                        }
                        Some(&Known::Begun { length, digest, device, inode }) => {
                            if is_prefix(file, length, digest)? {
                                position = length;
                                (meta.device, meta.inode) = (device, inode);
                            }
                            let mut file = file;
                            let sought = file.seek(io::SeekFrom::Start(position));
                            sought.map_err(Error::local("read", &self.name))?;
                        }
                        None => {}
                    }
                    if is_sparse && self.has_holes {
                        extent = position;
                    }
                    meta.offset = position;
                    self.report.progress().advance(position);
                }
                self.digest = XxHash3_64::new();
                self.entry(&meta, b"");
                self.part = Part::Content;
                self.file = Some(Open { content, meta, position, extent });
            }
        }
        Ok(())
    }

    fn entry(&mut self, meta: &Meta, target: &[u8]) {
        let name = self.tree.name().to_owned();
        self.pend(|out| encode_entry(out, meta, name.to_bytes(), target));
    }

    fn send_content(&mut self, core: &mut Core) -> Result<bool, Error> {
        let Some(open) = &mut self.file else { return Ok(false) };
        // What is appended meanwhile is told, and not sent.
        let left = open.meta.expected().map_or(u64::MAX, |size| size.saturating_sub(open.position));
        if left == 0 {
            self.begin_attributes(Part::End);
            return Ok(true);
        }
        if let Content::File(file) = &open.content
            && open.position >= open.extent
        {
            match next_extent(file, open.position, left) {
                Ok((data, extent)) => {
                    open.extent = extent;
                    let hole = data - open.position;
                    open.position = data;
                    if hole > 0 {
                        self.report.progress().advance(hole);
                        self.pend(|out| encode_hole(out, hole));
                    }
                }
                Err(errno) => self.abandon(errno.into())?,
            }
            return Ok(true);
        }
        let channel = self.call.channel();
        if matches!(open.content, Content::Stream { is_ready: false, .. })
            || core.writable(channel, Flow::Input) <= ITEM_HEADER_LEN
        {
            return Ok(false);
        }
        let most = left.min(open.extent.saturating_sub(open.position)).min(CONTENT_LEN as u64) as usize;
        let Some(places) = core.reserve(channel, Flow::Input, ITEM_HEADER_LEN + most) else {
            return Ok(false);
        };
        let (mut header, content) = places.split(ITEM_HEADER_LEN);
        let read = match &mut open.content {
            Content::File(file) => {
                file.read_vectored(&mut [IoSliceMut::new(content.first), IoSliceMut::new(content.second)])
            }
            Content::Stream { source, .. } => {
                source.read(if content.first.is_empty() { &mut *content.second } else { &mut *content.first })
            }
        };
        match read {
            Ok(0) => {
                core.commit(0);
                self.begin_attributes(Part::End);
                Ok(true)
            }
            Ok(length) => {
                header.fill(&content_header(length));
                let first = content.first.get(..length).unwrap_or(content.first);
                let second = content.second.get(..length - first.len()).unwrap_or_default();
                self.digest.write(first);
                self.digest.write(second);
                open.position += length as u64;
                core.commit(ITEM_HEADER_LEN + length);
                self.report.advance(length as u64);
                Ok(true)
            }
            Err(error) => {
                core.commit(0);
                match (error.kind(), &mut open.content) {
                    (io::ErrorKind::Interrupted, _) => Ok(true),
                    (io::ErrorKind::WouldBlock, Content::Stream { is_ready, .. }) => {
                        *is_ready = false;
                        Ok(false)
                    }
                    _ => self.abandon(error).map(|()| true),
                }
            }
        }
    }

    /// The file cannot be read on. Inside a tree the guest discards it, and the rest is sent.
    fn abandon(&mut self, error: io::Error) -> Result<(), Error> {
        if self.tree.depth() == 0 {
            return Err(Error::local("read", &self.name)(error));
        }
        self.file = None;
        self.part = Part::Next(None);
        let text = format!("cannot read: {}", crate::text::reason(&error));
        self.report.problem(self.tree.path(), text);
        self.pend_problem(error.raw_os_error().unwrap_or(0), "read");
        Ok(())
    }

    /// Goes on with the attributes where they are sent, and with `part` behind them.
    fn begin_attributes(&mut self, part: Part) {
        self.part = part;
        let subject = match &self.file {
            Some(Open { content: Content::File(file), .. }) => Some(file.as_fd()),
            Some(_) => None,
            None => self.tree.folder(),
        };
        match subject.filter(|_| self.preserves).map(attribute_names) {
            Some(Ok(names)) if !names.is_empty() => self.part = Part::Attributes(names),
            Some(Err(errno)) => self.report.failed(self.tree.path(), "list the attributes", errno),
            _ => {}
        }
    }

    fn attribute(&mut self, name: &CString) {
        let subject = match &self.file {
            Some(Open { content: Content::File(file), .. }) => Some(file.as_fd()),
            _ => self.tree.folder(),
        };
        let Some(subject) = subject else { return };
        let read = |place: &mut [u8]| rustix::fs::fgetxattr(subject, name, place);
        match encode_attribute(&mut self.item, name.as_bytes(), read) {
            Ok(length) => self.pending = 0..length,
            // It is gone.
            Err(Errno::NODATA) => {}
            Err(errno) => self.report.failed(self.tree.path(), "read an attribute", errno),
        }
    }

    fn end(&mut self) {
        self.part = Part::Next(None);
        let Some(Open { content, meta, position, .. }) = self.file.take() else { return };
        let end = FileEnd { digest: self.digest.finish(), size: position };
        self.pend(|out| encode_end(out, &end));
        self.report.file();
        if let (Content::File(file), Some(_), true) = (&content, meta.expected(), meta.modified.is_known())
            && let Ok(now) = rustix::fs::fstat(file)
            && (meta_of(&now).size, meta_of(&now).modified) != (meta.size, meta.modified)
        {
            self.report.problem(self.tree.path(), "changed while it was read".to_owned());
        }
    }

    /// Takes what the guest tells of what it could not keep.
    fn take_problems(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (taken, item) = self.problems.read(&mut self.memory, bytes).map_err(Error::Items)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(Item::Problem { errno, path, text, .. }) = item {
                self.report.told(errno, path.to_bytes(), text);
            }
        }
        Ok(())
    }
}

/// Finds the content from `position` on, and its end; where there is none, both are the end of the file.
fn next_extent(file: &File, position: u64, left: u64) -> Result<(u64, u64), Errno> {
    let end = position.saturating_add(left);
    let data = match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(data) => data.min(end),
        Err(Errno::NXIO) => end,
        // A file system that knows no holes.
        Err(Errno::INVAL) => {
            rustix::fs::seek(file, SeekFrom::Start(position))?;
            return Ok((position, u64::MAX));
        }
        Err(errno) => return Err(errno),
    };
    let extent = if data < end { rustix::fs::seek(file, SeekFrom::Hole(data))?.min(end) } else { end };
    rustix::fs::seek(file, SeekFrom::Start(data))?;
    Ok((data, extent))
}

impl Task for Send<'_> {
    fn take(&mut self, _: &mut Core, _: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        for piece in pieces.iter().filter(|_| flow == Flow::Output) {
            if let Err(error) = self.take_problems(piece) {
                self.call.fail(error);
            }
        }
        pieces.iter().map(|piece| piece.len()).sum()
    }

    fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        self.call.handle(core, event);
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.call.prepare()
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        let mut moved = self.call.step(core)?;
        for _ in 0..ROUNDS {
            if self.is_done(core) || !self.advance(core)? {
                break;
            }
            moved = true;
        }
        Ok(moved)
    }

    fn has_outcome(&self) -> bool {
        self.call.has_outcome()
    }

    fn is_done(&self, _: &Core) -> bool {
        self.call.is_over()
    }

    fn interests<'f>(&'f self, core: &Core, fds: &mut Vec<PollFd<'f>>) {
        self.polled.set(false);
        if let Some(Open { content: Content::Stream { source, is_ready: false }, .. }) = &self.file
            && core.writable(self.call.channel(), Flow::Input) > ITEM_HEADER_LEN
        {
            self.polled.set(true);
            fds.push(PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN));
        }
        if let Some(signals) = self.call.signal_fd() {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
        }
    }

    fn tell(&mut self, news: &str) {
        self.report.say(news);
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter().map(|flags| !flags.is_empty());
        if let Some(Open { content: Content::Stream { is_ready, .. }, .. }) = &mut self.file
            && self.polled.get()
        {
            *is_ready |= ready.next().unwrap_or(false);
        }
        self.call.set_signalled(ready.next().unwrap_or(false));
    }
}
