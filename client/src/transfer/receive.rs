//! Owns downloads: items in, entries made where they belong, digest and size of each file checked at its end.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::hash::Hasher as _;
use std::io::IoSlice;

use rustix::event::{PollFd, PollFlags};
use twox_hash::XxHash3_64;
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::items::{FileEnd, Item, ItemReader, Meta, Stream, VALUE_MAX};
use vsock_shell_proto::mux::Event;

use super::landing::Begun;
use super::planting::Planting;
use super::report::Report;
use super::wants::Wants;
use crate::call::Call;
use crate::connection::Core;
use crate::drive::Task;
use crate::error::{Error, Failure};
use crate::signals::Signals;

/// Pieces of content that are written together.
const GATHERED_MAX: usize = 16;

/// What a list is to become: entries that are known, between the files whose content is wanted (`compare`).
pub(super) enum Scene {
    /// An entry without content.
    Entry { meta: Meta, name: CString, target: CString },
    /// Its attributes, and those of the directory that is left next.
    Attribute { name: CString, value: Vec<u8> },
    /// A file that is there already.
    Same { meta: Meta, name: CString },
    /// The next answer of the list, and its path from the first directory on. Where all of it is there, it stays as it is.
    Answer { path: Vec<u8>, name: CString, is_whole: bool, begun: Option<Begun> },
    /// The directory is complete.
    Leave(Meta),
}

pub(super) struct Receive<'s> {
    call: Call<'s>,
    planting: Planting<'s>,
    report: &'s mut Report,
    stream: Stream,
    reader: ItemReader,
    memory: Vec<u8>,
    wants: Option<Wants>,
    scenes: VecDeque<Scene>,
    size: u64,
    digest: XxHash3_64,
    is_synced: bool,
    polled: Cell<bool>,
}

impl<'s> Receive<'s> {
    pub(super) fn new(
        core: &mut Core,
        request: Vec<u8>,
        list: Option<(Wants, VecDeque<Scene>)>,
        planting: Planting<'s>,
        signals: Option<&'s mut Signals>,
        report: &'s mut Report,
        is_synced: bool,
    ) -> Result<Self, Error> {
        let (wants, scenes) = list.map_or((None, VecDeque::new()), |(wants, scenes)| (Some(wants), scenes));
        let stream = if wants.is_some() { Stream::List } else { Stream::Tree };
        Ok(Self {
            call: Call::open(core, ChannelKind::Get, request, signals)?,
            planting,
            report,
            stream,
            reader: ItemReader::new(stream),
            memory: vec![0; VALUE_MAX],
            wants,
            scenes,
            size: 0,
            digest: XxHash3_64::new(),
            is_synced,
            polled: Cell::new(false),
        })
    }

    /// What came of it.
    pub(super) fn finish(
        mut self,
        core: &mut Core,
        driven: Result<(), Error>,
    ) -> Result<Planting<'s>, Error> {
        let is_ended = self.reader.is_ended();
        match self.call.finish(core, driven)? {
            Outcome::Exited(0) if is_ended => {
                let mut rest =
                    Rest { planting: &mut self.planting, report: self.report, scenes: &mut self.scenes };
                rest.play()?;
                if !self.scenes.is_empty() {
                    // Something was wanted and not answered.
                    return Err(Error::Garbled);
                }
                if self.is_synced {
                    self.planting.flush()?;
                }
                Ok(self.planting)
            }
            _ => Err(Error::Reset(CloseCode::Internal)),
        }
    }

    /// Takes bytes of the stream while they land: how many. Content is gathered and written together.
    fn land(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Error> {
        let mut taken = 0;
        let mut gathered = Vec::with_capacity(GATHERED_MAX);
        let mut memory = std::mem::take(&mut self.memory);
        for mut piece in pieces {
            while !piece.is_empty() && !self.is_blocked() {
                let (length, item) = self.reader.read(&mut memory, piece).map_err(Error::Items)?;
                piece = piece.get(length..).unwrap_or_default();
                taken += length;
                match item {
                    Some(Item::Content(content)) => {
                        self.advance(content.len() as u64)?;
                        self.report.advance(content.len() as u64);
                        if self.planting.landing().is_some() {
                            self.digest.write(content);
                            gathered.push(IoSlice::new(content));
                        }
                        if gathered.len() == GATHERED_MAX {
                            self.write(&mut gathered)?;
                        }
                    }
                    Some(item) => {
                        self.write(&mut gathered)?;
                        self.handle(item)?;
                    }
                    None => {}
                }
            }
        }
        self.memory = memory;
        self.write(&mut gathered)?;
        Ok(taken)
    }

    fn is_blocked(&mut self) -> bool {
        self.planting.landing().is_some_and(|landing| landing.is_blocked())
    }

    /// Writes what was gathered. A file that cannot be written is told and left out, inside a tree.
    fn write(&mut self, gathered: &mut Vec<IoSlice<'_>>) -> Result<(), Error> {
        if gathered.is_empty() {
            return Ok(());
        }
        let written = self.planting.write(gathered);
        gathered.clear();
        self.settle(written)
    }

    /// What fails inside a tree is told, and the rest is received.
    fn settle(&mut self, done: Result<(), Error>) -> Result<(), Error> {
        match done {
            Err(error) if !self.planting.is_outside() && error.is_of_one_entry() => {
                self.planting.discard();
                let path = self.planting.path().to_owned();
                self.report.problem(&path, error.without_place());
                Ok(())
            }
            done => done,
        }
    }

    fn advance(&mut self, length: u64) -> Result<(), Error> {
        let most = self.planting.meta().and_then(Meta::expected).unwrap_or(i64::MAX as u64);
        self.size = self.size.checked_add(length).filter(|&size| size <= most).ok_or(Error::TooMuch)?;
        Ok(())
    }

    fn handle(&mut self, item: Item<'_, '_>) -> Result<(), Error> {
        match item {
            Item::Entry { meta, name, target } => self.entry(&meta, name, target),
            Item::Hole(hole) => {
                self.advance(hole)?;
                self.report.progress().advance(hole);
                let size = self.size;
                let skipped = self.planting.landing().map_or(Ok(()), |landing| landing.skip(hole, size));
                self.settle(skipped)
            }
            Item::End(end) => self.end(end),
            Item::Leave(meta) => {
                let left = self.planting.leave(&meta, self.report);
                self.settle(left)
            }
            Item::Attribute { name, value } => {
                let set = self.planting.attribute(name, value, self.reader.is_in_file(), self.report);
                self.tell(set)
            }
            Item::Problem { errno, path, text, ends_file } => {
                if ends_file {
                    self.planting.discard();
                }
                if self.stream == Stream::Tree {
                    self.report.told(errno, path.to_bytes(), text);
                    return Ok(());
                }
                // In a list it stands for the next answer, or is about the latest; what paths begin with is ours to say.
                if errno != 0 && self.reader.depth() == 0 && !ends_file {
                    self.play()?;
                    return match self.scenes.pop_front() {
                        Some(Scene::Answer { path, .. }) if path.is_empty() => {
                            Err(Failure { errno, text: text.to_vec() }.into())
                        }
                        Some(Scene::Answer { path, .. }) => {
                            self.report.told(errno, &path, text);
                            Ok(())
                        }
                        _ => Err(Error::Garbled),
                    };
                }
                self.report.told(errno, self.planting.path(), text);
                Ok(())
            }
            Item::Content(_) | Item::Want(_) => Ok(()),
        }
    }

    fn entry(&mut self, meta: &Meta, name: &CStr, target: &CStr) -> Result<(), Error> {
        self.size = meta.offset;
        self.digest = XxHash3_64::new();
        if let Some(size) = meta.expected().filter(|_| self.planting.is_outside()) {
            self.report.progress().set_size(size);
        }
        let mut made = Ok(());
        if self.stream == Stream::List {
            self.play()?;
            let Some(Scene::Answer { name, is_whole, begun, .. }) = self.scenes.pop_front() else {
                return Err(Error::Garbled);
            };
            made = if is_whole && meta.offset > 0 && meta.offset == meta.size {
                self.planting.entry_same(meta, &name, self.report)
            } else {
                // What is here already need not come.
                self.report.progress().advance(meta.offset);
                self.planting.entry_begun(meta, &name, target, begun, self.report)
            };
        } else {
            made = made.and_then(|()| self.planting.entry(meta, name, target, self.report));
        }
        self.settle(made)
    }

    fn end(&mut self, end: FileEnd) -> Result<(), Error> {
        if self.planting.landing().is_none() {
            return Ok(());
        }
        let done = if end.size == self.size && end.digest == self.digest.finish() {
            self.planting.end(self.report)
        } else {
            if let Some(landing) = self.planting.landing() {
                landing.reject();
            }
            Err(Error::Garbled)
        };
        self.settle(done)
    }

    /// What goes wrong beside a file is told, and the file is kept.
    fn tell(&mut self, done: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = done {
            let path = self.planting.path().to_owned();
            self.report.problem(&path, error.without_place());
        }
        Ok(())
    }

    /// Does what stands before the next answer.
    fn play(&mut self) -> Result<(), Error> {
        Rest { planting: &mut self.planting, report: self.report, scenes: &mut self.scenes }.play()
    }
}

/// What is left of a list.
struct Rest<'r, 'o> {
    planting: &'r mut Planting<'o>,
    report: &'r mut Report,
    scenes: &'r mut VecDeque<Scene>,
}

impl Rest<'_, '_> {
    /// Makes what is known without an answer, up to the next that needs one.
    fn play(&mut self) -> Result<(), Error> {
        while let Some(scene) = self.scenes.pop_front() {
            let done = match &scene {
                Scene::Entry { meta, name, target } => self.planting.entry(meta, name, target, self.report),
                Scene::Same { meta, name } => self.planting.entry_same(meta, name, self.report),
                Scene::Attribute { name, value } => self.planting.attribute(name, value, false, self.report),
                Scene::Leave(meta) => self.planting.leave(meta, self.report),
                Scene::Answer { .. } => {
                    self.scenes.push_front(scene);
                    return Ok(());
                }
            };
            match done {
                Err(error) if !self.planting.is_outside() && error.is_of_one_entry() => {
                    let path = self.planting.path().to_owned();
                    self.report.problem(&path, error.without_place());
                }
                done => done?,
            }
        }
        Ok(())
    }
}

impl Task for Receive<'_> {
    fn take(&mut self, _: &mut Core, _: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
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
        let channel = self.call.channel();
        if let Some(wants) = self.wants.as_mut().filter(|_| !self.call.is_over()) {
            moved |= wants.send(core, channel);
        }
        if let Some(landing) = self.planting.landing() {
            moved |= landing.flush()?;
        }
        while !self.call.has_failed() && !self.is_blocked() {
            if core.parked(channel, Flow::Output).is_empty() {
                break;
            }
            let taken = self.land(&mut core.parked_pieces(channel, Flow::Output))?;
            core.consume(channel, Flow::Output, taken);
            moved = true;
        }
        Ok(moved)
    }

    fn has_outcome(&self) -> bool {
        self.call.has_outcome()
    }

    fn is_done(&self, core: &Core) -> bool {
        let is_blocked = self.planting.sink().is_some_and(|(_, is_blocked)| is_blocked);
        let landed = || core.is_drained(self.call.channel(), Flow::Output) && !is_blocked;
        self.call.has_failed() || (self.call.is_over() && landed())
    }

    fn interests<'f>(&'f self, _: &Core, fds: &mut Vec<PollFd<'f>>) {
        let sink = self.planting.sink().filter(|(_, is_blocked)| *is_blocked);
        self.polled.set(sink.is_some());
        if let Some((sink, _)) = sink {
            fds.push(PollFd::from_borrowed_fd(sink, PollFlags::OUT));
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
        if self.polled.get()
            && ready.next().unwrap_or(false)
            && let Some(landing) = self.planting.landing()
        {
            landing.set_ready();
        }
        self.call.set_signalled(ready.next().unwrap_or(false));
    }
}
