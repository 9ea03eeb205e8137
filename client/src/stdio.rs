//! Owns our standard input, output and error as things that never block the main loop.
//!
//! O_NONBLOCK belongs to the open file *description*, which we share with the shell that started us and with whoever
//! else holds it. Setting it there breaks them (a `cat` beside us fails with EAGAIN, and so does the shell after our
//! death), so it is never set on what we were given:
//!
//! | what it is | how it is used |
//! |---|---|
//! | pipe, FIFO, terminal | opened anew through `/proc/self/fd`, which makes a description of our own |
//! | socket | each call with `MSG_DONTWAIT` |
//! | regular file, block device, `/dev/null` and its like | as it is: always ready |
//! | anything else, and the first kind where `/proc` or permission is missing | asked by `poll` before each call, at most [`ATOMIC_BYTES`] at once |
//!
//! The last kind can still block: when somebody else reads in between, or when a terminal has room for less.
//!
//! Wait with `poll(2)`, not epoll, which does not take regular files.
//!
//! A standard descriptor that is not open acts as `/dev/null`, as ssh has it: input at its end, output discarded.
//! (The standard library opens it so before `main`.)

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::termios::isatty;

/// What a pipe that is ready to be written takes without blocking: PIPE_BUF of `pipe(7)`.
pub const ATOMIC_BYTES: usize = 4096;

/// Bytes that we want a pipe of ours to hold; 64 KiB is what the kernel gives by itself.
const PIPE_LEN: usize = 256 * 1024;

/// Pieces written at once.
const PIECES_MAX: usize = 16;

/// Something to read from; wait for it with [`AsFd`].
#[derive(Debug)]
pub struct Source(Access);

/// Something to write to; wait for it with [`AsFd`].
#[derive(Debug)]
pub struct Sink(Access);

#[derive(Debug)]
struct Access {
    fd: OwnedFd,
    manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// A non-blocking description of our own.
    Own,
    /// Never blocks for long.
    Ready,
    /// Takes the wish as a flag of each call.
    Socket,
    /// May block; asked first.
    Asked,
}

impl Source {
    /// Our standard input.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn stdin() -> io::Result<Self> {
        Self::new(rustix::stdio::stdin())
    }

    /// An input that is at its end, for `-n`.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn null() -> io::Result<Self> {
        Ok(Self(Access::null()?))
    }

    /// Any open descriptor; it stays open and as it is.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(Access::new(fd, OFlags::RDONLY)?))
    }

    /// Reads what there is; 0 is the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing now; whatever `read(2)` tells otherwise.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = &self.0.fd;
        let count = match self.0.manner {
            Manner::Socket => retry(|| recv(fd, &mut *buffer, RecvFlags::DONTWAIT).map(|(count, _)| count))?,
            Manner::Asked if !is_ready(fd, PollFlags::IN)? => return Err(io::ErrorKind::WouldBlock.into()),
            _ => retry(|| rustix::io::read(fd, &mut *buffer))?,
        };
        Ok(count)
    }
}

impl Sink {
    /// Our standard output.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn stdout() -> io::Result<Self> {
        widen(rustix::stdio::stdout());
        Self::new(rustix::stdio::stdout())
    }

    /// Our standard error.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn stderr() -> io::Result<Self> {
        Self::new(rustix::stdio::stderr())
    }

    /// Any open descriptor; it stays open and as it is.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(Access::new(fd, OFlags::WRONLY)?))
    }

    /// Writes a beginning of `bytes` and tells how long it was.
    ///
    /// # Errors
    /// As [`Self::write_pieces`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_pieces(&mut std::iter::once(bytes))
    }

    /// Writes a beginning of the pieces, in order, and tells how long it was.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is taken now; [`io::ErrorKind::BrokenPipe`] when nobody reads any
    /// more (`| head`); whatever `writev(2)` tells otherwise.
    pub fn write_pieces(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> io::Result<usize> {
        let fd = &self.0.fd;
        let mut first = || pieces.next().unwrap_or_default();
        let count = match self.0.manner {
            Manner::Socket => {
                let bytes = first();
                retry(|| send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))?
            }
            Manner::Asked if !is_ready(fd, PollFlags::OUT)? => return Err(io::ErrorKind::WouldBlock.into()),
            Manner::Asked => {
                let bytes = first();
                retry(|| rustix::io::write(fd, &bytes[..bytes.len().min(ATOMIC_BYTES)]))?
            }
            Manner::Own | Manner::Ready => {
                let mut slices = [IoSlice::new(&[]); PIECES_MAX];
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                retry(|| rustix::io::writev(fd, &slices[..count]))?
            }
        };
        Ok(count)
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl Access {
    fn new(fd: BorrowedFd<'_>, direction: OFlags) -> io::Result<Self> {
        let manner = match fstat(fd) {
            Err(Errno::BADF) => return Self::null(),
            Err(error) => return Err(error.into()),
            Ok(status) => match FileType::from_raw_mode(status.st_mode) {
                FileType::Socket => Manner::Socket,
                FileType::Fifo => Manner::Own,
                // A master opened anew would be another pty.
                FileType::CharacterDevice if is_pty_master(status.st_rdev) => Manner::Asked,
                FileType::CharacterDevice if isatty(fd) => Manner::Own,
                FileType::CharacterDevice if is_memory(status.st_rdev) => Manner::Ready,
                FileType::CharacterDevice => Manner::Asked,
                _ => Manner::Ready,
            },
        };
        if manner == Manner::Own {
            // ENXIO is a pipe that nobody reads any more, EACCES a terminal of somebody else's (after `su`).
            return match reopen(fd, direction) {
                Ok(own) => Ok(Self { fd: own, manner }),
                Err(_) => Ok(Self { fd: fd.try_clone_to_owned()?, manner: Manner::Asked }),
            };
        }
        Ok(Self { fd: fd.try_clone_to_owned()?, manner })
    }

    fn null() -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self { fd: null.into(), manner: Manner::Ready })
    }
}

/// Makes a pipe larger. The fuller it gets, the fewer times its ends wake each other.
fn widen(fd: BorrowedFd<'_>) {
    if fcntl_getpipe_size(fd).is_ok_and(|length| length < PIPE_LEN) {
        // Whose user has too many large pipes keeps what is.
        _ = fcntl_setpipe_size(fd, PIPE_LEN);
    }
}

/// Opens what a descriptor is open at, as a description of our own that does not block.
pub(crate) fn reopen(fd: BorrowedFd<'_>, direction: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path, direction | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

/// `/dev/ptmx`, whose every open is a new pty.
fn is_pty_master(device: u64) -> bool {
    (major(device), minor(device)) == (5, 2)
}

/// `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/urandom`: `mem(4)`, of which none but `/dev/kmsg` (11) waits.
fn is_memory(device: u64) -> bool {
    major(device) == 1 && minor(device) != 11
}

/// Errors and hang-ups are ready too: the call that follows tells them.
fn is_ready(fd: &OwnedFd, events: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, events)];
    Ok(retry(|| poll(&mut fds, Some(&Timespec::default())))? > 0)
}

fn retry<T>(call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(call)?)
}

#[cfg(test)]
#[path = "stdio_tests.rs"]
mod tests;
