//! Owns the other direction of a connection, `--listen`: the agent calls, and we answer the first call that comes.
//!
//! A guest without a way in can have one out. The socket is there only while we wait: the file of a Unix socket is gone
//! once somebody has called, and a caller that comes later is told at once that nobody listens.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use super::attempt::wait;
use crate::target::Listen;

/// `VMADDR_CID_ANY` of `vsock(7)`: whatever context id this side has.
const CID_ANY: u32 = u32::MAX;
/// Callers that wait while one is answered. We answer one; the others find out when the socket closes.
const BACKLOG: i32 = 1;

/// Waits for one call.
pub(super) fn answer(on: &Listen, deadline: Option<Instant>) -> io::Result<Socket> {
    let (socket, _file) = match on {
        Listen::Vsock(port) => (bind(&SockAddr::vsock(CID_ANY, *port))?, None),
        Listen::Unix(path) => {
            let (socket, file) = bind_file(path)?;
            (socket, Some(file))
        }
    };
    socket.listen(BACKLOG)?;
    loop {
        match socket.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => wait(&socket, PollFlags::IN, deadline)?,
                // The caller has hung up already.
                Some(Errno::INTR | Errno::CONNABORTED) => {}
                _ => return Err(error),
            },
        }
    }
}

fn bind(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The file of a socket of ours, removed when it is dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Binds to a path that only we may connect to. What somebody who was killed left there is replaced.
fn bind_file(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let bound = match bind_private(&address) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRINUSE) && is_stale(path, &address) => {
            std::fs::remove_file(path)?;
            bind_private(&address)
        }
        bound => bound,
    };
    Ok((bound?, SocketFile(path.to_owned())))
}

/// The file is born with mode 0600. We have one thread here, so nobody else makes a file meanwhile.
fn bind_private(address: &SockAddr) -> io::Result<Socket> {
    let former = umask(Mode::from_raw_mode(0o177));
    let bound = bind(address);
    umask(former);
    bound
}

/// A socket that nobody listens on.
fn is_stale(path: &Path, address: &SockAddr) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|probe| probe.connect(address));
    is_socket && probe.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::CONNREFUSED))
}
