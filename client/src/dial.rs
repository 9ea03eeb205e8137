//! Owns the way from an [`Address`] to a connected stream: how long to try, and what to say when it was in vain.
//!
//! One try is in `dial/attempt.rs`, one through a virtual machine's socket in `dial/mux.rs`, the command of `exec:` in
//! `dial/proxy.rs`, `--listen` in `dial/incoming.rs`. A guest that is still booting answers in many ways that it is not there
//! yet, depending on what stands between: no socket, a refusal, a reset, a stream that ends at once. All of them are tried again
//! until the timeout is over; what cannot change by waiting (no permission, no such host, no such transport) ends it at once.

mod attempt;
mod incoming;
mod mux;
mod proxy;
mod serial;

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::error::seconds;
use crate::target::Address;
use crate::text;
pub use proxy::Proxy;
use serial::Serial;

/// Between two tries, once the first quick ones failed.
const PAUSE_MAX: Duration = Duration::from_millis(40);

/// Before the second try; it doubles up to [`PAUSE_MAX`]. A socket is often only a moment late.
const PAUSE_FIRST: Duration = Duration::from_millis(10);

/// How long a try may take where the timeout is zero, which means one try and not none.
const ONCE_MAX: Duration = Duration::from_secs(2);

/// A connected stream in both directions. Neither descriptor blocks, and both are closed by `exec`.
///
/// The descriptors come first, so that the command of `exec:` sees its end before it is waited for.
#[derive(Debug)]
pub struct Stream {
    /// To read from.
    pub input: OwnedFd,
    /// To write to; for a socket a duplicate of `input`.
    pub output: OwnedFd,
    /// The command of `exec:`, which is reaped when this is dropped.
    pub child: Option<Proxy>,
    /// What makes a connection out of a port that has none.
    serial: Option<Box<Serial>>,
}

impl Stream {
    /// A stream over descriptors that do not block.
    #[must_use]
    pub fn new(input: OwnedFd, output: OwnedFd) -> Self {
        Self { input, output, child: None, serial: None }
    }

    /// Reads what there is; 0 is the end.
    ///
    /// # Errors
    /// EAGAIN when nothing is there now; of `read(2)`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &mut self.serial {
            None => rustix::io::read(&self.input, buffer),
            Some(serial) => serial.read(buffer),
        }
    }

    /// Bytes were read that nobody has asked for yet; waiting for the descriptor does not tell of them.
    pub(crate) fn has_unread(&mut self) -> bool {
        self.serial.as_mut().is_some_and(|serial| serial.has_unread())
    }

    /// Writes a beginning of the pieces; how long it was. A part of it may still wait here: see [`Self::flush`].
    ///
    /// # Errors
    /// EAGAIN when nothing is taken now; of `writev(2)`.
    pub(crate) fn write(&mut self, pieces: &[&[u8]; 3]) -> Result<usize, Errno> {
        match &mut self.serial {
            None => rustix::io::writev(&self.output, &pieces.map(IoSlice::new)),
            Some(serial) => serial.write(pieces),
        }
    }

    /// Writes what still waits here.
    ///
    /// # Errors
    /// EAGAIN when the other side takes no more now; of `write(2)`.
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        self.serial.as_mut().map_or(Ok(()), |serial| serial.flush())
    }
}

/// Why an address could not be reached. [`fmt::Display`] is one line: what was tried, why, what to do.
#[derive(Debug)]
pub struct DialError {
    address: Address,
    failure: Failure,
    tried: Duration,
}

/// What went wrong in a try.
#[derive(Debug)]
pub(crate) struct Failure {
    pub step: Step,
    pub error: io::Error,
}

/// In which step of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Finding out the address of a host.
    Resolve,
    /// Reaching the other end.
    Connect,
    /// `CONNECT port` and its answer.
    Greet,
    /// Starting the command of `exec:`.
    Spawn,
    /// Waiting for the agent to call.
    Answer,
}

/// Connects to `address`, trying again for `timeout` while it can still succeed; with a timeout of zero, once.
///
/// For `exec:` success means that the command runs. Resolving a name may take longer than `timeout`.
///
/// # Errors
/// The last failure, when the time is over or waiting cannot help.
pub fn dial(address: &Address, timeout: Duration) -> Result<Stream, DialError> {
    dial_watched(address, timeout, &mut |_| {})
}

/// The same, telling `watch` the reason of each try that failed.
pub(crate) fn dial_watched(
    address: &Address,
    timeout: Duration,
    watch: &mut dyn FnMut(&io::Error),
) -> Result<Stream, DialError> {
    let start = Instant::now();
    let limit = if timeout.is_zero() { ONCE_MAX } else { timeout };
    // Without a deadline where the clock cannot hold one: some centuries.
    let deadline = start.checked_add(limit);
    let mut pause = PAUSE_FIRST;
    loop {
        let failure = match attempt::attempt(address, deadline) {
            Ok(stream) => return Ok(stream),
            Err(failure) => failure,
        };
        watch(&failure.error);
        let left = timeout.saturating_sub(start.elapsed());
        if failure.is_final() || left.is_zero() {
            // The time that was given, rather than that and some milliseconds; less when we gave up early.
            let tried = if failure.is_final() { Duration::ZERO } else { timeout };
            return Err(DialError { address: address.clone(), failure, tried });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Connects to `address` with one try, which ends at `deadline`; resolving a name may take longer.
///
/// # Errors
/// Its failure.
pub(crate) fn once(address: &Address, deadline: Instant) -> Result<Stream, DialError> {
    let failed = |failure| DialError { address: address.clone(), failure, tried: Duration::ZERO };
    attempt::attempt(address, Some(deadline)).map_err(failed)
}

impl Failure {
    /// Whether waiting cannot help.
    fn is_final(&self) -> bool {
        match self.step {
            Step::Connect | Step::Greet => {}
            Step::Answer => return Errno::from_io_error(&self.error) != Some(Errno::TIMEDOUT),
            Step::Resolve | Step::Spawn => return true,
        }
        let may_change = [
            Errno::NOENT,
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::CONNABORTED,
            Errno::NOTCONN,
            Errno::PIPE,
            Errno::NODEV,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            // A Unix socket whose queue of connections is full.
            Errno::AGAIN,
            Errno::INTR,
        ];
        match self.error.raw_os_error() {
            Some(number) => !may_change.iter().any(|errno| errno.raw_os_error() == number),
            None => !matches!(self.error.kind(), ErrorKind::UnexpectedEof | ErrorKind::TimedOut),
        }
    }
}

impl DialError {
    /// The address that could not be reached.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it was given up because waiting could not help, and not because the time was over.
    pub fn is_final(&self) -> bool {
        self.failure.is_final()
    }

    /// In which step of the last try.
    pub(crate) fn step(&self) -> Step {
        self.failure.step
    }

    /// Why, from the operating system where it said so.
    pub fn cause(&self) -> &io::Error {
        &self.failure.error
    }

    /// What the person can do about it.
    fn advice(&self) -> &'static str {
        use Address::{Mux, Tcp, Unix, Vsock};
        let errno = Errno::from_io_error(&self.failure.error);
        match (&self.address, self.failure.step, errno) {
            (_, Step::Resolve, _) => "is the name right?",
            (_, Step::Spawn, _) => "is there a /bin/sh?",
            (Address::Listen(_), _, Some(Errno::TIMEDOUT)) => {
                "was the agent started with --connect, or vsock_shell.connect=?"
            }
            (Address::Listen(_), _, Some(Errno::ADDRINUSE)) => "does somebody else listen there?",
            (Address::Listen(_), ..) => "can one listen there?",
            (Unix(_) | Mux { .. }, _, Some(Errno::ACCESS | Errno::PERM)) => {
                "may this user open the socket? it is its owner's"
            }
            (Address::Serial(_), _, Some(Errno::ACCESS | Errno::PERM)) => "may this user open the port?",
            (Address::Serial(_), _, Some(Errno::NOENT)) => "is the virtual machine running?",
            (Unix(_) | Mux { .. }, _, Some(Errno::PROTOTYPE)) => "it must be a stream socket",
            (Mux { .. }, Step::Connect, _) => "is the virtual machine running?",
            (Mux { .. }, Step::Greet, _) if self.failure.error.kind() == ErrorKind::InvalidData => {
                "is it the vsock socket of a virtual machine? for a plain one use unix:"
            }
            (Mux { .. }, Step::Greet, _) => "is the agent running in the guest?",
            (Vsock { .. }, _, Some(Errno::NODEV | Errno::HOSTUNREACH | Errno::NETUNREACH)) => {
                "does a guest with this context id run, and is vhost_vsock loaded?"
            }
            (Vsock { .. }, _, Some(Errno::AFNOSUPPORT)) => {
                "this kernel has no AF_VSOCK; try `modprobe vhost_vsock`"
            }
            (Vsock { .. }, ..) => "is the agent running in the guest?",
            (Tcp { .. }, ..) => "is the agent listening there?",
            _ => "is the agent running?",
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = text::reason(&self.failure.error);
        write!(out, "cannot reach {}: {} (", self.address, text::escape(reason.as_bytes()))?;
        if let Some(tried) = seconds(self.tried) {
            write!(out, "tried for {tried} s; ")?;
        }
        write!(out, "{})", self.advice())
    }
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure.error)
    }
}

#[cfg(test)]
#[path = "dial/tests.rs"]
mod tests;
