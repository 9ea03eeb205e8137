//! Where a session or a job is reached: a Unix socket of its own, by which other processes of the agent hand it new connections,
//! or say what they want of the job.
//!
//! Whoever got a connection tries to open the door of its session. Where nobody has, the session is his to begin; where
//! somebody has, the connection is his to have. So one session is in one process, whatever becomes of the listener, and
//! the kernel decides who that is. The socket's name tells nothing of the id, and both sides look at whose process the other is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;
use vsock_shell_proto::limits::PREAMBLE_LEN;

use crate::digest::Digest;
use crate::sys::{pass, socket};

/// A preamble, the id of a port's connection, and whether there is one.
const MESSAGE_LEN: usize = PREAMBLE_LEN + 5;
/// Visitors that may wait.
const BACKLOG: i32 = 16;
/// How long one may take that has come in to say what he brings.
pub const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The door of a session, open.
pub struct Door(OwnedFd);

/// A connection on its way to its session, or a wish on its way to a job.
pub struct Visit<F> {
    /// What the connection began with; the wish.
    pub preamble: [u8; PREAMBLE_LEN],
    /// The id of the connection, on a port that has none.
    pub connection: Option<u32>,
    /// The stream in both directions; or the port, and what tells that it was left; or where a job writes to.
    pub descriptors: [F; 2],
}

fn socket_and_name(whose: &[u8]) -> Result<(OwnedFd, SocketAddrUnix)> {
    let mut digest = Digest::new();
    digest.update(whose);
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

/// Waits a moment for a message and its descriptors.
///
/// # Errors
/// EAGAIN where none came; of [`pass::receive`].
pub fn receive(socket: &OwnedFd, message: &mut [u8]) -> Result<[OwnedFd; 2]> {
    let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&PATIENCE));
    pass::receive(socket.as_fd(), message)
}

fn is_ours(socket: &OwnedFd) -> bool {
    socket_peercred(socket).is_ok_and(|peer| peer.uid == geteuid())
}

impl Door {
    /// Opens the door of a session, by its id, or of a job, by its name.
    ///
    /// # Errors
    /// EADDRINUSE where another process has; whatever keeps this system from having such sockets.
    pub fn open(whose: &[u8]) -> Result<Self> {
        let (socket, name) = socket_and_name(whose)?;
        rustix::net::bind(&socket, &name)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// The next visitor who waits, and the socket over which he can be answered.
    #[inline(never)]
    pub fn answer(&self) -> Option<(Visit<OwnedFd>, OwnedFd)> {
        loop {
            let (socket, _) = socket::accept(self.0.as_fd()).ok()?;
            if !is_ours(&socket) {
                continue;
            }
            let mut message = [0; MESSAGE_LEN];
            let Ok(descriptors) = receive(&socket, &mut message) else { continue };
            let mut preamble = [0; PREAMBLE_LEN];
            preamble.copy_from_slice(&message[..PREAMBLE_LEN]);
            let mut connection = [0; 4];
            connection.copy_from_slice(&message[PREAMBLE_LEN + 1..]);
            let connection = (message[PREAMBLE_LEN] != 0).then(|| u32::from_le_bytes(connection));
            return Some((Visit { preamble, connection, descriptors }, socket));
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Visit<BorrowedFd<'_>> {
    /// Hands it to the process that has opened this door. What is returned is the socket over which that may answer.
    ///
    /// # Errors
    /// ECONNREFUSED where nobody has; EPERM where that is no process of ours; of `connect` and `sendmsg`.
    #[inline(never)]
    pub fn hand_over(&self, whose: &[u8]) -> Result<OwnedFd> {
        let (socket, name) = socket_and_name(whose)?;
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
        pass::send(socket.as_fd(), &message, self.descriptors)?;
        Ok(socket)
    }
}
