//! Where a session is reached again: a Unix socket of its own, by which another process of the agent hands it a new connection.
//!
//! Whoever got a connection tries to open the door of its session. Where nobody has, the session is his to begin; where
//! somebody has, the connection is his to have. So one session is in one process, whatever becomes of the listener, and
//! the kernel decides who that is. The name tells nothing of the id, and both sides look at whose process the other is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::SessionId;

use crate::digest::Digest;
use crate::sys::{pass, socket};

/// A preamble, the id of a port's connection, and whether there is one.
const MESSAGE_LEN: usize = PREAMBLE_LEN + 5;
/// Visitors that may wait.
const BACKLOG: i32 = 16;
/// How long one may take that has come in to say what he brings.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The door of a session, open.
pub struct Door(OwnedFd);

/// A connection on its way to its session.
pub struct Visit<F> {
    /// What it began with.
    pub preamble: [u8; PREAMBLE_LEN],
    /// The id of the connection, on a port that has none.
    pub connection: Option<u32>,
    /// The stream in both directions; or the port, and what tells that it was left.
    pub descriptors: [F; 2],
}

fn socket_and_name(id: &SessionId) -> Result<(OwnedFd, SocketAddrUnix)> {
    let mut digest = Digest::new();
    digest.update(&id.0);
    let mut digest = digest.finish();
    let mut name = *b"vsock-shell-................";
    for place in name.iter_mut().filter(|place| **place == b'.') {
        *place = b'a' + (digest % 16) as u8;
        digest /= 16;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((socket, SocketAddrUnix::new_abstract_name(&name)?))
}

fn is_ours(socket: &OwnedFd) -> bool {
    socket_peercred(socket).is_ok_and(|peer| peer.uid == geteuid())
}

impl Door {
    /// Opens the door of the session `id`.
    ///
    /// # Errors
    /// EADDRINUSE where another process has; whatever keeps this system from having such sockets.
    pub fn open(id: &SessionId) -> Result<Self> {
        let (socket, name) = socket_and_name(id)?;
        rustix::net::bind(&socket, &name)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// The next visitor who waits.
    #[inline(never)]
    pub fn answer(&self) -> Option<Visit<OwnedFd>> {
        loop {
            let (socket, _) = socket::accept(self.0.as_fd()).ok()?;
            if !is_ours(&socket) {
                continue;
            }
            let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&PATIENCE));
            let mut message = [0; MESSAGE_LEN];
            let Ok(descriptors) = pass::receive(socket.as_fd(), &mut message) else { continue };
            let mut preamble = [0; PREAMBLE_LEN];
            preamble.copy_from_slice(&message[..PREAMBLE_LEN]);
            let mut connection = [0; 4];
            connection.copy_from_slice(&message[PREAMBLE_LEN + 1..]);
            let connection = (message[PREAMBLE_LEN] != 0).then(|| u32::from_le_bytes(connection));
            return Some(Visit { preamble, connection, descriptors });
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Visit<BorrowedFd<'_>> {
    /// Hands the connection to the process that has opened the door of the session `id`.
    ///
    /// # Errors
    /// EPERM where that is no process of ours; of `connect` and `sendmsg`.
    #[inline(never)]
    pub fn hand_over(&self, id: &SessionId) -> Result<()> {
        let (socket, name) = socket_and_name(id)?;
        rustix::net::connect(&socket, &name)?;
        if !is_ours(&socket) {
            return Err(Errno::PERM);
        }
        let mut message = [0; MESSAGE_LEN];
        message[..PREAMBLE_LEN].copy_from_slice(&self.preamble);
        if let Some(connection) = self.connection {
            message[PREAMBLE_LEN] = 1;
            message[PREAMBLE_LEN + 1..].copy_from_slice(&connection.to_le_bytes());
        }
        pass::send(socket.as_fd(), &message, self.descriptors)
    }
}
