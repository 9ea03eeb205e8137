//! ssh servers and clients in a private corner: own keys, own configuration, a Unix socket instead of a port.
//!
//! The server's socat listens and hands each connection's socket itself to an `sshd -i` (`nofork`), so it copies nothing; the client's
//! is a ProxyCommand, as people write it. An `sshd -i` starts anew for each connection, which is part of its latency here.
//!
//! For root, both servers live in a mount namespace where the home folder is an empty one: the shell that they start reads no
//! `.bashrc`, which may well take longer than everything else, and dropbear finds the keys that it accepts only there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::contender::Task;
use super::rig::Rig;
use crate::scratch::{Scratch, Server};
use crate::{packages, workspace};

/// OpenSSH's server and client, ed25519 on both sides.
pub struct OpenSsh {
    config: PathBuf,
    pub server: Server,
}

impl OpenSsh {
    /// Starts the server and logs in once.
    pub fn start(scratch: &Scratch, log: &Path) -> Result<Self> {
        let sshd = packages::program("sshd").context("no sshd: install openssh-server")?;
        ensure!(packages::program("ssh").is_some(), "no ssh: install openssh-client");
        let [host_key, user_key] = ["ssh-host", "ssh-user"].map(|name| scratch.path(name));
        for key in [&host_key, &user_key] {
            let mut keygen = Command::new("ssh-keygen");
            workspace::output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key))?;
        }
        let server_config = scratch.path("sshd.conf");
        fs::write(
            &server_config,
            format!(
                "HostKey {}\nAuthorizedKeysFile {}.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
                 PermitRootLogin prohibit-password\nPidFile none\nUseDNS no\nPrintMotd no\nPrintLastLog no\n\
                 LogLevel ERROR\nSubsystem sftp internal-sftp\n",
                host_key.display(),
                user_key.display()
            ),
        )?;
        let socket = scratch.path("ssh.sock");
        let config = scratch.path("ssh.conf");
        fs::write(
            &config,
            format!(
                "Host guest\nUser {}\nProxyCommand {}\nIdentityFile {}\nIdentitiesOnly yes\nBatchMode yes\n\
                 StrictHostKeyChecking no\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nLogLevel ERROR\n",
                user()?,
                proxy(&socket),
                user_key.display(),
                scratch.path("ssh-known-hosts").display(),
            ),
        )?;
        // Where sshd drops its privileges; a service's start makes it, ours is none.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        let exec = format!("{} -i -f {}", sshd.display(), server_config.display());
        let mut listener = listener(&socket, &exec);
        if rustix::process::geteuid().is_root() {
            let home = scratch.path("ssh-home");
            fs::create_dir(&home)?;
            listener = at_home(&home, &listener);
        }
        let mut server = Server::start("sshd", &mut listener, log)?;
        server.listens(&socket)?;
        let peer = Self { config, server };
        works(peer.ssh().arg("true"))?;
        Ok(peer)
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&self.config).arg("guest");
        ssh
    }

    /// How it does a task. scp is OpenSSH's default, over sftp.
    pub fn job(&self, task: &Task<'_>, rig: &Rig) -> Command {
        let mut scp = Command::new("scp");
        scp.arg("-q").arg("-F").arg(&self.config);
        let mut ssh = self.ssh();
        match task {
            Task::True | Task::ShellTrue => ssh.arg("true"),
            Task::Stdout(count) => ssh.arg(format!("head -c {count} /dev/zero")),
            Task::Echo => ssh.arg("-tt").arg(rig.echo_command()),
            Task::Shell => ssh.arg("-tt"),
            Task::Upload { .. }
            | Task::Download { .. }
            | Task::UploadTree { .. }
            | Task::DownloadTree { .. } => {
                scp.args(operands(task));
                return scp;
            }
        };
        ssh
    }

    /// How it forwards, by the word of its `-L`.
    pub fn forwarder(&self, forward: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&self.config).args([
            "-o",
            "ExitOnForwardFailure=yes",
            "-N",
            "-L",
            forward,
            "guest",
        ]);
        ssh
    }

    /// How rsync does a task over it.
    pub fn rsync_job(&self, task: &Task<'_>) -> Option<Command> {
        if !task.is_tree() {
            return None;
        }
        let mut rsync = Command::new("rsync");
        rsync.args(["-a", "-e"]).arg(format!("ssh -F {}", self.config.display())).args(operands(task));
        Some(rsync)
    }
}

/// dropbear's server and client, ed25519 on both sides.
pub struct Dropbear {
    key: PathBuf,
    socket: PathBuf,
    wrapper: PathBuf,
    pub server: Server,
}

impl Dropbear {
    /// Starts the server and logs in once; only as root, for the sake of the private home.
    pub fn start(scratch: &Scratch, log: &Path) -> Result<Self> {
        let dropbear = packages::program("dropbear").context("no dropbear: install dropbear-bin")?;
        ensure!(rustix::process::geteuid().is_root(), "dropbear needs a private home, which takes root");
        let [host_key, key] = ["dropbear-host", "dropbear-user"].map(|name| scratch.path(name));
        for file in [&host_key, &key] {
            workspace::output(Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(file))?;
        }
        let public = workspace::output(Command::new("dropbearkey").arg("-y").arg("-f").arg(&key))?;
        let public = public
            .lines()
            .find(|line| line.starts_with("ssh-ed25519"))
            .context("dropbearkey shows no key")?;
        let home = scratch.path("dropbear-home");
        fs::create_dir_all(home.join(".ssh"))?;
        fs::write(home.join(".ssh/authorized_keys"), format!("{public}\n"))?;
        for (file, mode) in [("", 0o700), (".ssh", 0o700), (".ssh/authorized_keys", 0o600)] {
            fs::set_permissions(home.join(file), fs::Permissions::from_mode(mode))?;
        }

        let socket = scratch.path("dropbear.sock");
        let exec = format!("{} -i -r {}", dropbear.display(), host_key.display());
        let mut server = Server::start("dropbear", &mut at_home(&home, &listener(&socket, &exec)), log)?;
        server.listens(&socket)?;
        let wrapper = scratch.path("dropbear-scp");
        let peer = Self { key, socket, wrapper, server };
        peer.write_wrapper()?;
        works(peer.dbclient(&[]).arg("true"))?;
        Ok(peer)
    }

    /// scp calls its transport with OpenSSH's options; the last two words are the host and the remote command.
    fn write_wrapper(&self) -> Result<()> {
        let line = format!(
            "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\nexec dbclient -y -y -T -i {} -J '{}' \"$1\" \"$2\"\n",
            self.key.display(),
            proxy(&self.socket)
        );
        fs::write(&self.wrapper, line)?;
        fs::set_permissions(&self.wrapper, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    fn dbclient(&self, options: &[&str]) -> Command {
        let mut dbclient = Command::new("dbclient");
        dbclient
            .args(["-y", "-y", "-i"])
            .arg(&self.key)
            .arg("-J")
            .arg(proxy(&self.socket))
            .args(options)
            .arg("guest");
        dbclient
    }

    /// How it does a task. It has no sftp server, so scp speaks its older protocol over dbclient.
    pub fn job(&self, task: &Task<'_>, rig: &Rig) -> Command {
        let mut scp = Command::new("scp");
        scp.args(["-q", "-O", "-S"]).arg(&self.wrapper);
        let mut dbclient = self.dbclient(match task {
            Task::Echo | Task::Shell => &["-t"],
            _ => &["-T"],
        });
        match task {
            Task::True | Task::ShellTrue => dbclient.arg("true"),
            Task::Stdout(count) => dbclient.arg(format!("head -c {count} /dev/zero")),
            Task::Echo => dbclient.arg(rig.echo_command()),
            Task::Shell => &mut dbclient,
            Task::Upload { .. }
            | Task::Download { .. }
            | Task::UploadTree { .. }
            | Task::DownloadTree { .. } => {
                scp.args(operands(task));
                return scp;
            }
        };
        dbclient
    }
}

/// What a copying task is called on scp's and rsync's command lines; nothing for others.
fn operands(task: &Task<'_>) -> Vec<OsString> {
    let guest = |path: &Path| format!("guest:{}", path.display()).into();
    let (from, to) = match *task {
        Task::Upload { from, to } | Task::UploadTree { from, to } => (from.into(), guest(to)),
        Task::Download { from, to } | Task::DownloadTree { from, to } => (guest(from), to.into()),
        _ => return Vec::new(),
    };
    let recursive = task.is_tree().then(|| "-r".into());
    recursive.into_iter().chain([from, to]).collect()
}

/// A ProxyCommand to a Unix socket.
fn proxy(socket: &Path) -> String {
    format!("socat -b 65536 - UNIX-CONNECT:{}", socket.display())
}

/// A listener that becomes `exec`, with the connection as its standard input and output. It is bound by its bare name, inside its
/// folder: dropbear looks up the name of its own address, and glibc has room for 32 bytes of a socket's path there.
fn listener(socket: &Path, exec: &str) -> Command {
    let mut socat = Command::new("socat");
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    socat.arg(format!("UNIX-LISTEN:{name},fork,backlog=128")).arg(format!("EXEC:{exec},nofork"));
    socat.current_dir(socket.parent().unwrap_or_else(|| Path::new("/")));
    socat
}

/// The same command where `home` lies over the user's home, for it and its children only.
fn at_home(home: &Path, command: &Command) -> Command {
    let mut private = Command::new("unshare");
    private.args(["--mount", "--propagation", "private", "--", "sh", "-c"]);
    private.arg("mount --bind \"$0\" \"$HOME\" && exec \"$@\"").arg(home);
    private.arg(command.get_program()).args(command.get_args());
    private.current_dir(command.get_current_dir().unwrap_or(home));
    private
}

fn user() -> Result<String> {
    workspace::output(Command::new("id").arg("-un"))
}

fn works(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("logging in failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
