//! Owns the client's side of a port without connections: its opening, and the records around what goes over it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, SpecialCodeIndex, isatty, tcgetattr, tcsetattr,
};
use vsock_shell_proto::serial::Port;

use super::Stream;

/// The speed that a serial line is set to, in bits a second.
const SPEED: u32 = 115_200;
/// How long the record that ends a connection may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// The port, and what makes one connection out of it.
pub(super) struct Serial {
    fd: OwnedFd,
    port: Port,
}

impl std::fmt::Debug for Serial {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Serial").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// Whether the port is a socket, as QEMU has it for virtio-serial, and not a line.
pub(super) fn is_socket(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.file_type().is_socket())
}

/// Opens a serial line, and sets it up where it is a terminal: raw, 8 bits, no modem that could hang up.
pub(super) fn open_line(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let line = rustix::fs::open(path, flags, Mode::empty())?;
    if isatty(&line) {
        let mut modes = tcgetattr(&line)?;
        modes.make_raw();
        modes.input_modes -= InputModes::IXOFF;
        modes.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        modes.set_speed(SPEED)?;
        tcsetattr(&line, OptionalActions::Now, &modes)?;
    }
    Ok(line)
}

/// A stream over a port that is open and does not block.
pub(super) fn over(fd: OwnedFd) -> io::Result<Stream> {
    let mut connection = [0; 4];
    getrandom(&mut connection[..], GetRandomFlags::empty())?;
    let (input, output) = (fd.try_clone()?, fd.try_clone()?);
    let serial = Serial { fd, port: Port::client(u32::from_ne_bytes(connection)) };
    Ok(Stream { input, output, child: None, serial: Some(Box::new(serial)) })
}

impl Serial {
    /// Reads what there is of the connection; 0 when the other side has ended it.
    ///
    /// # Errors
    /// EAGAIN when nothing is there now; of `read(2)`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.port.read_with(buffer, &mut |places| rustix::io::read(&self.fd, places))
    }

    pub(super) fn has_unread(&mut self) -> bool {
        self.port.poll().is_some()
    }

    /// Takes a beginning of the pieces into records; how long it was.
    ///
    /// # Errors
    /// EAGAIN while the records before have not left; of `write(2)`.
    pub(super) fn write(&mut self, pieces: &[&[u8]]) -> Result<usize, Errno> {
        self.flush()?;
        let taken = self.port.send(pieces, usize::MAX);
        match self.flush() {
            Ok(()) | Err(Errno::AGAIN) => Ok(taken),
            Err(errno) => Err(errno),
        }
    }

    /// Writes what is left of the records.
    ///
    /// # Errors
    /// EAGAIN when the port takes no more now; of `write(2)`.
    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        while !self.port.transmit().is_empty() {
            match rustix::io::write(&self.fd, self.port.transmit()) {
                Ok(length) => self.port.handle_transmitted(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// The same, waiting for it until `deadline`; whether all has left.
    fn flush_until(&mut self, deadline: Instant) -> bool {
        loop {
            match self.flush() {
                Ok(()) => return true,
                Err(Errno::AGAIN) => {}
                Err(_) => return false,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            let ready = poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], Some(&timeout));
            if left.is_zero() || ready == Ok(0) {
                return false;
            }
        }
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        // The agent then need not wait for the next client to know that we are gone.
        let deadline = Instant::now() + FAREWELL;
        if self.flush_until(deadline) && self.port.finish() {
            self.flush_until(deadline);
        }
    }
}
