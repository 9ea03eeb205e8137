//! ENTRY of each kind: what is said of a file before its content, and what is not sent of it.

use core::ffi::CStr;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::Stat;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::items::{Kind, Meta, UNKNOWN, encode_entry, meta_flag};

use super::{Open, Part, Sender, is_block};
use crate::digest::Digest;
use crate::session::transfer::{Failed, LINKS_LEN, Memory, meta_of};

impl Sender {
    pub(super) fn present_directory(
        &mut self,
        folder: OwnedFd,
        stat: &Stat,
        name: &[u8],
    ) -> Result<(), Failed> {
        self.memory.walk.enter(folder).map_err(Failed::to(c"go deeper"))?;
        let mut meta = self.meta_of(stat);
        meta.flags |= meta_flag::OPEN;
        self.entry(&meta, name, b"");
        self.part = Part::Next;
        Ok(())
    }

    /// Sends ENTRY of a regular file, or first finds out how much of it the opener has.
    pub(super) fn present_file(&mut self, file: OwnedFd, stat: &Stat, name: &[u8]) -> Result<(), Failed> {
        let mut meta = self.meta_of(stat);
        if is_block(stat) {
            meta = Meta { size: UNKNOWN, ..Meta::file(stat.st_mode, UNKNOWN, meta.modified) };
        }
        let is_digest = self.has_flag(flag::META);
        if self.is_link(&meta) && !is_digest {
            meta.flags |= meta_flag::LINK;
            self.entry(&meta, name, b"");
            return Ok(());
        }
        let (has, _) = self.has;
        if meta.size == 0 && !is_digest {
            // Files of /proc and /sys have content and say that they are empty.
            meta.size = UNKNOWN;
        }
        meta.flags |= meta_flag::OPEN;
        self.digest = Digest::new();
        let is_sparse = meta.blocks.saturating_mul(512) < meta.size && meta.size != UNKNOWN;
        let extent = if is_sparse { 0 } else { u64::MAX };
        let known = meta.expected().unwrap_or(0);
        self.part = Part::Content;
        if is_digest {
            if has == known || has == UNKNOWN {
                self.part = Part::Hash { left: known };
            } else {
                meta.flags &= !meta_flag::OPEN;
                self.entry(&meta, name, b"");
                self.part = Part::Next;
                return Ok(());
            }
        } else if has > 0 && has <= known && name.is_empty() {
            self.part = Part::Hash { left: has };
            self.file = Some(Open { file, meta, position: 0, extent });
            return Ok(());
        }
        self.entry(&meta, name, b"");
        self.file = Some(Open { file, meta, position: 0, extent });
        Ok(())
    }

    /// Sends ENTRY of what has neither content nor anything in it: `itself`, or what has this name in the innermost directory.
    pub(super) fn present_other(
        &mut self,
        itself: Option<BorrowedFd<'_>>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), Failed> {
        let meta = self.meta_of(stat);
        if !self.has_flag(flag::META) {
            let what = match meta.kind() {
                Kind::Device if !self.has_flag(flag::PRESERVE) => c"a device is left out",
                Kind::Other => c"a socket is left out",
                _ => c"",
            };
            if !what.is_empty() {
                self.problem(Failed::note(what));
                return Ok(());
            }
        }
        let Memory { item, aside, walk, .. } = &mut *self.memory;
        let mut length = 0;
        if let (Kind::Symlink, Some(folder)) = (meta.kind(), itself.or_else(|| walk.levels.top())) {
            length = rustix::fs::readlinkat_raw(folder, name, &mut aside[..]).map_err(Failed::to(c"read"))?;
        }
        let target = aside.get(..length).unwrap_or_default();
        let length = encode_entry(item, &meta, name.to_bytes(), target);
        self.pend(length);
        Ok(())
    }

    /// Metadata as this request has them (`R-10.7`).
    pub(super) fn meta_of(&self, stat: &Stat) -> Meta {
        let mut meta = meta_of(stat);
        if self.has_flag(flag::PRESERVE) {
            meta.flags = meta_flag::OWNER;
            if meta.links > 1 && meta.kind() == Kind::File {
                meta.flags |= meta_flag::IDENTITY;
            }
        }
        meta
    }

    /// The content of this file was sent before. Remembers that it is sent now.
    fn is_link(&mut self, meta: &Meta) -> bool {
        if !meta.has(meta_flag::IDENTITY) {
            return false;
        }
        let file = (meta.device, meta.inode);
        let Some(place) = self.memory.links.get_mut(meta.inode as usize % LINKS_LEN) else { return false };
        core::mem::replace(place, file) == file
    }

    pub(super) fn entry(&mut self, meta: &Meta, name: &[u8], target: &[u8]) {
        let length = encode_entry(&mut self.memory.item, meta, name, target);
        self.pend(length);
    }
}
