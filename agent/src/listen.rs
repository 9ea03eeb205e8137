//! Opening what sessions come from: listening sockets, made or inherited, and single connected streams.

use core::ffi::CStr;
use core::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result as SystemResult};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{getegid, geteuid};

use crate::args::{Address, HOST_CID, Peer};
use crate::path::PathBuffer;
use crate::serial;
use crate::sys::descriptor;
use crate::sys::socket::{PeerAddress, VsockAddress, peer_of};
use crate::sys::text::Text;

/// Connections that wait for being accepted; the kernel may take fewer.
const BACKLOG: i32 = 1024;

const KEY_MISSING: &CStr = c"anybody in the network could connect; it takes --key";

/// The user of what belongs to nobody in this user namespace: root's, in a container.
const UNMAPPED: u32 = 65534;

/// Where sessions come from, open.
pub enum Opened<'a> {
    /// A socket to accept on.
    Listening(Listening<'a>),
    /// A port that has no connections.
    Port(OwnedFd),
    /// One session's stream: what it reads and what it writes.
    Connected(OwnedFd, OwnedFd),
}

/// A listening socket.
pub struct Listening<'a> {
    socket: OwnedFd,
    is_vsock: bool,
    file: Option<SocketFile<'a>>,
}

/// The file of a Unix socket that we made. The directory is kept, because a daemon changes its own.
struct SocketFile<'a> {
    directory: OwnedFd,
    path: &'a CStr,
    identity: (u64, u64),
}

/// What could not be done, and why.
#[derive(Clone, Copy)]
pub struct ListenError {
    /// What was tried, or what is wrong.
    pub problem: Text,
    /// The system's reason, where it was the system.
    pub errno: Option<Errno>,
}

fn failed(problem: &'static CStr) -> impl Fn(Errno) -> ListenError {
    move |errno| ListenError { problem: Text::new(problem), errno: Some(errno) }
}

fn refused<T>(problem: &'static CStr) -> Result<T, ListenError> {
    Err(ListenError { problem: Text::new(problem), errno: None })
}

/// Opens `address`. Each inherited descriptor can be opened once. A connected one has a peer, which may be `allowed_cid`. Where
/// anybody could connect, that takes a key.
///
/// # Errors
/// See [`ListenError`].
pub fn open(address: Address<'_>, allowed_cid: u32, has_key: bool) -> Result<Opened<'_>, ListenError> {
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

impl Listening<'_> {
    /// Whether the peer may have a session: over vsock only the host and `allowed_cid`, or every process of this guest could
    /// become root through the agent once vsock_loopback is loaded. A Unix socket is guarded by its mode.
    pub fn is_allowed(&self, peer: &PeerAddress, allowed_cid: u32) -> bool {
        let is_allowed = |cid| cid == HOST_CID || cid == allowed_cid || allowed_cid == VsockAddress::ANY;
        !self.is_vsock || peer.vsock_cid().is_some_and(is_allowed)
    }

    /// Removes the socket's file, unless another one stands there meanwhile.
    pub fn remove_file(&self) {
        if let Some(file) = &self.file
            && identity(file.directory.as_fd(), file.path) == Ok(file.identity)
        {
            let _ = rustix::fs::unlinkat(&file.directory, file.path, AtFlags::empty());
        }
    }
}

impl AsFd for Listening<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn new_socket(family: AddressFamily) -> SystemResult<OwnedFd> {
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

#[inline(never)]
fn open_vsock<'a>(port: u32) -> Result<Opened<'a>, ListenError> {
    let socket = new_socket(AddressFamily::VSOCK).map_err(failed(c"no vsock socket"))?;
    rustix::net::bind(&socket, &VsockAddress { cid: VsockAddress::ANY, port })
        .map_err(failed(c"cannot bind"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed(c"cannot listen"))?;
    Ok(Opened::Listening(Listening { socket, is_vsock: true, file: None }))
}

#[inline(never)]
fn open_tcp<'a>(address: SocketAddr) -> Result<Opened<'a>, ListenError> {
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
fn open_unix(path: &CStr) -> Result<Opened<'_>, ListenError> {
    let address = SocketAddrUnix::new(path).map_err(failed(c"cannot use this path"))?;
    let directory = rustix::fs::open(c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(c"cannot open the working directory"))?;
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
    match bind_private(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(directory.as_fd(), path, &address)?;
            bind_private(&socket, &address).map_err(failed(c"cannot bind"))?;
        }
        result => result.map_err(failed(c"cannot bind"))?,
    }
    let identity = identity(directory.as_fd(), path).map_err(failed(c"cannot look at the new socket"))?;
    let listening =
        Listening { socket, is_vsock: false, file: Some(SocketFile { directory, path, identity }) };
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

/// Takes descriptors 0 and 1, and puts something harmless in their place: a command must not read the session.
#[inline(never)]
fn open_stdio<'a>(has_key: bool) -> Result<Opened<'a>, ListenError> {
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
fn open_inherited<'a>(number: i32, allowed_cid: u32, has_key: bool) -> Result<Opened<'a>, ListenError> {
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
