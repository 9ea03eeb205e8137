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
use super::{Failure, Step, Stream, incoming, serial};
use crate::target::Address;

/// The longest answer to `CONNECT` that is read: `OK`, a port and a newline, with room to spare.
const GREETING_BYTES_MAX: usize = 64;

/// Tries once. Without a deadline it may take as long as the kernel lets it.
pub(super) fn attempt(address: &Address, deadline: Option<Instant>) -> Result<Stream, Failure> {
    match address {
        Address::Vsock { cid, port } => connect(&SockAddr::vsock(*cid, *port), deadline).and_then(shared),
        Address::Unix(path) => connect(&unix_address(path)?, deadline).and_then(shared),
        Address::Mux { path, port } => {
            let socket = connect(&unix_address(path)?, deadline)?;
            greet(&socket, *port, deadline).map_err(Step::Greet.failed())?;
            shared(socket)
        }
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
    fn failed(self) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure { step: self, error }
    }
}

/// One socket is both directions; each has a descriptor of its own, so that the halves can be handed out.
fn shared(socket: Socket) -> Result<Stream, Failure> {
    let output = socket.try_clone().map_err(Step::Connect.failed())?;
    Ok(Stream::new(socket.into(), output.into()))
}

fn unix_address(path: &Path) -> Result<SockAddr, Failure> {
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

fn connect(address: &SockAddr, deadline: Option<Instant>) -> Result<Socket, Failure> {
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

/// Asks for the agent's port (Firecracker, `docs/vsock.md`): `CONNECT port\n`, answered by `OK host_port\n`.
fn greet(socket: &Socket, port: u32, deadline: Option<Instant>) -> io::Result<()> {
    let request = format!("CONNECT {port}\n");
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        match retrying(|| rustix::io::write(socket, rest)) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => wait(socket, PollFlags::OUT, deadline)?,
            Err(error) => return Err(error.into()),
        }
    }
    let answer = read_line(socket, deadline)?;
    // Cloud Hypervisor and libkrun answer as Firecracker does; what follows `OK` is of no use to us.
    if answer == b"OK" || answer.starts_with(b"OK ") {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&answer).into_owned();
    Err(io::Error::new(
        ErrorKind::InvalidData,
        format!("it answered `{shown}` to CONNECT {port}, and not OK"),
    ))
}

/// Reads one byte at a time up to the first newline: the bytes behind it are the guest's and belong to the session.
fn read_line(socket: &Socket, deadline: Option<Instant>) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(GREETING_BYTES_MAX);
    loop {
        let mut byte = [0];
        match retrying(|| rustix::io::read(socket, &mut byte)) {
            Ok(0) => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed without an answer to CONNECT"));
            }
            Ok(_) if byte == *b"\n" => break,
            Ok(_) if line.len() == GREETING_BYTES_MAX => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::AGAIN) => wait(socket, PollFlags::IN, deadline)?,
            Err(error) => return Err(error.into()),
        }
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(line)
}

/// Waits until `fd` is ready.
pub(super) fn wait(fd: impl AsFd, events: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A duration that `poll` cannot hold is as good as none.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&fd, events)], timeout.as_ref()) {
            Ok(0) => return Err(Errno::TIMEDOUT.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn retrying<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    rustix::io::retry_on_intr(call)
}
