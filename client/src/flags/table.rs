//! The table of the flags: one row each, in the order of the help.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Flag, Section, Take, Use, Uses};
use crate::args::ArgsError;
use crate::invocation::{ForwardKind, Pty};
use crate::options::{Options, ssh, values};

const RUN: Uses = Uses::of(&[Use::Run]);
const COPY: Uses = Uses::of(&[Use::Copy]);
const TRANSFER: Uses = Uses::of(&[Use::Transfer]);
const PASS: Uses = Uses::of(&[Use::Pass]);
const ENDS: Uses = Uses::of(&[Use::PowerOff, Use::Reboot, Use::Halt]);
/// A command, in one guest or in several.
const COMMAND: Uses = RUN.and(Uses::of(&[Use::Each]));
/// What tells of all guests at once.
const LIST: Uses = Uses::of(&[Use::Targets]);
/// They have `--json` for what they tell.
const QUESTIONS: Uses = Uses::of(&[Use::Info, Use::Jobs, Use::Fs, Use::System]);
/// What finds out why an agent cannot be reached.
const DOCTOR: Uses = Uses::of(&[Use::Doctor]);
const JOB: Uses = Uses::of(&[Use::Attach, Use::Logs, Use::Kill, Use::Result]);
/// What may take long.
const LASTING: Uses = COMMAND.and(COPY).and(TRANSFER).and(PASS).and(QUESTIONS).and(JOB);
/// What somebody does, and not the agent itself.
const AS_USER: Uses = LASTING.and(Uses::of(&[Use::Wait]));
/// What tells ssh of every target.
const SSH_CONFIG: Uses = Uses::of(&[Use::SshConfig]);
/// What has a target.
const TARGETS: Uses = AS_USER.and(ENDS);

const fn switch(
    letters: &'static str,
    long: &'static str,
    take: fn(&mut Options),
    help: &'static str,
    uses: Uses,
) -> Flag {
    let long = if long.is_empty() { None } else { Some(long) };
    Flag { letters, home: None, long, take: Take::Switch(take), help, more: "", uses, is_everyday: false }
}

const fn value(
    letters: &'static str,
    long: &'static str,
    name: &'static str,
    take: fn(&mut Options, &str, OsString) -> Result<(), ArgsError>,
    help: &'static str,
    uses: Uses,
) -> Flag {
    let long = if long.is_empty() { None } else { Some(long) };
    Flag {
        letters,
        home: None,
        long,
        take: Take::Value(name, take),
        help,
        more: "",
        uses,
        is_everyday: false,
    }
}

impl Flag {
    /// Further sentences.
    const fn more(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    /// The short help has it.
    const fn everyday(self) -> Self {
        Self { is_everyday: true, ..self }
    }

    /// Its letters mean it behind this verb, whatever they are elsewhere.
    const fn behind(self, home: Use) -> Self {
        Self { home: Some(home), ..self }
    }
}

/// Every flag.
pub(crate) static SECTIONS: &[Section] = &[
    Section { title: "Reaching the agent", flags: REACHING },
    Section { title: "Commands and shells", flags: COMMANDS },
    Section { title: "Forwarding", flags: FORWARDING },
    Section { title: "One file", flags: ONE_FILE },
    Section { title: "Behind cp", flags: COPIES },
    Section { title: "Jobs and the end of a guest", flags: JOBS },
    Section { title: "What is said", flags: SAYING },
    Section { title: "For programs that call ssh", flags: SSH },
];

static REACHING: &[Flag] = &[
    value(
        "p",
        "port",
        "PORT",
        |options, name, word| values::set(&mut options.port, values::port(name, &word)),
        "port of the agent where TARGET names none (5000)",
        TARGETS.and(LIST).and(SSH_CONFIG).and(DOCTOR),
    ),
    value(
        "l",
        "user",
        "USER",
        |options, name, word| values::set(&mut options.user, values::not_empty(name, word)),
        "user in the guest; the same as USER@TARGET",
        AS_USER.and(SSH_CONFIG),
    )
    .everyday(),
    value(
        "",
        "listen",
        "ADDR",
        |options, _, word| values::set(&mut options.listen, Ok(word)),
        "in the place of TARGET: wait for an agent that calls vsock[:PORT] or unix:PATH (its --connect)",
        RUN.and(TRANSFER).and(PASS).and(QUESTIONS).and(JOB).and(ENDS).and(Uses::of(&[Use::Wait])),
    ),
    value(
        "",
        "timeout",
        "SECONDS",
        |options, name, word| values::set(&mut options.timeout, values::seconds(name, &word)),
        "keep trying to connect for so long (2; with --listen for ever); 0: try once",
        TARGETS.and(SSH_CONFIG).and(DOCTOR),
    )
    .everyday(),
    value(
        "",
        "reconnect",
        "SECONDS",
        |options, name, word| values::set(&mut options.reconnect, values::seconds(name, &word)),
        "keep trying for so long to get a lost connection back (30); 0: do not",
        TARGETS,
    ),
    value(
        "",
        "dead-after",
        "SECONDS",
        |options, name, word| values::set(&mut options.dead_after, values::seconds(name, &word)),
        "give up on a guest that has said nothing for so long (default: never)",
        LASTING,
    ),
    value(
        "",
        "key",
        "FILE",
        |options, name, word| values::set(&mut options.key, values::not_empty(name, word).map(PathBuf::from)),
        "the agent has to have the key in this file, and is shown that this side has it",
        TARGETS.and(SSH_CONFIG).and(DOCTOR),
    )
    .everyday(),
    value(
        "",
        "expect-boot-id",
        "ID",
        |options, name, word| values::set(&mut options.boot_id, values::id(name, &word)),
        "with --key: end unless it is this boot of the guest",
        TARGETS.and(DOCTOR),
    ),
    value(
        "",
        "expect-machine-id",
        "ID",
        |options, name, word| values::set(&mut options.machine_id, values::id(name, &word)),
        "with --key: end unless it is this guest",
        TARGETS.and(DOCTOR),
    ),
];

static COMMANDS: &[Flag] = &[
    switch("t", "", |options| options.pty = Some(Pty::Always), "with a terminal", RUN)
        .everyday()
        .more("Without -t and -T a shell has one when standard input and output are terminals, and a command has none."),
    switch("T", "", |options| options.pty = Some(Pty::Never), "without a terminal", RUN.and(PASS)),
    switch("n", "", |options| options.is_stdin_null = true, "standard input is empty", RUN),
    value(
        "e",
        "escape",
        "CHAR|none",
        |options, name, word| values::set(&mut options.escape, values::escape_character(name, &word)),
        "escape character of a shell (~)",
        RUN.and(Uses::of(&[Use::Attach])),
    ),
    value(
        "E",
        "env",
        "NAME[=VALUE]",
        |options, name, word| values::push(&mut options.environment, values::variable(name, &word)),
        "set a variable; without a value, the one it has here; repeatable",
        COMMAND,
    )
    .everyday(),
    value(
        "C",
        "directory",
        "DIR",
        |options, name, word| values::set(&mut options.directory, values::not_empty(name, word)),
        "working directory in the guest",
        COMMAND,
    ),
    value(
        "",
        "with",
        "FILE",
        |options, name, word| values::set(&mut options.with, values::not_empty(name, word)),
        "execute this program of ours in the guest's memory",
        COMMAND,
    )
    .everyday(),
    value(
        "",
        "kill-after",
        "SECONDS",
        |options, name, word| values::set(&mut options.kill_after, values::seconds(name, &word)),
        "kill the command when it runs longer",
        COMMAND,
    )
    .more("It gets SIGTERM first, and SIGKILL when it goes on."),
    value(
        "P",
        "parallel",
        "N",
        |options, name, word| values::set(&mut options.parallel, values::count(name, &word)),
        "in so many guests at once (32)",
        Uses::of(&[Use::Each]),
    ),
];

static FORWARDING: &[Flag] = &[
    value(
        "L",
        "local-forward",
        "SPEC",
        |options, name, word| options.forward(ForwardKind::Local, name, word),
        "listen here, and connect from the guest: [BIND:]PORT:HOST:PORT; repeatable",
        RUN,
    )
    .more(
        "In the place of [BIND:]PORT and of HOST:PORT may stand the path of a Unix socket (/PATH, ./PATH, or @NAME in the abstract namespace), and vsock:PORT for a port of the guest's vsock. BIND is localhost where it is not given, and * for every address; PORT 0 is one that is free, and is told. Names are resolved in the guest.",
    )
    .everyday(),
    value(
        "R",
        "remote-forward",
        "SPEC",
        |options, name, word| options.forward(ForwardKind::Remote, name, word),
        "listen in the guest, and connect from here; likewise",
        RUN,
    )
    .more("Also vsock:PORT may listen in the guest. Names are resolved here."),
    value(
        "D",
        "dynamic-forward",
        "SPEC",
        |options, name, word| options.forward(ForwardKind::Dynamic, name, word),
        "listen here as a SOCKS proxy that connects from the guest: [BIND:]PORT; repeatable",
        RUN,
    ),
    switch(
        "N",
        "",
        |options| options.is_idle = true,
        "run nothing: the session is there for what it forwards",
        RUN,
    )
    .everyday(),
    value(
        "W",
        "",
        "HOST:PORT",
        |options, name, word| {
            values::once(&mut options.pass, name, word, "joins one connection to standard input and output")
        },
        "standard input and output are a connection from the guest to there",
        PASS,
    )
    .more("A path or vsock:PORT may stand for HOST:PORT. As a ProxyCommand of ssh has it; no command is run."),
    switch(
        "A",
        "forward-agent",
        |options| options.agent_forwarding = Some(true),
        "programs in the guest may ask the ssh agent of this side",
        RUN,
    ),
    switch(
        "a",
        "",
        |options| options.agent_forwarding = Some(false),
        "they may not, as without -A",
        RUN.and(PASS),
    ),
];

static ONE_FILE: &[Flag] = &[
    value(
        "u",
        "upload",
        "LOCAL:REMOTE",
        |options, name, word| values::once(&mut options.upload, name, word, values::ONE_FILE),
        "upload one file",
        TRANSFER,
    )
    .more("In both names `\\:` is a colon."),
    value(
        "d",
        "download",
        "REMOTE:LOCAL",
        |options, name, word| values::once(&mut options.download, name, word, values::ONE_FILE),
        "download one file",
        TRANSFER,
    )
    .more("In both names `\\:` is a colon."),
];

static COPIES: &[Flag] = &[
    switch(
        "rR",
        "recursive",
        |options| options.copy.is_recursive = true,
        "directories with what is in them, and symbolic links as themselves",
        COPY,
    )
    .everyday()
    .behind(Use::Copy),
    switch(
        "p",
        "preserve",
        |options| options.copy.is_preserving = true,
        "with owners, extended attributes, hard links and devices too",
        COPY,
    )
    .behind(Use::Copy),
    value(
        "",
        "exclude",
        "GLOB",
        |options, name, word| values::push(&mut options.copy.excludes, values::not_empty(name, word)),
        "leave out names, or with a slash paths, that match; repeatable",
        COPY,
    ),
    switch(
        "",
        "resume",
        |options| options.copy.is_resumed = true,
        "keep what has come of a file when a copy ends early, and go on there",
        COPY,
    ),
    switch(
        "",
        "checksum",
        |options| options.copy.is_checked = true,
        "do not copy files that are identical",
        COPY,
    ),
    switch(
        "",
        "delete",
        |options| options.copy.deletes = true,
        "remove what the source has not (with -r, after a copy without problems)",
        COPY,
    ),
    switch(
        "",
        "sync",
        |options| options.copy.is_synced = true,
        "flush what was written to disk before success is told; also of -u and -d",
        COPY.and(TRANSFER),
    ),
    switch(
        "",
        "trust-guest",
        |options| options.copy.trusts = true,
        "take set-id bits, devices and privileged attributes from a guest",
        COPY,
    ),
    switch(
        "",
        "in-place",
        |options| options.copy.is_in_place = true,
        "write into the file or device that is there in the guest",
        COPY,
    ),
];

static JOBS: &[Flag] = &[
    switch("", "detach", |options| options.is_detached = true, "make the command a job at once", COMMAND)
        .everyday(),
    switch(
        "",
        "hold",
        |options| options.is_held = true,
        "a job whose output nobody reads waits when 1 MiB is kept, instead of losing the oldest",
        COMMAND,
    ),
    switch(
        "",
        "read-only",
        |options| options.is_read_only = true,
        "the job hears nothing of what is typed",
        Uses::of(&[Use::Attach]),
    ),
    switch(
        "f",
        "follow",
        |options| options.follows = true,
        "go on with what the job writes",
        Uses::of(&[Use::Logs]),
    ),
    switch("", "wait", |options| options.waits = true, "until the job has ended", Uses::of(&[Use::Result])),
    switch(
        "",
        "force",
        |options| options.is_forced = true,
        "end the guest at once, without asking its init",
        ENDS,
    ),
];

static SAYING: &[Flag] = &[
    switch(
        "",
        "json",
        |options| options.is_json = true,
        "print one object: the result of a command, the summary of a copy, or what a verb tells",
        COMMAND.and(COPY).and(QUESTIONS).and(LIST).and(DOCTOR),
    )
    .everyday(),
    switch("q", "quiet", |options| options.is_quiet = true, "say less", TARGETS).everyday(),
    switch(
        "v",
        "",
        |options| options.verbosity = options.verbosity.saturating_add(1),
        "say more; repeatable",
        TARGETS,
    )
    .everyday(),
    switch(
        "h",
        "",
        |options| options.is_help = true,
        "print this text, or behind a verb one about it",
        Uses::ALL,
    )
    .everyday(),
    switch("", "help", |options| options.is_full_help = true, "print a longer one, likewise", Uses::ALL)
        .everyday(),
    switch("V", "version", |options| options.is_version = true, "print the version", Uses::ALL).everyday(),
];

static SSH: &[Flag] = &[
    value(
        "o",
        "",
        "KEYWORD=VALUE",
        ssh::take,
        "as in ssh_config(5), where it means something here; the rest is ignored; repeatable",
        RUN.and(PASS),
    )
    .more(
        "Understood are Port, User, RequestTTY, SessionType, RemoteCommand, SetEnv, SendEnv, ConnectTimeout, EscapeChar, \
         StdinNull, LogLevel, LocalForward, RemoteForward, DynamicForward, ClearAllForwardings and ForwardAgent. \
         HostName is refused: TARGET says whom to reach. What our own flags say wins.",
    ),
    switch(
        "s",
        "",
        |options| options.is_subsystem = true,
        "the command is the name of a subsystem: sftp",
        RUN,
    ),
    switch(
        "G",
        "",
        |options| options.is_dry = true,
        "print what would be used to reach TARGET, as ssh -G does, and connect to nobody",
        RUN,
    ),
    switch("x46", "", |_| {}, "ignored: there is nothing that they would change", RUN.and(PASS)),
    value("iFcmS", "", "WORD", |_, _, _| Ok(()), "ignored, likewise", RUN.and(PASS)),
];
