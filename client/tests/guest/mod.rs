//! A guest for the tests beside this folder: the real agent on a Unix socket in a private directory, and the real client.
//!
//! The client is `$VSOCK_SHELL_CLIENT`, else the one that cargo built for these tests; the agent is `$VSOCK_SHELL_AGENT`,
//! else the one beside the client. Everything a test starts is ended, by its process id, when its value is dropped.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod fake;
pub mod forwarded;
pub mod frames;
pub mod heed;
pub mod jobs;
pub mod keyed;
pub mod mistakes;
pub mod monitor;
pub mod nobody;
pub mod port;
pub mod processes;
pub mod proxy;
pub mod pty;
pub mod rsh;
pub mod stream;
pub mod tree;
pub mod ways;
pub mod wire;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vsock_shell_proto::preamble::{Dialer, SessionId};

/// What takes longer than this has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Stands for the guest's target among the words of [`Guest::client`].
pub const TARGET: &str = "<target>";

/// The client.
pub fn client_binary() -> PathBuf {
    std::env::var_os("VSOCK_SHELL_CLIENT")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_vsock-shell")), PathBuf::from)
}

/// The agent.
pub fn agent_binary() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_vsock-shell")).with_file_name("vsock-shell-agent");
    let path = std::env::var_os("VSOCK_SHELL_AGENT").map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "there is no agent at {}: run `cargo xtask test`", path.display());
    path
}

/// Asks again and again until `condition` holds, with a deadline.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Ends what other threads do when a turn is over, also where that ends by a panic.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The byte of every payload at `offset`: any byte anywhere proves itself.
pub fn payload_byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// The first `length` bytes of the payload.
pub fn payload(length: u64) -> Vec<u8> {
    (0..length).map(payload_byte).collect()
}

/// A file of so many bytes whose blocks are really there, so that it moves byte by byte and not as one hole.
pub fn solid_file(path: &Path, length: u64) {
    let file = File::create(path).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length).unwrap();
}

/// Both are the same; tells where they differ, not all that they hold.
#[track_caller]
pub fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "the lengths");
    if let Some(at) = got.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("byte {at} is {:#x} and not {:#x}", got[at], expected[at]);
    }
}

/// We can mount and become others. Otherwise says that the test is skipped.
#[track_caller]
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: {} needs root", std::thread::current().name().unwrap_or("this test"));
    }
    is_root
}

/// A directory that is gone with the value.
pub struct Directory(PathBuf);

impl Directory {
    /// A new one, which every user may enter.
    pub fn new() -> Self {
        Self::inside(&std::env::temp_dir())
    }

    /// A new one in memory, where there is a place for that: a disk takes minutes for what has very many files.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::inside(memory) } else { Self::new() }
    }

    fn inside(folder: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("vsock-shell-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// A new directory in it.
    pub fn subdirectory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A new file in it.
    pub fn file(&self, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The names in a directory, sorted.
pub fn names(directory: impl AsRef<Path>) -> Vec<OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// A process that is killed with the value.
pub struct Running(pub Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        heed::signals();
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("a process has ended", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Gives it `input` and waits for its end, reading what it writes.
    #[track_caller]
    pub fn finish(mut self, input: &[u8]) -> Finished {
        let stdin = self.0.stdin.take();
        let stdout = self.0.stdout.take();
        let stderr = self.0.stderr.take();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Who does not read it to its end has a reason.
                stdin.map(|mut stdin| stdin.write_all(input))
            });
            let stdout = scope.spawn(move || read_all(stdout));
            let stderr = scope.spawn(move || read_all(stderr));
            // The pipes are closed by the kill, so the scope ends also when this panics.
            let mut this = self;
            let status = this.end();
            Finished(Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn read_all(source: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        source.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// What a client left behind.
#[derive(Debug)]
pub struct Finished(pub Output);

impl Finished {
    /// Its exit status; panics when a signal killed it.
    #[track_caller]
    pub fn status(&self) -> i32 {
        self.0.status.code().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Its standard output, as text.
    pub fn stdout(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    /// Its standard error, as text.
    pub fn stderr(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }

    /// It succeeded and said nothing on standard error; its standard output.
    #[track_caller]
    pub fn succeeded(&self) -> &str {
        assert_eq!((self.status(), self.stderr()), (0, ""));
        self.stdout()
    }

    /// It failed with `status` and said why in one line with these words, on standard error alone.
    #[track_caller]
    pub fn failed(&self, status: i32, words: &[&str]) {
        let line = self.stderr();
        assert_eq!((self.status(), self.stdout()), (status, ""), "{line}");
        assert!(line.starts_with("vsock-shell: ") && line.ends_with('\n'), "{line:?}");
        assert_eq!(line.lines().count(), 1, "{line:?}");
        assert!(line.trim_end().chars().all(|character| !character.is_control()), "{line:?}");
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line:?}");
        }
    }
}

/// An agent that serves a Unix socket, and clients for it.
pub struct Guest {
    /// The agent's process.
    pub agent: Running,
    /// Where its socket is, and what else the test needs.
    pub directory: Directory,
}

impl Guest {
    /// Starts the agent and waits until it listens. A session ends with its connection.
    pub fn start() -> Self {
        Self::keeping("0")
    }

    /// The same, where sessions without a connection are kept for so many seconds.
    pub fn keeping(seconds: &str) -> Self {
        Self::start_by(|_| {
            let mut command = Command::new(agent_binary());
            command.args(["--grace", seconds]);
            command
        })
    }

    /// Starts it by a command that becomes the agent, to which the address is added as the last argument.
    pub fn start_by(command: impl FnOnce(&Directory) -> Command) -> Self {
        let directory = Directory::new();
        let mut command = command(&directory);
        let socket = directory.path("socket");
        command.arg(format!("--listen=unix:{}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(directory.path("log")).unwrap());
        let mut guest = Self { agent: Running::start(&mut command), directory };
        until("the agent listens", || {
            assert_eq!(guest.agent.0.try_wait().unwrap(), None, "the agent has ended: {}", guest.log());
            // Not by connecting, which would be one of the connections that the tests count. Its network may not be ours.
            let sockets = std::fs::read_to_string(format!("/proc/{}/net/unix", guest.agent.0.id()));
            sockets.unwrap_or_default().lines().any(|line| {
                line.ends_with(socket.to_str().unwrap()) && line.split_whitespace().nth(3) == Some("00010000")
            })
        });
        guest
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path("socket")
    }

    /// What its agent has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path("log")).unwrap()
    }

    /// Its target.
    pub fn target(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// A file of it, as `cp` takes it.
    pub fn remote(&self, path: impl AsRef<Path>) -> OsString {
        let mut operand = OsString::from(format!("unix%{}:", self.socket().display()));
        operand.push(path.as_ref());
        operand
    }

    /// The client with these words, [`TARGET`] among them, its standard streams piped.
    pub fn client<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        let target = self.target();
        client(words.into_iter().map(|word| match word.as_ref().to_str() {
            Some(TARGET) => OsString::from(&target),
            Some(word) if word.contains(TARGET) => word.replace(TARGET, &target).into(),
            _ => word.as_ref().to_owned(),
        }))
    }

    /// Runs the client with these words and an empty standard input.
    #[track_caller]
    pub fn run<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Finished {
        Running::start(&mut self.client(words)).finish(b"")
    }

    /// Runs `cp` with these operands.
    #[track_caller]
    pub fn cp<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Finished {
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        self.run([OsString::from("cp")].into_iter().chain(words))
    }

    /// Starts a command line in the guest and waits until it has said `ready` on its standard output.
    #[track_caller]
    pub fn start_command(&self, options: &[&str], line: &str) -> Running {
        let words = options.iter().copied().chain([TARGET, line]);
        let mut running = Running::start(self.client(words).stderr(Stdio::inherit()));
        read_line(running.0.stdout.as_mut().unwrap(), "ready");
        running
    }

    /// A connection that says nothing by itself; its reads fail after the deadline.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// The processes of its sessions, zombies too.
    pub fn sessions(&self) -> Vec<i32> {
        processes::children(self.agent.0.id() as i32)
    }

    /// A connection on which the agent has begun a session. No two at once may have the same id, whichever guests they are in.
    pub fn session(&self, id: u64) -> UnixStream {
        let mut stream = self.connect();
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        stream.write_all(&Dialer::new(SessionId(bytes)).next_preamble(0, [0; 16]).encode()).unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        stream
    }

    /// How many descriptors the listener has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.agent.0.id())).unwrap().count()
    }

    /// Waits until no session is left.
    #[track_caller]
    pub fn is_idle(&self) {
        until("all sessions have ended", || self.sessions().is_empty());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Kindly first, so that its sessions end as well.
        _ = kill_process(self.agent.pid(), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(8);
        while matches!(self.agent.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(3));
        }
        // Jobs live on.
        for process in processes::with_argument(&format!("unix:{}", self.socket().display())) {
            _ = kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}

/// The client with these words, its standard streams piped and its environment bare.
pub fn client<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Command {
    let mut command = Command::new(client_binary());
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Reads until there is a line that is `expected`.
#[track_caller]
pub fn read_line(source: &mut impl Read, expected: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    loop {
        match source.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            Ok(_) => panic!("it ended after {:?}", OsString::from_vec(seen)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after {:?}", OsString::from_vec(seen)),
        }
        if seen.ends_with(b"\n") && OsStr::from_bytes(seen.trim_ascii()) == expected {
            return;
        }
        if seen.ends_with(b"\n") {
            seen.clear();
        }
    }
}
