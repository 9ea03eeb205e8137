//! A terminal of our own: a pty pair with a program on it, and the master side in our hands.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program on a terminal. Dropping it hangs the program up and reaps it.
pub struct Terminal {
    master: Option<OwnedFd>,
    child: Child,
    /// What has appeared and nobody has taken yet.
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts `command` as the leader of a session with a new pty as its controlling terminal. `setsid`, of util-linux, takes
    /// our place by exec, so the child's number is the program's.
    pub fn start(command: &Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm");
        setsid.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = setsid.spawn().context("cannot run setsid (util-linux)")?;
        Ok(Self { master: Some(master), child, seen: Vec::new() })
    }

    /// Changes its size, which the programs on it are told.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.master()?, size)?)
    }

    /// Waits until the program has ended, and tells how; what it still writes is thrown away.
    pub fn ends(mut self, patience: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("the program on the terminal is still there after {} s", patience.as_secs());
            }
            // Nothing there, or nobody any more: either way the program is asked again.
            let _ = self.read(&mut buffer, Duration::from_millis(5));
        }
    }

    /// Types.
    pub fn write(&self, keys: &[u8]) -> Result<()> {
        let written = rustix::io::write(self.master()?, keys)?;
        if written != keys.len() {
            bail!("the terminal took {written} of {} bytes", keys.len());
        }
        Ok(())
    }

    /// Takes what has appeared on the screen; where that is nothing, what appears next, or an error when nothing does in time.
    pub fn read(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize> {
        if !self.seen.is_empty() {
            let count = buffer.len().min(self.seen.len());
            buffer.iter_mut().zip(self.seen.drain(..count)).for_each(|(place, byte)| *place = byte);
            return Ok(count);
        }
        let master = self.master()?;
        let timeout =
            Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        if poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&timeout))? == 0 {
            bail!("nothing appeared on the terminal within {patience:?}");
        }
        rustix::io::read(master, buffer).context("the program on the terminal ended")
    }

    /// Waits until `text` has appeared: all that came up to its end.
    pub fn until(&mut self, text: &str, patience: Duration) -> Result<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut seen = std::mem::take(&mut self.seen);
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen = seen.split_off(at + text.len());
                return Ok(seen);
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.read(&mut buffer, left) {
                Ok(count) => seen.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    bail!("{error:#}; before that: {}", String::from_utf8_lossy(&seen).trim().escape_debug())
                }
            }
        }
    }

    /// Throws away what is on its way to the screen, until nothing comes for a while.
    pub fn settle(&mut self) {
        let mut buffer = [0; 4096];
        while self.read(&mut buffer, Duration::from_millis(100)).is_ok() {}
    }

    fn master(&self) -> Result<&OwnedFd> {
        self.master.as_ref().context("the terminal was closed")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Closing the master hangs up the terminal's session; what ignores that is killed.
        self.master = None;
        let patience = Instant::now() + Duration::from_secs(1);
        while Instant::now() < patience && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
