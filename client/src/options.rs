//! Owns what the flags of a command line said. Pure.
//!
//! `flags` has the table of them; `args` asks for them one at a time, and decides where they may stand.

pub(crate) mod ssh;
pub(crate) mod values;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg;

use crate::args::{ArgsError, fail, shown};
use crate::flags::{self, Flag, Take, Use};
use crate::forward;
use crate::invocation::{
    CopyOptions, DEFAULT_TIMEOUT, ForwardKind, ForwardWord, PATIENT_TIMEOUT, Pty, Settings, Variable,
};
use crate::key::Credentials;
use crate::patience::Patience;
use crate::suggest::nearest;
use crate::target::Target;

/// What the options said; `None` where one was not given.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub port: Option<u32>,
    pub user: Option<OsString>,
    /// Where neither `-l` nor the target names one.
    pub default_user: Option<OsString>,
    pub pty: Option<Pty>,
    pub is_stdin_null: bool,
    pub is_quiet: bool,
    pub verbosity: u8,
    /// The inner `None` is `none`: no escapes.
    pub escape: Option<Option<u8>>,
    pub environment: Vec<Variable>,
    pub directory: Option<OsString>,
    pub with: Option<OsString>,
    pub timeout: Option<Duration>,
    pub reconnect: Option<Duration>,
    pub dead_after: Option<Duration>,
    pub kill_after: Option<Duration>,
    pub is_json: bool,
    pub copy: CopyOptions,
    pub is_forced: bool,
    pub is_detached: bool,
    pub is_held: bool,
    pub is_read_only: bool,
    pub follows: bool,
    pub waits: bool,
    pub upload: Option<OsString>,
    pub download: Option<OsString>,
    /// `--listen`, which stands for the target.
    pub listen: Option<OsString>,
    pub key: Option<PathBuf>,
    pub boot_id: Option<[u8; 16]>,
    pub machine_id: Option<[u8; 16]>,
    /// `-L`, `-R` and `-D`, in order.
    pub forwards: Vec<ForwardWord>,
    /// Forwards are forgotten, as a program that calls ssh wants it.
    pub clears_forwards: bool,
    /// `-A` or `-a`.
    pub agent_forwarding: Option<bool>,
    pub is_idle: bool,
    /// `-W`.
    pub pass: Option<OsString>,
    /// Patterns of variables of ours that go to the guest.
    pub sent: Vec<OsString>,
    pub is_subsystem: bool,
    /// The command where none is written, of `-o RemoteCommand`.
    pub remote_command: Option<OsString>,
    /// `-G`.
    pub is_dry: bool,
    /// `-P`.
    pub parallel: Option<usize>,
    pub is_help: bool,
    pub is_full_help: bool,
    pub is_version: bool,
    /// Every flag that was given, how it was spelled, and its value.
    given: Vec<(&'static Flag, String, Option<OsString>)>,
    /// Keywords of `-o` that were given.
    keywords: Vec<&'static str>,
}

impl Options {
    /// Reads one flag and its value; `false` at the end of the words. Some letters mean something else behind a verb.
    pub(crate) fn read_next(&mut self, parser: &mut lexopt::Parser, there: Use) -> Result<bool, ArgsError> {
        let Some(argument) = parser.next().map_err(|error| complaint(&error))? else { return Ok(false) };
        let (spelled, flag) = match argument {
            Arg::Short(letter) => (format!("-{letter}"), flags::by_letter(letter, there)),
            Arg::Long(word) => (format!("--{word}"), flags::by_word(word)),
            // `args` takes the plain words itself, so a value does not come here.
            Arg::Value(word) => (word.to_string_lossy().into_owned(), None),
        };
        let Some(flag) = flag else {
            let goes_with = |flag: &&Flag| flag.uses.contains(there);
            let known = flags::all().filter(goes_with).chain(flags::all()).filter_map(|flag| flag.long);
            return fail(unknown(&spelled, known, "vsock-shell --help lists the options"));
        };
        self.take(flag, spelled, parser)?;
        Ok(true)
    }

    /// Takes a flag, spelled like this, and its value.
    pub(crate) fn take(
        &mut self,
        flag: &'static Flag,
        spelled: String,
        parser: &mut lexopt::Parser,
    ) -> Result<(), ArgsError> {
        let value = match flag.take {
            Take::Switch(take) => {
                take(self);
                None
            }
            Take::Value(_, take) => {
                let value = parser.value().map_err(|error| complaint(&error))?;
                take(self, &spelled, value.clone())?;
                Some(value)
            }
        };
        self.given.push((flag, spelled, value));
        Ok(())
    }

    /// Refuses the first flag given that this use has nothing to do with.
    pub(crate) fn refuse_except(&self, of: Use) -> Result<(), ArgsError> {
        match self.given.iter().find(|(flag, ..)| !flag.uses.contains(of)) {
            Some((_, spelled, _)) => {
                let what = of.name();
                fail(format!("{spelled} does not go with {what}; leave it out, or see vsock-shell --help"))
            }
            None => Ok(()),
        }
    }

    /// The words for the flags given that also go with this use, in their order.
    pub(crate) fn words_for(&self, of: Use) -> Vec<OsString> {
        let given = self.given.iter().filter(|(flag, ..)| flag.uses.contains(of));
        given.flat_map(|(_, spelled, value)| [Some(spelled.into()), value.clone()]).flatten().collect()
    }

    /// How the first flag given was spelled that does not have this word.
    pub(crate) fn first_except(&self, long: &str) -> Option<&str> {
        let other = self.given.iter().find(|(flag, ..)| flag.long != Some(long));
        other.map(|(_, spelled, _)| spelled.as_str())
    }

    /// Whether any flag was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Takes another forward, in its order.
    pub(crate) fn forward(&mut self, kind: ForwardKind, name: &str, spec: OsString) -> Result<(), ArgsError> {
        let forward = forward::parse(kind, &spec).map_err(|reason| values::unusable(name, &spec, &reason))?;
        self.forwards.push(ForwardWord { kind, spec, forward });
        Ok(())
    }

    pub(crate) fn is_asking_for_help(&self) -> bool {
        self.is_help || self.is_full_help
    }

    pub(crate) fn settings(&self) -> Settings {
        let timeout = if self.listen.is_some() { PATIENT_TIMEOUT } else { DEFAULT_TIMEOUT };
        Settings {
            patience: Patience {
                connect: self.timeout.unwrap_or(timeout),
                reconnect: self.reconnect.unwrap_or(Patience::RECONNECT),
                dead_after: self.dead_after,
            },
            is_quiet: self.is_quiet,
            verbosity: self.verbosity,
        }
    }

    /// What is shown to an agent, and asked of it; where these flags say nothing, `beneath` does.
    fn credentials(&self, beneath: &Self) -> Result<Option<Credentials>, ArgsError> {
        let (boot_id, machine_id) =
            (self.boot_id.or(beneath.boot_id), self.machine_id.or(beneath.machine_id));
        match self.key.as_ref().or(beneath.key.as_ref()) {
            Some(key) => Ok(Some(Credentials { key: key.clone(), boot_id, machine_id })),
            None if boot_id.or(machine_id).is_some() => {
                fail("who a guest is can only be proved with a key; write --key FILE beside --expect-...")
            }
            None => Ok(None),
        }
    }

    /// Gives the target, in which a user may be named, the user of `-l` and the key; where neither the flags nor the target
    /// say anything, those of `beneath`.
    pub(crate) fn complete(&self, target: &mut Target, beneath: &Self) -> Result<(), ArgsError> {
        target.credentials = self.credentials(beneath)?;
        match (&self.user, &target.user) {
            (Some(user), Some(other)) if user != other => fail(format!(
                "-l names the user `{}` and the target `{}`; name one",
                shown(user),
                shown(other)
            )),
            _ => {
                let given = self.user.as_ref().or(target.user.as_ref()).or(self.default_user.as_ref());
                target.user = given.or(beneath.user.as_ref()).cloned();
                Ok(())
            }
        }
    }
}

/// The complaint about an option that there is not: the near one of `known`, of two that are as near the first, or `advice`.
pub(crate) fn unknown(spelled: &str, known: impl Iterator<Item = &'static str>, advice: &str) -> String {
    let word = shown(OsStr::new(spelled));
    match spelled.strip_prefix("--").and_then(|name| nearest(name, known)) {
        Some(near) => format!("unknown option `{word}`; did you mean `--{near}`?"),
        None => format!("unknown option `{word}`; {advice}"),
    }
}

pub(crate) fn complaint(error: &lexopt::Error) -> ArgsError {
    ArgsError(match error {
        lexopt::Error::MissingValue { option: Some(option) } => {
            format!("{option} needs a value; vsock-shell --help tells which")
        }
        lexopt::Error::UnexpectedValue { option, value } => {
            format!("{option} takes no value, and `{}` was given", shown(value))
        }
        // Not in debugging quotes as the library has it, and on one line.
        other => shown(OsStr::new(&other.to_string())).into_owned(),
    })
}
