//! Row 6: the guest's end of a stream, with reads and writes and nothing else.
//!
//! A request is two numbers, what to do and how much of it, so that a port without connections will do as well.

use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::os::fd::OwnedFd;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::BUFFER_BYTES;

/// Where files are put, and come from.
const FILE: &str = "/tmp/floor";
const CID_ANY: u32 = u32::MAX;

/// What to do: take a file and say so, give it, and send back each of so many bytes by itself.
const UP: u64 = b'u' as u64;
const DOWN: u64 = b'd' as u64;

/// Serves connections to a port of vsock, one after the other, or one port without connections.
pub fn serve(place: &str) -> Result<()> {
    let Some(port) = place.strip_prefix("vsock:") else {
        return answer(&File::options().read(true).write(true).open(place)?);
    };
    let port = port.parse().map_err(Error::other)?;
    let listener = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    listener.bind(&SockAddr::vsock(CID_ANY, port))?;
    listener.listen(1)?;
    loop {
        let (stream, _) = listener.accept()?;
        // The end of a connection is the end of its requests.
        _ = answer(&File::from(OwnedFd::from(stream)));
    }
}

fn answer(mut stream: &File) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let mut request = [0; 16];
        stream.read_exact(&mut request)?;
        let [what, count] =
            [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| request[at + byte])));
        match what {
            UP => {
                copy(stream, &mut File::create(FILE)?, count, &mut buffer)?;
                stream.write_all(b"!")?;
            }
            DOWN => copy(&mut File::open(FILE)?, &mut stream, count, &mut buffer)?,
            _ => {
                for _ in 0..count {
                    stream.read_exact(&mut buffer[..1])?;
                    stream.write_all(&buffer[..1])?;
                }
            }
        }
    }
}

fn copy(mut from: impl Read, to: &mut impl Write, mut count: u64, buffer: &mut [u8]) -> Result<()> {
    while count > 0 {
        let most = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        let read = from.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(Error::other("the stream has ended"));
        }
        to.write_all(&buffer[..read])?;
        count -= read as u64;
    }
    Ok(())
}
