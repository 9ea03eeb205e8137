//! Row 4: terminal, relay, socket, relay, pty, and the same way back.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::request;

/// The host's side: our terminal in raw mode, relayed.
pub fn attach(socket: &str, command: &str) -> Result<()> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(&stdin, OptionalActions::Now, &raw)?;
    let connection = request(socket, "terminal", command)?;
    let terminal = File::from(stdin.as_fd().try_clone_to_owned()?);
    let relayed = relay(terminal, connection);
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    relayed
}

/// The guest's side: a shell's command on a pty of its own, relayed.
pub fn run(connection: UnixStream, command: &str) -> Result<()> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut setsid = Command::new("setsid");
    setsid.args(["--ctty", "sh", "-c", command]);
    let mut child =
        setsid.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(Stdio::from(slave)).spawn()?;
    // What `setsid` still held of the slave went with the command; from here on its end is the master's end of file.
    drop(setsid);
    let relayed = relay(File::from(master), connection);
    child.kill()?;
    child.wait()?;
    relayed
}

/// Moves bytes both ways until either side ends.
fn relay(mut terminal: File, mut connection: UnixStream) -> Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let mut ready = [PollFd::new(&terminal, PollFlags::IN), PollFd::new(&connection, PollFlags::IN)];
        poll(&mut ready, None)?;
        let [keys, output] = [!ready[0].revents().is_empty(), !ready[1].revents().is_empty()];
        if keys && !step(&mut terminal, &mut connection, &mut buffer)? {
            return Ok(());
        }
        if output && !step(&mut connection, &mut terminal, &mut buffer)? {
            return Ok(());
        }
    }
}

/// One read and its writes; false at the end. A pty whose other side was closed reads as an error.
fn step(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> Result<bool> {
    match from.read(buffer) {
        Ok(0) | Err(_) => Ok(false),
        Ok(count) => to.write_all(&buffer[..count]).map(|()| true),
    }
}
