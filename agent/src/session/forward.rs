//! How a session forwards connections: requests of connect and listen, attempts to connect, and who comes to a listener. The
//! connections themselves are [`Stream`]s.

use rustix::io::Errno;
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelId, ChannelKind};

use super::endpoint::parse;
use super::identity::Identity;
use super::listen::Listen;
use super::request::{Place, Started, number};
use super::stream::{Attempt, Stream};
use super::tasks::Task;
use super::{Core, Driver};
use crate::clock::now_us;

/// How long until who has a full queue is asked again.
const PAUSE_US: u64 = 10_000;
/// Connections that are taken in one go, so that others have their turn.
const ARRIVALS_MAX: usize = 32;

/// Begins what a request of connect or listen asks for.
#[inline(never)]
pub(super) fn start(
    listens: bool,
    request: &[u8],
    memory: &mut [u8],
    channel: ChannelId,
    core: &mut Core,
    place: &mut Place<'_>,
) -> Started {
    let request = parse(request, listens).map_err(|code| core.refuse(channel, code, 0, b""))?;
    let identity = Identity::or_refuse(request.user, memory, channel, core)?;
    if !listens {
        let stream = Stream::to(channel, request.endpoint, identity, place.watch, place.number);
        return stream
            .map(Task::Stream)
            .map_err(|errno| core.refuse(channel, RefusalCode::System, number(errno), b"cannot connect"));
    }
    Listen::begin(&request, identity, place.watch, place.number).map(Task::Listen).map_err(|error| {
        let errno = error.errno.map_or(0, number);
        core.refuse(channel, RefusalCode::System, errno, error.problem.as_bytes());
    })
}

impl Driver<'_> {
    /// A task of a place asks for what takes more than the core.
    #[inline(never)]
    pub(super) fn advance(&mut self, place: usize) {
        match self.tasks.at(place) {
            Some((_, Task::Stream(stream))) => match stream.attempt(&self.watch, place) {
                Attempt::Begun => {}
                Attempt::Later => self.retry_at = Some(now_us() + PAUSE_US),
                Attempt::Failed => {
                    stream.refuse(&mut self.core);
                    self.tasks.remove_place(place);
                    return;
                }
            },
            Some((_, Task::Listen(_))) => return self.welcome(place),
            _ => {}
        }
        self.tasks.mark_idle(place);
    }

    /// Opens a channel for each who has come to the listener of a place.
    fn welcome(&mut self, place: usize) {
        for _ in 0..ARRIVALS_MAX {
            let Some((listener, Task::Listen(listen))) = self.tasks.at(place) else { return };
            let arrived = match listen.accept() {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return self.tasks.mark_idle(place),
                // No descriptors, no memory: as with channels.
                Err(_) => return self.turn_away(place),
            };
            let Ok(channel) = self.core.open(ChannelKind::Connect) else {
                listen.waiting = Some(arrived);
                return self.turn_away(place);
            };
            // In the place of what it becomes once that has a number.
            let has_place = self.tasks.insert(channel, Task::Request(ChannelKind::Connect));
            let place = self.tasks.place(channel);
            match Stream::of(channel, listener, arrived, &self.watch, place) {
                Ok(stream) if has_place => {
                    self.tasks.replace(channel, Task::Stream(stream));
                    self.tasks.mark_ready(channel);
                }
                _ => {
                    self.tasks.remove(channel);
                    self.core.reset(channel, CloseCode::Cancelled);
                }
            }
        }
    }

    /// Nobody more can be taken before a channel is free again.
    fn turn_away(&mut self, place: usize) {
        self.turned_away_at = self.core.open_count();
        self.tasks.mark_idle(place);
    }

    /// Asks again who had to wait: at a listener for a channel, and behind a full queue for some time.
    pub(super) fn ask_again(&mut self) {
        let open = self.core.open_count();
        if open < self.turned_away_at {
            self.turned_away_at = 0;
            self.tasks.mark_all(|task| matches!(task, Task::Listen(_)));
        } else if self.turned_away_at > 0 {
            // The client has opened others meanwhile.
            self.turned_away_at = open;
        }
        if self.retry_at.is_some_and(|due| due <= self.now.micros()) {
            self.retry_at = None;
            self.tasks.mark_all(|task| matches!(task, Task::Stream(stream) if stream.is_between()));
        }
    }
}
