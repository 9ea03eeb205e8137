//! The real binary in a private directory, for the tests beside this folder.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What takes longer than this has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_vsock-shell-agent");

/// A directory that is gone with the value.
pub struct Directory(pub PathBuf);

impl Directory {
    /// A new one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vsock-shell-agent-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An agent that listens on the Unix socket `socket` in its directory; killed with the value.
pub struct Agent {
    /// The process.
    pub child: Child,
    /// Its directory.
    pub directory: Directory,
}

impl Agent {
    /// Starts one and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_by(Directory::new(), |_| {
            let mut command = Command::new(BINARY);
            command.args(arguments);
            command
        })
    }

    /// Starts one by `command`, to which the address is added as the last argument.
    pub fn start_by(directory: Directory, command: impl FnOnce(&Path) -> Command) -> Self {
        let socket = directory.path("socket");
        let mut command = command(&socket);
        command.arg(format!("--listen=unix:{}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(directory.path("log")).unwrap());
        let mut agent = Self { child: command.spawn().unwrap(), directory };
        until("the agent listens", || {
            assert_eq!(agent.child.try_wait().unwrap(), None, "it has ended: {}", agent.log());
            // Not by connecting: that would be a connection like those that the tests count.
            std::fs::read_to_string("/proc/net/unix").unwrap().lines().any(|line| {
                let flags = line.split_whitespace().nth(3);
                line.ends_with(socket.to_str().unwrap()) && flags == Some("00010000")
            })
        });
        agent
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path("socket")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path("log")).unwrap()
    }

    /// A new connection.
    pub fn connect(&self) -> UnixStream {
        connect(&self.socket())
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the agent has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Its child processes, zombies too.
    pub fn children(&self) -> usize {
        let parent = self.child.id().to_string();
        let is_child = |stat: String| {
            // pid (name) state ppid: the name may hold anything.
            stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2).map(|ppid| ppid == parent))
                == Some(true)
        };
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        stats
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter(|s| is_child(s.clone()))
            .count()
    }

    /// Clock ticks that it has computed, itself and the kernel for it.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection whose reads fail after the deadline.
pub fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Waits until the other side has closed the connection, which sends nothing.
pub fn assert_closed(stream: &mut UnixStream) {
    match stream.read(&mut [0; 1]) {
        Ok(0) => {}
        Ok(_) => panic!("it sent something"),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
}

/// Asks again and again until `condition` holds, with a deadline.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// 64 bytes that are no preamble.
pub const NO_PREAMBLE: [u8; 64] = [0xA5; 64];
