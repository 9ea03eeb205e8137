//! Owns the sockets of this side: what listens for `-L` and `-D`, and how `-R` connects. A connect that has to ask for a name, or to
//! wait, does so in a thread of its own.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use vsock_shell_proto::frame::ChannelId;

use super::spec::Endpoint;
use crate::connection::SEND_BUFFER;

/// Connections that wait for being accepted; the kernel may take fewer.
const BACKLOG: i32 = 1024;
/// Attempts to connect that are on their way at once, each in a thread: twice as many as there are channels, because one whose
/// channel was reset goes on.
const ATTEMPTS_MAX: usize = 1024;
/// How long a host may say nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// What listens here.
pub(super) struct Listener {
    sockets: Vec<OwnedFd>,
    /// The file of a Unix socket, which goes with it.
    file: Option<PathBuf>,
    /// Who has come, while there is no channel for him.
    pub waiting: Option<OwnedFd>,
    /// Somebody may have come.
    pub is_ready: bool,
}

impl Listener {
    /// Listens at `endpoint`; the port, where there is one.
    pub fn open(endpoint: &Endpoint) -> io::Result<(Self, u16)> {
        let mut file = None;
        let (sockets, port) = match endpoint {
            Endpoint::Tcp(host, port) => listen_tcp(host, *port)?,
            Endpoint::Unix(path) if path.as_bytes().first() == Some(&b'@') => {
                let address = UnixAddress::from_abstract_name(path.as_bytes().get(1..).unwrap_or_default())?;
                (vec![UnixListener::bind_addr(&address)?.into()], 0)
            }
            Endpoint::Unix(path) => {
                let listener = listen_unix(Path::new(path))?;
                file = Some(PathBuf::from(path));
                (vec![listener.into()], 0)
            }
            Endpoint::Vsock(..) => return Err(io::ErrorKind::Unsupported.into()),
        };
        for socket in &sockets {
            rustix::io::ioctl_fionbio(socket, true)?;
        }
        Ok((Self { sockets, file, waiting: None, is_ready: true }, port))
    }

    /// Its descriptors.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// Somebody who has come; `None` where nobody has, or nobody more can be taken now.
    pub fn accept(&mut self) -> Option<OwnedFd> {
        if let Some(waiting) = self.waiting.take() {
            return Some(waiting);
        }
        while self.is_ready {
            self.is_ready = false;
            for socket in &self.sockets {
                match accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                    Ok(connection) => {
                        self.is_ready = true;
                        if sockopt::set_tcp_nodelay(&connection, true).is_err() {
                            set_buffer(&connection);
                        }
                        return Some(connection);
                    }
                    Err(Errno::AGAIN) => {}
                    Err(Errno::INTR | Errno::CONNABORTED) => self.is_ready = true,
                    // No descriptors, no memory: when something else has ended there may be.
                    Err(_) => {
                        self.is_ready = true;
                        return None;
                    }
                }
            }
        }
        None
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            _ = std::fs::remove_file(file);
        }
    }
}

/// One socket for each address of `host`; both families of this machine, or of all, where they are there.
fn listen_tcp(host: &str, port: u16) -> io::Result<(Vec<OwnedFd>, u16)> {
    let addresses: Vec<SocketAddr> = match host {
        "localhost" => vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()],
        "" | "*" => vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()],
        host => (host, port).to_socket_addrs()?.take(1).collect(),
    };
    let (mut sockets, mut bound, mut absent) = (Vec::new(), port, None);
    for mut address in addresses {
        address.set_port(bound);
        match bind_tcp(address) {
            Ok(listener) => {
                bound = listener.local_addr()?.port();
                sockets.push(listener.into());
            }
            // As the addresses of a family that is switched off are.
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(error),
        }
    }
    match absent.filter(|_| sockets.is_empty()) {
        Some(error) => Err(error),
        None => Ok((sockets, bound)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for nobody else, in the place of one that nobody listens on.
fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    match bind_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            bind_private(path)
        }
        result => result,
    }
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let former = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(former);
    bound
}

fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What has come of connecting for a channel.
pub(super) struct Connected {
    pub channel: ChannelId,
    /// Which attempt it was: a channel that was reset meanwhile may be another one's by now.
    pub attempt: u64,
    pub socket: io::Result<OwnedFd>,
}

/// Connects, in threads.
pub(super) struct Connector {
    results: Receiver<Connected>,
    sender: Sender<Connected>,
    wake: OwnedFd,
    /// Attempts that were begun, and those that have not ended.
    begun: u64,
    running: usize,
}

impl Connector {
    /// Nothing to be connected yet.
    pub fn new() -> io::Result<Self> {
        let (sender, results) = channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { results, sender, wake, begun: 0, running: 0 })
    }

    /// Readable when there is a result.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Begins to connect to `endpoint` for a channel: which attempt it is.
    ///
    /// # Errors
    /// EAGAIN where too many are on their way, those among them whose channel is gone.
    pub fn connect(&mut self, channel: ChannelId, endpoint: &Endpoint) -> io::Result<u64> {
        if self.running >= ATTEMPTS_MAX {
            return Err(Errno::AGAIN.into());
        }
        let attempt = self.begun + 1;
        let (sender, endpoint) = (self.sender.clone(), endpoint.clone());
        let wake = self.wake.try_clone()?;
        std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            // Where nobody is there any more, nobody wants it.
            _ = sender.send(Connected { channel, attempt, socket: connect(&endpoint) });
            _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
        })?;
        (self.begun, self.running) = (attempt, self.running + 1);
        Ok(attempt)
    }

    /// The next result. With none, the next one will tell again.
    pub fn next(&mut self) -> Option<Connected> {
        let connected = self.results.try_recv().ok().or_else(|| {
            _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
            // One that came between the two.
            self.results.try_recv().ok()
        })?;
        self.running -= 1;
        Some(connected)
    }
}

fn connect(endpoint: &Endpoint) -> io::Result<OwnedFd> {
    let socket: OwnedFd = match endpoint {
        Endpoint::Tcp(host, port) => {
            let mut failed = io::Error::from(io::ErrorKind::NotFound);
            let connected = (host.as_str(), *port).to_socket_addrs()?.find_map(|address| {
                TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| failed = error).ok()
            });
            let stream = connected.ok_or(failed)?;
            _ = stream.set_nodelay(true);
            stream.into()
        }
        Endpoint::Unix(path) if path.as_bytes().first() == Some(&b'@') => {
            let name = path.as_bytes().get(1..).unwrap_or_default();
            UnixStream::connect_addr(&UnixAddress::from_abstract_name(name)?)?.into()
        }
        Endpoint::Unix(path) => UnixStream::connect(path)?.into(),
        Endpoint::Vsock(..) => return Err(io::ErrorKind::Unsupported.into()),
    };
    if !matches!(endpoint, Endpoint::Tcp(..)) {
        set_buffer(&socket);
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// As many descriptors as this process may have: connections take one each.
pub(super) fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    _ = setrlimit(Resource::Nofile, limit);
}

/// Lets a socket that is not TCP, whose buffer the kernel widens by itself, hold as much as the stream to the agent. With less it is
/// soon full, and what comes meanwhile has to be parked, which copies it.
fn set_buffer(socket: &OwnedFd) {
    // Without it works too.
    _ = sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER);
}
