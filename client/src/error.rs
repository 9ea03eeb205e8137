//! Owns why something failed, as the library says it: whose fault it was, and one line for people.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::items::ItemError;
use vsock_shell_proto::preamble::Status;

use crate::key::id_text;
use crate::text::{escape, reason};

/// Why a conversation with an agent failed. [`fmt::Display`] writes one line without a full stop, safe for a terminal.
#[derive(Debug)]
pub enum Error {
    /// The agent could not be reached.
    Dial(crate::dial::DialError),
    /// The stream ended before the agent answered, again and again, for that long.
    NoAnswer(Duration),
    /// Somebody answered for that long with silence.
    Silent(Duration),
    /// What answered is no agent.
    NotAnAgent,
    /// The agent gave no session.
    NoSession(Status),
    /// The stream died.
    Lost(io::Error),
    /// The stream was closed from the other side.
    Closed,
    /// The agent ended the session.
    Ended(CloseCode),
    /// We ended the session because the agent broke a rule of the protocol.
    Broken(CloseCode),
    /// The agent refused a request.
    Refused(Refusal),
    /// What was accepted failed in the guest.
    Failed(Failure),
    /// What a file transfer brought is not what was sent, or is no file.
    Garbled,
    /// The agent aborted a channel.
    Reset(CloseCode),
    /// A string that cannot be sent: it holds a NUL byte.
    Nul,
    /// The request has more bytes than fit.
    TooLong,
    /// Something failed on this side: what was tried, on what, why.
    Local {
        /// What was tried.
        what: &'static str,
        /// On what.
        on: String,
        /// Why it failed.
        error: io::Error,
    },
    /// This side cannot listen where it is to: where, and why.
    NotListening(String, io::Error),
    /// The guest does not listen where it is to: where, and why.
    NotForwarded(String, Refusal),
    /// A signal ended the client; its number.
    Interrupted(i32),
    /// The person typed `~.`.
    Disconnected,
    /// The guest has said nothing for that long.
    Dead(Duration),
    /// Nobody reads our standard output any more.
    NoReader,
    /// What a file transfer brought breaks the rules of its stream.
    Items(ItemError),
    /// More came than was announced, or than can be kept.
    TooMuch,
    /// A directory, where one file is copied.
    IsDirectory,
    /// A program of this side that cannot run in the guest: its name, and why.
    NoProgram(String, String),
    /// What is set of a file beside its content: what was tried, on what, why it failed.
    About {
        /// What was tried.
        what: &'static str,
        /// On what.
        on: String,
        /// Why it failed.
        errno: rustix::io::Errno,
    },
    /// The agent has not shown that it has the key.
    Unproved,
    /// The guest is not the one that is wanted: by which id, and the one that it has.
    AnotherGuest {
        /// Which id.
        what: &'static str,
        /// The guest's; zeros where it has none.
        found: [u8; 16],
    },
    /// Others can read the key in this file.
    OpenKey(std::path::PathBuf),
    /// There is no key in this file.
    NoKeyIn(std::path::PathBuf),
    /// The agent knows no jobs.
    NoJobs,
    /// There is no job of this number.
    NoJob(u32),
    /// The job has no result yet.
    StillRuns(u32),
    /// What kept the job was killed, and the job hung up.
    JobLost(u32),
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// The errno that goes with it, or 0.
    pub errno: u32,
    /// What the agent says about it: hostile bytes.
    pub text: Vec<u8>,
}

/// A failed system call in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Linux's generic number.
    pub errno: u32,
    /// In what it failed, as a phrase behind "cannot": hostile bytes.
    pub text: Vec<u8>,
}

impl Error {
    /// It is about one entry of a tree, and the others can still be copied.
    pub(crate) fn is_of_one_entry(&self) -> bool {
        matches!(self, Self::Local { .. } | Self::About { .. } | Self::Garbled)
    }

    /// What it says behind the name of what it is about.
    pub(crate) fn without_place(&self) -> String {
        match self {
            Self::Local { what, error, .. } => format!("cannot {what}: {}", reason(error)),
            Self::About { what, errno, .. } => format!("cannot {what}: {}", reason(&(*errno).into())),
            other => other.to_string(),
        }
    }

    /// An error of this side.
    pub(crate) fn local(
        what: &'static str,
        on: impl AsRef<std::ffi::OsStr>,
    ) -> impl FnOnce(io::Error) -> Self {
        let on = escape(on.as_ref().as_bytes()).into_owned();
        move |error| Self::Local { what, on, error }
    }
}

/// A time in seconds, to the hundredth: a caller that gives what is left of its own time gives crooked numbers. `None` where
/// there is none to speak of.
pub(crate) fn seconds(time: Duration) -> Option<f64> {
    let hundredths = (time.as_secs_f64() * 100.0).round();
    (hundredths > 0.0).then_some(hundredths / 100.0)
}

/// What an errno of the guest means; both sides are Linux.
pub(crate) fn errno_text(errno: u32) -> String {
    reason(&io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(0)))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::NoAnswer(tried) => {
                f.write_str("the connection was closed without an answer (")?;
                if let Some(tried) = seconds(*tried) {
                    write!(f, "tried for {tried} s; ")?;
                }
                f.write_str("is the agent running?)")
            }
            Self::Silent(waited) => {
                let waited = seconds(*waited).unwrap_or_default();
                write!(f, "connected, but no answer within {waited} s; is the guest running?")
            }
            Self::NotAnAgent => f.write_str("what answered is no vsock-shell agent"),
            Self::NoSession(Status::KeyWanted) => f.write_str("the agent wants a key; write --key FILE"),
            Self::NoSession(Status::WrongKey) => f.write_str("this is not the agent's key"),
            Self::NoSession(Status::NoKey) => {
                f.write_str("the agent has no key, and cannot prove who it is; was it started with --key?")
            }
            Self::NoSession(status) => f.write_str(status.text()),
            Self::Unproved => f.write_str("what answered does not have the key"),
            Self::AnotherGuest { what, found } if *found == [0; 16] => {
                write!(f, "the guest has no {what}, and another one is expected")
            }
            Self::AnotherGuest { what, found } => {
                write!(f, "another guest is expected: the {what} of this one is {}", id_text(what, *found))
            }
            Self::OpenKey(path) => {
                let path = escape(path.as_os_str().as_bytes());
                write!(f, "others can read the key in {path}; chmod 600 makes it yours")
            }
            Self::NoKeyIn(path) => {
                let path = escape(path.as_os_str().as_bytes());
                write!(
                    f,
                    "there is no key in {path}: 64 hexadecimal digits, as vsock-shell keygen writes them"
                )
            }
            Self::Lost(error) => write!(f, "connection lost: {}", reason(error)),
            Self::Closed => f.write_str("connection lost: closed by the other side"),
            Self::Ended(code) => write!(f, "ended by the agent: {}", code.text()),
            Self::Broken(code) => write!(f, "the agent broke the protocol: {}", code.text()),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Failed(failure) => failure.fmt(f),
            Self::Reset(code) => write!(f, "aborted by the agent: {}", code.text()),
            Self::Nul => f.write_str("an argument, a name or a variable holds a NUL byte"),
            Self::TooLong => f.write_str("an argument or a variable is longer than 16 MiB"),
            Self::Local { what, on, error } => write!(f, "cannot {what} {on}: {}", reason(error)),
            Self::Garbled => f.write_str("the file arrived garbled; nothing was kept"),
            Self::Items(ItemError::Malformed) => f.write_str("what arrived breaks the rules of a copy"),
            Self::Items(ItemError::Name) => f.write_str("the guest sent a name that leads elsewhere"),
            Self::Items(ItemError::TooDeep) => f.write_str("the guest sent a tree that is too deep"),
            Self::TooMuch => f.write_str("the guest sent more than it announced"),
            Self::IsDirectory => f.write_str("Is a directory; cp -r copies directories"),
            Self::NoProgram(name, why) => write!(f, "cannot run {name} there: {why}"),
            Self::About { what, on, errno } => {
                write!(f, "cannot {what} of {on}: {}", reason(&(*errno).into()))
            }
            Self::Disconnected => f.write_str("connection closed"),
            Self::Dead(limit) => {
                write!(f, "no sign of life for {} s; given up", seconds(*limit).unwrap_or_default())
            }
            Self::NoReader => f.write_str("nobody reads standard output any more"),
            Self::NoJobs => f.write_str("the agent is older than jobs"),
            Self::NoJob(job) => write!(f, "there is no job {job}; see vsock-shell jobs"),
            Self::StillRuns(job) => write!(f, "job {job} still runs; --wait waits for its end"),
            Self::JobLost(job) => write!(f, "job {job} is lost: the agent's process that kept it was killed"),
            Self::NotListening(listen, error) => write!(f, "cannot listen on {listen}: {}", reason(error)),
            Self::NotForwarded(listen, refusal) => {
                write!(f, "the guest cannot listen on {listen}: {refusal}")
            }
            Self::Interrupted(signal) => write!(f, "interrupted by signal {signal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = escape(&self.text);
        match (text.is_empty(), self.errno) {
            (true, _) => f.write_str(self.code.text())?,
            (false, _) if self.code == RefusalCode::TooLarge => write!(f, "{}: {text}", self.code.text())?,
            (false, _) => f.write_str(&text)?,
        }
        // Where nothing was found the text has said so.
        let said = matches!(self.code, RefusalCode::NotFound | RefusalCode::NoUser | RefusalCode::NoShell);
        if self.errno != 0 && !(said && self.errno == rustix::io::Errno::NOENT.raw_os_error().unsigned_abs())
        {
            write!(f, ": {}", errno_text(self.errno))?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = escape(&self.text);
        let text = if text.is_empty() { "do it".into() } else { text };
        write!(f, "cannot {text}: {}", errno_text(self.errno))
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
