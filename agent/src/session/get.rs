//! Sending a file (`PROTOCOL.md` §10): read straight into the ring, behind the header of its item.

use core::ffi::CStr;

use crate::digest::Digest;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, IoSliceMut};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::items::{CONTENT_MAX, FileEnd, FileMeta, ITEM_HEADER_LEN, Timestamp, content_header};

use super::Core;
use super::identity::Identity;
use super::put::{Failed, exit_failed, open_home};
use super::tasks::Step;

/// Content in an item: whole pages, so that the file is read and written at page boundaries, and with its headers no more
/// than vsock keeps in one packet of 64 KiB.
const CONTENT_LEN: usize = 60 * 1024;
const _: () = assert!(CONTENT_LEN <= CONTENT_MAX);

/// How far a file was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    File,
    Content,
    End,
    Stopped,
}

/// A file on its way. What is small stands in front, where instructions reach it by one byte.
#[repr(C)]
pub struct Get {
    channel: ChannelId,
    part: Part,
    file: OwnedFd,
    size: u64,
    meta: FileMeta,
    digest: Digest,
}

impl Get {
    /// Opens the file.
    ///
    /// # Errors
    /// What failed. A folder is refused with EISDIR, what can never end (a pipe, a terminal) with EINVAL.
    #[inline(never)]
    pub fn begin(channel: ChannelId, path: &CStr, identity: &Identity) -> Result<Self, Failed> {
        // A pipe would block until somebody writes into it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let home = open_home(&identity.home)?;
        let file = identity
            .rights
            .with(|| rustix::fs::openat(&home, path, flags, Mode::empty()))
            .map_err(Failed::to(c"open"))?;
        let there = rustix::fs::fstat(&file).map_err(Failed::to(c"open"))?;
        let size = match FileType::from_raw_mode(there.st_mode) {
            // Files of /proc and /sys have content and say that they are empty.
            FileType::RegularFile => u64::try_from(there.st_size).ok().filter(|&size| size > 0),
            FileType::BlockDevice => None,
            FileType::Directory => return Err(Failed::new(c"read", Errno::ISDIR)),
            _ => return Err(Failed::new(c"read what is no regular file", Errno::INVAL)),
        };
        let modified = Timestamp { seconds: there.st_mtime, nanoseconds: there.st_mtime_nsec as u32 };
        let meta = FileMeta { mode: there.st_mode, size, modified: Some(modified) };
        Ok(Self { channel, file, meta, part: Part::File, size: 0, digest: Digest::new() })
    }

    /// The client takes no more of it.
    pub fn stop(&mut self) {
        self.part = Part::Stopped;
    }

    /// Sends on.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        let item = match self.part {
            Part::File => send_whole(core, self.channel, &self.meta.encode()),
            Part::Content => return self.send_content(core),
            Part::End => {
                let end = FileEnd { digest: self.digest.finish(), size: self.size };
                send_whole(core, self.channel, &end.encode())
            }
            Part::Stopped => {
                exit_failed(core, self.channel, Failed::new(c"send", Errno::PIPE));
                return Step::Done;
            }
        };
        match (item, self.part) {
            (Step::Progress, Part::File) => self.part = Part::Content,
            (Step::Progress, _) => {
                core.exit(self.channel, Outcome::Exited(0), b"");
                return Step::Done;
            }
            _ => {}
        }
        item
    }

    fn send_content(&mut self, core: &mut Core) -> Step {
        if core.writable(self.channel, Flow::Output) <= ITEM_HEADER_LEN {
            return blocked(core);
        }
        let Some(places) = core.reserve(self.channel, Flow::Output, ITEM_HEADER_LEN + CONTENT_LEN) else {
            return blocked(core);
        };
        let (mut header, content) = places.split(ITEM_HEADER_LEN);
        let read = rustix::io::readv(
            &self.file,
            &mut [IoSliceMut::new(content.first), IoSliceMut::new(content.second)],
        );
        match read {
            Ok(0) => {
                core.commit(0);
                self.part = Part::End;
                Step::Progress
            }
            Ok(length) => {
                header.fill(&content_header(length));
                let first = content.first.get(..length).unwrap_or(content.first);
                let second = content.second.get(..length - first.len()).unwrap_or_default();
                self.digest.update(first);
                self.digest.update(second);
                self.size += length as u64;
                core.commit(ITEM_HEADER_LEN + length);
                Step::Progress
            }
            Err(Errno::INTR) => {
                core.commit(0);
                Step::Progress
            }
            Err(errno) => {
                core.commit(0);
                exit_failed(core, self.channel, Failed::new(c"read", errno));
                Step::Done
            }
        }
    }
}

/// Sends an item at once, or nothing of it.
fn send_whole(core: &mut Core, channel: ChannelId, item: &[u8]) -> Step {
    if core.writable(channel, Flow::Output) < item.len() {
        return blocked(core);
    }
    let sent = core.send(channel, Flow::Output, item);
    debug_assert_eq!(sent, item.len(), "what is writable is sent");
    Step::Progress
}

/// What is missing: room in the ring, or credit.
fn blocked(core: &Core) -> Step {
    if core.room() == 0 { Step::NoRoom } else { Step::Idle }
}
