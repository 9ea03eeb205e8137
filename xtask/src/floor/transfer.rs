//! Row 2: a file, read here and written there under a temporary name, which is then renamed.

use std::fs::{self, File};
use std::io::{Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use crate::{copy, request};

/// The host's side of an upload.
pub fn put(socket: &str, local: &str, remote: &str) -> Result<()> {
    let mut file = File::open(local)?;
    let mut connection = request(socket, "put", remote)?;
    copy(&mut file, &mut connection)?;
    connection.shutdown(Shutdown::Write)?;
    connection.read_exact(&mut [0])
}

/// The guest's side of an upload.
pub fn receive(mut connection: UnixStream, path: &str) -> Result<()> {
    store(&mut connection, path)?;
    connection.write_all(&[0])
}

/// The host's side of a download.
pub fn get(socket: &str, remote: &str, local: &str) -> Result<()> {
    store(&mut request(socket, "get", remote)?, local)
}

/// The guest's side of a download.
pub fn send(mut connection: UnixStream, path: &str) -> Result<()> {
    copy(&mut File::open(path)?, &mut connection)?;
    Ok(())
}

fn store(connection: &mut UnixStream, path: &str) -> Result<()> {
    let temporary = format!("{path}.part");
    copy(connection, &mut File::create(&temporary)?)?;
    fs::rename(temporary, path)
}
