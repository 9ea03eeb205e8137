//! Owns the loop: one thread, one `poll`, one connection, and the [`Task`]s in its channels.

use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vsock_shell_proto::frame::{ChannelId, Flow};
use vsock_shell_proto::mux::Event;

use crate::connection::{Connection, Core, timespec};
use crate::error::Error;

/// Something that is done in a channel.
pub(crate) trait Task {
    /// Takes an event other than [`Event::Data`].
    fn handle(&mut self, core: &mut Core, event: Event<'_>);

    /// Takes bytes of a flow, in several pieces: how many in all. The rest comes back as parked.
    fn take(&mut self, core: &mut Core, channel: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize;

    /// Prepares for waiting, once, after the first step: what it does costs the other side no time.
    fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Does what can be done without blocking; whether anything was done.
    fn step(&mut self, core: &mut Core) -> Result<bool, Error>;

    /// How the task ended is known. What came before may still wait for its sinks, which need no connection.
    fn has_outcome(&self) -> bool;

    /// The task is over.
    fn is_done(&self, core: &Core) -> bool;

    /// Appends the descriptors to wait for.
    fn interests<'f>(&'f self, core: &Core, fds: &mut Vec<PollFd<'f>>);

    /// What `poll` said of each of the descriptors of the latest [`Self::interests`].
    fn set_ready(&mut self, ready: &[PollFlags]);

    /// Tells the person what has become of the connection: a line on standard error, without its end.
    fn tell(&mut self, news: &str);

    /// When the task wants to be stepped without an event.
    fn deadline(&self) -> Option<Clock> {
        None
    }
}

/// Steps between two looks at the descriptors, the signals among them.
const ROUNDS_MAX: usize = 64;

/// Reads of what came before the stream died: much more than is ever on its way.
const LAST_READS_MAX: usize = 64;

/// Drives the task until it is over.
///
/// # Errors
/// What the task failed in, and the end of the connection.
pub(crate) fn drive(connection: &mut Connection, task: &mut dyn Task) -> Result<(), Error> {
    // What is there to send shall not wait for a poll.
    let mut readable = connection.has_unread();
    let mut is_prepared = false;
    let mut lost = None;
    loop {
        if readable && let Err(error) = connection.receive(task) {
            lose(connection, task, &mut lost, error);
        }
        // What came before the end still counts. What leaves makes room: a task that had none is asked again.
        let mut rounds = ROUNDS_MAX;
        while rounds > 0 && (task.step(&mut connection.core)? | transmit(connection, task, &mut lost)) {
            rounds -= 1;
        }
        if task.is_done(&connection.core) {
            return Ok(());
        }
        if !task.has_outcome() {
            connection.ended()?;
            if rounds > 0 && lost.is_some() {
                return lost.map_or(Ok(()), Err);
            }
        }
        if !is_prepared {
            task.prepare()?;
            is_prepared = true;
        }
        let is_busy = rounds == 0 || connection.has_unread();
        readable = wait(connection, task, is_busy)?;
        if lost.is_none() {
            lost = connection.advance().err();
        }
        if let Some(news) = connection.news() {
            task.tell(&news);
        }
    }
}

/// The stream died. Where the task has its outcome, another one is of no use.
fn lose(connection: &mut Connection, task: &dyn Task, lost: &mut Option<Error>, error: Error) {
    *lost = if task.has_outcome() {
        connection.hang_up();
        Some(error)
    } else {
        connection.handle_lost(error).err()
    };
}

/// Sends what there is; whether anything left, or it failed just now. What the other side said before it left was taken
/// then.
fn transmit(connection: &mut Connection, task: &mut dyn Task, lost: &mut Option<Error>) -> bool {
    match connection.transmit() {
        Ok(has_sent) => has_sent,
        Err(error) => {
            for _ in 0..LAST_READS_MAX {
                if !matches!(connection.receive(task), Ok(true)) {
                    break;
                }
            }
            lose(connection, task, lost, error);
            true
        }
    }
}

/// Waits for the connection, the task's descriptors, or a deadline, or only asks where the task is busy; whether the stream
/// can be read.
fn wait(connection: &mut Connection, task: &mut dyn Task, is_busy: bool) -> Result<bool, Error> {
    let own = task.deadline().map(|deadline| deadline.saturating_duration_since(Clock::now()));
    let busy = is_busy.then_some(Duration::ZERO);
    let timeout = [busy, connection.timeout(), own].into_iter().flatten().min();
    let mut fds = Vec::with_capacity(8);
    connection.interests(&mut fds);
    let of_connection = fds.len();
    task.interests(&connection.core, &mut fds);
    match poll(&mut fds, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::local("wait for", "descriptors")(errno.into())),
    }
    let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    drop(fds);
    let (own, rest) = ready.split_at(of_connection);
    task.set_ready(rest);
    Ok(connection.set_ready(own))
}

/// Bounds what one step does, so that a fast source does not keep the stream waiting.
pub(crate) const STEP_ROUNDS: usize = 4;

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
