//! Owns how a command is described, started and reported, in the manner of [`std::process::Command`].

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant as Clock};

use rustix::termios::Winsize;
use vsock_shell_proto::fields::{DETACH_HOLD, tag};
use vsock_shell_proto::frame::{ChannelKind, Outcome, WindowSize};

use crate::client::Client;
use crate::error::Error;
use crate::json::Kept;
use crate::request::Request;
use crate::run::{Input, Output as RunOutput, Run};
use crate::signals::Signals;

pub use crate::invocation::Program;
use crate::transfer::Loaded;

/// A command for a guest.
pub struct Command<'c> {
    client: &'c mut Client,
    program: Program,
    environment: Vec<(OsString, OsString)>,
    directory: Option<OsString>,
    terminal: Option<Terminal>,
    kill_after: Option<Duration>,
    /// Flags of DETACH.
    detach: Option<u32>,
    /// What a put has brought.
    loaded: Option<u32>,
}

/// The terminal that a command is to get.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Its size.
    pub size: Winsize,
    /// TERM.
    pub kind: Option<OsString>,
    /// Its modes, RFC 4254 section 8; empty for the guest's defaults.
    pub modes: Vec<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(crate) Outcome);

impl Status {
    /// The status it exited with; `None` when a signal killed it.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self.0 {
            Outcome::Exited(code) => i32::try_from(code).ok(),
            _ => None,
        }
    }

    /// The signal that killed it, Linux's generic number.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self.0 {
            Outcome::Killed { signal, .. } => i32::try_from(signal).ok(),
            _ => None,
        }
    }

    /// The job as which it goes on.
    #[must_use]
    pub fn job(self) -> Option<u32> {
        match self.0 {
            Outcome::Detached(job) => Some(job),
            _ => None,
        }
    }

    /// It exited with status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 == Outcome::Exited(0)
    }

    /// The status with which a shell, and this client, exits for it: its own, or 128 and the signal's number.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        let code = match self.0 {
            Outcome::Exited(code) => code,
            Outcome::Killed { signal, .. } => 128 + signal,
            Outcome::Detached(_) => 0,
            Outcome::Failed(_) => 255,
        };
        (code & 0xFF) as u8
    }
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// Its standard output, where that was kept.
    pub stdout: Kept,
    /// Its standard error, likewise.
    pub stderr: Kept,
    /// It ran longer than it was allowed to.
    pub timed_out: bool,
    /// From the request to the end.
    pub duration: Duration,
}

impl<'c> Command<'c> {
    pub(crate) fn new(client: &'c mut Client, program: Program) -> Self {
        Self {
            client,
            program,
            environment: Vec::new(),
            directory: None,
            terminal: None,
            kill_after: None,
            detach: None,
            loaded: None,
        }
    }

    /// Executes this program, which [`Client::load`] has brought into the guest's memory; the words are its arguments, the first
    /// one too.
    pub fn loaded(mut self, program: Loaded) -> Self {
        self.loaded = Some(program.0);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where it starts; relative to the user's home.
    pub fn directory(mut self, directory: impl Into<OsString>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Gives it a terminal instead of three pipes. Its standard error then comes with its standard output.
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.terminal = Some(terminal);
        self
    }

    /// Sends SIGTERM when it runs longer than that, and SIGKILL [`GRACE`](crate::run::GRACE) later.
    pub fn kill_after(mut self, limit: Duration) -> Self {
        self.kill_after = Some(limit);
        self
    }

    /// Makes it a [job](crate::job) from the beginning: [`Status::job`] tells which. One that `is_held` waits when what is kept of
    /// its output is full, instead of losing the oldest.
    pub fn detach(mut self, is_held: bool) -> Self {
        self.detach = Some(if is_held { DETACH_HOLD } else { 0 });
        self
    }

    /// Runs it with `input` as its standard input and keeps what it writes.
    ///
    /// # Errors
    /// It was refused, or the connection was lost.
    pub fn output(self, input: Vec<u8>) -> Result<Output, Error> {
        self.run(Streams::keeping(Input::bytes(input)), None)
    }

    /// Runs it with these streams. `signals`, where given, end the session when they arrive.
    ///
    /// # Errors
    /// It was refused, the connection was lost, or a signal arrived ([`Error::Interrupted`]).
    pub fn run(self, streams: Streams, signals: Option<&mut Signals>) -> Result<Output, Error> {
        let request = self.request()?;
        self.run_with(|client, kill_after| {
            let mut run =
                Run::new(&mut client.connection.core, ChannelKind::Exec, request, streams, signals)?;
            run.kill_after(kill_after);
            let driven = client.drive(&mut run);
            Ok((run, driven))
        })
    }

    /// Lets `work` run it, and makes the output of what came.
    pub(crate) fn run_with<'s>(
        self,
        work: impl FnOnce(&mut Client, Option<Duration>) -> Result<(Run<'s>, Result<(), Error>), Error>,
    ) -> Result<Output, Error> {
        let began = Clock::now();
        let (run, driven) = work(self.client, self.kill_after)?;
        let ended = run.finish(&mut self.client.connection.core, driven)?;
        Ok(Output {
            status: Status(ended.outcome),
            stdout: ended.output,
            stderr: ended.error,
            timed_out: ended.timed_out,
            duration: began.elapsed(),
        })
    }

    /// The request for it (`docs/PROTOCOL.md` §9).
    pub(crate) fn request(&self) -> Result<Vec<u8>, Error> {
        let mut request = Request::default();
        match &self.program {
            Program::Shell => {}
            Program::Line(line) => request.string(tag::SHELL, &[line])?,
            Program::Argv(words) => {
                for word in words {
                    request.string(tag::ARG, &[word])?;
                }
            }
        }
        for (name, value) in &self.environment {
            request.string(tag::ENV, &[name, OsStr::new("="), value])?;
        }
        if let Some(directory) = &self.directory {
            request.string(tag::CWD, &[directory])?;
        }
        if let Some(user) = &self.client.user {
            request.string(tag::USER, &[user])?;
        }
        if let Some(number) = self.loaded {
            request.bytes(tag::PROGRAM, &number.to_le_bytes())?;
        }
        if let Some(flags) = self.detach {
            request.bytes(tag::DETACH, &flags.to_le_bytes())?;
        }
        if let Some(terminal) = &self.terminal {
            request.bytes(tag::PTY, &window_size(terminal.size).encode())?;
            if let Some(kind) = &terminal.kind {
                request.string(tag::TERM, &[kind])?;
            }
            if !terminal.modes.is_empty() {
                request.bytes(tag::MODES, &terminal.modes)?;
            }
        }
        Ok(request.into_bytes())
    }
}

/// The protocol's form of a size.
pub(crate) fn window_size(size: Winsize) -> WindowSize {
    WindowSize { rows: size.ws_row, columns: size.ws_col, width: size.ws_xpixel, height: size.ws_ypixel }
}

/// What a command's standard descriptors are on this side.
pub struct Streams {
    /// Its standard input.
    pub input: Input,
    /// Its standard output.
    pub output: RunOutput,
    /// Its standard error.
    pub error: RunOutput,
}

impl Streams {
    /// Keeps both outputs in memory.
    pub fn keeping(input: Input) -> Self {
        Self { input, output: RunOutput::keep(), error: RunOutput::keep() }
    }
}
