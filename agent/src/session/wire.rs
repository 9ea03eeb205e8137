//! The records around a session's bytes on a port that has no connections (`PROTOCOL.md` §8), and how it is left.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use vsock_shell_proto::serial::Port;

use crate::sys::terminal;

/// Bytes that may wait in the kernel for a line: 22 ms at 115,200 bits a second. Its buffer takes 16 times as many, and
/// then the answer to Ctrl-C would stand behind them.
const LINE_QUEUE_MAX: u32 = 256;
/// Bytes in a record on a line, for the same reason.
const LINE_PAYLOAD_MAX: usize = 256;
/// How long a line is given to send what waits, in microseconds.
pub const LINE_PAUSE_US: u64 = 10_000;

/// A port that is lent to this session.
pub struct Wire {
    port: &'static mut Port,
    is_line: bool,
    /// Tells that we have left the port, and what we had read of it and not used.
    heir: OwnedFd,
}

impl Wire {
    /// The port whose connection was accepted.
    pub fn new(port: &'static mut Port, is_line: bool, heir: OwnedFd) -> Self {
        Self { port, is_line, heir }
    }

    /// EAGAIN may mean that the line has enough to send, and the kernel does not tell when it has not any more.
    pub fn is_line(&self) -> bool {
        self.is_line
    }

    /// Reads what there is of the connection; 0 when the client has ended it, or another has begun.
    ///
    /// # Errors
    /// EAGAIN when nothing is there now; of `read`.
    pub fn read(&mut self, fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
        self.port.read_with(buffer, &mut |places| rustix::io::read(fd, places))
    }

    /// Takes a beginning of the pieces into records; how long it was.
    ///
    /// # Errors
    /// EAGAIN while the port, or a line, has enough to send; of `write`.
    pub fn write(&mut self, fd: &OwnedFd, pieces: &[&[u8]]) -> Result<usize> {
        self.flush(fd)?;
        if self.is_line && terminal::output_queue(fd.as_fd())? > LINE_QUEUE_MAX {
            return Err(Errno::AGAIN);
        }
        let most = if self.is_line { LINE_PAYLOAD_MAX } else { usize::MAX };
        let taken = self.port.send(pieces, most);
        match self.flush(fd) {
            Ok(()) | Err(Errno::AGAIN) => Ok(taken),
            Err(errno) => Err(errno),
        }
    }

    /// Records have not left yet.
    pub fn is_pending(&self) -> bool {
        !self.port.can_send()
    }

    /// Writes what is left of the records.
    ///
    /// # Errors
    /// EAGAIN when the port takes no more now; of `write`.
    pub fn flush(&mut self, fd: &OwnedFd) -> Result<()> {
        while self.is_pending() {
            match rustix::io::write(fd, self.port.transmit()) {
                Ok(length) => self.port.handle_transmitted(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// What tells that we have left the port. It hangs up when whoever lent the port is gone, and another wants to open it.
    pub fn heir(&self) -> BorrowedFd<'_> {
        self.heir.as_fd()
    }

    /// The id of the connection.
    pub fn connection(&self) -> Option<u32> {
        self.port.connection()
    }

    /// Leaves the port to the process that lent it. What is left is storage, for the next port.
    pub fn leave(self, fd: &OwnedFd) -> &'static mut Port {
        if self.port.finish() {
            // Where the port takes nothing nobody waits for it.
            let _ = rustix::io::write(fd, self.port.transmit());
        }
        // An empty pipe takes so much at once.
        let _ = rustix::io::write(&self.heir, self.port.unread());
        self.port
    }
}
