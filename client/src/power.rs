//! Owns how a guest is ended through its agent (`docs/PROTOCOL.md`, R-9.11).

use vsock_shell_proto::fields::{flag, tag};
use vsock_shell_proto::frame::{ChannelKind, Outcome};

use crate::client::Client;
use crate::command::{Status, Streams};
use crate::drive::drive;
use crate::error::Error;
use crate::invocation::Action;
use crate::request::Request;
use crate::run::{Input, Output, Run};

impl Client {
    /// Asks the guest's init to end the guest, or with `is_forced` lets the agent do it at once. Where the init is asked through
    /// a program, its complaints go to `error` and its status is the result. A guest that is gone before it can tell how it
    /// went has done what it was asked for.
    ///
    /// # Errors
    /// The agent refused, or the connection was lost before the agent had accepted.
    pub fn end_guest(&mut self, action: Action, is_forced: bool, error: Output) -> Result<Status, Error> {
        let mut request = Request::default();
        request.string(tag::VERB, &[action.verb().as_ref()])?;
        if is_forced {
            request.bytes(tag::FLAGS, &flag::FORCE.to_le_bytes())?;
        }
        let streams = Streams { input: Input::nothing(), output: Output::discard(), error };
        let core = &mut self.connection.core;
        let mut run = Run::new(core, ChannelKind::System, request.into_bytes(), streams, None)?;
        let driven = drive(&mut self.connection, &mut run);
        let is_accepted = run.is_accepted();
        match run.finish(&mut self.connection.core, driven) {
            Ok(ended) => Ok(Status(ended.outcome)),
            Err(Error::Lost(_) | Error::Closed | Error::Ended(_)) if is_accepted => {
                Ok(Status(Outcome::Exited(0)))
            }
            Err(error) => Err(error),
        }
    }
}
