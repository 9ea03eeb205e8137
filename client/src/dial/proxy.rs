//! Owns the command of `exec:`: its start, its streams, its end.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::Stream;

/// How long the command may take to leave after its streams were closed, and again after SIGTERM.
const FAREWELL: Duration = Duration::from_millis(500);

/// The running command. Dropped, it gets time to leave by itself, then SIGTERM, then SIGKILL, and is reaped: at most
/// a second. Its streams must be closed before.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
}

impl Proxy {
    /// Starts `sh -c COMMAND`. Its standard error is ours. It is a process group of its own, so that Ctrl-C reaches
    /// the session and not the stream below it; the price is that it cannot ask on the terminal for a password.
    pub(super) fn spawn(command: &OsStr) -> io::Result<Stream> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let streams = (child.stdout.take().map(OwnedFd::from), child.stdin.take().map(OwnedFd::from));
        let proxy = Self { child };
        let (Some(input), Some(output)) = streams else { return Err(io::ErrorKind::BrokenPipe.into()) };
        // Each end of a pipe is a description of its own: the command's ends go on blocking.
        for end in [&input, &output] {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        Ok(Stream { child: Some(proxy), ..Stream::new(input, output) })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the command ended, `None` while it runs: to say why a stream died.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The same, waiting for it for [`FAREWELL`]: a stream ends a moment before the command.
    pub(crate) fn wait_briefly(&mut self) -> Option<ExitStatus> {
        self.leaves();
        self.try_wait().ok().flatten()
    }

    fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end, for [`FAREWELL`]; whether it came.
    fn leaves(&mut self) -> bool {
        let Some(pid) = self.pid() else { return true };
        if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
            let timeout = Timespec { tv_sec: 0, tv_nsec: FAREWELL.subsec_nanos().into() };
            // Interrupted by a signal, it is the shorter; so be it.
            _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
        }
        self.is_gone()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // Gone already is as good.
            _ = kill_process_group(pid, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.is_gone() || self.leaves() {
            return;
        }
        self.signal(Signal::TERM);
        if self.leaves() {
            return;
        }
        self.signal(Signal::KILL);
        _ = self.child.wait();
    }
}
