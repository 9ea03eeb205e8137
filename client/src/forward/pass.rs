//! Owns `-W`: one connection from the guest, joined to what this side reads and writes.

use vsock_shell_proto::fields::tag;
use vsock_shell_proto::frame::ChannelKind;

use super::spec::Endpoint;
use crate::client::Client;
use crate::command::Streams;
use crate::error::Error;
use crate::request::Request;
use crate::run::Run;
use crate::signals::Signals;

impl Client {
    /// Lets the guest connect to `to`, and joins that to input and output until both directions have ended. `signals`, where
    /// given, end it when they arrive.
    ///
    /// # Errors
    /// The guest cannot connect, the connection broke, or the session was lost.
    pub fn pass(
        &mut self,
        to: &Endpoint,
        streams: Streams,
        signals: Option<&mut Signals>,
    ) -> Result<(), Error> {
        let mut request = Request::default();
        to.write(&mut request)?;
        if let Some(user) = &self.user {
            request.string(tag::USER, &[user])?;
        }
        let core = &mut self.connection.core;
        let mut run = Run::new(core, ChannelKind::Connect, request.into_bytes(), streams, signals)?;
        let driven = self.drive(&mut run);
        run.finish(&mut self.connection.core, driven).map(drop)
    }
}
