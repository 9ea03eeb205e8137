//! The table of what a session does: one task for each channel, each in a place of its own by which epoll names it.

use core::mem::replace;

use heapless::Vec;
use rustix::io::Errno;
use rustix::process::Pid;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::limits::{CHANNEL_IDS, CHANNELS_MAX};

use super::Core;
use super::answer::Answer;
use super::exec::Exec;
use super::get::Get;
use super::job::Slot;
use super::listen::Listen;
use super::put::Put;
use super::remove::Remove;
use super::stream::Stream;
use super::watch::{Readiness, Watch};
use crate::sys::storage::Storage;

/// What is done for a channel.
#[allow(clippy::large_enum_variant, reason = "there is no heap; a place has room for each")]
pub enum Task {
    /// Its request is being read.
    Request(ChannelKind),
    /// A command runs.
    Exec(Exec),
    /// A file is received.
    Put(Put),
    /// A file is sent.
    Get(Get),
    /// A tree is removed.
    Remove(Remove),
    /// An answer is sent.
    Answer(Answer),
    /// A connection is forwarded.
    Stream(Stream),
    /// Connections are waited for.
    Listen(Listen),
}

/// What a step of a task came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more.
    Progress,
    /// Only room in the ring is missing.
    NoRoom,
    /// An event is missing: a descriptor, credit, data.
    Idle,
    /// The task is over, and its channel is.
    Done,
    /// The command has become a job.
    Detached,
    /// What comes next takes more than the core: the driver does it.
    Asks,
}

impl Task {
    /// Takes bytes of the channel's input, in several pieces: how many in all.
    pub fn take(&mut self, core: &mut Core, pieces: &[&[u8]]) -> usize {
        match self {
            Self::Exec(exec) => exec.take(core, pieces),
            Self::Put(put) => put.take(&mut pieces.iter().copied()),
            Self::Stream(stream) => stream.take(core, pieces),
            Self::Request(_) | Self::Get(_) | Self::Remove(_) | Self::Answer(_) | Self::Listen(_) => 0,
        }
    }

    /// What just came makes it do something: say that it failed, or answer what was parked.
    pub fn has_work(&self) -> bool {
        match self {
            Self::Put(put) => put.has_news(),
            Self::Get(_) => true,
            _ => false,
        }
    }

    /// The client takes no more of `flow`.
    pub fn stop(&mut self, flow: Flow, core: &mut Core) {
        match self {
            Self::Exec(exec) => exec.stop(flow, core),
            Self::Get(get) => get.stop(),
            Self::Answer(answer) => answer.stop(),
            Self::Put(put) => put.stop(),
            Self::Remove(remove) => remove.stop(),
            Self::Stream(stream) => stream.stop(core),
            Self::Request(_) | Self::Listen(_) => {}
        }
    }

    #[inline(never)]
    fn step(&mut self, core: &mut Core) -> Step {
        match self {
            Self::Request(_) => Step::Idle,
            Self::Exec(exec) => exec.step(core),
            Self::Put(put) => put.step(core),
            Self::Get(get) => get.step(core),
            Self::Remove(remove) => remove.step(core),
            Self::Answer(answer) => answer.step(core),
            Self::Stream(stream) => stream.step(core),
            Self::Listen(_) => Step::Asks,
        }
    }
}

struct Place {
    channel: ChannelId,
    task: Task,
}

static PLACES: Storage<Vec<Option<Place>, CHANNELS_MAX>> = Storage::new(Vec::new());
static OF_CHANNEL: Storage<[u16; CHANNEL_IDS]> = Storage::new([0; CHANNEL_IDS]);

/// The table.
pub struct Tasks {
    places: &'static mut Vec<Option<Place>, CHANNELS_MAX>,
    /// The place of a channel's task, counted from 1; 0 where it has none.
    of_channel: &'static mut [u16; CHANNEL_IDS],
    /// Places whose tasks are to be stepped, one bit each.
    ready: [u64; CHANNELS_MAX / 64],
}

impl Tasks {
    /// An empty table, once.
    pub fn new() -> Option<Self> {
        Some(Self { places: PLACES.take()?, of_channel: OF_CHANNEL.take()?, ready: [0; CHANNELS_MAX / 64] })
    }

    /// Adds the task of a new channel; false where there is no place.
    pub fn insert(&mut self, channel: ChannelId, task: Task) -> bool {
        let free = self.places.iter().position(Option::is_none);
        let entry = Some(Place { channel, task });
        let place = match free {
            Some(place) => {
                if let Some(slot) = self.places.get_mut(place) {
                    *slot = entry;
                }
                place
            }
            None => {
                if self.places.push(entry).is_err() {
                    return false;
                }
                self.places.len() - 1
            }
        };
        if let Some(slot) = self.of_channel.get_mut(usize::from(channel.0)) {
            *slot = place as u16 + 1;
        }
        true
    }

    /// The place of a channel's task.
    pub fn place(&self, channel: ChannelId) -> usize {
        self.of_channel
            .get(usize::from(channel.0))
            .map_or(usize::MAX, |&place| usize::from(place).wrapping_sub(1))
    }

    /// A channel's task.
    pub fn of_channel(&mut self, channel: ChannelId) -> Option<&mut Task> {
        let place = self.place(channel);
        self.places.get_mut(place)?.as_mut().map(|place| &mut place.task)
    }

    /// The task of a place, and its channel.
    pub fn at(&mut self, place: usize) -> Option<(ChannelId, &mut Task)> {
        self.places.get_mut(place)?.as_mut().map(|place| (place.channel, &mut place.task))
    }

    /// Commands, and jobs that are watched.
    pub fn execs(&self) -> impl Iterator<Item = &Exec> {
        self.places.iter().flatten().filter_map(|place| match &place.task {
            Task::Exec(exec) => Some(exec),
            _ => None,
        })
    }

    /// A command runs in another place than this one.
    pub fn runs_beside(&self, place: usize) -> bool {
        let runs = |place: &Option<Place>| matches!(place, Some(Place { task: Task::Exec(exec), .. }) if exec.target().is_some());
        self.places.iter().enumerate().any(|(at, other)| at != place && runs(other))
    }

    /// What the command of a place was given to become a job.
    pub fn take_slot(&mut self, place: usize) -> Option<(ChannelId, Slot)> {
        match self.places.get_mut(place)? {
            Some(Place { channel, task: Task::Exec(exec) }) => exec.slot.take().map(|slot| (*channel, slot)),
            _ => None,
        }
    }

    /// Channels whose request is not complete.
    pub fn requests(&self) -> impl Iterator<Item = ChannelId> {
        let requests = |place: &Place| matches!(place.task, Task::Request(_)).then_some(place.channel);
        self.places.iter().flatten().filter_map(requests)
    }

    /// Gives a channel another task.
    pub fn replace(&mut self, channel: ChannelId, task: Task) {
        if let Some(old) = self.of_channel(channel) {
            drop(replace(old, task));
        }
    }

    /// Removes a channel's task.
    pub fn remove(&mut self, channel: ChannelId) -> Option<Task> {
        self.remove_place(self.place(channel)).map(|(_, task)| task)
    }

    /// Removes the task of a place; tells its channel too.
    pub fn remove_place(&mut self, place: usize) -> Option<(ChannelId, Task)> {
        let removed = self.places.get_mut(place)?.take()?;
        self.mark_idle(place);
        if let Some(slot) = self.of_channel.get_mut(usize::from(removed.channel.0)) {
            *slot = 0;
        }
        Some((removed.channel, removed.task))
    }

    /// The connection is lost, or there is one again.
    pub fn set_connected(&mut self, is_connected: bool) {
        for place in 0..self.places.len() {
            if let Some(Some(Place { task: Task::Put(put), .. })) = self.places.get_mut(place) {
                put.set_connected(is_connected);
                self.mark_place(place);
            }
        }
    }

    /// Removes all tasks.
    pub fn remove_all(&mut self, removed: &mut dyn FnMut(Task)) {
        for place in 0..self.places.len() {
            if let Some((_, task)) = self.remove_place(place) {
                removed(task);
            }
        }
    }

    /// Closes what is forwarded, which another process goes on with: nothing is removed, and nobody told.
    pub fn forget_forwarded(&mut self) {
        for place in 0..self.places.len() {
            match self.at(place) {
                Some((_, Task::Stream(_))) => {}
                Some((_, Task::Listen(listen))) => listen.forget_file(),
                _ => continue,
            }
            self.remove_place(place);
        }
    }

    /// Watches what is forwarded in another epoll.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watch_forwarded(&mut self, watch: &Watch) -> Result<(), Errno> {
        for place in 0..self.places.len() {
            match self.at(place) {
                Some((_, Task::Stream(stream))) => stream.watch(watch, place)?,
                Some((_, Task::Listen(listen))) => listen.watch(watch, place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A channel's task is to be stepped.
    pub fn mark_ready(&mut self, channel: ChannelId) {
        self.mark_place(self.place(channel));
    }

    /// All tasks of a kind are to be stepped.
    pub fn mark_all(&mut self, is_meant: impl Fn(&Task) -> bool) {
        for place in 0..self.places.len() {
            if self.at(place).is_some_and(|(_, task)| is_meant(task)) {
                self.mark_place(place);
            }
        }
    }

    #[inline(never)]
    fn mark_place(&mut self, place: usize) {
        if let Some(word) = self.ready.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// The task of a place waits for an event.
    pub fn mark_idle(&mut self, place: usize) {
        if let Some(word) = self.ready.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    /// The first place from `from` on whose task is to be stepped.
    pub fn next_ready(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.ready.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.ready.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Steps the task of a place.
    pub fn step(&mut self, place: usize, core: &mut Core) -> Step {
        match self.places.get_mut(place) {
            Some(Some(place)) => place.task.step(core),
            _ => Step::Idle,
        }
    }

    /// A descriptor of a task became ready.
    pub fn set_ready(&mut self, place: usize, part: usize, readiness: Readiness) {
        match self.at(place) {
            Some((_, Task::Exec(exec))) => exec.set_ready(part, readiness),
            Some((_, Task::Stream(stream))) => stream.set_ready(readiness),
            _ => {}
        }
        self.mark_place(place);
    }

    /// A process was reaped that may be one of the commands.
    pub fn handle_ended(&mut self, pid: Pid, outcome: Outcome) {
        let found = self.places.iter_mut().flatten().find_map(|place| match &mut place.task {
            Task::Exec(exec) if exec.is_running(pid) => Some((place.channel, exec)),
            _ => None,
        });
        if let Some((channel, exec)) = found {
            exec.handle_ended(outcome);
            self.mark_ready(channel);
        }
    }
}
