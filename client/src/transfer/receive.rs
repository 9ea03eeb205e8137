//! Owns the download of one file: items in, content to where it lands, digest and size checked at the end.

use std::cell::Cell;

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{FileEnd, FileMeta, Item, ItemReader};
use vsock_shell_proto::mux::Event;
use xxhash_rust::xxh3::Xxh3Default;

use super::landing::Landing;
use crate::connection::Core;
use crate::drive::Task;
use crate::error::{Error, Failure, Refusal};
use crate::progress::Progress;
use crate::request::send_request;
use crate::signals::{Signals, arm, check_signals};

pub(super) struct Receive<'s> {
    channel: ChannelId,
    request: Vec<u8>,
    requested: Option<usize>,
    reader: ItemReader,
    landing: Landing,
    meta: Option<FileMeta>,
    size: u64,
    digest: Xxh3Default,
    outcome: Option<Outcome>,
    failure: Option<Error>,
    signals: Option<&'s mut Signals>,
    is_signalled: bool,
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
        let channel = core.open(ChannelKind::Get).map_err(|_| Error::Broken(CloseCode::Internal))?;
        Ok(Self {
            channel,
            request,
            requested: Some(0),
            reader: ItemReader::new(),
            landing,
            meta: None,
            size: 0,
            digest: Xxh3Default::new(),
            outcome: None,
            failure: None,
            signals,
            is_signalled: false,
            progress,
            polled: Cell::new(false),
        })
    }

    /// What came of it.
    pub(super) fn finish(self, core: &mut Core, driven: Result<(), Error>) -> Result<(), Error> {
        let text = core.text().to_vec();
        if self.outcome.is_some() {
            core.release(self.channel);
        } else {
            core.reset(self.channel, CloseCode::Cancelled);
        }
        driven?;
        match (self.failure, self.outcome) {
            (Some(failure), _) => Err(failure),
            (None, Some(Outcome::Failed(errno))) => Err(Failure { errno, text }.into()),
            (None, Some(Outcome::Exited(0))) if self.reader.is_ended() => {
                self.progress.finish();
                Ok(())
            }
            (None, _) => Err(Error::Reset(CloseCode::Internal)),
        }
    }

    /// Takes bytes of the file stream while they land: how many.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        while taken < bytes.len() && !self.landing.is_blocked() {
            let rest = bytes.get(taken..).unwrap_or_default();
            let (length, item) = self.reader.read(rest).map_err(|_| Error::Garbled)?;
            taken += length;
            match item {
                Some(Item::File(meta)) => {
                    self.meta = Some(meta);
                    if let Some(size) = meta.size {
                        self.progress.set_size(size);
                    }
                }
                Some(Item::Content(content)) => {
                    self.digest.update(content);
                    self.advance(content.len() as u64)?;
                    self.landing.write(content)?;
                }
                Some(Item::Hole(hole)) => {
                    self.advance(hole)?;
                    self.landing.skip(hole, self.size)?;
                }
                Some(Item::End(end)) => self.end(end)?,
                None => {}
            }
        }
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
        if end.size != self.size || end.digest != self.digest.digest() {
            return Err(Error::Garbled);
        }
        self.landing.finish(meta)
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }
}

impl Task for Receive<'_> {
    fn handle(&mut self, core: &mut Core, event: Event<'_>) -> usize {
        match event {
            Event::Data { flow: Flow::Output, bytes, .. } => {
                return match self.take(bytes) {
                    Ok(taken) => taken,
                    Err(error) => {
                        self.fail(error);
                        0
                    }
                };
            }
            Event::Refused { code, errno, .. } => {
                self.fail(Refusal { code, errno, text: core.text().to_vec() }.into());
            }
            Event::Exited { outcome, .. } => self.outcome = Some(outcome),
            Event::Reset { code, .. } => self.fail(Error::Reset(code)),
            Event::Closed { code } => self.fail(Error::Ended(code)),
            _ => {}
        }
        0
    }

    fn prepare(&mut self) -> Result<(), Error> {
        arm(&mut self.signals)
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_signalled) {
            check_signals(&mut self.signals)?;
        }
        let mut moved = send_request(core, self.channel, &self.request, &mut self.requested);
        moved |= self.landing.flush()?;
        while self.failure.is_none() && !self.landing.is_blocked() {
            let parked = core.parked(self.channel, Flow::Output);
            if parked.is_empty() {
                break;
            }
            let taken = self.take(parked)?;
            core.consume(self.channel, Flow::Output, taken);
            moved = true;
        }
        Ok(moved)
    }

    fn is_done(&self, core: &Core) -> bool {
        let landed = || core.is_drained(self.channel, Flow::Output) && !self.landing.is_blocked();
        self.failure.is_some() || (self.outcome.is_some() && landed())
    }

    fn interests<'f>(&'f self, _: &Core, fds: &mut Vec<PollFd<'f>>) {
        if let Some(sink) = self.landing.sink().filter(|_| self.landing.is_blocked()) {
            fds.push(PollFd::from_borrowed_fd(sink, PollFlags::OUT));
            self.polled.set(true);
        } else {
            self.polled.set(false);
        }
        if let Some(signals) = self.signals.as_ref().and_then(|signals| signals.fd()) {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
        }
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter().map(|flags| !flags.is_empty());
        if self.polled.get() && ready.next().unwrap_or(false) {
            self.landing.set_ready();
        }
        self.is_signalled |= ready.next().unwrap_or(false);
    }
}
