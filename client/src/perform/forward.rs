//! Owns what is done about `-L`, `-R`, `-D`, `-A`, `-N` and `-W`.

use std::ffi::OsString;

use super::{FAILED, interrupted, standard_output};
use crate::client::Client;
use crate::command::Streams;
use crate::error::Error;
use crate::forward::{Forwards, Waiting};
use crate::invocation::{Pass, Run};
use crate::run::{Input, Output};
use crate::signals::{Caught, Signals};
use crate::stdio::Source;
use crate::text;
use crate::trace::Detail;

/// The variable that tells programs where the ssh-agent listens, `ssh-agent(1)`.
pub(super) const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// A session in which everything is forwarded that is to be.
pub(super) fn connect(invocation: &Run) -> Result<Client, Error> {
    let (target, settings) = (&invocation.target, &invocation.settings);
    if invocation.forwards.is_empty() && !invocation.agent_forwarding {
        return super::connect(target, settings);
    }
    let wanted: Vec<_> = invocation.forwards.iter().map(|word| word.forward.clone()).collect();
    let mut forwards = Forwards::open(&wanted, target.user.as_deref())?;
    if invocation.agent_forwarding {
        match std::env::var_os(AGENT_VARIABLE).filter(|path| !path.is_empty()) {
            Some(agent) => forwards.add_agent(&socket_in_guest()?, &agent)?,
            None if settings.is_quiet => {}
            None => text::say(&format!("there is no ssh-agent to forward: {AGENT_VARIABLE} is not set")),
        }
    }
    let detail = Detail::of_count(settings.verbosity);
    Client::connect_forwarding(target, settings.patience, detail, forwards, settings.is_quiet)
}

/// A path that nobody in the guest can know before.
fn socket_in_guest() -> Result<OsString, Error> {
    let mut name = [0; 16];
    rustix::rand::getrandom(&mut name[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::local("draw", "random bytes")(errno.into()))?;
    Ok(format!("/tmp/vsock-shell-{:032x}/ssh-agent", u128::from_be_bytes(name)).into())
}

/// Only forwards, until a signal arrives.
pub(super) fn wait(client: &mut Client) -> Result<(), Error> {
    let mut signals = Signals::new(Caught::ENDS);
    client.drive(&mut Waiting { signals: Some(&mut signals), is_signalled: false })
}

/// Joins one connection to standard input and output; the status to exit with.
#[must_use]
pub fn pass(invocation: &Pass) -> u8 {
    match try_pass(invocation) {
        Ok(()) => 0,
        Err(Error::Interrupted(signal)) => interrupted(signal),
        Err(error @ (Error::Refused(_) | Error::Failed(_))) => {
            text::say(&format!("{}: {}: {error}", invocation.target.address, invocation.destination));
            FAILED
        }
        Err(error) => {
            super::complain(&invocation.target.address.to_string(), &error);
            FAILED
        }
    }
}

fn try_pass(invocation: &Pass) -> Result<(), Error> {
    let mut client = super::connect(&invocation.target, &invocation.settings)?;
    client.tell_losses(!invocation.settings.is_quiet);
    let mut signals = Signals::new(Caught::ENDS);
    let input = Input::source(Source::stdin().map_err(Error::local("use", "standard input"))?);
    let streams = Streams { input, error: Output::discard(), ..standard_output()? };
    let passed = client.pass(&invocation.destination, streams, Some(&mut signals));
    match passed {
        Ok(()) | Err(Error::Refused(_) | Error::Failed(_)) => client.close(),
        Err(_) => client.cancel(),
    }
    passed
}
