//! Who is compared, and how each of them does each task: one command line per pair, nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::rig::Rig;
use crate::scratch::Server;

/// Somebody who can do (some of) the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The bare minimum, `src/floor/`.
    Floor,
    /// The client and the static agent.
    Ours,
    OpenSsh,
    Dropbear,
    /// Without status, terminal handling, temporary names or digests: the shortest thing people glue together. Trees go through
    /// it as `tar` packs them.
    Socat,
    /// `rsync -a` over OpenSSH; trees only.
    Rsync,
}

impl Contender {
    pub const PEERS: [Self; 4] = [Self::OpenSsh, Self::Dropbear, Self::Socat, Self::Rsync];

    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ours => "vsock-shell",
            Self::OpenSsh => "OpenSSH",
            Self::Dropbear => "dropbear",
            Self::Socat => "socat",
            Self::Rsync => "rsync",
        }
    }
}

/// What is to be done, once, by a fresh process.
pub enum Task<'a> {
    /// Run `true`.
    True,
    /// Run `true` through a shell.
    ShellTrue,
    Upload {
        from: &'a Path,
        to: &'a Path,
    },
    Download {
        from: &'a Path,
        to: &'a Path,
    },
    /// A folder with all that is in it, into one that is there.
    UploadTree {
        from: &'a Path,
        to: &'a Path,
    },
    DownloadTree {
        from: &'a Path,
        to: &'a Path,
    },
    /// `head -c` so many zeros to standard output.
    Stdout(u64),
    /// Run the echo script on a pty.
    Echo,
    /// An interactive shell on a pty.
    Shell,
}

impl Task<'_> {
    /// Whether folders are copied.
    pub fn is_tree(&self) -> bool {
        matches!(self, Self::UploadTree { .. } | Self::DownloadTree { .. })
    }
}

/// A task ready to be started.
pub struct Job {
    pub command: Command,
    /// A server that serves this one job and ends with it.
    pub server: Option<Server>,
}

impl From<Command> for Job {
    fn from(command: Command) -> Self {
        Self { command, server: None }
    }
}

impl Rig {
    /// How `contender` does `task`, with everything up that it needs; none when it has no such thing.
    pub fn job(&self, contender: Contender, task: &Task<'_>) -> Result<Option<Job>> {
        match contender {
            Contender::Floor => Ok(self.floor_job(task).map(Job::from)),
            Contender::Ours => Ok(Some(self.our_job(&self.scratch.path("agent.sock"), task).into())),
            Contender::OpenSsh => Ok(self.openssh.as_ref().map(|ssh| ssh.job(task, self).into())),
            Contender::Dropbear => Ok(self.dropbear.as_ref().map(|dropbear| dropbear.job(task, self).into())),
            Contender::Socat => self.socat_job(task),
            Contender::Rsync => Ok(self.openssh.as_ref().and_then(|ssh| ssh.rsync_job(task)).map(Job::from)),
        }
    }

    fn floor_job(&self, task: &Task<'_>) -> Option<Command> {
        let socket = self.scratch.path("floor.sock");
        let mut command = Command::new(&self.floor_program);
        match task {
            Task::True => command.arg("true").arg(socket),
            Task::Upload { from, to } => command.arg("put").arg(socket).arg(from).arg(to),
            Task::Download { from, to } => command.arg("get").arg(socket).arg(from).arg(to),
            Task::Stdout(count) => command.arg("stdout").arg(socket).arg(count.to_string()),
            Task::Echo => command.arg("terminal").arg(socket).arg(self.echo_command()),
            Task::ShellTrue | Task::Shell | Task::UploadTree { .. } | Task::DownloadTree { .. } => {
                return None;
            }
        };
        Some(command)
    }

    /// Ours, with the agent behind `socket`.
    pub fn our_job(&self, socket: &Path, task: &Task<'_>) -> Command {
        let target = format!("unix:{}", socket.display());
        let remote = |path: &Path| format!("unix%{}:{}", socket.display(), path.display());
        let mut command = Command::new(&self.client);
        match task {
            Task::True => command.arg(target).args(["--", "true"]),
            Task::ShellTrue => command.arg(target).arg("true"),
            Task::Upload { from, to } => command.arg(target).arg("-u").arg(local_remote(from, to)),
            Task::Download { from, to } => command.arg(target).arg("-d").arg(local_remote(from, to)),
            Task::UploadTree { from, to } => command.args(["cp", "-r"]).arg(from).arg(remote(to)),
            Task::DownloadTree { from, to } => command.args(["cp", "-r"]).arg(remote(from)).arg(to),
            Task::Stdout(count) => {
                command.arg(target).args(["--", "head", "-c", &count.to_string(), "/dev/zero"])
            }
            Task::Echo => command.arg("-t").arg(target).arg(self.echo_command()),
            Task::Shell => command.arg(target),
        };
        command
    }

    /// socat wants a listener per kind of task; where one cannot be used twice, it is started here.
    fn socat_job(&self, task: &Task<'_>) -> Result<Option<Job>> {
        if !self.contenders.contains(&Contender::Socat) {
            return Ok(None);
        }
        let listener = |name: &str| self.scratch.path(&format!("socat-{name}.sock"));
        let socat = |words: &[String]| {
            let mut socat = Command::new("socat");
            socat.args(["-b", "262144"]).args(words);
            socat
        };
        let connect = |socket: &Path| format!("UNIX-CONNECT:{},retry=200,interval=0.01", socket.display());
        let listen = |socket: &Path| format!("UNIX-LISTEN:{},unlink-close=1", socket.display());
        let open = |file: &Path, flags: &str| format!("OPEN:{}{flags}", file.display());
        let stdout = || "STDOUT".to_owned();
        let once = listener("once");
        let (command, server) = match task {
            Task::True => (socat(&["-u".into(), connect(&listener("true")), stdout()]), None),
            Task::Echo => (socat(&["-,raw,echo=0".into(), connect(&listener("echo"))]), None),
            Task::Upload { from, to } => (
                socat(&["-u".into(), open(from, ""), connect(&once)]),
                Some(socat(&["-u".into(), listen(&once), open(to, ",creat,trunc")])),
            ),
            Task::Download { from, to } => (
                socat(&["-u".into(), connect(&once), open(to, ",creat,trunc")]),
                Some(socat(&["-u".into(), open(from, ""), listen(&once)])),
            ),
            Task::UploadTree { from, to } => {
                (packed(from, &connect(&once)), Some(unpacked(&listen(&once), to)))
            }
            Task::DownloadTree { from, to } => {
                (unpacked(&connect(&once), to), Some(packed(from, &listen(&once))))
            }
            Task::Stdout(count) => (
                socat(&["-u".into(), connect(&once), stdout()]),
                Some(socat(&["-U".into(), listen(&once), format!("EXEC:head -c {count} /dev/zero")])),
            ),
            Task::ShellTrue | Task::Shell => return Ok(None),
        };
        let server = match server {
            None => None,
            Some(mut command) => {
                let mut server = Server::start("socat", &mut command, &self.log())?;
                server.binds(&once)?;
                Some(server)
            }
        };
        Ok(Some(Job { command, server }))
    }
}

/// Forwarding, which is no task of one process: everybody stays up, and listens.
impl Rig {
    /// Lets `contender` listen at `here`, for connections that lead to `there` by way of its server; none when it has no such
    /// thing. What comes back has to be kept.
    pub fn forwarders(&self, contender: Contender, here: &Path, there: &Path) -> Result<Option<Vec<Server>>> {
        let forward = format!("{}:{}", here.display(), there.display());
        match contender {
            Contender::Ours => {
                let target = format!("unix:{}", self.scratch.path("agent.sock").display());
                let mut client = Command::new(&self.client);
                client.args(["-N", "-L", &forward, &target]);
                self.listener("vsock-shell -L", &mut client, here).map(|server| Some(vec![server]))
            }
            Contender::OpenSsh => {
                let Some(ssh) = &self.openssh else { return Ok(None) };
                self.listener("ssh -L", &mut ssh.forwarder(&forward), here).map(|server| Some(vec![server]))
            }
            Contender::Socat => {
                let between = self.scratch.path("socat-between.sock");
                let relay = |from: &Path, to: &Path| {
                    let mut socat = Command::new("socat");
                    socat.args(["-b", "262144"]);
                    socat.arg(format!("UNIX-LISTEN:{},fork,backlog=128", from.display()));
                    socat.arg(format!("UNIX-CONNECT:{}", to.display()));
                    self.listener("socat", &mut socat, from)
                };
                Ok(Some(vec![relay(&between, there)?, relay(here, &between)?]))
            }
            Contender::Floor | Contender::Dropbear | Contender::Rsync => Ok(None),
        }
    }

    fn listener(&self, name: &str, command: &mut Command, socket: &Path) -> Result<Server> {
        let mut server = Server::start(name, command, &self.log())?;
        server.listens(socket)?;
        Ok(server)
    }
}

/// `tar` of a folder, into an address of socat's.
fn packed(folder: &Path, address: &str) -> Command {
    let mut tar = Command::new("sh");
    let (parent, name) = (folder.parent().unwrap_or(folder), folder.file_name().unwrap_or_default());
    tar.args(["-c", r#"tar cf - -C "$0" "$1" | socat -b 262144 -u - "$2""#])
        .arg(parent)
        .arg(name)
        .arg(address);
    tar
}

/// What comes from such an address, unpacked in a folder.
fn unpacked(address: &str, folder: &Path) -> Command {
    let mut tar = Command::new("sh");
    tar.args(["-c", r#"socat -b 262144 -u "$0" - | tar xf - -C "$1""#]).arg(address).arg(folder);
    tar
}

/// `LOCAL:REMOTE` or `REMOTE:LOCAL`, as `-u` and `-d` take it. Neither name has a colon here.
fn local_remote(from: &Path, to: &Path) -> PathBuf {
    format!("{}:{}", from.display(), to.display()).into()
}
