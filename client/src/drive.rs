//! Owns the loop: one thread, one `poll`, one connection, and the [`Task`]s in its channels.

use std::time::Instant as Clock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vsock_shell_proto::frame::Flow;
use vsock_shell_proto::mux::Event;

use crate::connection::{Connection, Core, timespec};
use crate::error::Error;

/// Something that is done in a channel.
pub(crate) trait Task {
    /// Takes an event other than [`Event::Data`].
    fn handle(&mut self, core: &mut Core, event: Event<'_>);

    /// Takes bytes of a flow, in several pieces: how many in all. The rest comes back as parked.
    fn take(&mut self, core: &mut Core, flow: Flow, pieces: &[&[u8]]) -> usize;

    /// Prepares for waiting, once, after the first step: what it does costs the other side no time.
    fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Does what can be done without blocking; whether anything was done.
    fn step(&mut self, core: &mut Core) -> Result<bool, Error>;

    /// The task is over.
    fn is_done(&self, core: &Core) -> bool;

    /// Appends the descriptors to wait for.
    fn interests<'f>(&'f self, core: &Core, fds: &mut Vec<PollFd<'f>>);

    /// What `poll` said of each of the descriptors of the latest [`Self::interests`].
    fn set_ready(&mut self, ready: &[PollFlags]);

    /// When the task wants to be stepped without an event.
    fn deadline(&self) -> Option<Clock> {
        None
    }
}

/// Drives the task until it is over.
///
/// # Errors
/// What the task failed in, and the end of the connection.
pub(crate) fn drive(connection: &mut Connection, task: &mut dyn Task) -> Result<(), Error> {
    // Nothing came yet, and what is there to send shall not wait for a poll.
    let mut readable = false;
    let mut is_prepared = false;
    loop {
        let lost = match readable {
            true => connection.receive(task).err(),
            false => None,
        };
        // What came before the end still counts.
        while task.step(&mut connection.core)? {
            connection.transmit()?;
        }
        if task.is_done(&connection.core) {
            return Ok(());
        }
        if let Some(error) = lost {
            connection.ended()?;
            return Err(error);
        }
        connection.transmit()?;
        connection.ended()?;
        if !is_prepared {
            task.prepare()?;
            is_prepared = true;
        }
        readable = wait(connection, task)?;
    }
}

/// Waits for the stream, the task's descriptors, or a deadline; whether the stream can be read.
fn wait(connection: &mut Connection, task: &mut dyn Task) -> Result<bool, Error> {
    let own = task.deadline().map(|deadline| deadline.saturating_duration_since(Clock::now()));
    let timeout = [connection.timeout(), own].into_iter().flatten().min();
    let mut fds = Vec::with_capacity(8);
    connection.interests(&mut fds);
    task.interests(&connection.core, &mut fds);
    match poll(&mut fds, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::local("wait for", "descriptors")(errno.into())),
    }
    let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    drop(fds);
    let &[input, output, ref rest @ ..] = &ready[..] else { return Ok(false) };
    connection.set_writable(output);
    task.set_ready(rest);
    Ok(!input.is_empty())
}

/// Bounds what one step does, so that a fast source does not keep the stream waiting.
pub(crate) const STEP_ROUNDS: usize = 4;
