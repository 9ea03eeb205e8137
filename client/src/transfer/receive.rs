//! Owns the download of one file: items in, content to where it lands, digest and size checked at the end.

use std::cell::Cell;
use std::hash::Hasher as _;
use std::io::IoSlice;

use rustix::event::{PollFd, PollFlags};
use twox_hash::XxHash3_64;
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{FileEnd, FileMeta, Item, ItemReader};
use vsock_shell_proto::mux::Event;

use super::landing::Landing;
use crate::call::Call;
use crate::connection::Core;
use crate::drive::Task;
use crate::error::Error;
use crate::progress::Progress;
use crate::signals::Signals;

/// Pieces of content that land together.
const GATHERED_MAX: usize = 16;

pub(super) struct Receive<'s> {
    call: Call<'s>,
    reader: ItemReader,
    landing: Landing,
    meta: Option<FileMeta>,
    size: u64,
    digest: XxHash3_64,
    progress: Progress,
    polled: Cell<bool>,
}

impl<'s> Receive<'s> {
    pub(super) fn new(
        core: &mut Core,
        request: Vec<u8>,
        landing: Landing,
        signals: Option<&'s mut Signals>,
        progress: Progress,
    ) -> Result<Self, Error> {
        Ok(Self {
            call: Call::open(core, ChannelKind::Get, request, signals)?,
            reader: ItemReader::new(),
            landing,
            meta: None,
            size: 0,
            digest: XxHash3_64::new(),
            progress,
            polled: Cell::new(false),
        })
    }

    /// What came of it.
    pub(super) fn finish(self, core: &mut Core, driven: Result<(), Error>) -> Result<(), Error> {
        let is_ended = self.reader.is_ended();
        match self.call.finish(core, driven)? {
            Outcome::Exited(0) if is_ended => {
                self.progress.finish();
                Ok(())
            }
            _ => Err(Error::Reset(CloseCode::Internal)),
        }
    }

    /// Takes bytes of the file stream while they land: how many. Content is gathered and lands together.
    fn land(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Error> {
        let mut taken = 0;
        let mut gathered = Vec::with_capacity(GATHERED_MAX);
        for mut piece in pieces {
            while !piece.is_empty() && !self.landing.is_blocked() {
                let (length, item) = self.reader.read(piece).map_err(|_| Error::Garbled)?;
                piece = piece.get(length..).unwrap_or_default();
                taken += length;
                match item {
                    Some(Item::File(meta)) => {
                        self.meta = Some(meta);
                        if let Some(size) = meta.size {
                            self.progress.set_size(size);
                        }
                    }
                    Some(Item::Content(content)) => {
                        self.digest.write(content);
                        self.advance(content.len() as u64)?;
                        gathered.push(IoSlice::new(content));
                        if gathered.len() == GATHERED_MAX {
                            self.landing.write(&mut gathered)?;
                            gathered.clear();
                        }
                    }
                    Some(Item::Hole(hole)) => {
                        self.landing.write(&mut gathered)?;
                        gathered.clear();
                        self.advance(hole)?;
                        self.landing.skip(hole, self.size)?;
                    }
                    Some(Item::End(end)) => {
                        self.landing.write(&mut gathered)?;
                        gathered.clear();
                        self.end(end)?;
                    }
                    None => {}
                }
            }
        }
        self.landing.write(&mut gathered)?;
        Ok(taken)
    }

    fn advance(&mut self, length: u64) -> Result<(), Error> {
        self.size = self
            .size
            .checked_add(length)
            .filter(|&size| i64::try_from(size).is_ok())
            .ok_or(Error::Garbled)?;
        self.progress.advance(length);
        Ok(())
    }

    fn end(&mut self, end: FileEnd) -> Result<(), Error> {
        let meta = self.meta.ok_or(Error::Garbled)?;
        if end.size != self.size || end.digest != self.digest.finish() {
            return Err(Error::Garbled);
        }
        self.landing.finish(meta)
    }
}

impl Task for Receive<'_> {
    fn take(&mut self, _: &mut Core, flow: Flow, pieces: &[&[u8]]) -> usize {
        if flow != Flow::Output {
            return pieces.iter().map(|piece| piece.len()).sum();
        }
        match self.land(&mut pieces.iter().copied()) {
            Ok(taken) => taken,
            Err(error) => {
                self.call.fail(error);
                0
            }
        }
    }

    fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        self.call.handle(core, event);
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.call.prepare()
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        let mut moved = self.call.step(core)?;
        moved |= self.landing.flush()?;
        while !self.call.has_failed() && !self.landing.is_blocked() {
            if core.parked(self.call.channel(), Flow::Output).is_empty() {
                break;
            }
            let taken = self.land(&mut core.parked_pieces(self.call.channel(), Flow::Output))?;
            core.consume(self.call.channel(), Flow::Output, taken);
            moved = true;
        }
        Ok(moved)
    }

    fn has_outcome(&self) -> bool {
        self.call.has_outcome()
    }

    fn is_done(&self, core: &Core) -> bool {
        let landed = || core.is_drained(self.call.channel(), Flow::Output) && !self.landing.is_blocked();
        self.call.has_failed() || (self.call.is_over() && landed())
    }

    fn interests<'f>(&'f self, _: &Core, fds: &mut Vec<PollFd<'f>>) {
        if let Some(sink) = self.landing.sink().filter(|_| self.landing.is_blocked()) {
            fds.push(PollFd::from_borrowed_fd(sink, PollFlags::OUT));
            self.polled.set(true);
        } else {
            self.polled.set(false);
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
        if self.polled.get() && ready.next().unwrap_or(false) {
            self.landing.set_ready();
        }
        self.call.set_signalled(ready.next().unwrap_or(false));
    }
}
