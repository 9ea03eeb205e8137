//! Row 3: a child's standard output, relayed twice.

use std::io::{Error, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::{copy, request};

/// The host's side: socket to standard output, past std's line buffer.
pub fn show(socket: &str, count: &str) -> Result<()> {
    let mut connection = request(socket, "stdout", count)?;
    let mut stdout = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    copy(&mut connection, &mut stdout)?;
    stdout.flush()
}

/// The guest's side: the child's pipe to the socket.
pub fn relay(mut connection: UnixStream, count: &str) -> Result<()> {
    let mut child = Command::new("head")
        .args(["-c", count, "/dev/zero"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let copied = match child.stdout.take() {
        Some(mut pipe) => copy(&mut pipe, &mut connection),
        None => Err(Error::other("no pipe")),
    };
    child.wait()?;
    copied.map(drop)
}
