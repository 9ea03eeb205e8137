//! Owns reading a stream of items to its end: each goes to a [`Collect`], and what is wanted of a list is asked for meanwhile.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{Item, ItemReader, Stream, VALUE_MAX};
use vsock_shell_proto::mux::Event;

use super::wants::Wants;
use crate::call::Call;
use crate::client::Client;
use crate::connection::Core;
use crate::drive::{Task, drive};
use crate::error::Error;
use crate::signals::Signals;

/// What is made of the items.
pub(super) trait Collect {
    /// Takes an item, after which the reader is where it is.
    fn item(&mut self, item: Item<'_, '_>, reader: &ItemReader) -> Result<(), Error>;
}

/// What is asked for.
pub(super) struct Question {
    /// Which channel answers.
    pub(super) kind: ChannelKind,
    /// What it is asked.
    pub(super) request: Vec<u8>,
    /// Of a list.
    pub(super) wants: Option<Wants>,
    /// What the answer is.
    pub(super) of: Stream,
    /// It is given up then.
    pub(super) deadline: Option<Instant>,
}

/// How it ended.
pub(super) enum Read {
    /// All of it came.
    Whole,
    /// The guest refused, or failed; or time was up. The connection can be used.
    Failed(Error),
}

struct Reading<'s, C> {
    call: Call<'s>,
    wants: Option<Wants>,
    reader: ItemReader,
    memory: Vec<u8>,
    deadline: Option<Instant>,
    collect: &'s mut C,
}

impl Client {
    /// Reads what answers.
    ///
    /// # Errors
    /// The connection was lost, or a signal arrived.
    pub(super) fn read_items<C: Collect>(
        &mut self,
        question: Question,
        collect: &mut C,
        signals: Option<&mut Signals>,
    ) -> Result<Read, Error> {
        let Question { kind, request, wants, of, deadline } = question;
        let mut reading = Reading {
            call: Call::open(&mut self.connection.core, kind, request, signals)?,
            wants,
            reader: ItemReader::new(of),
            memory: vec![0; VALUE_MAX],
            deadline,
            collect,
        };
        let driven = drive(&mut self.connection, &mut reading);
        let (is_lost, is_ended) = (driven.is_err(), reading.reader.is_ended());
        match reading.call.finish(&mut self.connection.core, driven) {
            Err(error) if is_lost => Err(error),
            Err(error) => Ok(Read::Failed(error)),
            Ok(Outcome::Exited(0)) if is_ended => Ok(Read::Whole),
            Ok(_) => Ok(Read::Failed(Error::Reset(CloseCode::Internal))),
        }
    }
}

impl<C: Collect> Reading<'_, C> {
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (taken, item) = self.reader.read(&mut self.memory, bytes).map_err(Error::Items)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(item) = item {
                self.collect.item(item, &self.reader)?;
            }
        }
        Ok(())
    }
}

impl<C: Collect> Task for Reading<'_, C> {
    fn take(&mut self, _: &mut Core, _: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        for piece in pieces.iter().filter(|_| flow == Flow::Output) {
            if !self.call.has_failed()
                && let Err(error) = self.read(piece)
            {
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
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.call.fail(Error::Reset(CloseCode::Cancelled));
        }
        let mut moved = self.call.step(core)?;
        if let Some(wants) = self.wants.as_mut().filter(|_| !self.call.is_over()) {
            moved |= wants.send(core, self.call.channel());
        }
        Ok(moved)
    }

    fn has_outcome(&self) -> bool {
        self.call.has_outcome()
    }

    fn is_done(&self, _: &Core) -> bool {
        self.call.is_over()
    }

    fn interests<'f>(&'f self, _: &Core, fds: &mut Vec<PollFd<'f>>) {
        if let Some(signals) = self.call.signal_fd() {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
        }
    }

    fn tell(&mut self, news: &str) {
        crate::text::say(news);
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        self.call.set_signalled(ready.first().is_some_and(|flags| !flags.is_empty()));
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
