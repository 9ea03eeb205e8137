//! A session over one stream, which is not replaced by another: for who asks whether there is one, and how it ends.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use super::{Capacity, Connection, Way};
use crate::dial::Stream;
use crate::error::Error;
use crate::key::Prover;
use crate::patience::Patience;
use crate::target::Address;

impl Connection {
    /// Begins a session over a stream to the agent at `address`, which has `timeout` to answer, and again for each later answer.
    ///
    /// # Errors
    /// As of [`Self::begin`]; and how the command of `exec:` has ended, where it has.
    pub(crate) fn over(
        stream: Stream,
        address: &Address,
        prover: Option<Arc<Prover>>,
        timeout: Duration,
    ) -> Result<Self, (Error, Option<ExitStatus>)> {
        let patience = Patience { connect: timeout, reconnect: Duration::ZERO, dead_after: Some(timeout) };
        let mut connection = Self::new(address, patience, Capacity::CALLS).map_err(|error| (error, None))?;
        connection.prover = prover;
        match connection.begin(stream, timeout) {
            Ok(()) => Ok(connection),
            Err(error) => {
                let ended = connection.command_end();
                Err((error, ended))
            }
        }
    }

    /// How the command of `exec:` ends, where it does so by itself at once.
    fn command_end(&mut self) -> Option<ExitStatus> {
        let stream = match &mut self.way {
            Way::Up(stream) => stream,
            Way::Asking(exchange, _) => &mut exchange.stream,
            Way::Down => return None,
        };
        stream.child.as_mut()?.wait_briefly()
    }
}
