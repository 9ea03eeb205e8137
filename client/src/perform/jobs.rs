//! Owns what the verbs of jobs do, and how a command becomes one.

use std::io::{self, IsTerminal as _};

use vsock_shell_proto::job::{FOLLOW, JobRequest, READ_ONLY, Verb};

use super::{
    FAILED, command, complain, connect, interrupted, own_terminal, print, raw_mode, standard_output,
    terminal_signals,
};
use crate::client::Client;
use crate::command::{Output, Status, Streams};
use crate::drive::drive;
use crate::error::Error;
use crate::escape::Escapes;
use crate::invocation::{Ask, Job as JobInvocation, Run as RunInvocation, Wish};
use crate::job::{self, Job};
use crate::run::Input;
use crate::shell::Shell;
use crate::signals::{Caught, Signals};
use crate::stdio::Source;
use crate::target::Target;
use crate::text;
use crate::transfer::Loaded;

/// Starts a command as a job.
pub(super) fn begin(
    client: &mut Client,
    invocation: &RunInvocation,
    loaded: Option<Loaded>,
    wants_terminal: bool,
) -> Result<Output, Error> {
    let mut signals = Signals::new(Caught::ENDS);
    let mut command = command(client, invocation, loaded);
    if wants_terminal {
        command = command.terminal(own_terminal(None));
    }
    command.run(standard_output()?, Some(&mut signals))
}

/// Says which job a command has become: to a program that `is_asked` for it on standard output, to a person in words.
pub(super) fn tell_detached(is_asked: bool, target: &Target, job: u32) -> Result<(), Error> {
    if is_asked {
        return print(&format!("{job}\n"));
    }
    text::say(&format!(
        "detached as job {job}; vsock-shell attach {} {job} comes back to it",
        target.address
    ));
    Ok(())
}

/// Tells which jobs there are; the status to exit with.
#[must_use]
pub fn jobs(ask: &Ask) -> u8 {
    let told = connect(&ask.target, &ask.settings).and_then(|mut client| {
        client.tell_losses(!ask.settings.is_quiet);
        let jobs = client.jobs()?;
        client.close();
        let values = || serde_json::Value::Array(jobs.iter().map(Job::to_value).collect());
        print(&if ask.is_json { format!("{}\n", values()) } else { Job::table(&jobs) })
    });
    status(&ask.target, told.map(|()| 0))
}

/// Does something with one job; the status to exit with.
#[must_use]
pub fn job(invocation: &JobInvocation) -> u8 {
    let done = connect(&invocation.target, &invocation.settings).and_then(|mut client| {
        client.tell_losses(!invocation.settings.is_quiet);
        let done = perform(&mut client, invocation);
        match done {
            Err(Error::Interrupted(_) | Error::Disconnected | Error::Local { .. }) => client.cancel(),
            _ => client.close_and_wait(),
        }
        done
    });
    status(&invocation.target, done)
}

fn status(target: &Target, done: Result<u8, Error>) -> u8 {
    done.unwrap_or_else(|error| {
        complain(&target.address.to_string(), &error);
        match error {
            Error::Interrupted(signal) => interrupted(signal),
            _ => FAILED,
        }
    })
}

fn perform(client: &mut Client, invocation: &JobInvocation) -> Result<u8, Error> {
    let (verb, flags) = match invocation.wish {
        Wish::Attach { is_read_only, .. } => (Verb::Attach, if is_read_only { READ_ONLY } else { 0 }),
        Wish::Logs { follows } => (Verb::Logs, if follows { FOLLOW } else { 0 }),
        Wish::Result { waits } => (Verb::Result, if waits { FOLLOW } else { 0 }),
        Wish::Kill(signal) => return client.signal_job(invocation.number, signal).map(|()| 0),
    };
    let request = JobRequest { job: invocation.number, verb, flags, signal: 0 };
    if let Wish::Attach { is_read_only: false, escape } = invocation.wish
        && client.job(invocation.number)?.has_terminal()
    {
        return attach(client, invocation, &request, escape);
    }
    let mut signals = Signals::new(Caught::ENDS);
    client.watch_job(&request, standard_output()?, Some(&mut signals)).map(Status::exit_code)
}

/// Sits down at the terminal of a job.
fn attach(
    client: &mut Client,
    invocation: &JobInvocation,
    request: &JobRequest,
    escape: Option<u8>,
) -> Result<u8, Error> {
    let mut signals = terminal_signals()?;
    let raw = raw_mode(true)?;
    let keys = Source::stdin().map_err(Error::local("use", "standard input"))?;
    let streams = Streams { input: Input::elsewhere(), ..standard_output()? };
    let escapes = Escapes::new(escape.filter(|_| raw.is_some()));
    let run = job::open(&mut client.connection.core, request, streams, None)?;
    let mut shell = Shell::new(run, keys, raw, escapes, &mut signals);
    if io::stdout().is_terminal() {
        shell = shell.redrawn();
    }
    let driven = drive(&mut client.connection, &mut shell);
    let run = shell.into_run();
    let ended = job::finish(&mut client.connection.core, run, driven, request.job)?;
    let status = Status(ended.outcome);
    if let Some(job) = status.job() {
        tell_detached(false, &invocation.target, job)?;
    }
    Ok(status.exit_code())
}
