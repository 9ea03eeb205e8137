//! Owns one try to connect, for each form of address, with a deadline and without ever blocking past it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::proxy::Proxy;
use super::{Failure, Step, Stream, incoming, mux, serial};
use crate::target::Address;

/// Tries once. Without a deadline it may take as long as the kernel lets it.
pub(super) fn attempt(address: &Address, deadline: Option<Instant>) -> Result<Stream, Failure> {
    match address {
        Address::Vsock { cid, port } => connect(&SockAddr::vsock(*cid, *port), deadline).and_then(shared),
        Address::Unix(path) => connect(&unix_address(path)?, deadline).and_then(shared),
        Address::Mux { path, port } => mux::ask(path, *port, deadline).and_then(shared),
        Address::Tcp { host, port } => {
            let socket = connect_tcp(host, *port, deadline)?;
            // Keystrokes shall not wait for acknowledgements.
            socket.set_tcp_nodelay(true).map_err(Step::Connect.failed())?;
            shared(socket)
        }
        Address::Listen(on) => incoming::answer(on, deadline).map_err(Step::Answer.failed()).and_then(shared),
        Address::Exec(command) => Proxy::spawn(command).map_err(Step::Spawn.failed()),
        Address::Serial(path) => {
            let is_socket = serial::is_socket(path).map_err(Step::Connect.failed())?;
            let port = if is_socket {
                connect(&unix_address(path)?, deadline)?.into()
            } else {
                serial::open_line(path).map_err(Step::Connect.failed())?
            };
            serial::over(port).map_err(Step::Connect.failed())
        }
    }
}

impl Step {
    pub(super) fn failed(self) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure { step: self, error }
    }
}

/// One socket is both directions; each has a descriptor of its own, so that the halves can be handed out.
fn shared(socket: Socket) -> Result<Stream, Failure> {
    let output = socket.try_clone().map_err(Step::Connect.failed())?;
    Ok(Stream::new(socket.into(), output.into()))
}

pub(super) fn unix_address(path: &Path) -> Result<SockAddr, Failure> {
    SockAddr::unix(path).map_err(Step::Connect.failed())
}

fn connect_tcp(host: &str, port: u16, deadline: Option<Instant>) -> Result<Socket, Failure> {
    let addresses: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(Step::Resolve.failed())?.collect();
    let mut last = Step::Resolve.failed()(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    for address in addresses {
        match connect(&SockAddr::from(address), deadline) {
            Ok(socket) => return Ok(socket),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

pub(super) fn connect(address: &SockAddr, deadline: Option<Instant>) -> Result<Socket, Failure> {
    connect_socket(address, deadline).map_err(Step::Connect.failed())
}

fn connect_socket(address: &SockAddr, deadline: Option<Instant>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Ok(()) => return Ok(socket),
        // EAGAIN, a full queue of a Unix socket, is a failure: nothing goes on in the background.
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    wait(&socket, PollFlags::OUT, deadline)?;
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(socket),
    }
}

/// Waits until `fd` is ready.
pub(super) fn wait(fd: impl AsFd, events: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
    wait_for_any(&mut [PollFd::new(&fd, events)], deadline)
}

/// Waits until one of `fds` is ready.
pub(super) fn wait_for_any(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A duration that `poll` cannot hold is as good as none.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) => return Err(Errno::TIMEDOUT.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn retrying<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    rustix::io::retry_on_intr(call)
}
