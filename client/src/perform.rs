//! Owns what each [`Invocation`](crate::invocation::Invocation) does, from the target to the exit status: the command line on top of the library.

mod doctor;
mod each;
mod environment;
mod forward;
mod fs;
mod jobs;
mod system;
mod tally;
mod targets;

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::json;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::frame::ChannelKind;

use crate::client::Client;
use crate::command::{Command, Output, Streams, Terminal};
use crate::error::Error;
use crate::escape::Escapes;
use crate::invocation::{Ask, Copy, Power, Program, Pty, Run as RunInvocation, Settings};
use crate::json::{CommandReport, Ended};
use crate::modes::encode_modes;
use crate::patience::Patience;
use crate::run::{Input, Output as RunOutput, Run};
use crate::shell::Shell;
use crate::signals::{Caught, Signals};
use crate::stdio::{Sink, Source};
use crate::subsystem;
use crate::target::Target;
use crate::terminal::{self, RawMode};
use crate::text;
use crate::trace::Detail;
use crate::transfer::{self, Loaded, Report};

pub use doctor::doctor;
pub use each::each;
pub use forward::pass;
pub use fs::fs;
pub use jobs::{job, jobs};
pub use system::system;
pub use targets::targets;

/// The status for what fails on this side or on the way: as with ssh, the transport's and the tool's own.
pub const FAILED: u8 = 255;
/// The statuses with which a shell tells that a command could not be executed, and was not found.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs a shell or a command; the status to exit with.
#[must_use]
pub fn run(invocation: &RunInvocation) -> u8 {
    let name = invocation.target.address.to_string();
    match try_run(invocation) {
        Ok(status) => status,
        Err(Error::Refused(refusal)) if invocation.is_subsystem && refusal.code == RefusalCode::NotFound => {
            let server = subsystem::SFTP_SERVER;
            text::say(&format!(
                "{name}: the guest has no {server}, which sftp and scp need; vsock-shell cp needs nothing there"
            ));
            FAILED
        }
        Err(error) => {
            complain(&name, &error);
            match error {
                Error::Refused(refusal) => match refusal.code {
                    RefusalCode::NotFound | RefusalCode::NoShell => NOT_FOUND,
                    RefusalCode::CannotExecute | RefusalCode::TooLarge => CANNOT_EXECUTE,
                    _ => FAILED,
                },
                Error::NoProgram(..) => CANNOT_EXECUTE,
                Error::Interrupted(signal) => interrupted(signal),
                _ => FAILED,
            }
        }
    }
}

/// Ends who writes for nobody.
const SIGPIPE: i32 = rustix::process::Signal::PIPE.as_raw();

/// The status after a signal, as a shell shows it.
fn interrupted(signal: i32) -> u8 {
    128_u8.saturating_add(u8::try_from(signal).unwrap_or(0))
}

/// One line about what failed. A signal speaks for itself.
fn complain(name: &str, error: &Error) {
    match error {
        // As the end of a pipeline is told: by the status.
        Error::Interrupted(_) | Error::NoReader => {}
        // The dialler has named what it tried; and no guest has a part in the other.
        Error::Dial(_) | Error::NotListening(..) => text::say(&error.to_string()),
        _ => text::say(&format!("{name}: {error}")),
    }
}

/// Begins a session, and tells as much of it as is wanted.
fn connect(target: &Target, settings: &Settings) -> Result<Client, Error> {
    Client::connect_told(target, settings.patience, Detail::of_count(settings.verbosity))
}

fn try_run(invocation: &RunInvocation) -> Result<u8, Error> {
    let mut client = forward::connect(invocation)?;
    client.tell_losses(!invocation.settings.is_quiet);
    if invocation.is_idle {
        let waited = forward::wait(&mut client);
        client.cancel();
        return waited.map(|()| 0);
    }
    let wants_terminal = match invocation.pty {
        Pty::Always => true,
        Pty::Never => false,
        Pty::Auto => {
            invocation.program == Program::Shell
                && !invocation.is_stdin_null
                && io::stdin().is_terminal()
                && io::stdout().is_terminal()
        }
    };
    let loaded = match &invocation.with {
        Some(path) => {
            let mut signals = Signals::new(Caught::ENDS);
            Some(client.load(path, &mut signals, invocation.settings.is_quiet)?)
        }
        None => None,
    };
    let result = if invocation.detach.is_some() {
        jobs::begin(&mut client, invocation, loaded, wants_terminal)
    } else if wants_terminal {
        run_in_terminal(&mut client, invocation, loaded)
    } else {
        run_in_pipes(&mut client, invocation, loaded)
    };
    match result {
        Ok(output) => {
            client.close();
            report(invocation, &output)
        }
        Err(error) => {
            match error {
                // What the person or the system ended here shall end there too.
                Error::Interrupted(_) | Error::Disconnected | Error::Local { .. } => client.cancel(),
                _ => client.close(),
            }
            Err(error)
        }
    }
}

fn report(invocation: &RunInvocation, output: &Output) -> Result<u8, Error> {
    if invocation.is_json {
        let report = CommandReport {
            ended: match output.status.signal() {
                Some(signal) => Ended::Signal(u8::try_from(signal).unwrap_or(0)),
                None => Ended::Exit(output.status.exit_code()),
            },
            is_timed_out: output.timed_out,
            stdout: output.stdout.clone(),
            stderr: output.stderr.clone(),
            duration: output.duration,
        };
        print(&format!("{}\n", report.to_value()))?;
    } else if output.timed_out && !invocation.settings.is_quiet {
        text::say("the command ran too long and was ended");
    }
    if let Some(job) = output.status.job() {
        jobs::tell_detached(invocation.detach.is_some(), &invocation.target, job)?;
    }
    Ok(output.status.exit_code())
}

/// The command of the invocation, without its terminal.
fn command<'c>(client: &'c mut Client, invocation: &RunInvocation, loaded: Option<Loaded>) -> Command<'c> {
    let agent = client.agent_socket().map(OsStr::to_owned);
    let mut command = client.command(invocation.program.clone());
    if let Some(program) = loaded {
        command = command.loaded(program);
    }
    let variables = environment::variables(invocation, std::env::vars_os());
    let path = variables.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let path = invocation.is_subsystem.then(|| ("PATH".into(), subsystem::path(path)));
    for (name, value) in variables.into_iter().chain(path) {
        command = command.env(name, value);
    }
    if let Some(socket) = agent {
        command = command.env(forward::AGENT_VARIABLE, socket);
    }
    if let Some(directory) = &invocation.directory {
        command = command.directory(directory);
    }
    if let Some(limit) = invocation.kill_after {
        command = command.kill_after(limit);
    }
    if let Some(is_held) = invocation.detach {
        command = command.detach(is_held);
    }
    command
}

fn run_in_pipes(
    client: &mut Client,
    invocation: &RunInvocation,
    loaded: Option<Loaded>,
) -> Result<Output, Error> {
    let mut signals = Signals::new(Caught::ENDS);
    let input = if invocation.is_stdin_null {
        Input::nothing()
    } else {
        Input::source(Source::stdin().map_err(Error::local("use", "standard input"))?)
    };
    let streams =
        if invocation.is_json { Streams::keeping(input) } else { Streams { input, ..standard_output()? } };
    command(client, invocation, loaded).run(streams, Some(&mut signals))
}

fn standard_output() -> Result<Streams, Error> {
    Ok(Streams {
        input: Input::nothing(),
        output: RunOutput::sink(Sink::stdout().map_err(Error::local("use", "standard output"))?),
        error: RunOutput::sink(Sink::stderr().map_err(Error::local("use", "standard error"))?),
    })
}

fn run_in_terminal(
    client: &mut Client,
    invocation: &RunInvocation,
    loaded: Option<Loaded>,
) -> Result<Output, Error> {
    let mut signals = terminal_signals()?;
    let raw = raw_mode(!invocation.is_stdin_null)?;
    let command = command(client, invocation, loaded).terminal(own_terminal(raw.as_ref()));
    let request = command.request()?;
    let keys = if invocation.is_stdin_null { Source::null() } else { Source::stdin() };
    let keys = keys.map_err(Error::local("use", "standard input"))?;
    let streams = Streams { input: Input::elsewhere(), ..standard_output()? };
    let escapes = Escapes::new(invocation.escape.filter(|_| raw.is_some()));
    command.run_with(|client, kill_after| {
        let mut run = Run::new(&mut client.connection.core, ChannelKind::Exec, request, streams, None)?;
        run.kill_after(kill_after);
        let mut shell = Shell::new(run, keys, raw, escapes, &mut signals);
        let driven = client.drive(&mut shell);
        Ok((shell.into_run(), driven))
    })
}

/// Those that concern who sits at a terminal; caught before there is anything to restore, and before the size is read that a
/// later one may replace.
fn terminal_signals() -> Result<Signals, Error> {
    let mut signals = Signals::new(Caught::ENDS.into_iter().chain(Caught::TERMINAL));
    signals.arm().map_err(Error::local("catch", "signals"))?;
    Ok(signals)
}

/// Our terminal, where standard input is one and `is_used`, gives every key from now on.
fn raw_mode(is_used: bool) -> Result<Option<RawMode>, Error> {
    let is_terminal = is_used && io::stdin().is_terminal();
    is_terminal
        .then(|| RawMode::enter(io::stdin().as_fd()))
        .transpose()
        .map_err(Error::local("use", "the terminal"))
}

/// A terminal like ours.
fn own_terminal(raw: Option<&RawMode>) -> Terminal {
    let size = terminal::window_size(io::stdin()).or_else(|| terminal::window_size(io::stdout()));
    Terminal {
        size: size.unwrap_or(terminal::DEFAULT_SIZE),
        kind: std::env::var_os("TERM").filter(|kind| !kind.is_empty()),
        modes: raw.map_or_else(Vec::new, |raw| encode_modes(raw.cooked())),
    }
}

/// Copies files; the status to exit with.
#[must_use]
pub fn copy(invocation: &Copy) -> u8 {
    let mut signals = Signals::new(Caught::ENDS);
    let mut failed = FAILED;
    let mut report = Report::new(invocation.settings.is_quiet);
    let tell = &mut |name: &OsStr, error: &Error| {
        if matches!(error, Error::NoReader) {
            failed = interrupted(SIGPIPE);
        }
        complain(&text::escape(name.as_encoded_bytes()), error);
    };
    let copied = transfer::copy(invocation, &mut signals, &mut report, tell);
    report.tell_notes();
    if invocation.is_json
        && let Err(error) = print(&format!("{}\n", report.to_value()))
    {
        complain("standard output", &error);
        return FAILED;
    }
    match copied {
        Ok(()) if report.is_fine() => 0,
        Err(Error::Interrupted(signal)) => interrupted(signal),
        Ok(()) | Err(_) => failed,
    }
}

/// Waits until the agent answers; the status to exit with.
#[must_use]
pub fn wait(ask: &Ask) -> u8 {
    match connect(&ask.target, &ask.settings) {
        Ok(client) => {
            client.close();
            0
        }
        Err(error) => {
            complain(&ask.target.address.to_string(), &error);
            FAILED
        }
    }
}

/// Tells what the agent and its guest are; the status to exit with.
#[must_use]
pub fn info(ask: &Ask) -> u8 {
    let told = connect(&ask.target, &ask.settings).and_then(|mut client| {
        let info = client.info()?;
        client.close();
        print(&if ask.is_json { format!("{}\n", info.to_value()) } else { info.to_text() })
    });
    match told {
        Ok(()) => 0,
        Err(error) => {
            complain(&ask.target.address.to_string(), &error);
            FAILED
        }
    }
}

/// Ends a guest; the status to exit with: 0 where its end is under way.
#[must_use]
pub fn power(invocation: &Power) -> u8 {
    // The end of the guest is what is wanted.
    let patience = Patience { reconnect: Duration::ZERO, ..invocation.settings.patience };
    let settings = Settings { patience, ..invocation.settings };
    let ended = connect(&invocation.target, &settings).and_then(|mut client| {
        let error = RunOutput::sink(Sink::stderr().map_err(Error::local("use", "standard error"))?);
        let status = client.end_guest(invocation.action, invocation.is_forced, error)?;
        client.close();
        Ok(status.exit_code())
    });
    let (status, error) = match ended {
        Ok(0) => (0, None),
        Ok(status) => (status, Some(format!("its program ended with status {status}"))),
        Err(error) => {
            complain(&invocation.target.address.to_string(), &error);
            match error {
                Error::Refused(_) => (FAILED, Some(error.to_string())),
                // Nothing is known of the guest.
                _ => return FAILED,
            }
        }
    };
    let results = json!([{"name": invocation.action.verb(), "error": error}]);
    match print(&if invocation.is_json { format!("{results}\n") } else { String::new() }) {
        Ok(()) => status,
        Err(error) => {
            complain(&invocation.target.address.to_string(), &error);
            FAILED
        }
    }
}

/// Writes our own text to standard output. Nobody reading it any more (`| head`) is no failure.
fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::local("write to", "standard output")(error))
        }
        _ => Ok(()),
    }
}
