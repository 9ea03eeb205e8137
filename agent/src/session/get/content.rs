//! What follows an ENTRY: digest, content and holes, attributes, and the end.

use core::ffi::CStr;

use rustix::fd::AsFd;
use rustix::fs::SeekFrom;
use rustix::io::{Errno, IoSliceMut};
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::Flow;
use vsock_shell_proto::items::{
    CONTENT_MAX, FileEnd, ITEM_HEADER_LEN, content_header, encode_attribute, encode_end, encode_hole,
    encode_leave,
};

use super::{Open, Part, Sender};
use crate::digest::Digest;
use crate::session::Core;
use crate::session::tasks::Step;
use crate::session::transfer::{Failed, Memory, blocked, meta_of};

/// Content in an item: whole pages, so that the file is read and written at page boundaries, and with its headers no more
/// than vsock keeps in one packet of 64 KiB.
const CONTENT_LEN: usize = 60 * 1024;
const _: () = assert!(CONTENT_LEN <= CONTENT_MAX);

impl Sender {
    /// Reads on for a digest of what is at the beginning of the file.
    pub(super) fn hash(&mut self, left: u64) {
        let is_digest = self.has_flag(flag::META);
        let Some(open) = &mut self.file else { return };
        let part = left.min(CONTENT_LEN as u64) as usize;
        let place = self.memory.item.get_mut(..part).unwrap_or_default();
        match rustix::io::read(&open.file, place) {
            Ok(length) if length > 0 => {
                self.digest.update(self.memory.item.get(..length).unwrap_or_default());
                open.position += length as u64;
                let left = left.saturating_sub(length as u64);
                self.part = Part::Hash { left };
                if left > 0 {
                    return;
                }
            }
            // It is at its end before it should be.
            Ok(_) => {}
            Err(Errno::INTR) => return,
            Err(errno) => {
                self.part = Part::Next;
                self.file = None;
                self.problem(Failed::new(c"read", errno));
                return;
            }
        }
        if is_digest {
            self.part = Part::End;
            return;
        }
        let is_same = open.position == self.has.0 && self.digest.finish() == self.has.1;
        open.position = if is_same { self.has.0 } else { 0 };
        open.meta.offset = open.position;
        open.extent = if open.extent == u64::MAX { u64::MAX } else { open.position };
        let _ = rustix::fs::seek(&open.file, SeekFrom::Start(open.position));
        let meta = open.meta;
        self.digest = Digest::new();
        self.part = Part::Content;
        self.entry(&meta, b"", b"");
    }

    pub(super) fn send_content(&mut self, core: &mut Core) -> Step {
        let Some(open) = &mut self.file else { return Step::Idle };
        // What was appended meanwhile is told, and not sent.
        let left = open.meta.expected().map_or(u64::MAX, |size| size.saturating_sub(open.position));
        if left == 0 {
            self.begin_attributes(Part::End);
            return Step::Progress;
        }
        if open.position >= open.extent {
            match next_extent(open, left) {
                Ok(0) => {}
                Ok(hole) => {
                    open.position += hole;
                    let length = encode_hole(&mut self.memory.item, hole);
                    self.pend(length);
                    return Step::Progress;
                }
                Err(errno) => return self.abandon(errno),
            }
        }
        if core.writable(self.channel, Flow::Output) <= ITEM_HEADER_LEN {
            return blocked(core);
        }
        let most = left.min(open.extent.saturating_sub(open.position)).min(CONTENT_LEN as u64) as usize;
        let Some(places) = core.reserve(self.channel, Flow::Output, ITEM_HEADER_LEN + most) else {
            return blocked(core);
        };
        let (mut header, content) = places.split(ITEM_HEADER_LEN);
        let read = rustix::io::readv(
            &open.file,
            &mut [IoSliceMut::new(content.first), IoSliceMut::new(content.second)],
        );
        match read {
            Ok(0) => {
                core.commit(0);
                self.begin_attributes(Part::End);
                Step::Progress
            }
            Ok(length) => {
                header.fill(&content_header(length));
                let first = content.first.get(..length).unwrap_or(content.first);
                let second = content.second.get(..length - first.len()).unwrap_or_default();
                self.digest.update(first);
                self.digest.update(second);
                open.position += length as u64;
                core.commit(ITEM_HEADER_LEN + length);
                Step::Progress
            }
            Err(Errno::INTR) => {
                core.commit(0);
                Step::Progress
            }
            Err(errno) => {
                core.commit(0);
                self.abandon(errno)
            }
        }
    }

    /// The file cannot be read on: the receiver discards it.
    fn abandon(&mut self, errno: Errno) -> Step {
        self.file = None;
        self.part = Part::Next;
        self.problem(Failed::new(c"read", errno));
        Step::Progress
    }

    /// Goes on with the attributes where they are wanted, and with `part` behind them.
    pub(super) fn begin_attributes(&mut self, part: Part) {
        self.part = part;
        if !self.has_flag(flag::PRESERVE) {
            return;
        }
        let Memory { aside, walk, .. } = &mut *self.memory;
        let subject = self.file.as_ref().map(|open| open.file.as_fd()).or_else(|| walk.levels.top());
        let listed = subject.map(|subject| rustix::fs::flistxattr(subject, &mut aside[..]));
        match listed {
            Some(Ok(length)) if length > 0 => self.part = Part::Attributes { at: 0, end: length },
            // Many file systems have none.
            Some(Ok(_) | Err(Errno::NOTSUP)) | None => {}
            // Beside an answer of a list only what has no errno is none itself (`R-10.12`).
            Some(Err(_)) => self.afterwards = Some(Failed::note(c"its attributes cannot be listed")),
        }
    }

    pub(super) fn attribute(&mut self, at: usize, end: usize) {
        let Memory { item, aside, walk, .. } = &mut *self.memory;
        let subject = self.file.as_ref().map(|open| open.file.as_fd()).or_else(|| walk.levels.top());
        let names = aside.get(at..end).unwrap_or_default();
        let (Ok(name), Some(subject)) = (CStr::from_bytes_until_nul(names), subject) else {
            self.part = if self.file.is_some() { Part::End } else { Part::Leave };
            return;
        };
        self.part = Part::Attributes { at: at + name.count_bytes() + 1, end };
        let read = |place: &mut [u8]| rustix::fs::fgetxattr(subject, name, place);
        match encode_attribute(item, name.to_bytes(), read) {
            Ok(length) => self.pend(length),
            // It is gone.
            Err(Errno::NODATA) => {}
            Err(_) => self.afterwards = Some(Failed::note(c"an attribute cannot be read")),
        }
    }

    /// Ends the file.
    pub(super) fn end(&mut self) {
        if let Some(Open { file, meta, position, .. }) = self.file.take() {
            let end = FileEnd { digest: self.digest.finish(), size: position };
            let length = encode_end(&mut self.memory.item, &end);
            self.pend(length);
            let has_changed = rustix::fs::fstat(&file).is_ok_and(|now| {
                let now = meta_of(&now);
                now.size != meta.size || now.modified != meta.modified
            });
            if meta.expected().is_some() && has_changed {
                self.afterwards = Some(Failed::note(c"changed while it was read"));
            }
            return;
        }
        self.part = Part::Next;
        if let Some(failed) = self.afterwards.take() {
            self.problem(failed);
        }
    }

    /// Ends the innermost directory.
    pub(super) fn leave(&mut self) {
        if let Some(failed) = self.afterwards.take() {
            self.problem(failed);
            return;
        }
        self.part = Part::Next;
        if let Some(folder) = self.memory.walk.leave() {
            // What an open directory is can always be told.
            let meta = rustix::fs::fstat(&folder).map(|stat| self.meta_of(&stat));
            if let Ok(meta) = meta {
                let length = encode_leave(&mut self.memory.item, &meta);
                self.pend(length);
            }
        }
    }
}

/// Finds the content behind a hole, or the end of the file: how long the hole is.
fn next_extent(open: &mut Open, left: u64) -> Result<u64, Errno> {
    let end = open.position.saturating_add(left);
    let data = match rustix::fs::seek(&open.file, SeekFrom::Data(open.position)) {
        Ok(data) => data.min(end),
        Err(Errno::NXIO) => end,
        // A file system that knows no holes.
        Err(Errno::INVAL) => {
            open.extent = u64::MAX;
            return rustix::fs::seek(&open.file, SeekFrom::Start(open.position)).map(|_| 0);
        }
        Err(errno) => return Err(errno),
    };
    open.extent = if data < end { rustix::fs::seek(&open.file, SeekFrom::Hole(data))?.min(end) } else { end };
    rustix::fs::seek(&open.file, SeekFrom::Start(data))?;
    Ok(data - open.position)
}
