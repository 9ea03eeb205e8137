//! The tables of what is no flag: how a command line is written, what a target is, the verbs that stand in its place, and the
//! verbs behind `fs` and `sys`.

use super::Use;

/// One way to write something.
pub(crate) struct Synopsis {
    pub words: &'static str,
    pub help: &'static str,
    /// The short help has it.
    pub is_everyday: bool,
}

const fn synopsis(words: &'static str, help: &'static str) -> Synopsis {
    Synopsis { words, help, is_everyday: false }
}

impl Synopsis {
    const fn everyday(self) -> Self {
        Self { is_everyday: true, ..self }
    }
}

/// The uses without a verb: what stands behind the program's name.
pub(crate) static SYNOPSES: &[Synopsis] = &[
    synopsis("[OPTIONS] [USER@]TARGET", "interactive shell").everyday(),
    synopsis("[OPTIONS] [USER@]TARGET COMMAND [ARG]...", "words joined by spaces, run by the guest's shell")
        .everyday(),
    synopsis("[OPTIONS] [USER@]TARGET -- PROGRAM [ARG]...", "run as it is, without a shell").everyday(),
    synopsis("TARGET --with FILE -- ARG0 [ARG]...", "a program of this side, executed in the guest's memory"),
    synopsis(
        "--detach [-t] [--hold] TARGET COMMAND...",
        "a command as a job, without a client; prints its number",
    ),
    synopsis("TARGET -u LOCAL:REMOTE", "upload one file (`\\:` is a colon in a name)"),
    synopsis("TARGET -d REMOTE:LOCAL", "download one file"),
    synopsis("-N -L|-R|-D SPEC... TARGET", "forward ports and sockets, and run nothing"),
    synopsis("TARGET -W HOST:PORT", "standard input and output are a connection from the guest to there"),
];

/// How an address is written.
pub(crate) static ADDRESSES: &[Synopsis] = &[
    synopsis("3, vsock:3[:PORT]", "the guest with context id 3"),
    synopsis("mux:PATH[:PORT]", "the Unix socket of Firecracker, Cloud Hypervisor or vhost-device-vsock"),
    synopsis("unix:PATH", "a Unix socket"),
    synopsis("tcp:HOST:PORT", "a TCP stream"),
    synopsis("serial:PATH", "a virtio-serial socket or a serial line"),
    synopsis("exec:COMMAND", "the standard input and output of a command"),
    synopsis("NAME", "one of the configuration, or a guest that runs here; see vsock-shell targets"),
];

/// A verb that stands in the place of the target.
#[derive(Debug)]
pub(crate) struct Verb {
    pub name: &'static str,
    pub of: Use,
    /// What stands behind it.
    pub words: &'static str,
    pub help: &'static str,
    /// Sentences that the long texts have besides.
    pub more: &'static str,
    /// Its own verbs, which stand before the target.
    pub forms: &'static [Form],
}

const fn verb(name: &'static str, of: Use, words: &'static str, help: &'static str) -> Verb {
    Verb { name, of, words, help, more: "", forms: &[] }
}

impl Verb {
    /// Further sentences.
    const fn more(self, more: &'static str) -> Self {
        Self { more, ..self }
    }
}

/// Every verb, in the order of the help.
pub(crate) static VERBS: &[Verb] = &[
    verb("cp", Use::Copy, "[-r] [-p] SRC... DST", "copy; TARGET:PATH on either side, `-` is stdin or stdout")
        .more(
            "A tree goes where cp(1) would put it: into a directory that is there, under its own name; otherwise it gets the \
             name that is written. `SRC/.` is what is in it. A slash at the end says that DST is a directory, and of a source \
             that a symbolic link is followed. Content, permissions, times, links, FIFOs and holes are kept. A file has its \
             name only when it is complete and its digest was compared. What cannot be copied is told, and the rest is copied.",
        ),
    verb("wait", Use::Wait, "[--timeout SECONDS] TARGET", "wait until the agent answers"),
    verb("info", Use::Info, "[--json] TARGET", "what the agent and its guest are")
        .more("Lines of a key and a value, which the agent chooses."),
    verb("poweroff", Use::PowerOff, "[--force] TARGET", "switch the guest off")
        .more("Its init is asked to, and the status is 0 as soon as that is under way."),
    verb("reboot", Use::Reboot, "[--force] TARGET", "start the guest again"),
    verb("halt", Use::Halt, "[--force] TARGET", "let the guest stand still"),
    Verb {
        name: "fs",
        of: Use::Fs,
        words: "VERB TARGET ...",
        help: "files without a program in the guest",
        more: "A path that is not absolute begins in the user's home.",
        forms: FS,
    },
    Verb {
        name: "sys",
        of: Use::System,
        words: "VERB TARGET ...",
        help: "processes, mounts, modules, the clock and more, likewise",
        more: "",
        forms: SYSTEM,
    },
    verb("jobs", Use::Jobs, "[--json] TARGET", "the jobs of the guest")
        .more("What runs, and what has ended and waits for somebody to read its status."),
    verb("attach", Use::Attach, "[--read-only] TARGET JOB", "a job's output and terminal; ends with its status").more(
        "It begins where the last one attached has left, if what was written since is still kept; the last MiB of each output \
         is. `~d` or `~.` leaves the job as it is.",
    ),
    verb("logs", Use::Logs, "[-f] TARGET JOB", "what is kept of a job's output, and with -f what follows"),
    verb("kill", Use::Kill, "[-SIGNAL] TARGET JOB", "send a job a signal (TERM)"),
    verb("result", Use::Result, "[--wait] TARGET JOB", "end with a job's status").more("It is then forgotten."),
    verb(
        "each",
        Use::Each,
        "[-P N] TARGET... -- COMMAND",
        "a command in several guests at once; a pattern of names such as `ci-*` stands for all that match",
    ),
    verb(
        "targets",
        Use::Targets,
        "[--json]",
        "the guests that run here, the names configured, and who answers",
    ),
    verb(
        "doctor",
        Use::Doctor,
        "[--json] [TARGET]",
        "why a guest cannot be reached, or what this machine lacks, and what to do",
    )
    .more("The status is 0 where no check fails, 1 where one does, and 255 where nothing could be checked. --timeout is how long each answer is waited for. Nothing is executed in the guest."),
    verb(
        "ssh-config",
        Use::SshConfig,
        "[--user USER] [--key FILE]",
        "print what makes `ssh vsock%3` work, for ~/.ssh/config",
    ),
    verb("keygen", Use::KeyGen, "FILE", "make a key for --key, here and of agents")
        .more("It has 256 random bits. `-` is standard output."),
    verb("completions", Use::Completions, "SHELL", "what Tab completes with: a script for bash, zsh or fish").more(
        "The script asks what can stand in the place of a word: `vsock-shell completions -- WORD...` prints that for the last \
         one, which may be empty.",
    ),
    verb("manual", Use::Manual, "", "the manual page: vsock-shell manual | man -l -"),
];

/// A verb behind `fs` or `sys`.
#[derive(Debug)]
pub(crate) struct Form {
    pub name: &'static str,
    /// What stands behind the target.
    pub words: &'static str,
    pub help: &'static str,
    pub flags: &'static [OwnFlag],
    /// How many words it takes.
    pub least: usize,
    pub most: usize,
}

/// A flag of such a verb.
#[derive(Debug)]
pub(crate) struct OwnFlag {
    pub letter: Option<char>,
    pub long: &'static str,
    /// The name of its value, where it takes one.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

const MANY: usize = usize::MAX;

const fn form(
    name: &'static str,
    words: &'static str,
    help: &'static str,
    least: usize,
    most: usize,
) -> Form {
    Form { name, words, help, flags: &[], least, most }
}

const fn own(letter: char, long: &'static str, help: &'static str) -> OwnFlag {
    OwnFlag { letter: Some(letter), long, value: None, help }
}

const fn word(long: &'static str, help: &'static str) -> OwnFlag {
    OwnFlag { letter: None, long, value: None, help }
}

impl Form {
    const fn with(self, flags: &'static [OwnFlag]) -> Self {
        Self { flags, ..self }
    }
}

impl OwnFlag {
    const fn taking(self, value: &'static str) -> Self {
        Self { value: Some(value), ..self }
    }
}

/// What `fs` does.
pub(crate) static FS: &[Form] = &[
    form("ls", "[-l] [-d] [PATH...]", "names, and with -l what is known of each", 0, MANY).with(&[
        own('l', "long", "what is known of each"),
        own('d', "directory", "directories themselves, and not what is in them"),
        own('a', "all", "nothing is left out anyway"),
    ]),
    form("cat", "PATH...", "what is in files", 1, MANY),
    form("stat", "PATH...", "all that is known of each", 1, MANY),
    form("mkdir", "[-p] PATH...", "make directories", 1, MANY).with(&[own(
        'p',
        "parents",
        "those that lead there too, and what is there already is fine",
    )]),
    form("rm", "[-r] PATH...", "remove", 1, MANY).with(&[own(
        'r',
        "recursive",
        "with what is in directories",
    )]),
    form("mv", "FROM TO", "rename", 2, 2),
    form("ln", "-s TEXT PATH", "make a symbolic link", 2, 2).with(&[own(
        's',
        "symbolic",
        "the only kind there is, and so has to stand there",
    )]),
    form("chmod", "MODE PATH...", "set permissions, in octal", 2, MANY),
    form("df", "[PATH...]", "how full file systems are", 0, MANY),
];

const FORCE: OwnFlag = word("force", "at once, without asking its init");

/// What `sys` does.
pub(crate) static SYSTEM: &[Form] = &[
    form("ps", "", "the processes", 0, 0),
    form("kill", "[-SIGNAL] PID...", "send processes a signal (TERM)", 1, MANY),
    form("dmesg", "[-f] [--since TIME]", "what the kernel has logged", 0, 0).with(&[
        own('f', "follow", "and what it goes on to log"),
        word("since", "from then on: 30s, 5m, 2h ago, or 2026-01-31T12:00:00Z").taking("TIME"),
    ]),
    form("mount", "[-t TYPE] [-o OPTIONS] SOURCE DIR", "mount, or without words what is mounted", 0, 2).with(
        &[
            own('t', "types", "the file system's type").taking("TYPE"),
            own('o', "options", "as mount(8) has them").taking("OPTIONS"),
        ],
    ),
    form("umount", "[-l] [-f] DIR...", "unmount", 1, MANY)
        .with(&[own('l', "lazy", "as soon as nobody uses it"), own('f', "force", "whoever uses it")]),
    form("modules", "", "the kernel's modules", 0, 0),
    form("load", "PATH [PARAMETER=VALUE]...", "load a module from a file of the guest", 1, MANY),
    form("unload", "NAME", "unload a module", 1, 1),
    form("env", "", "the agent's environment", 0, 0),
    form("sysctl", "NAME[=VALUE]...", "the kernel's settings", 1, MANY),
    form("date", "[--sync]", "the guest's clock", 0, 0).with(&[word("sync", "set it from ours")]),
    form("sync", "", "flush what was written to disk", 0, 0),
    form("poweroff", "[--force]", "switch the guest off", 0, 0).with(&[FORCE]),
    form("reboot", "[--force]", "start the guest again", 0, 0).with(&[FORCE]),
];
