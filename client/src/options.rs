//! Owns the options of the command line: which there are, and the value that each takes. Pure.
//!
//! `args` asks for them one at a time, and decides where they may stand and which ones belong to what is done.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg;

use crate::args::{ArgsError, fail, shown};
use crate::invocation::{CopyOptions, DEFAULT_TIMEOUT, PATIENT_TIMEOUT, Pty, Settings, Variable};
use crate::key::{Credentials, parse_id};
use crate::patience::Patience;
use crate::suggest::nearest;
use crate::target::Target;

/// What the options said; `None` where one was not given.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub port: Option<u32>,
    pub user: Option<OsString>,
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
    pub is_help: bool,
    pub is_version: bool,
    /// Every option that was given, by the name that messages use.
    given: Vec<&'static str>,
}

/// Those that go with everything that has a target.
const OF_TARGETS: [&str; 3] = ["--key", "--expect-boot-id", "--expect-machine-id"];

/// The long options, for guesses at what a mistyped one was meant to be.
const LONG: [&str; 31] = [
    "key",
    "expect-boot-id",
    "expect-machine-id",
    "with",
    "port",
    "recursive",
    "preserve",
    "exclude",
    "resume",
    "checksum",
    "delete",
    "trust-guest",
    "in-place",
    "quiet",
    "upload",
    "download",
    "listen",
    "sync",
    "force",
    "timeout",
    "kill-after",
    "detach",
    "hold",
    "read-only",
    "follow",
    "wait",
    "reconnect",
    "dead-after",
    "json",
    "help",
    "version",
];

impl Options {
    /// Reads one option and its value; `false` at the end of the words. Some letters mean something else behind `cp`.
    pub(crate) fn read_next(
        &mut self,
        parser: &mut lexopt::Parser,
        is_copy: bool,
    ) -> Result<bool, ArgsError> {
        let Some(argument) = parser.next().map_err(|error| complaint(&error))? else { return Ok(false) };
        let name = match argument {
            // Behind `cp` it is what cp has it for.
            Arg::Short('p') if is_copy => "--preserve",
            Arg::Short('p') | Arg::Long("port") => "-p",
            Arg::Long("preserve") => "--preserve",
            Arg::Short('r' | 'R') | Arg::Long("recursive") => "-r",
            Arg::Long("exclude") => "--exclude",
            Arg::Long("resume") => "--resume",
            Arg::Long("checksum") => "--checksum",
            Arg::Long("delete") => "--delete",
            Arg::Long("trust-guest") => "--trust-guest",
            Arg::Long("in-place") => "--in-place",
            Arg::Short('l') => "-l",
            Arg::Short('t') => "-t",
            Arg::Short('T') => "-T",
            Arg::Short('n') => "-n",
            Arg::Short('q') | Arg::Long("quiet") => "-q",
            Arg::Short('v') => "-v",
            Arg::Short('e') => "-e",
            Arg::Short('E') => "-E",
            Arg::Short('C') => "-C",
            Arg::Short('u') | Arg::Long("upload") => "-u",
            Arg::Short('d') | Arg::Long("download") => "-d",
            Arg::Short('h') | Arg::Long("help") => "-h",
            Arg::Short('V') | Arg::Long("version") => "-V",
            Arg::Long("listen") => "--listen",
            Arg::Long("key") => "--key",
            Arg::Long("expect-boot-id") => "--expect-boot-id",
            Arg::Long("expect-machine-id") => "--expect-machine-id",
            Arg::Long("sync") => "--sync",
            Arg::Long("force") => "--force",
            Arg::Long("detach") => "--detach",
            Arg::Long("hold") => "--hold",
            Arg::Long("read-only") => "--read-only",
            Arg::Short('f') | Arg::Long("follow") => "-f",
            Arg::Long("wait") => "--wait",
            Arg::Long("with") => "--with",
            Arg::Long("timeout") => "--timeout",
            Arg::Long("kill-after") => "--kill-after",
            Arg::Long("reconnect") => "--reconnect",
            Arg::Long("dead-after") => "--dead-after",
            Arg::Long("json") => "--json",
            other => return Err(unknown(&other)),
        };
        self.given.push(name);
        self.set(name, parser)?;
        Ok(true)
    }

    /// Takes an option of this name, and its value.
    pub(crate) fn set(&mut self, name: &'static str, parser: &mut lexopt::Parser) -> Result<(), ArgsError> {
        let mut value = || parser.value().map_err(|error| complaint(&error));
        match name {
            "-p" => self.port = Some(port(&value()?)?),
            "-l" => self.user = Some(not_empty(name, value()?)?),
            "-t" => self.pty = Some(Pty::Always),
            "-T" => self.pty = Some(Pty::Never),
            "-n" => self.is_stdin_null = true,
            "-q" => self.is_quiet = true,
            "-v" => self.verbosity = self.verbosity.saturating_add(1),
            "-e" => self.escape = Some(escape_character(&value()?)?),
            "-E" => self.environment.push(variable(&value()?)?),
            "--with" => self.with = Some(not_empty(name, value()?)?),
            "-C" => self.directory = Some(not_empty(name, value()?)?),
            "-u" => once(&mut self.upload, name, value()?)?,
            "-d" => once(&mut self.download, name, value()?)?,
            "-h" => self.is_help = true,
            "-V" => self.is_version = true,
            "--listen" => self.listen = Some(value()?),
            "--key" => self.key = Some(not_empty(name, value()?)?.into()),
            "--expect-boot-id" => self.boot_id = Some(id(name, &value()?)?),
            "--expect-machine-id" => self.machine_id = Some(id(name, &value()?)?),
            "--sync" => self.copy.is_synced = true,
            "-r" => self.copy.is_recursive = true,
            "--preserve" => self.copy.is_preserving = true,
            "--exclude" => self.copy.excludes.push(not_empty(name, value()?)?),
            "--resume" => self.copy.is_resumed = true,
            "--checksum" => self.copy.is_checked = true,
            "--delete" => self.copy.deletes = true,
            "--trust-guest" => self.copy.trusts = true,
            "--in-place" => self.copy.is_in_place = true,
            "--force" => self.is_forced = true,
            "--detach" => self.is_detached = true,
            "--hold" => self.is_held = true,
            "--read-only" => self.is_read_only = true,
            "-f" => self.follows = true,
            "--wait" => self.waits = true,
            "--timeout" => self.timeout = Some(seconds(name, &value()?)?),
            "--kill-after" => self.kill_after = Some(seconds(name, &value()?)?),
            "--json" => self.is_json = true,
            "--reconnect" => self.reconnect = Some(seconds(name, &value()?)?),
            _ => self.dead_after = Some(seconds(name, &value()?)?),
        }
        Ok(())
    }

    /// Refuses the first option given that `what` has no use for.
    pub(crate) fn refuse_except(&self, what: &str, allowed: &[&str]) -> Result<(), ArgsError> {
        let is_fine =
            |name: &str| allowed.contains(&name) || (what != "keygen" && OF_TARGETS.contains(&name));
        match self.given.iter().find(|name| !is_fine(name)) {
            Some(name) => {
                fail(format!("{name} does not go with {what}; leave it out, or see vsock-shell -h"))
            }
            None => Ok(()),
        }
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

    /// What is shown to agents, and asked of them.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, ArgsError> {
        let (boot_id, machine_id) = (self.boot_id, self.machine_id);
        match &self.key {
            Some(key) => Ok(Some(Credentials { key: key.clone(), boot_id, machine_id })),
            None if boot_id.or(machine_id).is_some() => {
                fail("who a guest is can only be proved with a key; write --key FILE beside --expect-...")
            }
            None => Ok(None),
        }
    }

    /// Gives the target the user of `-l` and the key.
    pub(crate) fn complete(&self, target: &mut Target) -> Result<(), ArgsError> {
        target.credentials = self.credentials()?;
        match (&self.user, &target.user) {
            (Some(user), Some(other)) if user != other => fail(format!(
                "-l names the user `{}` and the target `{}`; name one",
                shown(user),
                shown(other)
            )),
            (Some(user), _) => {
                target.user = Some(user.clone());
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }
}

fn id(name: &str, value: &OsStr) -> Result<[u8; 16], ArgsError> {
    match value.to_str().and_then(parse_id) {
        Some(id) => Ok(id),
        None => fail(format!("cannot use {name} `{}`: an id has 32 hexadecimal digits", shown(value))),
    }
}

fn once(slot: &mut Option<OsString>, name: &str, value: OsString) -> Result<(), ArgsError> {
    if slot.is_some() {
        return fail(format!("{name} stands twice and moves one file; use vsock-shell cp for several"));
    }
    *slot = Some(value);
    Ok(())
}

fn port(value: &OsStr) -> Result<u32, ArgsError> {
    let digits = value.to_str().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(port) if port < u32::MAX => Ok(port),
        _ => fail(format!("cannot use -p `{}`: a port is a number from 0 to 4294967294", shown(value))),
    }
}

fn not_empty(name: &str, value: OsString) -> Result<OsString, ArgsError> {
    if value.is_empty() {
        fail(format!("cannot use {name} with an empty value; name one or leave {name} out"))
    } else {
        Ok(value)
    }
}

/// A byte as it is, `^X` for a control character (`^?` for DEL, as stty has it), or `none`.
fn escape_character(value: &OsStr) -> Result<Option<u8>, ArgsError> {
    match value.as_bytes() {
        b"none" => Ok(None),
        [byte] => Ok(Some(*byte)),
        b"^?" => Ok(Some(0x7f)),
        [b'^', letter @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Some(letter & 0x1f)),
        _ => fail(format!(
            "cannot use -e `{}`: give one character, ^X for a control character, or none",
            shown(value)
        )),
    }
}

fn variable(word: &OsStr) -> Result<Variable, ArgsError> {
    let bytes = word.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
        None => (bytes, None),
    };
    if name.is_empty() {
        return fail(format!(
            "cannot use -E `{}`: the name is empty; write -E NAME or -E NAME=VALUE",
            shown(word)
        ));
    }
    Ok(Variable { name: OsStr::from_bytes(name).to_owned(), value })
}

/// Digits with at most one point; `f64` alone would also take `inf`, `1e9` and a sign.
fn seconds(name: &str, value: &OsStr) -> Result<Duration, ArgsError> {
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let parsed = digits.and_then(|digits| digits.parse().ok());
    match parsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(duration) => Ok(duration),
        None => fail(format!("cannot use {name} `{}`: give seconds, such as 30 or 0.5", shown(value))),
    }
}

fn unknown(argument: &Arg<'_>) -> ArgsError {
    let (word, hint) = match argument {
        Arg::Long(name) => (format!("--{}", shown(OsStr::new(name))), nearest(name, LONG)),
        // `args` takes the plain words itself, so a value does not come here.
        Arg::Value(word) => (shown(word).into_owned(), None),
        Arg::Short(letter) => (format!("-{}", shown(OsStr::new(letter.encode_utf8(&mut [0; 4])))), None),
    };
    ArgsError(match hint {
        Some(name) => format!("unknown option `{word}`; did you mean `--{name}`?"),
        None => format!("unknown option `{word}`; vsock-shell -h lists the options"),
    })
}

pub(crate) fn complaint(error: &lexopt::Error) -> ArgsError {
    ArgsError(match error {
        lexopt::Error::MissingValue { option: Some(option) } => {
            format!("{option} needs a value; vsock-shell -h tells which")
        }
        lexopt::Error::UnexpectedValue { option, value } => {
            format!("{option} takes no value, and `{}` was given", shown(value))
        }
        // Not in debugging quotes as the library has it, and on one line.
        other => shown(OsStr::new(&other.to_string())).into_owned(),
    })
}
