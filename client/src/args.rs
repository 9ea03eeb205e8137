//! Owns the command line: words in, an [`Invocation`] or one line of complaint out. Pure, but for what [`Names`] looks up
//! where a target is a name; no environment.
//!
//! Two stages. `Words::read` sorts the words into options, target and command by position alone; [`parse`] gives
//! them their meaning for the verb. Where a word stands decides:
//!
//! * options stand before or after TARGET, never after the command's first word, so that a command keeps its own;
//! * a `--` before TARGET ends the options, and no verb follows it (scp writes `-- HOST COMMAND`);
//! * a `--` after TARGET makes what follows a program and its arguments, run without a shell;
//! * a verb (`cp`, `info`, …) stands in the place of TARGET. Options may stand anywhere after it;
//! * behind `fs` and `sys` stand a verb, TARGET, and words and options of that verb (`verbs`).

mod copy;
mod each;
mod named;
mod run;
mod ssh_config;
mod texts;
mod verbs;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::flags::{Use, VERBS, Verb};
use crate::invocation::{Action, Ask, DEFAULT_ESCAPE, DEFAULT_TIMEOUT, Doctor, Invocation, Job, Power, Wish};
use crate::names::Names;
use crate::options::{Options, complaint};
use crate::signal_name::number_of;
use crate::target::{Address, DEFAULT_PORT, Listen, Target};
use crate::text;

/// What is wrong with a command line: one line that names the word, without the program's name before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgsError(pub(crate) String);

impl std::fmt::Display for ArgsError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for ArgsError {}

/// The words of a command line by their place.
struct Words<'n> {
    /// What a name among them means.
    names: &'n Names,
    /// All of them, as they came.
    all: Vec<OsString>,
    options: Options,
    verb: Option<&'static Verb>,
    /// The target, or the operands of a verb.
    operands: Vec<OsString>,
    /// `COMMAND ARG…`, or `-- PROGRAM ARG…`.
    command: Vec<OsString>,
    /// A `--` stood before the command.
    is_argv: bool,
    /// What stood behind `kill -`.
    signal: Option<u32>,
}

/// Reads the words after the program's name, where no name is known.
///
/// # Errors
/// The first mistake found. Exit status 255 belongs to it.
pub fn parse<I>(words: I) -> Result<Invocation, ArgsError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    parse_named(words, &Names::none())
}

/// Reads the words after the program's name.
///
/// # Errors
/// The first mistake found, also in what the configuration says of a name that is used. Exit status 255 belongs to it.
pub fn parse_named<I>(words: I, names: &Names) -> Result<Invocation, ArgsError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let words = Words::read(words.into_iter().map(Into::into).collect(), names, Options::default())?;
    if words.options.is_asking_for_help() {
        return Ok(words.help());
    }
    if words.options.is_version {
        return Ok(Invocation::Version);
    }
    let words = words.over_configuration()?;
    match words.whole_use() {
        Use::Transfer => words.into_transfer(),
        Use::Pass => words.into_pass(),
        Use::Run => words.into_run(),
        Use::Copy => words.into_copy(),
        Use::Wait => words.into_ask().map(Invocation::Wait),
        Use::Info => words.into_ask().map(Invocation::Info),
        Use::PowerOff => words.into_power(Action::PowerOff),
        Use::Reboot => words.into_power(Action::Reboot),
        Use::Halt => words.into_power(Action::Halt),
        Use::Jobs => words.into_ask().map(Invocation::Jobs),
        Use::Attach => {
            let (is_read_only, escape) = (words.options.is_read_only, words.options.escape);
            let escape = escape.unwrap_or(Some(DEFAULT_ESCAPE));
            words.into_job(Wish::Attach { is_read_only, escape })
        }
        Use::Logs => {
            let follows = words.options.follows;
            words.into_job(Wish::Logs { follows })
        }
        Use::Kill => {
            const SIGTERM: u32 = 15;
            let signal = words.signal.unwrap_or(SIGTERM);
            words.into_job(Wish::Kill(signal))
        }
        Use::Result => {
            let waits = words.options.waits;
            words.into_job(Wish::Result { waits })
        }
        Use::Fs => verbs::fs(words),
        Use::System => verbs::system(words),
        Use::Each => words.into_each(),
        Use::Targets => words.into_targets(),
        Use::SshConfig => words.into_ssh_config(),
        Use::Doctor => words.into_doctor(),
        Use::KeyGen => words.into_key(),
        Use::Completions => words.into_completions(),
        Use::Manual => words.into_manual(),
    }
}

impl<'n> Words<'n> {
    /// Sorts the words; the flags among them come over those of `options`.
    fn read(all: Vec<OsString>, names: &'n Names, options: Options) -> Result<Self, ArgsError> {
        let mut parser = lexopt::Parser::from_args(&all);
        let mut words = Self {
            names,
            options,
            verb: None,
            operands: Vec::new(),
            command: Vec::new(),
            is_argv: false,
            signal: None,
            all,
        };
        // `-e=` means the character `=`, as in every getopt.
        parser.set_short_equals(false);
        let mut are_options_over = false;
        loop {
            // A whole word is left only between options, not in the middle of a cluster such as `-nT`.
            if let Some(mut rest) = parser.try_raw_args() {
                let is_plain =
                    |word: &OsStr| are_options_over || !word.as_bytes().starts_with(b"-") || word == "-";
                match rest.peek() {
                    None => break,
                    Some(word) if word == "--" && (!are_options_over || words.is_target_read()) => {
                        rest.next();
                        if words.is_target_read() || matches!(words.of(), Use::Each | Use::Completions) {
                            words.is_argv = true;
                            words.command = rest.collect();
                            break;
                        }
                        are_options_over = true;
                        continue;
                    }
                    Some(word) if words.of() == Use::Kill && !are_options_over && is_signal(word) => {
                        words.read_signal(word)?;
                        rest.next();
                        continue;
                    }
                    Some(word) if is_plain(word) => {
                        if words.is_target_read() {
                            words.command = rest.collect();
                            break;
                        }
                        words.operands.extend(rest.next());
                        words.find_verb(are_options_over);
                        if words.verb.is_some_and(|verb| !verb.forms.is_empty()) {
                            words.command = rest.collect();
                            break;
                        }
                        continue;
                    }
                    Some(_) => {}
                }
            }
            let there = words.of();
            if !words.options.read_next(&mut parser, there)? {
                break;
            }
        }
        Ok(words)
    }

    /// What its verb makes of it; without one, a run, until the flags are known.
    fn of(&self) -> Use {
        self.verb.map_or(Use::Run, |verb| verb.of)
    }

    /// What it is about once the flags are known: some of them decide it.
    fn whole_use(&self) -> Use {
        match self.of() {
            Use::Run if self.options.upload.is_some() || self.options.download.is_some() => Use::Transfer,
            Use::Run if self.options.pass.is_some() => Use::Pass,
            of => of,
        }
    }

    fn help(&self) -> Invocation {
        Invocation::Help { verb: self.verb.map(|verb| verb.name), is_full: self.options.is_full_help }
    }

    /// A verb takes all the words; otherwise the one that was read is the target, or none is needed, and a command may
    /// follow.
    fn is_target_read(&self) -> bool {
        self.verb.is_none() && (!self.operands.is_empty() || self.options.listen.is_some())
    }

    fn read_signal(&mut self, word: &OsStr) -> Result<(), ArgsError> {
        let Some(number) = word.to_str().and_then(|word| number_of(word.strip_prefix('-')?)) else {
            return fail(format!("`{}` is no signal; kill -l shows their names", shown(word)));
        };
        if self.signal.replace(number).is_some() {
            return fail(format!("`{}` is a second signal; one is sent", shown(word)));
        }
        Ok(())
    }

    fn find_verb(&mut self, are_options_over: bool) {
        if self.verb.is_none()
            && !are_options_over
            && let Some(verb) = VERBS.iter().find(|verb| self.operands[0] == *verb.name)
        {
            self.verb = Some(verb);
            self.operands.clear();
        }
    }

    fn into_key(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::KeyGen)?;
        match &self.operands[..] {
            [file] if !file.is_empty() => Ok(Invocation::KeyGen(file.into())),
            _ => fail("keygen takes one file, which it makes, or - for standard output"),
        }
    }

    fn into_ask(self) -> Result<Ask, ArgsError> {
        self.options.refuse_except(self.of())?;
        if let Some(word) = self.operands.get(usize::from(self.options.listen.is_none())) {
            let verb = self.of().name();
            return fail(format!("`{}` is one word too many: {verb} takes no more", shown(word)));
        }
        let target = self.target()?;
        Ok(Ask { target, is_json: self.options.is_json, settings: self.options.settings() })
    }

    fn into_doctor(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Doctor)?;
        if let (true, Some(spelled)) = (self.operands.is_empty(), self.options.first_except("json")) {
            return fail(format!("{spelled} is about one agent; write doctor TARGET, or leave it out"));
        }
        let (is_json, timeout) = (self.options.is_json, self.options.settings().patience.connect);
        let timeout = if timeout.is_zero() { DEFAULT_TIMEOUT } else { timeout };
        let target = if self.operands.is_empty() { None } else { Some(self.into_ask()?.target) };
        Ok(Invocation::Doctor(Doctor { target, timeout, is_json }))
    }

    fn into_job(mut self, wish: Wish) -> Result<Invocation, ArgsError> {
        let verb = self.of().name();
        let place = usize::from(self.options.listen.is_none());
        if self.operands.len() <= place {
            return fail(format!("{verb} needs a target and a job; write {verb} TARGET JOB"));
        }
        let word = self.operands.remove(place);
        let number = word.to_str().and_then(|word| word.parse().ok()).filter(|&number: &u32| number > 0);
        let Some(number) = number else {
            return fail(format!("`{}` is no job: a job is a number, as jobs shows it", shown(&word)));
        };
        let Ask { target, settings, .. } = self.into_ask()?;
        Ok(Invocation::Job(Job { target, number, wish, settings }))
    }

    fn into_power(self, action: Action) -> Result<Invocation, ArgsError> {
        let is_forced = self.options.is_forced;
        let Ask { target, settings, .. } = self.into_ask()?;
        Ok(Invocation::Power(Power { target, action, is_forced, is_json: false, settings }))
    }

    fn target(&self) -> Result<Target, ArgsError> {
        let default_port = self.options.port.unwrap_or(DEFAULT_PORT);
        if let Some(word) = &self.options.listen {
            if let Some(target) = self.operands.first() {
                return fail(format!(
                    "--listen stands for the target, and `{}` is one too; leave one out, or write --listen first",
                    shown(target)
                ));
            }
            let on = Listen::parse(word, default_port)
                .map_err(|error| ArgsError(format!("cannot use --listen `{}`: {error}", shown(word))))?;
            let mut target = Target { user: None, address: Address::Listen(on), credentials: None };
            self.options.complete(&mut target, &Options::default())?;
            return Ok(target);
        }
        let Some(word) = self.operands.first() else {
            return fail("no target is named; write vsock-shell TARGET, or vsock-shell -h for help");
        };
        self.resolve(word).map_err(|unresolved| unresolved.complaint(word, ""))
    }
}

/// It is written as a signal: `-9`, `-KILL`; there is no option of that form.
pub(crate) fn is_signal(word: &OsStr) -> bool {
    let is_number = |letters: &[u8]| letters.iter().any(u8::is_ascii_digit);
    let is_name = |letters: &[u8]| letters.len() > 1 && letters.iter().all(u8::is_ascii_uppercase);
    matches!(word.as_bytes(), [b'-', letters @ ..] if letters.first() != Some(&b'-') && (is_number(letters) || is_name(letters)))
}

fn join(words: &[OsString]) -> OsString {
    OsString::from_vec(words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>().join(&b' '))
}

pub(crate) fn shown(word: &OsStr) -> std::borrow::Cow<'_, str> {
    text::escape(word.as_bytes())
}

pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T, ArgsError> {
    Err(ArgsError(text.into()))
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
