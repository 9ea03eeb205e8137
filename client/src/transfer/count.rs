//! Owns finding out how many bytes a tree of a guest has, for the line of progress: nothing is kept, and nobody waits long.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::{ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{Item, ItemReader, Stream, VALUE_MAX};
use vsock_shell_proto::mux::Event;

use crate::call::Call;
use crate::client::Client;
use crate::connection::Core;
use crate::drive::{Task, drive};
use crate::error::Error;
use crate::signals::Signals;

/// A copy begins after this at the latest, whatever is known.
const PATIENCE: Duration = Duration::from_secs(2);

struct Count<'s> {
    call: Call<'s>,
    reader: ItemReader,
    memory: Vec<u8>,
    total: u64,
    deadline: Instant,
}

impl Client {
    /// The bytes of all regular files of a tree; `None` where they are not known soon, or the guest does not tell.
    ///
    /// # Errors
    /// What ends a copy too: the connection was lost, or a signal arrived.
    pub(super) fn count(
        &mut self,
        path: &OsStr,
        flags: u32,
        excludes: &[OsString],
        signals: &mut Signals,
    ) -> Result<Option<u64>, Error> {
        let request = self.get_request(path, flags & !flag::PRESERVE | flag::META, excludes)?;
        let mut count = Count {
            call: Call::open(&mut self.connection.core, ChannelKind::Get, request, Some(signals))?,
            reader: ItemReader::new(Stream::Tree),
            memory: vec![0; VALUE_MAX],
            total: 0,
            deadline: Instant::now() + PATIENCE,
        };
        let driven = drive(&mut self.connection, &mut count);
        let is_lost = driven.is_err();
        match count.call.finish(&mut self.connection.core, driven) {
            Err(error) if is_lost => Err(error),
            Ok(Outcome::Exited(0)) => Ok(Some(count.total)),
            // Whatever it is, the copy meets it too, and tells it.
            Err(_) | Ok(_) => Ok(None),
        }
    }
}

impl Count<'_> {
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (taken, item) = self.reader.read(&mut self.memory, bytes).map_err(Error::Items)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(Item::Entry { meta, .. }) = item {
                self.total = self.total.saturating_add(meta.expected().unwrap_or(0));
            }
        }
        Ok(())
    }
}

impl Task for Count<'_> {
    fn take(&mut self, _: &mut Core, flow: Flow, pieces: &[&[u8]]) -> usize {
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
        if Instant::now() >= self.deadline {
            self.call.fail(Error::Reset(CloseCode::Cancelled));
        }
        self.call.step(core)
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
        Some(self.deadline)
    }
}
