//! Owns how a connection that was lost, or is silent, is replaced by another: when to dial, how long to go on, what the agent
//! answers. The `connection` has the session that goes on over it.
//!
//! ```text
//!         ┌────────────────────── resumed ───────────────────────┐
//!         ↓                                                      │
//!        up ──lost──→ down ──dialled──→ asking ──answered────────┘
//!         └──silent, and another was dialled──↗    └──lost──→ down
//! ```
//! Only the time in `down` is taken from what was given for it: whoever can be reached and says nothing is a guest that is
//! busy, stopped in a debugger or paused, and is waited for. Beside him another connection is dialled from time to time, in
//! case it is the one we have that stands still.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant as Clock};

use crate::dial::{DialError, Stream};
use crate::error::Error;
use crate::patience::Patience;
use crate::target::Address;
use crate::trace::{Voice, dial_told};

/// How long a peer that owes something may be silent before another connection is dialled.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);
/// How long such a dial may take: as long as a guest is likely to be paused. Given up earlier it helps nobody, and may do harm
/// (`dial/mux.rs`).
const ATTEMPT: Duration = Duration::from_secs(3600);
/// Between two such dials, the first time; it doubles up to the second.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Between a connection that ended without an answer and the next dial, at first.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// It doubles up to this.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The same where a command has to be started again. With the usual timeout for a first connection it is not.
const RETRY_COMMAND: Duration = Duration::from_secs(2);

/// Between a connection that ended without an answer and the next dial. A command that is started anew may ask for a password
/// again, or log in somewhere.
pub(crate) fn retry_pause(address: &Address) -> Duration {
    if matches!(address, Address::Exec(_)) { RETRY_COMMAND } else { RETRY_FIRST }
}

/// How long nothing comes from a peer that owes nothing until it is asked for a sign of life, at first. Where only that comes,
/// the next question is later, twice as long each time up to the second.
const QUIET_FIRST: Duration = Duration::from_secs(1);
const QUIET_MAX: Duration = Duration::from_secs(32);
/// A read that brings more than this has brought more than a sign of life.
const SIGN_MAX: usize = 64;

/// When a peer that owes nothing is asked whether it is still there. One who has just been sending, and a stalled transfer is
/// such, is asked soon.
pub(crate) struct Quiet {
    since: Clock,
    interval: Duration,
}

impl Quiet {
    pub(crate) fn new(now: Clock) -> Self {
        Self { since: now, interval: QUIET_FIRST }
    }

    pub(crate) fn handle_received(&mut self, length: usize, now: Clock) {
        self.since = now;
        if length > SIGN_MAX {
            self.interval = QUIET_FIRST;
        }
    }

    pub(crate) fn due(&self) -> Clock {
        self.since + self.interval
    }

    /// Whether to ask now; then the next question is later.
    pub(crate) fn is_due(&mut self, now: Clock) -> bool {
        let is_due = self.due() <= now;
        if is_due {
            self.since = now;
            self.interval = (self.interval * 2).min(QUIET_MAX);
        }
        is_due
    }
}

/// A thread that dials, and what tells that it has come to an end.
struct Dialling {
    told: Receiver<Result<Stream, DialError>>,
    wake: OwnedFd,
}

impl Dialling {
    fn start(address: Address, timeout: Duration, voice: Option<Voice>) -> std::io::Result<Self> {
        let (wake, done) = std::io::pipe()?;
        let (tell, told) = sync_channel(1);
        std::thread::Builder::new().spawn(move || {
            // Where nobody waits for it any more the connection is closed again.
            _ = tell.send(dial_told(&address, timeout, voice.as_ref()));
            drop(done);
        })?;
        Ok(Self { told, wake: wake.into() })
    }
}

/// What an outage has come to.
pub(crate) struct Redial {
    address: Address,
    patience: Patience,
    dialling: Option<Dialling>,
    /// When the next dial is due, where none is under way.
    due: Option<Clock>,
    pause: Duration,
    retry: Duration,
    /// What is left of the time for dialling, and since when it runs.
    left: Duration,
    down_since: Option<Clock>,
    /// Since when a peer that could be reached has said nothing.
    silent_since: Option<Clock>,
    /// Why the connection was lost.
    reason: Option<Error>,
    /// The person has not been told yet.
    news: Option<String>,
    is_told: bool,
    /// Tells of each dial.
    pub voice: Option<Voice>,
}

impl Redial {
    pub(crate) fn new(address: Address, patience: Patience) -> Self {
        let retry = retry_pause(&address);
        Self {
            address,
            patience,
            dialling: None,
            due: None,
            pause: PAUSE_FIRST,
            retry,
            left: patience.reconnect,
            down_since: None,
            silent_since: None,
            reason: None,
            news: None,
            is_told: false,
            voice: None,
        }
    }

    /// Lost connections are not replaced.
    pub(crate) fn is_off(&self) -> bool {
        self.patience.reconnect.is_zero()
    }

    /// A port is one for all connections: there cannot be a second one beside it.
    fn is_port(&self) -> bool {
        matches!(self.address, Address::Serial(_))
    }

    /// One line for the person, once for each outage.
    pub(crate) fn news(&mut self) -> Option<String> {
        self.news.take()
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.news = Some(format!("{}: {}", self.address, text()));
        }
    }

    /// The connection was lost, or an exchange over one. The agent keeps the session for `grace`, as far as that is known.
    ///
    /// # Errors
    /// `reason`, where that was the last one.
    pub(crate) fn handle_lost(
        &mut self,
        reason: Error,
        grace: Option<Duration>,
        now: Clock,
    ) -> Result<(), Error> {
        let is_first = self.reason.is_none();
        if is_first {
            self.left = grace.map_or(self.patience.reconnect, |grace| grace.min(self.patience.reconnect));
        }
        if self.left.is_zero() {
            return Err(reason);
        }
        let seconds = self.left.as_secs_f64().ceil();
        self.tell(|| format!("{reason}; trying for {seconds} s to get it back"));
        self.reason = Some(reason);
        // One beside a silent connection had other time than there is now.
        self.dialling = None;
        self.down_since = Some(now);
        self.silent_since = None;
        self.due = Some(if is_first { now } else { now + self.retry });
        self.retry = (self.retry * 2).min(self.retry.max(RETRY_MAX));
        Ok(())
    }

    /// The session goes on.
    pub(crate) fn handle_resumed(&mut self) {
        let (address, patience, voice) = (self.address.clone(), self.patience, self.voice.take());
        *self = Self { voice, ..Self::new(address, patience) };
    }

    /// The peer has been silent for `silence`, over a connection or with the answer to a preamble.
    ///
    /// # Errors
    /// [`Error::Dead`] where it has been for long enough.
    pub(crate) fn handle_silence(&mut self, silence: Duration, now: Clock) -> Result<(), Error> {
        let since = *self.silent_since.get_or_insert_with(|| now.checked_sub(silence).unwrap_or(now));
        if let Some(limit) = self.patience.dead_after.filter(|limit| now.duration_since(since) >= *limit) {
            return Err(Error::Dead(limit));
        }
        if silence >= SILENCE && !self.is_off() {
            self.tell(|| "no sign of life; waiting for one".to_owned());
            if !self.is_port() && self.dialling.is_none() && self.due.is_none() {
                self.due = Some(now);
            }
        }
        Ok(())
    }

    /// The peer was silent when it was last asked about.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    /// The peer has said something.
    pub(crate) fn handle_heard(&mut self) {
        self.silent_since = None;
        self.dialling = None;
        self.due = None;
        self.pause = PAUSE_FIRST;
        self.is_told = false;
    }

    /// Dials when it is due; a connection, when there is one.
    ///
    /// # Errors
    /// The time is over, or waiting cannot help.
    pub(crate) fn advance(&mut self, now: Clock) -> Result<Option<Stream>, Error> {
        if self.due.is_some_and(|due| due <= now) && self.dialling.is_none() {
            self.due = None;
            let timeout = match self.down_since {
                Some(since) => self.left.saturating_sub(now.duration_since(since)),
                None => ATTEMPT,
            };
            if timeout.is_zero() {
                return Err(self.reason.take().unwrap_or(Error::Closed));
            }
            let dialling = Dialling::start(self.address.clone(), timeout, self.voice.clone());
            self.dialling = Some(dialling.map_err(Error::local("start", "a thread"))?);
        }
        let Some(Ok(dialled)) = self.dialling.as_ref().map(|dialling| dialling.told.try_recv()) else {
            return Ok(None);
        };
        self.dialling = None;
        match dialled {
            Ok(stream) => {
                if let Some(since) = self.down_since.take() {
                    self.left = self.left.saturating_sub(now.duration_since(since));
                }
                self.be_patient(now);
                Ok(Some(stream))
            }
            Err(error) if self.down_since.is_some() => Err(Error::Dial(error)),
            Err(_) => {
                self.be_patient(now);
                Ok(None)
            }
        }
    }

    /// The next dial beside a silent connection is later.
    fn be_patient(&mut self, now: Clock) {
        self.due = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// A port that gives no answer has to be left before it is dialled again; whether that is due.
    pub(crate) fn has_to_leave(&mut self, now: Clock) -> bool {
        let has_to = self.is_port() && self.due.is_some_and(|due| due <= now);
        if has_to {
            self.down_since = Some(now);
        }
        has_to
    }

    /// What tells that a dial has come to its end.
    pub(crate) fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.dialling.as_ref().map(|dialling| dialling.wake.as_fd())
    }

    /// When [`Self::advance`] or [`Self::handle_silence`] want to be called.
    pub(crate) fn deadline(&self) -> Option<Clock> {
        let due = self.due.filter(|_| self.dialling.is_none());
        let dead = self.silent_since.zip(self.patience.dead_after).map(|(since, limit)| since + limit);
        due.into_iter().chain(dead).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_has_its_own_time_also_where_a_dial_waited_beside_the_silent_connection() {
        let reconnect = Duration::from_millis(200);
        let patience = Patience { reconnect, ..Duration::ZERO.into() };
        let mut redial = Redial::new(Address::Unix("/no/such/socket".into()), patience);
        let start = Clock::now();
        redial.handle_silence(SILENCE, start).unwrap();
        assert!(redial.advance(start).unwrap().is_none() && redial.dialling.is_some());
        redial.handle_lost(Error::Closed, None, start).unwrap();
        let error = loop {
            match redial.advance(Clock::now()) {
                Ok(stream) => assert!(stream.is_none()),
                Err(error) => break error,
            }
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on dialling");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(start.elapsed() >= reconnect && matches!(error, Error::Dial(_)), "{error}");
    }

    #[test]
    fn who_only_gives_signs_of_life_is_asked_less_and_less() {
        let start = Clock::now();
        let mut quiet = Quiet::new(start);
        let mut now = start;
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            assert_eq!(quiet.due() - now, Duration::from_secs(seconds));
            now = quiet.due();
            assert!(quiet.is_due(now) && !quiet.is_due(now));
            quiet.handle_received(24, now);
        }
        quiet.handle_received(SIGN_MAX + 1, now);
        assert_eq!(quiet.due() - now, QUIET_FIRST);
    }
}
