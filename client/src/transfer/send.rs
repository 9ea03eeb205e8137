//! Owns the upload of one file: read straight into the ring, behind the header of its item.

use std::cell::Cell;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, IoSliceMut, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use twox_hash::XxHash3_64;
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{CONTENT_MAX, FileEnd, FileMeta, ITEM_HEADER_LEN, Timestamp, content_header};
use vsock_shell_proto::mux::Event;

use super::open_source;
use crate::call::Call;
use crate::connection::Core;
use crate::drive::{STEP_ROUNDS, Task};
use crate::error::Error;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::stdio::Source;

/// Content in an item: whole pages, so that the file is read and written at page boundaries, and with its headers no more
/// than a Unix socket keeps in one buffer of its own (`unix_stream_sendmsg`).
const CONTENT_LEN: usize = 32 * 1024;
const _: () = assert!(CONTENT_LEN <= CONTENT_MAX);
/// The mode of what has none of its own.
const STREAM_MODE: u32 = 0o644;

/// Where the content comes from.
pub(super) struct Origin {
    from: From,
    meta: FileMeta,
    name: String,
}

enum From {
    /// Reading it never waits for somebody.
    File(File),
    Stream {
        source: Source,
        is_ready: bool,
    },
}

impl Origin {
    /// A file, or something that is read like one (a device, a pipe).
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = open_source(path)?;
        let failed = || Error::local("read", path);
        let there = file.metadata().map_err(failed())?;
        if there.is_dir() {
            return Err(failed()(rustix::io::Errno::ISDIR.into()));
        }
        let modified = Timestamp { seconds: there.mtime(), nanoseconds: there.mtime_nsec() as u32 };
        let size = Some(there.len()).filter(|&size| there.is_file() && size > 0);
        let meta =
            FileMeta { mode: there.mode(), size, modified: Some(modified).filter(|_| there.is_file()) };
        let name = crate::text::escape(path.as_os_str().as_encoded_bytes()).into_owned();
        let kind = there.file_type();
        let from = if kind.is_file() || kind.is_block_device() {
            From::File(file)
        } else {
            From::Stream { source: Source::new(file.as_fd()).map_err(failed())?, is_ready: true }
        };
        Ok(Self { from, meta, name })
    }

    /// Standard input.
    pub(super) fn stdin() -> Result<Self, Error> {
        let source = Source::stdin().map_err(Error::local("use", "standard input"))?;
        let meta = FileMeta { mode: STREAM_MODE, size: None, modified: None };
        Ok(Self { from: From::Stream { source, is_ready: true }, meta, name: "standard input".to_owned() })
    }

    /// Bytes that are expected.
    pub(super) fn size(&self) -> Option<u64> {
        self.meta.size
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    File,
    Content,
    End,
    Sent,
}

pub(super) struct Send<'s> {
    call: Call<'s>,
    origin: Origin,
    part: Part,
    size: u64,
    digest: XxHash3_64,
    progress: Progress,
    polled: Cell<bool>,
}

impl<'s> Send<'s> {
    pub(super) fn new(
        core: &mut Core,
        request: Vec<u8>,
        origin: Origin,
        signals: Option<&'s mut Signals>,
        progress: Progress,
    ) -> Result<Self, Error> {
        Ok(Self {
            call: Call::open(core, ChannelKind::Put, request, signals)?,
            origin,
            part: Part::File,
            size: 0,
            digest: XxHash3_64::new(),
            progress,
            polled: Cell::new(false),
        })
    }

    /// What came of it.
    pub(super) fn finish(self, core: &mut Core, driven: Result<(), Error>) -> Result<(), Error> {
        match self.call.finish(core, driven)? {
            Outcome::Exited(0) => {
                self.progress.finish();
                Ok(())
            }
            _ => Err(Error::Reset(CloseCode::Internal)),
        }
    }

    /// Sends a whole item, or nothing of it; whether it did.
    fn send_whole(&self, core: &mut Core, item: &[u8]) -> bool {
        core.writable(self.call.channel(), Flow::Input) >= item.len()
            && core.send(self.call.channel(), Flow::Input, item) > 0
    }

    /// Moves on by one item; whether it could.
    fn send_item(&mut self, core: &mut Core) -> Result<bool, Error> {
        match self.part {
            Part::File => {
                let sent = self.send_whole(core, &self.origin.meta.encode());
                if sent {
                    self.part = Part::Content;
                }
                Ok(sent)
            }
            Part::Content => self.send_content(core),
            Part::End => {
                let end = FileEnd { digest: self.digest.finish(), size: self.size };
                let sent = self.send_whole(core, &end.encode());
                if sent {
                    self.part = Part::Sent;
                    core.finish(self.call.channel(), Flow::Input);
                }
                Ok(sent)
            }
            Part::Sent => Ok(false),
        }
    }

    fn send_content(&mut self, core: &mut Core) -> Result<bool, Error> {
        if matches!(self.origin.from, From::Stream { is_ready: false, .. })
            || core.writable(self.call.channel(), Flow::Input) <= ITEM_HEADER_LEN
        {
            return Ok(false);
        }
        let Some(places) = core.reserve(self.call.channel(), Flow::Input, ITEM_HEADER_LEN + CONTENT_LEN)
        else {
            return Ok(false);
        };
        let (mut header, content) = places.split(ITEM_HEADER_LEN);
        let read = match &mut self.origin.from {
            From::File(file) => {
                file.read_vectored(&mut [IoSliceMut::new(content.first), IoSliceMut::new(content.second)])
            }
            From::Stream { source, .. } => {
                source.read(if content.first.is_empty() { &mut *content.second } else { &mut *content.first })
            }
        };
        match read {
            Ok(0) => {
                core.commit(0);
                self.part = Part::End;
                Ok(true)
            }
            Ok(length) => {
                header.fill(&content_header(length));
                let first = content.first.get(..length).unwrap_or(content.first);
                let second = content.second.get(..length - first.len()).unwrap_or_default();
                self.digest.write(first);
                self.digest.write(second);
                self.size += length as u64;
                core.commit(ITEM_HEADER_LEN + length);
                self.progress.advance(length as u64);
                Ok(true)
            }
            Err(error) => {
                core.commit(0);
                match (error.kind(), &mut self.origin.from) {
                    (io::ErrorKind::Interrupted, _) => Ok(true),
                    (io::ErrorKind::WouldBlock, From::Stream { is_ready, .. }) => {
                        *is_ready = false;
                        Ok(false)
                    }
                    _ => Err(Error::local("read", &self.origin.name)(error)),
                }
            }
        }
    }
}

impl Task for Send<'_> {
    fn take(&mut self, _: &mut Core, _: Flow, pieces: &[&[u8]]) -> usize {
        // Nothing is said on a put but how it ended.
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
        for _ in 0..STEP_ROUNDS {
            if self.is_done(core) || !self.send_item(core)? {
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
        if let From::Stream { source, is_ready: false } = &self.origin.from
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
        self.progress.say(news);
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter().map(|flags| !flags.is_empty());
        if let From::Stream { is_ready, .. } = &mut self.origin.from
            && self.polled.get()
        {
            *is_ready |= ready.next().unwrap_or(false);
        }
        self.call.set_signalled(ready.next().unwrap_or(false));
    }
}
