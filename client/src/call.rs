//! Owns what every channel of ours has in common: it is opened with a request, may be refused, ends with an outcome, and
//! a signal may end it before.

use std::os::fd::BorrowedFd;

use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::mux::Event;

use crate::connection::Core;
use crate::error::{Error, Failure, Refusal};
use crate::signals::{Signals, arm};

/// A channel that was opened, until it has an outcome.
pub(crate) struct Call<'s> {
    channel: ChannelId,
    /// The request, and how much of it was sent; gone once all of it was.
    request: Option<(Vec<u8>, usize)>,
    accepted: Option<u64>,
    outcome: Option<Outcome>,
    failure: Option<Error>,
    signals: Option<&'s mut Signals>,
    is_signalled: bool,
}

impl<'s> Call<'s> {
    /// Opens a channel. `signals`, where given, end it when they arrive.
    pub(crate) fn open(
        core: &mut Core,
        kind: ChannelKind,
        request: Vec<u8>,
        signals: Option<&'s mut Signals>,
    ) -> Result<Self, Error> {
        let channel = core.open(kind).map_err(|_| Error::Broken(CloseCode::Internal))?;
        let request = Some((request, 0));
        Ok(Self {
            channel,
            request,
            accepted: None,
            outcome: None,
            failure: None,
            signals,
            is_signalled: false,
        })
    }

    pub(crate) fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The agent has taken it on.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.is_some()
    }

    /// The value of ACCEPTED.
    pub(crate) fn value(&self) -> u64 {
        self.accepted.unwrap_or(0)
    }

    /// It has an outcome, or will not get one.
    pub(crate) fn is_over(&self) -> bool {
        self.outcome.is_some() || self.has_failed()
    }

    /// How it ended is known.
    pub(crate) fn has_outcome(&self) -> bool {
        self.outcome.is_some()
    }

    /// It will not get an outcome.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// It is of no use any more. The first reason counts.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Takes what an event says about the channel as a whole.
    pub(crate) fn handle(&mut self, core: &Core, event: Event<'_>) {
        match event {
            Event::Refused { code, errno, .. } => {
                self.fail(Refusal { code, errno, text: core.text().to_vec() }.into());
            }
            Event::Accepted { value, .. } => self.accepted = Some(value),
            Event::Exited { outcome, .. } => self.outcome = Some(outcome),
            Event::Reset { code, .. } => self.fail(Error::Reset(code)),
            Event::Closed { code } if self.outcome.is_none() => self.fail(Error::Ended(code)),
            _ => {}
        }
    }

    /// Catches the signals from now on.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        arm(&mut self.signals)
    }

    /// What to poll for signals.
    pub(crate) fn signal_fd(&self) -> Option<BorrowedFd<'_>> {
        self.signals.as_ref().and_then(|signals| signals.fd())
    }

    /// Whether `poll` said that there is a signal.
    pub(crate) fn set_signalled(&mut self, is_signalled: bool) {
        self.is_signalled |= is_signalled;
    }

    /// Sends what is left of the request, and its end; whether it did anything.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when a signal has arrived that ends the client.
    pub(crate) fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_signalled)
            && let Some(signals) = &mut self.signals
        {
            signals.ended()?;
        }
        let Some((request, at)) = &mut self.request else { return Ok(false) };
        let sent = core.send(self.channel, Flow::Request, request.get(*at..).unwrap_or_default());
        *at += sent;
        if *at == request.len() {
            core.finish(self.channel, Flow::Request);
            self.request = None;
            return Ok(true);
        }
        Ok(sent > 0)
    }

    /// What came of it, once it is over or `driven` has failed. The channel is gone then.
    pub(crate) fn finish(self, core: &mut Core, driven: Result<(), Error>) -> Result<Outcome, Error> {
        let text = core.text().to_vec();
        if self.outcome.is_some() {
            core.release(self.channel);
        } else {
            core.reset(self.channel, CloseCode::Cancelled);
        }
        driven?;
        match (self.failure, self.outcome) {
            (Some(failure), _) => Err(failure),
            (None, Some(Outcome::Failed(errno))) => Err(Failure { errno, text }.into()),
            (None, Some(outcome)) => Ok(outcome),
            (None, None) => Err(Error::Closed),
        }
    }
}
