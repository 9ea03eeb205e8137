//! Owns the door of the library: a [`Client`] is a session with an agent, in which things are done one after another.

use vsock_shell_proto::code::CloseCode;

use crate::command::{Command, Program};
use crate::connection::{Capacity, Connection};
use crate::drive::{Task, drive};
use crate::error::Error;
use crate::forward::{Beside, Forwards};
use crate::patience::Patience;
use crate::target::Target;
use crate::trace::Detail;

/// A session with an agent. Dropping it closes the stream, which hangs up what still runs; [`Client::close`] says
/// goodbye.
pub struct Client {
    pub(crate) connection: Connection,
    pub(crate) user: Option<std::ffi::OsString>,
    /// What is forwarded besides, and whether nothing is told of it.
    forwards: Option<(Forwards, bool)>,
}

impl Client {
    /// Reaches the agent. A [`Duration`](std::time::Duration) for `patience` is how long to try while it can still succeed (zero:
    /// once); a connection that is lost is then replaced for up to [`Patience::RECONNECT`].
    ///
    /// # Errors
    /// The agent cannot be reached, does not answer, or gives no session.
    pub fn connect(target: &Target, patience: impl Into<Patience>) -> Result<Self, Error> {
        Self::connect_told(target, patience, Detail::Nothing)
    }

    /// The same, and tells of it, and of the session to its end, in lines on standard error.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_told(
        target: &Target,
        patience: impl Into<Patience>,
        detail: Detail,
    ) -> Result<Self, Error> {
        let connection = Connection::open(target, patience.into(), Capacity::CALLS, detail)?;
        Ok(Self { connection, user: target.user.clone(), forwards: None })
    }

    /// One over a session that has begun, in which nobody is named.
    pub(crate) fn over(connection: Connection) -> Self {
        Self { connection, user: None, forwards: None }
    }

    /// The same, with connections that are forwarded beside everything that is done. `is_quiet`: nothing is told of them.
    ///
    /// # Errors
    /// As of [`Self::connect`], and [`Error::NotForwarded`].
    pub fn connect_forwarding(
        target: &Target,
        patience: impl Into<Patience>,
        detail: Detail,
        mut forwards: Forwards,
        is_quiet: bool,
    ) -> Result<Self, Error> {
        let mut connection = Connection::open(target, patience.into(), Capacity::FORWARDS, detail)?;
        connection.is_talkative = !is_quiet;
        forwards.establish(&mut connection)?;
        Ok(Self { connection, user: target.user.clone(), forwards: Some((forwards, is_quiet)) })
    }

    /// Drives a task until it is over, beside what is forwarded.
    pub(crate) fn drive(&mut self, task: &mut dyn Task) -> Result<(), Error> {
        match &mut self.forwards {
            None => drive(&mut self.connection, task),
            Some((forwards, is_quiet)) => {
                drive(&mut self.connection, &mut Beside { task, forwards, is_quiet: *is_quiet })
            }
        }
    }

    /// Where programs of the guest find our ssh-agent.
    pub(crate) fn agent_socket(&self) -> Option<&std::ffi::OsStr> {
        self.forwards.as_ref().and_then(|(forwards, _)| forwards.agent_socket())
    }

    /// Tells the person in front of standard error when the connection is lost or silent.
    pub fn tell_losses(&mut self, is_wanted: bool) {
        self.connection.is_talkative = is_wanted;
    }

    /// A command to be run in this session, by the target's user.
    pub fn command(&mut self, program: Program) -> Command<'_> {
        Command::new(self, program)
    }

    /// Ends the session where nothing is left to be done in it.
    pub fn close(self) {
        self.connection.leave();
    }

    /// The same, and waits, for a second at most, until the agent has heard it: what was asked of jobs then holds for whoever
    /// comes next.
    pub fn close_and_wait(self) {
        self.connection.close(CloseCode::Normal);
    }

    /// Ends the session and what runs in it, and waits, for a second at most, until the agent has heard it.
    pub fn cancel(self) {
        self.connection.close(CloseCode::Cancelled);
    }
}
