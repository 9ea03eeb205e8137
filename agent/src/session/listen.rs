//! What listens in the guest for a client: for each connection we open a channel to him, in which it is a
//! [`Stream`](super::stream::Stream) (`R-9.18`).

use core::ffi::CStr;
use core::net::{IpAddr, SocketAddr};

use arrayvec::ArrayVec;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};

use super::endpoint::{self, Endpoint, ForwardRequest};
use super::identity::{Identity, Rights};
use super::watch::{READ, Token, Watch};
use crate::listen::{BACKLOG, ListenError, bind_vsock, failed, new_socket, refused};
use crate::path::PathBuffer;
use crate::socket_file::SocketFile;
use crate::sys::socket::{VsockAddress, accept};

/// Sockets of one listener: one of each family.
const SOCKETS_MAX: usize = 2;

/// The file of a socket.
struct OwnFile {
    file: SocketFile,
    /// Its directory goes with it.
    has_directory: bool,
    /// With which it was made. It is removed with them too: who owns the directory could lead more of them elsewhere.
    rights: Rights,
}

/// A listener.
pub struct Listen {
    sockets: ArrayVec<OwnedFd, SOCKETS_MAX>,
    file: Option<OwnFile>,
    /// The port, where there is one.
    pub port: u32,
    /// Who has come, while there is no channel for him.
    pub waiting: Option<OwnedFd>,
}

impl Listen {
    /// Listens where a request says. Its place in the table is `place`.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn begin(
        request: &ForwardRequest<'_>,
        identity: Identity,
        watch: &Watch,
        place: usize,
    ) -> Result<Self, ListenError> {
        let mut listen = Self { sockets: ArrayVec::new_const(), file: None, port: 0, waiting: None };
        match request.endpoint {
            Endpoint::Tcp(host, port) => listen.open_tcp(host, port)?,
            Endpoint::Unix(path) => listen.open_unix(path, request.is_private, identity)?,
            Endpoint::Vsock(VsockAddress { cid: VsockAddress::ANY, port }) => {
                let _ = listen.sockets.try_push(bind_vsock(port)?);
                listen.port = port;
            }
            Endpoint::Vsock(_) => return refused(c"an agent listens on every context id it has"),
        }
        for socket in &listen.sockets {
            rustix::net::listen(socket, BACKLOG).map_err(failed(c"cannot listen"))?;
        }
        listen.watch(watch, place).map_err(failed(c"cannot watch"))?;
        Ok(listen)
    }

    /// Watches its sockets.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watch(&self, watch: &Watch, place: usize) -> Result<(), Errno> {
        let mut sockets = self.sockets.iter();
        sockets.try_for_each(|socket| watch.add(socket, Token::Task { place, part: 0 }, READ))
    }

    /// Another process has the socket too, and removes its file.
    pub fn forget_file(&mut self) {
        self.file = None;
    }

    /// One socket for each address; a family that this kernel does not have is done without, unless it is the only one.
    #[inline(never)]
    fn open_tcp(&mut self, host: &CStr, port: u16) -> Result<(), ListenError> {
        let Some(addresses) = endpoint::listening(host) else {
            return refused(c"a listener takes an address, `localhost` or `*`");
        };
        let mut port = port;
        let mut error = failed(c"no address")(Errno::ADDRNOTAVAIL);
        for address in addresses.into_iter().take(SOCKETS_MAX) {
            match bind_tcp(address, port) {
                Ok((socket, bound)) => {
                    port = bound;
                    let _ = self.sockets.try_push(socket);
                }
                // As the addresses of a family that is switched off are.
                Err(errno @ (Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) => {
                    error = failed(c"cannot bind")(errno);
                }
                Err(errno) => return Err(failed(c"cannot bind")(errno)),
            }
        }
        self.port = u32::from(port);
        if self.sockets.is_empty() { Err(error) } else { Ok(()) }
    }

    #[inline(never)]
    fn open_unix(&mut self, path: &CStr, is_private: bool, identity: Identity) -> Result<(), ListenError> {
        let mut buffer = PathBuffer::new();
        let path =
            endpoint::absolute(path, &identity, &mut buffer).map_err(failed(c"cannot use this path"))?;
        let socket = new_socket(AddressFamily::UNIX).map_err(failed(c"no socket"))?;
        if endpoint::is_abstract(path) {
            let address = endpoint::unix_address(path).map_err(failed(c"cannot use this path"))?;
            rustix::net::bind(&socket, &address).map_err(failed(c"cannot bind"))?;
        } else {
            let rights = identity.rights;
            let file = rights.with(|| {
                if is_private {
                    with_parent(path, |parent| rustix::fs::mkdir(parent, Mode::RWXU))
                        .map_err(failed(c"cannot make its directory"))?;
                }
                let bound = SocketFile::bind(&socket, path);
                if bound.is_err() && is_private {
                    let _ = with_parent(path, |parent| rustix::fs::rmdir(parent));
                }
                bound
            })?;
            self.file = Some(OwnFile { file, has_directory: is_private, rights });
        }
        let _ = self.sockets.try_push(socket);
        Ok(())
    }

    /// Somebody who has come.
    ///
    /// # Errors
    /// Nobody has (EAGAIN), or nobody more can be taken: EMFILE and the like.
    pub fn accept(&mut self) -> Result<OwnedFd, Errno> {
        let mut error = Errno::AGAIN;
        if let Some(waiting) = self.waiting.take() {
            return Ok(waiting);
        }
        for socket in &self.sockets {
            match accept(socket.as_fd()) {
                Ok((connection, _)) => return Ok(connection),
                Err(Errno::AGAIN) => {}
                Err(errno) => error = errno,
            }
        }
        Err(error)
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        if let Some(OwnFile { file, has_directory, rights }) = &self.file {
            rights.with(|| {
                file.remove();
                if *has_directory {
                    let _ = with_parent(file.path(), |parent| rustix::fs::rmdir(parent));
                }
            });
        }
    }
}

/// Does something with the directory of a path.
fn with_parent(path: &CStr, work: impl FnOnce(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    let path = path.to_bytes();
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let mut buffer = PathBuffer::new();
    work(buffer.join(&[path.get(..slash).unwrap_or_default()])?)
}

/// A socket at this address, and its port.
fn bind_tcp(address: IpAddr, port: u16) -> Result<(OwnedFd, u16), Errno> {
    let socket = new_socket(endpoint::family(&address))?;
    // Without these it works too, as long as nobody has listened there before.
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    if address.is_ipv6() {
        let _ = sockopt::set_ipv6_v6only(&socket, true);
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    let bound = rustix::net::getsockname(&socket)?;
    Ok((socket, SocketAddr::try_from(bound).map_or(port, |bound| bound.port())))
}
