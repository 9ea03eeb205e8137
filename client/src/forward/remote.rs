//! Owns one listener in the guest: what is asked of the agent (`R-9.18`), and what it has said.

use std::ffi::OsStr;

use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{Fields, flag, tag};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow};
use vsock_shell_proto::mux::Event;

use super::spec::Endpoint;
use crate::connection::Core;
use crate::error::{Error, Refusal};
use crate::request::Request;

/// What is to listen in the guest.
pub(super) struct Remote {
    pub listen: Endpoint,
    pub to: Endpoint,
    request: Vec<u8>,
    /// Its channel, as long as it is its own: the number of one that is over is given to another.
    pub channel: Option<ChannelId>,
    is_requested: bool,
    /// The port, once it listens.
    pub result: Option<Result<u64, Refusal>>,
    /// Without it the rest is of use too.
    pub is_optional: bool,
}

/// The channel of the listener to which somebody has come, as the agent's request names it.
pub(super) fn parse_listener(request: &[u8]) -> Result<u32, RefusalCode> {
    let mut listener = None;
    for field in Fields::new(request) {
        let field = field.map_err(|_| RefusalCode::Malformed)?;
        match field.tag {
            tag::LISTENER if listener.is_none() => {
                listener = Some(field.number().map_err(|_| RefusalCode::Malformed)?);
            }
            tag::LISTENER => return Err(RefusalCode::Malformed),
            _ if field.is_optional() => {}
            _ => return Err(RefusalCode::Unsupported),
        }
    }
    listener.ok_or(RefusalCode::Malformed)
}

/// What a listener is that the agent ends by itself.
fn ended() -> Refusal {
    Refusal { code: RefusalCode::System, errno: 0, text: b"the agent has ended it".to_vec() }
}

impl Remote {
    /// It listens, and its channel has this number.
    pub fn is_of(&self, number: u32) -> bool {
        matches!(self.result, Some(Ok(_)))
            && self.channel.is_some_and(|channel| u32::from(channel.0) == number)
    }

    /// Not asked for yet. `is_agent`: it is for an ssh-agent.
    pub fn new(
        listen: &Endpoint,
        to: &Endpoint,
        user: Option<&OsStr>,
        is_agent: bool,
    ) -> Result<Self, Error> {
        let mut request = Request::default();
        listen.write(&mut request)?;
        if let Some(user) = user {
            request.string(tag::USER, &[user])?;
        }
        if is_agent {
            request.bytes(tag::FLAGS, &flag::PRIVATE.to_le_bytes())?;
        }
        Ok(Self {
            listen: listen.clone(),
            to: to.clone(),
            request: request.into_bytes(),
            channel: None,
            is_requested: false,
            result: None,
            is_optional: is_agent,
        })
    }

    /// Takes what an event says about its channel; true where it listened, and does not any more.
    pub fn handle(&mut self, core: &mut Core, event: Event<'_>) -> bool {
        let refusal = match event {
            Event::Accepted { value, .. } => {
                self.result = Some(Ok(value));
                return false;
            }
            Event::Refused { code, errno, .. } => Refusal { code, errno, text: core.text().to_vec() },
            Event::Exited { channel, .. } => {
                core.release(channel);
                ended()
            }
            Event::Reset { .. } => ended(),
            _ => return false,
        };
        self.channel = None;
        self.is_requested = true;
        let has_listened = matches!(self.result, Some(Ok(_)));
        self.result = Some(Err(refusal));
        has_listened
    }

    /// Asks the agent to listen; whether anything was done.
    pub fn step(&mut self, core: &mut Core) -> bool {
        if self.is_requested {
            return false;
        }
        // Before the agent has said how many it takes there is one channel.
        let Some(channel) = self.channel.or_else(|| core.open(ChannelKind::Listen).ok()) else {
            return false;
        };
        self.channel = Some(channel);
        let sent = core.send(channel, Flow::Request, &self.request);
        self.request.drain(..sent);
        if self.request.is_empty() {
            core.finish(channel, Flow::Request);
            self.is_requested = true;
        }
        true
    }
}
