//! Private folders and private servers that never outlive the chore.
//!
//! Both are removed when they go out of scope, and, because the profiles abort on panic and a signal runs no destructor, they
//! are also written into one list that the panic hook and the signal thread work through. Servers lead a process group of
//! their own, so whatever they forked is ended with them, by the number we know, never by a name.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a server may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// How long a server may take until it listens.
const LISTENS: Duration = Duration::from_secs(10);

struct Live {
    folders: Vec<PathBuf>,
    groups: Vec<Pid>,
    /// In our own group, and not reaped.
    foreground: Vec<Pid>,
}

static LIVE: Mutex<Live> =
    Mutex::new(Live { folders: Vec::new(), groups: Vec::new(), foreground: Vec::new() });
static SIGNALLED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// From here on a panic leaves nothing behind, although the profile aborts.
pub fn end_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        end_everything();
    }));
}

/// From here on SIGINT, SIGTERM and SIGHUP leave nothing behind.
pub fn end_on_signal() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            SIGNALLED.store(true, Ordering::Release);
            end_everything();
            std::process::exit(128 + signal);
        }
    });
}

/// Does not return when a signal ends us: then whatever the caller saw fail was ended by that, and so is the caller.
pub fn give_way_to_signal() {
    while SIGNALLED.load(Ordering::Acquire) {
        thread::park();
    }
}

/// The list, to be added to. Once a signal has come nothing more begins, since nobody would end it.
fn live() -> MutexGuard<'static, Live> {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if SIGNALLED.load(Ordering::Acquire) {
        drop(live);
        give_way_to_signal();
        unreachable!("a signal ends the process");
    }
    live
}

fn end_everything() {
    let Ok(mut live) = LIVE.lock() else { return };
    // First, because they talk to the others. Nobody reaps one while we have the list.
    for pid in &live.foreground {
        let _ = kill_process(*pid, Signal::TERM);
        wait_for_end(*pid);
        let _ = kill_process(*pid, Signal::KILL);
    }
    let (folders, groups) = (std::mem::take(&mut live.folders), std::mem::take(&mut live.groups));
    drop(live);
    for group in &groups {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let patience = Instant::now() + GRACE;
    while Instant::now() < patience && groups.iter().any(|group| test_kill_process_group(*group).is_ok()) {
        thread::sleep(Duration::from_millis(20));
    }
    for group in &groups {
        let _ = kill_process_group(*group, Signal::KILL);
    }
    for folder in &folders {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Waits until a child has ended, which then is still to be reaped, or for [`GRACE`].
fn wait_for_end(child: Pid) {
    let patience = Instant::now() + GRACE;
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while Instant::now() < patience && matches!(waitid(WaitId::Pid(child), ended), Ok(None)) {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a program that a person talks to, and waits for it. It stays in our process group, where the terminal's keys reach it;
/// what ends us ends it too.
pub fn run_in_foreground(command: &mut Command) -> Result<ExitStatus> {
    let mut live = live();
    let mut child =
        command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let pid = Pid::from_child(&child);
    live.foreground.push(pid);
    drop(live);
    retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))?;
    if let Ok(mut live) = LIVE.lock() {
        live.foreground.retain(|other| *other != pid);
    }
    Ok(child.wait()?)
}

/// A fresh folder that only we may enter.
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Makes `PARENT/vsock-shell-PURPOSE-PID-N`.
    pub fn new(parent: &Path, purpose: &str) -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("vsock-shell-{purpose}-{}-{number}", std::process::id()));
        let mut live = live();
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        live.folders.push(folder.clone());
        Ok(Self { folder })
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        if let Ok(mut live) = LIVE.lock() {
            live.folders.retain(|folder| *folder != self.folder);
        }
    }
}

/// A process that works for us in the background, with all that it forks.
pub struct Server {
    name: String,
    child: Child,
    group: Pid,
    reaped: bool,
}

impl Server {
    /// Starts it without a standard input. What it says on standard error goes to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log = fs::File::options().append(true).create(true).open(log)?;
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut live = live();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let group = Pid::from_child(&child);
        live.groups.push(group);
        Ok(Self { name: name.to_owned(), child, group, reaped: false })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something accepts on `socket`; an error when the server ends before that.
    pub fn listens(&mut self, socket: &Path) -> Result<()> {
        self.awaits("listens", LISTENS, || UnixStream::connect(socket).is_ok())
    }

    /// Waits until `socket` exists, for a server that serves one connection only.
    pub fn binds(&mut self, socket: &Path) -> Result<()> {
        self.awaits("listens", LISTENS, || socket.exists())
    }

    /// Asks again and again until it is `ready`, which `what` calls by a verb; an error when it ends before that.
    pub fn awaits(&mut self, what: &str, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !ready() {
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status} before it {what}", self.name);
            }
            if Instant::now() > deadline {
                bail!("it took more than {} s until {} {what}", patience.as_secs(), self.name);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until it has ended by itself, and tells how.
    pub fn ends(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} is still there after {} s", self.name, patience.as_secs());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal to it and all that it forked.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process_group(self.group, signal)?)
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.reaped |= status.is_some();
        Ok(status)
    }

    /// Waits for it to end by itself.
    pub fn finishes(mut self) -> Result<()> {
        let status = self.child.wait()?;
        self.reaped = true;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Until it is reaped its number, and so its group's, belongs to nobody else.
        if !self.reaped {
            let _ = kill_process_group(self.group, Signal::TERM);
            wait_for_end(self.group);
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
        if let Ok(mut live) = LIVE.lock() {
            live.groups.retain(|group| *group != self.group);
        }
    }
}
