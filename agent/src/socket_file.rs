//! The file of a Unix socket that we listen on: made for nobody else, in the place of one that nobody listens on, and removed
//! afterwards unless it is another one's by then.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result as SystemResult};
use rustix::net::{AddressFamily, SocketAddrUnix};

use crate::listen::{ListenError, failed, new_socket, refused};

/// Bytes of a path in `struct sockaddr_un`, and a NUL: `unix(7)`.
const PATH_MAX: usize = 109;

/// The file. The working directory is kept, because a daemon changes its own.
pub struct SocketFile {
    directory: OwnedFd,
    path: ArrayVec<u8, PATH_MAX>,
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a socket to this path.
    ///
    /// # Errors
    /// See [`ListenError`].
    #[inline(never)]
    pub fn bind(socket: &OwnedFd, path: &CStr) -> Result<Self, ListenError> {
        let address = SocketAddrUnix::new(path).map_err(failed(c"cannot use this path"))?;
        let kept = path.to_bytes_with_nul().try_into().map_err(|_| Errno::NAMETOOLONG);
        let kept: ArrayVec<u8, PATH_MAX> = kept.map_err(failed(c"cannot use this path"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(c".", flags, Mode::empty())
            .map_err(failed(c"cannot open the working directory"))?;
        match bind_private(socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(directory.as_fd(), path, &address)?;
                bind_private(socket, &address).map_err(failed(c"cannot bind"))?;
            }
            result => result.map_err(failed(c"cannot bind"))?,
        }
        let identity = identity(directory.as_fd(), path).map_err(failed(c"cannot look at the new socket"))?;
        Ok(Self { directory, path: kept, identity })
    }

    /// Where it is.
    pub fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.path).unwrap_or_default()
    }

    /// Removes it, unless another one stands there meanwhile.
    pub fn remove(&self) {
        if identity(self.directory.as_fd(), self.path()) == Ok(self.identity) {
            let _ = rustix::fs::unlinkat(&self.directory, self.path(), AtFlags::empty());
        }
    }
}

/// Binds so that the file is born with mode 0600: there is no moment in which others could connect.
fn bind_private(socket: &OwnedFd, address: &SocketAddrUnix) -> SystemResult<()> {
    let former = rustix::process::umask(Mode::from_raw_mode(0o177));
    let result = rustix::net::bind(socket, address);
    rustix::process::umask(former);
    result
}

/// Removes the socket of a process that is gone: one that refuses connections. Anything else stays.
fn remove_stale(directory: BorrowedFd<'_>, path: &CStr, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let stat = match rustix::fs::statat(directory, path, AtFlags::SYMLINK_NOFOLLOW) {
        // Removed meanwhile.
        Err(Errno::NOENT) => return Ok(()),
        result => result.map_err(failed(c"cannot look at what is there"))?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return refused(c"something is there that is not a socket");
    }
    let probe = new_socket(AddressFamily::UNIX).map_err(failed(c"no socket"))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) => match rustix::fs::unlinkat(directory, path, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            result => result.map_err(failed(c"cannot remove the socket of a process that is gone")),
        },
        // A full queue is as alive as an accepted connection.
        Ok(()) | Err(Errno::AGAIN) => refused(c"another process listens there"),
        Err(errno) => Err(failed(c"something is there and cannot be connected to")(errno)),
    }
}

fn identity(directory: BorrowedFd<'_>, path: &CStr) -> SystemResult<(u64, u64)> {
    let stat = rustix::fs::statat(directory, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}
