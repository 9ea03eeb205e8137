//! The servers and files that all rows share, in one private tmpfs folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::contender::Contender;
use super::peers::{Dropbear, OpenSsh};
use crate::scratch::{Scratch, Server};
use crate::{packages, workspace};

/// `statfs`'s word for tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// Where it is.
const FOLDER: &str = "/dev/shm";

/// Everything that is up during a bench.
pub struct Rig {
    /// Who takes part, in the table's order.
    pub contenders: Vec<Contender>,
    /// Who does not, and why.
    pub absent: Vec<String>,
    pub client: PathBuf,
    pub floor_program: PathBuf,
    pub openssh: Option<OpenSsh>,
    pub dropbear: Option<Dropbear>,
    /// The agent's static file under a name that nobody else runs, so that its processes are known by it.
    pub agent_program: PathBuf,
    // Ended before the folder is removed: fields are dropped in this order.
    servers: Vec<Server>,
    pub scratch: Scratch,
}

impl Rig {
    /// Starts whatever can be started. Only the floor has to; an agent that does not come up makes every row of ours say so.
    pub fn new(bulk_bytes: u64) -> Result<Self> {
        let scratch = Scratch::new(tmpfs(bulk_bytes)?, "bench")?;
        let mut rig = Self {
            contenders: Vec::new(),
            absent: Vec::new(),
            client: workspace::client(),
            floor_program: workspace::target_dir().join("release/xtask-floor"),
            openssh: None,
            dropbear: None,
            agent_program: scratch.path("vsock-shell-agent"),
            servers: Vec::new(),
            scratch,
        };
        rig.start_floor()?;
        fs::copy(workspace::agent(), &rig.agent_program).context("no agent: run `cargo xtask build`")?;
        match rig.start_agent(&rig.agent_program, "agent.sock") {
            Ok(agent) => rig.servers.push(agent),
            Err(error) => rig.absent.push(format!("vsock-shell: {error:#}")),
        }
        rig.start_peers();
        Ok(rig)
    }

    /// Starts an agent on a socket of this name, from a file that tells its processes from another agent's.
    pub fn start_agent(&self, program: &Path, name: &str) -> Result<Server> {
        let socket = self.scratch.path(name);
        let mut agent = Command::new(program);
        agent.arg("--listen").arg(format!("unix:{}", socket.display()));
        let mut server = Server::start("the agent", &mut agent, &self.log())?;
        server.listens(&socket)?;
        Ok(server)
    }

    /// What a terminal's other end runs when keys are to come back at once: the line discipline echoes, nobody edits.
    pub fn echo_command(&self) -> String {
        format!("sh {}", self.scratch.path("echo.sh").display())
    }

    /// Where servers complain.
    pub fn log(&self) -> PathBuf {
        self.scratch.path("log")
    }

    fn start_floor(&mut self) -> Result<()> {
        fs::write(
            self.scratch.path("echo.sh"),
            "stty -icanon min 1 time 0 echo\necho ready\nexec cat >/dev/null\n",
        )?;
        let socket = self.scratch.path("floor.sock");
        let mut serve = Command::new(&self.floor_program);
        let mut server = Server::start("the floor", serve.arg("serve").arg(&socket), &self.log())?;
        server.listens(&socket)?;
        self.servers.push(server);
        self.contenders = vec![Contender::Floor, Contender::Ours];
        Ok(())
    }

    fn start_peers(&mut self) {
        if packages::program("socat").is_none() {
            self.absent.push("OpenSSH, dropbear, socat, rsync: no socat".to_owned());
            return;
        }
        match OpenSsh::start(&self.scratch, &self.log()) {
            Ok(peer) => {
                self.openssh = Some(peer);
                self.contenders.push(Contender::OpenSsh);
            }
            Err(error) => self.absent.push(format!("OpenSSH: {error:#}")),
        }
        match Dropbear::start(&self.scratch, &self.log()) {
            Ok(peer) => {
                self.dropbear = Some(peer);
                self.contenders.push(Contender::Dropbear);
            }
            Err(error) => self.absent.push(format!("dropbear: {error:#}")),
        }
        match self.start_socat() {
            Ok(()) => self.contenders.push(Contender::Socat),
            Err(error) => self.absent.push(format!("socat: {error:#}")),
        }
        match (&self.openssh, packages::program("rsync")) {
            (Some(_), Some(_)) => self.contenders.push(Contender::Rsync),
            (None, _) => self.absent.push("rsync: no OpenSSH".to_owned()),
            (_, None) => self.absent.push("rsync: install rsync".to_owned()),
        }
    }

    /// socat's listeners that serve many connections.
    fn start_socat(&mut self) -> Result<()> {
        let echo = format!("EXEC:{},pty,setsid,ctty,stderr", self.echo_command());
        for (name, address) in [("true", "EXEC:true,nofork"), ("echo", &echo)] {
            let socket = self.scratch.path(&format!("socat-{name}.sock"));
            let mut socat = Command::new("socat");
            socat.arg(format!("UNIX-LISTEN:{},fork,backlog=128", socket.display())).arg(address);
            let mut server = Server::start("socat", &mut socat, &self.log())?;
            server.binds(&socket)?;
            self.servers.push(server);
        }
        Ok(())
    }
}

/// A tmpfs with room for a few copies.
fn tmpfs(bulk_bytes: u64) -> Result<&'static Path> {
    let found = rustix::fs::statfs(FOLDER).context("the bench wants a tmpfs at /dev/shm")?;
    ensure!(found.f_type as u64 == TMPFS_MAGIC, "{FOLDER} is not a tmpfs; mount one");
    let free = room()?;
    ensure!(
        free >= 4 * bulk_bytes,
        "{FOLDER} has {} MiB free, {} are wanted",
        free >> 20,
        (4 * bulk_bytes) >> 20
    );
    Ok(Path::new(FOLDER))
}

/// Bytes that the tmpfs takes and the machine's memory has.
pub fn room() -> Result<u64> {
    let found = rustix::fs::statfs(FOLDER)?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes: u64 =
        available.and_then(|line| line.split_whitespace().next()).context("no MemAvailable")?.parse()?;
    Ok((found.f_bavail * found.f_bsize as u64).min(kibibytes << 10))
}
