//! Opening what sessions come from: listening sockets, made or inherited, and single connected streams.

use core::ffi::CStr;
use core::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result as SystemResult};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{getegid, geteuid};

use crate::args::{Address, HOST_CID, Peer};
use crate::path::PathBuffer;
use crate::serial;
use crate::socket_file::SocketFile;
use crate::sys::descriptor;
use crate::sys::socket::{PeerAddress, VsockAddress, peer_of};
use crate::sys::text::Text;

/// Connections that wait for being accepted; the kernel may take fewer.
pub(crate) const BACKLOG: i32 = 1024;

const KEY_MISSING: &CStr = c"anybody in the network could connect; it takes --key";

/// The user of what belongs to nobody in this user namespace: root's, in a container.
const UNMAPPED: u32 = 65534;

/// Where sessions come from, open.
pub enum Opened {
    /// A socket to accept on.
    Listening(Listening),
    /// A port that has no connections.
    Port(OwnedFd),
    /// One session's stream: what it reads and what it writes.
    Connected(OwnedFd, OwnedFd),
}

/// A listening socket.
pub struct Listening {
    socket: OwnedFd,
    is_vsock: bool,
    file: Option<SocketFile>,
}

/// What could not be done, and why.
#[derive(Clone, Copy)]
pub struct ListenError {
    /// What was tried, or what is wrong.
    pub problem: Text,
    /// The system's reason, where it was the system.
    pub errno: Option<Errno>,
}

pub(crate) fn failed(problem: &'static CStr) -> impl Fn(Errno) -> ListenError {
    move |errno| ListenError { problem: Text::new(problem), errno: Some(errno) }
}

pub(crate) fn refused<T>(problem: &'static CStr) -> Result<T, ListenError> {
    Err(ListenError { problem: Text::new(problem), errno: None })
}

/// Opens `address`. Each inherited descriptor can be opened once. A connected one has a peer, which may be `allowed_cid`. Where
/// anybody could connect, that takes a key.
///
/// # Errors
/// See [`ListenError`].
pub fn open(address: Address<'_>, allowed_cid: u32, has_key: bool) -> Result<Opened, ListenError> {
    match address {
        Address::Vsock(port) => open_vsock(port),
        Address::Unix(path) => open_unix(path),
        Address::Tcp(..) if !has_key => refused(KEY_MISSING),
        Address::Tcp(_, address) => open_tcp(address),
        Address::Serial(port) => {
            serial::open(port).map(Opened::Port).map_err(failed(c"cannot open the port"))
        }
        Address::Stdio => open_stdio(has_key),
        Address::Descriptor(number) => open_inherited(number, allowed_cid, has_key),
    }
}

impl Listening {
    /// Whether the peer may have a session: over vsock only the host and `allowed_cid`, or every process of this guest could
    /// become root through the agent once vsock_loopback is loaded. A Unix socket is guarded by its mode.
    pub fn is_allowed(&self, peer: &PeerAddress, allowed_cid: u32) -> bool {
        let is_allowed = |cid| cid == HOST_CID || cid == allowed_cid || allowed_cid == VsockAddress::ANY;
        !self.is_vsock || peer.vsock_cid().is_some_and(is_allowed)
    }

    /// Removes the socket's file, unless another one stands there meanwhile.
    pub fn remove_file(&self) {
        self.file.iter().for_each(SocketFile::remove);
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that does not block.
pub(crate) fn new_socket(family: AddressFamily) -> SystemResult<OwnedFd> {
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Tells a service manager that the agent listens, as `sd_notify(3)` has it: a Unix socket gets a datagram, and a port of
/// vsock, by which the manager of a virtual machine waits for its guest, a stream.
///
/// # Errors
/// What `connect` and `write` have.
pub fn notify(peer: Peer<'_>) -> SystemResult<()> {
    let kind = if matches!(peer, Peer::Unix(_)) { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = connect(peer, kind, SocketFlags::CLOEXEC)?;
    rustix::io::write(socket, b"READY=1\n").map(drop)
}

/// Calls somebody; the connection may still be on its way.
///
/// # Errors
/// What `connect` has.
pub fn call(peer: Peer<'_>) -> SystemResult<OwnedFd> {
    connect(peer, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

#[inline(never)]
fn connect(peer: Peer<'_>, kind: SocketType, flags: SocketFlags) -> SystemResult<OwnedFd> {
    let socket = |family| rustix::net::socket_with(family, kind, flags, None);
    let (socket, result) = match peer {
        Peer::Unix(path) => {
            let socket = socket(AddressFamily::UNIX)?;
            let result = rustix::net::connect(&socket, &SocketAddrUnix::new(path)?);
            (socket, result)
        }
        Peer::Vsock(address) => {
            let socket = socket(AddressFamily::VSOCK)?;
            let result = rustix::net::connect(&socket, &address);
            (socket, result)
        }
    };
    match result {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// A socket at a port of vsock, on whatever context id this machine has.
pub(crate) fn bind_vsock(port: u32) -> Result<OwnedFd, ListenError> {
    let socket = new_socket(AddressFamily::VSOCK).map_err(failed(c"no vsock socket"))?;
    rustix::net::bind(&socket, &VsockAddress { cid: VsockAddress::ANY, port })
        .map_err(failed(c"cannot bind"))?;
    Ok(socket)
}

#[inline(never)]
fn open_vsock(port: u32) -> Result<Opened, ListenError> {
    let socket = bind_vsock(port)?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed(c"cannot listen"))?;
    Ok(Opened::Listening(Listening { socket, is_vsock: true, file: None }))
}

#[inline(never)]
fn open_tcp(address: SocketAddr) -> Result<Opened, ListenError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = new_socket(family).map_err(failed(c"no TCP socket"))?;
    // What is accepted has it too. Without these it works as well.
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    rustix::net::bind(&socket, &address).map_err(failed(c"cannot bind"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed(c"cannot listen"))?;
    Ok(Opened::Listening(Listening { socket, is_vsock: false, file: None }))
}

#[inline(never)]
fn open_unix(path: &CStr) -> Result<Opened, ListenError> {
    let parent = path.to_bytes().iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let mut place = PathBuffer::new();
    let place = place
        .join(&[path.to_bytes().get(..parent).unwrap_or_default(), b"."])
        .map_err(failed(c"cannot use this path"))?;
    match is_replaceable(place) {
        Ok(false) => {}
        Ok(true) => {
            return refused(c"others could put something else there; it takes a directory of your own");
        }
        Err(errno) => return Err(failed(c"cannot look at its directory")(errno)),
    }
    let socket = new_socket(AddressFamily::UNIX).map_err(failed(c"no socket"))?;
    let listening = Listening { file: Some(SocketFile::bind(&socket, path)?), socket, is_vsock: false };
    rustix::net::listen(&listening.socket, BACKLOG).map_err(|errno| {
        listening.remove_file();
        failed(c"cannot listen")(errno)
    })?;
    Ok(Opened::Listening(listening))
}

/// Whether somebody else could put something into the place of what we make in this directory, or of one above it: it is
/// somebody else's, or written by others, who may only remove what is their own where it is sticky.
#[inline(never)]
fn is_replaceable(directory: &CStr) -> SystemResult<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(directory, flags, Mode::empty())?;
    let mut below = None;
    loop {
        let stat = rustix::fs::fstat(&here)?;
        let identity = (stat.st_dev, stat.st_ino);
        if below == Some(identity) {
            return Ok(false);
        }
        let is_sticky = stat.st_mode & 0o1000 != 0;
        let others = if stat.st_gid == 0 || stat.st_gid == getegid().as_raw() { 0o002 } else { 0o022 };
        let is_ours = [0, UNMAPPED, geteuid().as_raw()].contains(&stat.st_uid);
        if !is_ours || (!is_sticky && stat.st_mode & others != 0) {
            return Ok(true);
        }
        below = Some(identity);
        here = rustix::fs::openat(&here, c"..", flags, Mode::empty())?;
    }
}

/// Takes descriptors 0 and 1, and puts something harmless in their place: a command must not read the session.
#[inline(never)]
fn open_stdio(has_key: bool) -> Result<Opened, ListenError> {
    let input = descriptor::duplicate(0).map_err(failed(c"no standard input"))?;
    let family = sockopt::socket_domain(&input);
    if !has_key && matches!(family, Ok(AddressFamily::INET | AddressFamily::INET6)) {
        return refused(KEY_MISSING);
    }
    let output = descriptor::duplicate(1).map_err(failed(c"no standard output"))?;
    let null = descriptor::open_null().map_err(failed(c"nothing to replace the standard input with"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed(c"cannot replace the standard input"))?;
    rustix::stdio::dup2_stdout(&null).map_err(failed(c"cannot replace the standard output"))?;
    Ok(Opened::Connected(set_nonblocking(input)?, set_nonblocking(output)?))
}

fn set_nonblocking(fd: OwnedFd) -> Result<OwnedFd, ListenError> {
    rustix::fs::fcntl_getfl(&fd)
        .and_then(|flags| rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK))
        .map_err(failed(c"cannot use this descriptor"))?;
    Ok(fd)
}

#[inline(never)]
fn open_inherited(number: i32, allowed_cid: u32, has_key: bool) -> Result<Opened, ListenError> {
    let socket = descriptor::adopt(number).map_err(failed(c"cannot use this descriptor"))?;
    let listens = sockopt::socket_acceptconn(&socket).map_err(failed(c"cannot use this descriptor"))?;
    let family = sockopt::socket_domain(&socket).map_err(failed(c"cannot use this descriptor"))?;
    if !has_key && family != AddressFamily::UNIX && family != AddressFamily::VSOCK {
        return refused(KEY_MISSING);
    }
    if sockopt::socket_type(&socket).map_err(failed(c"cannot use this descriptor"))? != SocketType::STREAM {
        return refused(c"not a stream socket");
    }
    let listening =
        Listening { socket: set_nonblocking(socket)?, is_vsock: family == AddressFamily::VSOCK, file: None };
    if listens {
        return Ok(Opened::Listening(listening));
    }
    let peer = peer_of(&listening.socket).map_err(failed(c"neither listening nor connected"))?;
    if !listening.is_allowed(&peer, allowed_cid) {
        return refused(c"its peer is not the host");
    }
    let output =
        rustix::io::fcntl_dupfd_cloexec(&listening.socket, 3).map_err(failed(c"cannot duplicate it"))?;
    Ok(Opened::Connected(listening.socket, output))
}
