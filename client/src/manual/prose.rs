//! What the manual page says beside the tables.

pub(super) const DESCRIPTION: &[&str] = &[
    "`vsock-shell` opens a shell in a Linux guest, runs a command there, or moves files, by way of the `vsock-shell-agent`(8) that \
     runs in the guest. The guest needs nothing else: no network, no users, no sshd, not even a shell.",
    "A command gets the words behind TARGET joined by single spaces, as a line for the guest's shell. Behind a `--` stand a program \
     and its arguments, which are run as they are. Standard input, output and error are its own and are passed on as they come; \
     what `vsock-shell` itself says goes to standard error, one line each. A shell gets a terminal when standard input and output \
     are terminals, a command only with `-t`.",
    "A session outlives its connection. Where that is lost, because the guest was saved and restored or the network of a laptop \
     went away, it is dialled again for as long as `--reconnect` says, and goes on at the very byte. A guest that can be reached \
     and says nothing is waited for, unless `--dead-after` is given.",
    "Jobs are commands that go on without a client: `--detach` starts one, `~d` makes one of what a shell or `attach` shows.",
];

pub(super) const TARGETS: &[&str] = &[
    "`USER@` may stand before each of them. The port is 5000 where neither the target nor `-p` says another one.",
    "In each of them `%` may stand for the first colon; then it stands for every other colon too, and `%%` for a percent sign. `cp` \
     wants it so, because there a target ends at its first colon: `unix%/run/agent.sock:/etc/fstab`. A local name with a colon is \
     written `./a:b`.",
    "A NAME is an entry of the configuration (see FILES), else a guest of QEMU, Firecracker or Cloud Hypervisor that runs on this \
     host and is found in its processes; `vsock-shell targets` lists both. A verb wins over a name. Behind a `--` no verb is looked for.",
];

pub(super) const OPTIONS: &[&str] = &[
    "Options stand before or after TARGET, but before the command. Letters that take no value may stand together. `--` before \
     TARGET ends the options. `vsock-shell VERB -h` lists those that go with a verb.",
];

pub(super) const FORWARDING: &[&str] = &[
    "While a shell or a command runs, or with `-N` alone, connections are carried through the session. `-L` and `-D` listen on this \
     side and connect from the guest; `-R` listens in the guest and connects from this side. `-W` makes one connection from the \
     guest the standard input and output, as the `ProxyCommand` of `ssh_config`(5) has it. `-A` lets programs in the guest ask the \
     ssh agent of this side.",
    "`-L` 8080:localhost:80 is port 80 of the guest at port 8080 here, `-L` /tmp/docker.sock:/run/docker.sock a socket of the guest, \
     `-R` 9000:localhost:9000 port 9000 of this side in the guest. TCP listens on localhost where no other address is named.",
];

/// What is said of an entry of the configuration, an example, and what is said behind it.
pub(super) const CONFIGURATION: (&str, &str, &str) = (
    "The configuration of a user stands over that of everybody: an entry is there instead of the one of the same name. Each is a \
     name, or a pattern of `*` and `?`; for a name its own entry counts, else the first pattern that matches. An entry has an `address`, \
     in which `{name}` stands for the name, and any long option; what the command line says counts more.",
    "[targets.box]\naddress = \"unix:/run/box.sock\"\nuser = \"root\"\nreconnect = 60\n\n[targets.\"ci-*\"]\naddress = \"mux:/run/vms/{name}.sock\"",
    "Without an address it is the guest of that name that runs.",
);

pub(super) const FILES: &[(&str, &str)] = &[
    (
        "~/.config/vsock-shell/config.toml",
        "The configuration of a user; `XDG_CONFIG_HOME` names another directory than ~/.config.",
    ),
    ("/etc/vsock-shell/config.toml", "The configuration of everybody."),
];

pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("VSOCK_SHELL_CONFIG", "names a configuration in the place of both."),
    ("XDG_CONFIG_HOME", "is where the configuration of a user is, in vsock-shell/."),
    ("SSH_AUTH_SOCK", "is the socket of the ssh agent that `-A` forwards."),
    ("TERM", "is told to a terminal in the guest."),
    ("TZ", "is the time zone of the times that `fs ls -l`, `fs stat`, `sys dmesg` and `sys date` show."),
];

pub(super) const STATUS: &[(&str, &str)] = &[
    ("0", "What was asked was done, and the command, if there was one, ended with 0."),
    ("N", "The command ended with this status."),
    ("128+N", "Signal N killed the command, or `vsock-shell`."),
    ("126, 127", "The command could not be executed, or was not found."),
    ("1", "Of `fs` and `sys`: the guest could not do something, which a line for each says."),
    ("255", "The guest could not be reached, something could not be copied, or `vsock-shell` itself failed."),
];

pub(super) const ESCAPES: &[&str] = &[
    "At the beginning of a line, in a shell or whatever else has a terminal. `-e` chooses another character.",
];

pub(super) const EXAMPLES: &[(&str, &str)] = &[
    ("A shell in the guest with context id 3:", "vsock-shell 3"),
    ("A line for the guest's shell:", "vsock-shell 3 'dmesg | tail'"),
    ("A program, without one:", "vsock-shell 3 -- mount -t tmpfs none /mnt"),
    ("Until the guest answers:", "vsock-shell wait --timeout 60 3"),
    (
        "A file up, a tree down with all its attributes:",
        "vsock-shell cp vmlinuz 3:/boot/\nvsock-shell cp -r -p 3:/etc backup",
    ),
    (
        "Through the socket of a microVM, as a user of the guest:",
        "vsock-shell root@mux:/run/vm.sock uname -r",
    ),
    (
        "A job, its output, and its status:",
        "job=$(vsock-shell --detach 3 'make test')\nvsock-shell logs -f 3 $job\nvsock-shell result --wait 3 $job",
    ),
    (
        "A guest with nothing in it but the agent:",
        "vsock-shell -t 3 --with /bin/busybox -- sh\nvsock-shell sys ps 3",
    ),
];

pub(super) const ALSO: &[(&str, u8)] = &[("vsock-shell-agent", 8), ("ssh", 1), ("vsock", 7)];
