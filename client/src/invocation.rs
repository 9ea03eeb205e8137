//! Owns what a command line can mean: the values that `args` parses and the rest of the client acts on.
//!
//! Only meaningful combinations can be built by `args`; nothing here does anything.

mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::completions::Shell;
use crate::forward::{Endpoint, Forward};
use crate::operand::Operand;
use crate::patience::Patience;
use crate::target::Target;

pub use verbs::{Asked, FsVerb, SystemVerb};

/// How long a connect is retried where `--timeout` does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// The same with `--listen`: a hundred years. A guest calls when it has booted.
pub const PATIENT_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// In how many guests `each` runs at once where `-P` does not say: a client for each is a process.
pub const DEFAULT_PARALLEL: usize = 32;

/// The escape character where `-e` does not say.
pub const DEFAULT_ESCAPE: u8 = b'~';

/// One use of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// A shell or a command in a guest.
    Run(Run),
    /// `-G`: what this would use, which is not done.
    Dry(Run),
    /// `-W`: one connection.
    Pass(Pass),
    /// `cp`, and `-u` and `-d`, which are copies of one file.
    Copy(Copy),
    /// `wait`: until the agent answers.
    Wait(Ask),
    /// `info`: what the agent tells about itself and its guest.
    Info(Ask),
    /// `poweroff`, `reboot`, `halt`: the end of the guest.
    Power(Power),
    /// `jobs`: which there are.
    Jobs(Ask),
    /// `attach`, `logs`, `kill`, `result`.
    Job(Job),
    /// `fs`.
    Fs(Asked<FsVerb>),
    /// `sys`.
    System(Asked<SystemVerb>),
    /// `each`: a command in several guests.
    Each(Each),
    /// `targets`: what is known here.
    Targets(Targets),
    /// `ssh-config`: how ssh reaches guests.
    SshConfig(SshConfig),
    /// `doctor`: why a guest cannot be reached.
    Doctor(Doctor),
    /// `keygen`: a new key, into this file; `-` is standard output.
    KeyGen(PathBuf),
    /// `completions SHELL`: its script.
    Script(Shell),
    /// `completions -- WORD...`: what could stand in the place of the last of these words.
    Complete(Vec<OsString>),
    /// `manual`: the manual page.
    Manual,
    /// `-h` and `--help`.
    Help {
        /// The verb that it is about.
        verb: Option<&'static str>,
        /// The longer text.
        is_full: bool,
    },
    /// `-V`.
    Version,
}

/// What goes for every way of reaching an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long to try to connect, and to keep the connection.
    pub patience: Patience,
    /// `-q`: no progress and no warnings, only errors.
    pub is_quiet: bool,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// A shell or a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where.
    pub target: Target,
    /// What.
    pub program: Program,
    /// `--with`: a program of this side, which is executed instead of one of the guest's, with the words of
    /// [`Program::Argv`].
    pub with: Option<PathBuf>,
    /// Whether it gets a terminal.
    pub pty: Pty,
    /// `-n`: standard input is at its end from the beginning.
    pub is_stdin_null: bool,
    /// The character of `-e`; `None`: no escapes.
    pub escape: Option<u8>,
    /// `-E`, in order.
    pub environment: Vec<Variable>,
    /// Patterns of variables of ours that go to the guest before those of `-E`, as `SendEnv` of `ssh_config(5)` has them: one
    /// behind a `-` takes back what it matches of the patterns before it.
    pub sent: Vec<OsString>,
    /// `-C`: the working directory in the guest.
    pub directory: Option<OsString>,
    /// `--kill-after`: how long the command may run.
    pub kill_after: Option<Duration>,
    /// `--detach`, and whether `--hold` stands beside it: it becomes a job at once. Never with [`Program::Shell`] or `--json`.
    pub detach: Option<bool>,
    /// `--json`: print one object instead of the command's output. Never with [`Program::Shell`] or [`Pty::Always`].
    pub is_json: bool,
    /// `-L`, `-R` and `-D`, in order. Never with `detach`.
    pub forwards: Vec<ForwardWord>,
    /// `-A`: programs of the guest may ask our ssh agent. Never with `detach`.
    pub agent_forwarding: bool,
    /// `-N`: nothing is run. Only with [`Program::Shell`], and never with `with`.
    pub is_idle: bool,
    /// `-s`: [`Program::Argv`] is what serves a subsystem, and stands where no PATH leads. Never with `with`, `detach` or
    /// `is_idle`.
    pub is_subsystem: bool,
    /// How to reach the agent, and how much to say.
    pub settings: Settings,
}

/// One `-L`, `-R` or `-D`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardWord {
    /// Which of them.
    pub kind: ForwardKind,
    /// Its value as it was written.
    pub spec: OsString,
    /// What that means.
    pub forward: Forward,
}

/// Who listens, and how it is told where to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardKind {
    /// `-L`: this side listens, the guest connects.
    Local,
    /// `-R`: the guest listens, this side connects.
    Remote,
    /// `-D`: this side listens as a SOCKS proxy, the guest connects.
    Dynamic,
}

impl ForwardKind {
    /// The flag that asks for it.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Local => "-L",
            Self::Remote => "-R",
            Self::Dynamic => "-D",
        }
    }

    /// Its name in `ssh_config(5)`, in small letters.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Local => "localforward",
            Self::Remote => "remoteforward",
            Self::Dynamic => "dynamicforward",
        }
    }
}

/// `-W`: standard input and output become one connection from the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// From which guest.
    pub target: Target,
    /// Where it connects to.
    pub destination: Endpoint,
    /// How to reach the agent, and how much to say.
    pub settings: Settings,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The user's shell, as a login shell.
    Shell,
    /// A command line for the user's shell: the words of ours joined by single spaces, as rsh and ssh do.
    Line(OsString),
    /// A program and its arguments, run as they are; never empty.
    Argv(Vec<OsString>),
}

/// Whether a command gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pty {
    /// As ssh has it: for [`Program::Shell`] when standard input and output are terminals, else not.
    Auto,
    /// `-t`.
    Always,
    /// `-T`.
    Never,
}

/// One `-E`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Not empty, without `=`.
    pub name: OsString,
    /// `None`: the value that it has here, or nothing where it has none.
    pub value: Option<OsString>,
}

/// A copy. At least one side is in a guest, and `-` stands at most once among the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// At least one.
    pub sources: Vec<Operand>,
    /// With several sources it has to be a directory.
    pub destination: Operand,
    /// What is copied, and how.
    pub options: CopyOptions,
    /// `--json`: print a summary.
    pub is_json: bool,
    /// How to reach the agents, and how much to say.
    pub settings: Settings,
}

/// What is copied, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// `-r`: directories with what is in them, and symbolic links as themselves.
    pub is_recursive: bool,
    /// `-p`: with owners, extended attributes, hard links and devices.
    pub is_preserving: bool,
    /// `--sync`: flushed to disk before success is told.
    pub is_synced: bool,
    /// `--resume`: partial files are kept, and what is there already is not copied again.
    pub is_resumed: bool,
    /// `--checksum`: files that are identical are not copied.
    pub is_checked: bool,
    /// `--delete`: what the source has not is removed.
    pub deletes: bool,
    /// `--trust-guest`: set-id bits, devices and privileged attributes are taken from a guest.
    pub trusts: bool,
    /// `--in-place`: an upload is written into the file or device that is there.
    pub is_in_place: bool,
    /// `--exclude`: patterns of names that are left out.
    pub excludes: Vec<OsString>,
}

/// A question to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which agent.
    pub target: Target,
    /// `--json`; only `info` and `jobs` have it.
    pub is_json: bool,
    /// How to reach the agent, and how much to say.
    pub settings: Settings,
}

/// A command in several guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// Where: words for targets, each once.
    pub targets: Vec<OsString>,
    /// The flags of each client.
    pub flags: Vec<OsString>,
    /// What stands behind the target of each client.
    pub command: Vec<OsString>,
    /// In how many guests at once; not 0.
    pub parallel: usize,
    /// `--json`: an object for each guest instead of its output.
    pub is_json: bool,
}

/// What is known of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Names and patterns, in the order in which they are told.
    pub known: Vec<Known>,
    /// `--json`.
    pub is_json: bool,
}

/// A diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doctor {
    /// Which guest; `None`: of this machine.
    pub target: Option<Target>,
    /// `--timeout`: how long each answer is waited for; not zero.
    pub timeout: Duration,
    /// `--json`.
    pub is_json: bool,
}

/// A name or a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// As it is written.
    pub name: String,
    /// Where it is from: `configuration`, or what runs the guest.
    pub source: &'static str,
    /// The process of the guest.
    pub pid: Option<u32>,
    /// The address in the configuration.
    pub written: Option<String>,
    /// What it means: nobody for a pattern, or why it means nothing.
    pub target: Result<Option<Target>, String>,
}

/// What is done with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// In which guest.
    pub target: Target,
    /// Its number.
    pub number: u32,
    /// What.
    pub wish: Wish,
    /// How to reach the agent, and how much to say.
    pub settings: Settings,
}

/// What a ProxyCommand for every guest is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshConfig {
    /// `--user`: as whom ssh logs in where its own words do not say.
    pub user: Option<OsString>,
    /// `-p`: the agents' port where a target names none.
    pub port: Option<u32>,
    /// `--timeout`: how long a connect is retried.
    pub timeout: Option<Duration>,
    /// `--key`: which one the agents have.
    pub key: Option<PathBuf>,
    /// The names and patterns of the configuration, in its order.
    pub names: Vec<SshName>,
}

/// A name or a pattern of the configuration, as a host of ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshName {
    /// As it is written.
    pub name: String,
    /// The way there ends on this machine.
    pub is_near: bool,
}

/// What one wants of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `attach`.
    Attach {
        /// `--read-only`: it hears nothing of what is typed.
        is_read_only: bool,
        /// The character of `-e`; `None`: no escapes.
        escape: Option<u8>,
    },
    /// `logs`.
    Logs {
        /// `-f`: go on with what it writes.
        follows: bool,
    },
    /// `kill`, with a signal's generic number.
    Kill(u32),
    /// `result`.
    Result {
        /// `--wait`: until it has ended.
        waits: bool,
    },
}

/// The end of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// Which guest.
    pub target: Target,
    /// How it ends.
    pub action: Action,
    /// `--force`: at once, without asking its init.
    pub is_forced: bool,
    /// `--json`, of `sys`.
    pub is_json: bool,
    /// How to reach the agent, and how much to say.
    pub settings: Settings,
}

/// How a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is switched off.
    PowerOff,
    /// It starts again.
    Reboot,
    /// It stands still.
    Halt,
}

impl Action {
    /// The verb, on our command line and in the protocol.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
        }
    }
}
