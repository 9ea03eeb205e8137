//! A terminal with the client in it: what it shows, what is typed, its modes and its size.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{DEADLINE, Running, until};

/// A terminal.
pub struct Terminal {
    master: File,
    /// Kept open, so that the terminal outlives the client and its modes can be looked at.
    slave: OwnedFd,
    before: Termios,
    /// The client, leader of the session whose terminal this is.
    pub client: Running,
    seen: Vec<u8>,
}

impl Terminal {
    /// Opens a terminal of 24 rows and 80 columns and starts `client` in it.
    pub fn start(client: &Command) -> Self {
        Self::start_sized(client, 24, 80)
    }

    /// The same with another size.
    pub fn start_sized(client: &Command, rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        // A leader of a session with this controlling terminal; it becomes the client.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(client.get_program()).args(client.get_args());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).env("TERM", "xterm-256color");
        for (name, value) in client.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let before = tcgetattr(&slave).unwrap();
        let client = Running::start(&mut command);
        Self { master: File::from(master), slave, before, client, seen: Vec::new() }
    }

    /// Types.
    pub fn type_keys(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).unwrap();
    }

    /// Reads until `text` was shown; everything up to it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                let shown = self.seen.drain(..at + text.len()).collect::<Vec<_>>();
                return String::from_utf8_lossy(&shown).into_owned();
            }
            let shown = || String::from_utf8_lossy(&self.seen).into_owned();
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", shown());
            let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&moment)).unwrap() == 0 {
                continue;
            }
            let mut buffer = [0; 4096];
            let count =
                self.master.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {:?}", shown()));
            self.seen.extend_from_slice(&buffer[..count]);
        }
    }

    /// Changes its size; the kernel tells the client.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
    }

    /// Keys go through as they are typed.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Its modes are what they were before the client.
    pub fn is_restored(&self) -> bool {
        format!("{:?}", tcgetattr(&self.slave).unwrap()) == format!("{:?}", self.before)
    }

    /// Waits for the client's end, which must leave the terminal as it was. What is shown meanwhile is kept for
    /// [`Self::wait_for`].
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the client has ended", || {
            self.read_some();
            status = self.client.0.try_wait().unwrap();
            status.is_some()
        });
        self.read_some();
        assert!(self.is_restored(), "the terminal is not restored");
        status.unwrap()
    }

    /// What was shown and not waited for.
    pub fn rest(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Hangs up: the person closed the window.
    pub fn hang_up(self) -> Running {
        let Self { master, slave, client, .. } = self;
        drop((master, slave));
        client
    }

    fn read_some(&mut self) {
        while poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0 {
            let mut buffer = [0; 4096];
            let count = self.master.read(&mut buffer).unwrap();
            self.seen.extend_from_slice(&buffer[..count]);
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
