//! Owns the command line of shells and commands, and of `-W`, which stands in their place. Pure.

use std::path::{Path, PathBuf};

use super::{ArgsError, Words, fail, join, shown};
use crate::flags::Use;
use crate::forward::parse_destination;
use crate::invocation::{DEFAULT_ESCAPE, Invocation, Pass, Program, Pty, Run};
use crate::options::values;
use crate::subsystem;

impl Words<'_> {
    pub(super) fn into_run(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Run)?;
        let target = self.target()?;
        let with = self.options.with.as_ref().map(PathBuf::from);
        let program = self.program(with.as_deref())?;
        let settings = self.options.settings();
        let options = self.options;
        let run = Run {
            target,
            program,
            with,
            pty: options.pty.unwrap_or(Pty::Auto),
            is_stdin_null: options.is_stdin_null,
            escape: options.escape.unwrap_or(Some(DEFAULT_ESCAPE)),
            environment: options.environment,
            sent: options.sent,
            directory: options.directory,
            kill_after: options.kill_after,
            detach: options.is_detached.then_some(options.is_held),
            is_json: options.is_json,
            forwards: if options.clears_forwards { Vec::new() } else { options.forwards },
            agent_forwarding: options.agent_forwarding.unwrap_or(false),
            is_idle: options.is_idle,
            is_subsystem: options.is_subsystem,
            settings,
        };
        if options.is_dry {
            return Ok(Invocation::Dry(run));
        }
        if options.is_held && run.detach.is_none() {
            return fail("--hold says what a job does whose output nobody reads; write --detach beside it");
        }
        match contradiction(&run) {
            Some(text) => fail(text),
            None => Ok(Invocation::Run(run)),
        }
    }

    fn program(&self, with: Option<&Path>) -> Result<Program, ArgsError> {
        let Self { options, command, is_argv, .. } = self;
        if options.is_subsystem {
            let name = join(command);
            return subsystem::program(&name).ok_or_else(|| {
                let name = shown(&name);
                ArgsError(format!(
                    "-s cannot serve `{name}`: the one subsystem is sftp; write -s TARGET sftp"
                ))
            });
        }
        if let (Some(with), []) = (with, command.as_slice()) {
            // By its own name.
            return Ok(Program::Argv(vec![with.file_name().unwrap_or_default().to_owned()]));
        }
        match (is_argv, command.as_slice()) {
            (false, [word, ..]) if with.is_some() => fail(format!(
                "`{}` stands behind --with without a `--`; write TARGET --with FILE -- ARG0 [ARG]...",
                shown(word)
            )),
            (true, []) => fail("nothing stands after `--`; write TARGET -- PROGRAM [ARG]..."),
            (true, [program, ..]) if program.is_empty() => fail("the program after `--` is empty"),
            (true, words) => Ok(Program::Argv(words.to_vec())),
            (false, []) => Ok(options.remote_command.clone().map_or(Program::Shell, Program::Line)),
            (false, words) => Ok(Program::Line(join(words))),
        }
    }

    pub(super) fn into_pass(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Pass)?;
        let target = self.target()?;
        if let Some(word) = self.command.first() {
            return fail(format!(
                "`{}` is one word too many: -W joins one connection and runs no command",
                shown(word)
            ));
        }
        let settings = self.options.settings();
        let word = self.options.pass.unwrap_or_default();
        let destination =
            parse_destination(&word).map_err(|reason| values::unusable("-W", &word, &reason))?;
        Ok(Invocation::Pass(Pass { target, destination, settings }))
    }
}

/// What cannot be meant together.
fn contradiction(run: &Run) -> Option<&'static str> {
    let is_shell = run.program == Program::Shell;
    let is_job = run.detach.is_some();
    let rules = [
        (run.is_idle && !is_shell, "-N runs nothing, and there is a command; leave one out"),
        (run.is_idle && run.is_json, "-N runs nothing that --json could tell of; leave one out"),
        (run.is_idle && is_job, "-N runs nothing that could become a job; leave out --detach"),
        (run.is_subsystem && run.with.is_some(), "-s and --with exclude each other: both say what is run"),
        (
            run.is_subsystem && is_job,
            "-s and --detach exclude each other: a subsystem has somebody to talk to",
        ),
        (run.is_json && is_shell, "--json needs a command; write TARGET COMMAND or TARGET -- PROGRAM"),
        (
            run.is_json && run.pty == Pty::Always,
            "--json and -t exclude each other: a terminal mixes stdout and stderr; leave one out",
        ),
        (is_job && is_shell, "--detach needs a command; in a shell, ~d at the beginning of a line detaches"),
        (
            is_job && run.is_json,
            "--detach and --json exclude each other: a job has no result yet; see jobs --json",
        ),
        (
            is_job && run.kill_after.is_some(),
            "--detach and --kill-after exclude each other: nobody is there to see to it",
        ),
        (
            is_job && (!run.forwards.is_empty() || run.agent_forwarding),
            "--detach and forwarding exclude each other: nobody is there to connect to",
        ),
    ];
    rules.iter().find(|(is_meant, _)| *is_meant).map(|(_, text)| *text)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
