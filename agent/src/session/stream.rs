//! A forwarded connection: a socket of the guest and a channel, whose bytes go both ways (`R-9.17`). The channel was opened by the
//! client, who names where to connect to; or by us, for who came to a [`Listen`](super::listen::Listen).
//!
//! ```text
//!  resolving ──addresses──→ between ──connect──→ connecting ──writable──→ open ──both ends──→ EXIT
//!      └──no such host──→ REFUSED  └──none left──→ REFUSED     └──failed──→ between
//! ```
//! One that somebody came with is open from the beginning.

use core::time::Duration;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, shutdown, sockopt};
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::fields::{FIELD_HEADER_LEN, header, tag};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::limits::{BLOCK_LEN, FRAME_PAYLOAD_MAX};

use super::endpoint::{self, Endpoint};
use super::identity::{Identity, Rights};
use super::request::number;
use super::tasks::Step;
use super::watch::{READ_WRITE, Readiness, Token, Watch};
use super::{Core, INPUT_LEN};
use crate::listen::new_socket;
use crate::path::PathBuffer;
use crate::resolve::{self, Addresses, Unresolved};
use crate::sys::socket::VsockAddress;

/// Parked blocks that one write takes: as many bytes as a read of the stream brings.
const PIECES_MAX: usize = INPUT_LEN / BLOCK_LEN;
/// Bytes of the request for who has come to a listener: one field of four bytes.
const REQUEST_LEN: usize = FIELD_HEADER_LEN + 4;

/// What is still to be tried.
enum To {
    Nothing,
    Hosts(Addresses, u16),
    Unix(SocketAddrUnix, Rights),
    Vsock(VsockAddress),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The descriptor is the pipe through which addresses come.
    Resolving,
    /// An attempt is to be made; there is no descriptor.
    Between,
    Connecting,
    Open,
}

/// A forwarded connection.
pub struct Stream {
    channel: ChannelId,
    /// We have opened the channel.
    is_ours: bool,
    state: State,
    to: To,
    fd: Option<OwnedFd>,
    readable: bool,
    writable: bool,
    /// Something is still read from the socket, and written to it.
    reads: bool,
    writes: bool,
    /// The other side has said how it ended.
    is_over: bool,
    /// Why the latest attempt failed.
    reason: Errno,
    /// Why the socket failed, where a write has found out.
    failure: Option<Errno>,
    /// What is left to be sent of our own request.
    request: ArrayVec<u8, REQUEST_LEN>,
}

/// What an attempt came to.
pub enum Attempt {
    /// It is on its way.
    Begun,
    /// The queue of who listens is full, and does not tell when it is not any more.
    Later,
    /// Nothing is left to be tried.
    Failed,
}

impl Stream {
    /// What a request of connect asks for. It is begun by [`Self::attempt`], which the first step asks for.
    ///
    /// # Errors
    /// What cannot be done at all.
    pub fn to(
        channel: ChannelId,
        endpoint: Endpoint<'_>,
        identity: Identity,
        watch: &Watch,
        place: usize,
    ) -> Result<Self, Errno> {
        let (mut state, mut fd) = (State::Between, None);
        let to = match endpoint {
            Endpoint::Tcp(host, port) => {
                let known = resolve::known(host.to_bytes());
                if known.is_none() {
                    let pipe = resolve::ask(host.to_bytes())?;
                    watch.add(&pipe, Token::Task { place, part: 0 }, READ_WRITE)?;
                    (state, fd) = (State::Resolving, Some(pipe));
                }
                To::Hosts(known.unwrap_or_default(), port)
            }
            Endpoint::Unix(path) => {
                let mut buffer = PathBuffer::new();
                let path = endpoint::absolute(path, &identity, &mut buffer)?;
                To::Unix(endpoint::unix_address(path)?, identity.rights)
            }
            Endpoint::Vsock(address) => To::Vsock(address),
        };
        Ok(Self { state, to, fd, ..Self::new(channel, false) })
    }

    /// Who came to the listener of channel `listener`, for whom we have opened this one.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn of(
        channel: ChannelId,
        listener: ChannelId,
        socket: OwnedFd,
        watch: &Watch,
        place: usize,
    ) -> Result<Self, Errno> {
        if sockopt::set_tcp_nodelay(&socket, true).is_err() {
            endpoint::set_buffer(&socket);
        }
        watch.add(&socket, Token::Task { place, part: 0 }, READ_WRITE)?;
        let [a, b] = listener.0.to_le_bytes();
        let [tag, l0, l1, l2] = header(tag::LISTENER, 4).unwrap_or_default();
        let request = ArrayVec::from([tag, l0, l1, l2, a, b, 0, 0]);
        Ok(Self { state: State::Open, fd: Some(socket), request, ..Self::new(channel, true) })
    }

    fn new(channel: ChannelId, is_ours: bool) -> Self {
        Self {
            channel,
            is_ours,
            state: State::Between,
            to: To::Nothing,
            fd: None,
            readable: false,
            writable: false,
            reads: true,
            writes: true,
            is_over: false,
            reason: Errno::HOSTUNREACH,
            failure: None,
            request: ArrayVec::new_const(),
        }
    }

    /// It waits for another attempt.
    pub fn is_between(&self) -> bool {
        self.state == State::Between
    }

    /// Begins to connect to what comes next.
    #[inline(never)]
    pub fn attempt(&mut self, watch: &Watch, place: usize) -> Attempt {
        while self.state == State::Between {
            let begun = match &mut self.to {
                To::Nothing => return Attempt::Failed,
                To::Hosts(addresses, port) => {
                    let Some(address) = addresses.pop_at(0) else { return Attempt::Failed };
                    endpoint::connect_tcp(address, *port)
                }
                To::Unix(address, rights) => {
                    let socket = new_socket(AddressFamily::UNIX).inspect(endpoint::set_buffer);
                    match socket.and_then(|socket| rights.with(|| endpoint::connect(socket, address))) {
                        Err(Errno::AGAIN) => return Attempt::Later,
                        begun => {
                            self.to = To::Nothing;
                            begun
                        }
                    }
                }
                To::Vsock(address) => {
                    let begun = new_socket(AddressFamily::VSOCK)
                        .and_then(|socket| endpoint::connect(socket, address));
                    self.to = To::Nothing;
                    begun
                }
            };
            let watched = begun.and_then(|socket| {
                watch.add(&socket, Token::Task { place, part: 0 }, READ_WRITE).map(|()| socket)
            });
            match watched {
                Ok(socket) => {
                    self.fd = Some(socket);
                    (self.readable, self.writable) = (false, false);
                    self.state = State::Connecting;
                }
                Err(errno) => self.reason = errno,
            }
        }
        Attempt::Begun
    }

    /// Nothing is left to be tried.
    pub fn refuse(&self, core: &mut Core) {
        core.refuse(self.channel, RefusalCode::System, number(self.reason), b"cannot connect");
    }

    /// The descriptor became ready.
    pub fn set_ready(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
    }

    /// The flow that comes from the other side, and the one that goes there.
    fn flows(&self) -> (Flow, Flow) {
        if self.is_ours { (Flow::Output, Flow::Input) } else { (Flow::Input, Flow::Output) }
    }

    /// The other side is through with the channel: how it was.
    pub fn handle_exited(&mut self, outcome: Outcome) {
        self.is_over = true;
        self.reads = false;
        if outcome != Outcome::Exited(0) {
            self.abort();
        }
    }

    /// The other side has aborted the channel, or could not do anything with it: the connection ends as one that broke.
    pub fn abort(&mut self) {
        if let Some(socket) = self.fd.take() {
            let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
        (self.reads, self.writes) = (false, false);
    }

    /// The session is over: where more was to come, the connection ends as one that broke.
    pub fn end(mut self) {
        if self.writes {
            self.abort();
        }
    }

    /// Watches its descriptor in another epoll.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watch(&self, watch: &Watch, place: usize) -> Result<(), Errno> {
        let watched = |fd| watch.add(fd, Token::Task { place, part: 0 }, READ_WRITE);
        self.fd.as_ref().map_or(Ok(()), watched)
    }

    /// The other side takes no more: who writes into the socket finds nobody at its other end.
    pub fn stop(&mut self, core: &mut Core) {
        if self.reads {
            if let Some(socket) = &self.fd {
                let _ = shutdown(socket, Shutdown::Read);
            }
            self.end_reading(core);
        }
    }

    /// Takes bytes for the socket: how many.
    pub fn take(&mut self, core: &mut Core, pieces: &[&[u8]]) -> usize {
        if self.state != State::Open || !self.writes || !self.writable {
            return 0;
        }
        let written = self.write(&mut pieces.iter().copied());
        self.judge(core, written)
    }

    /// Does what can be done now.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        match self.state {
            State::Between => return Step::Asks,
            State::Resolving => return self.read_addresses(core),
            State::Connecting if !self.writable => return Step::Idle,
            State::Connecting => {
                let error = self.fd.as_ref().map(sockopt::socket_error);
                if let Some(Err(errno) | Ok(Err(errno))) = error {
                    self.reason = errno;
                    self.fd = None;
                    self.state = State::Between;
                    return Step::Asks;
                }
                self.fd.iter().for_each(endpoint::set_connected);
                self.state = State::Open;
                core.accept(self.channel, 0);
            }
            State::Open if !self.request.is_empty() => {
                let sent = core.send(self.channel, Flow::Request, &self.request);
                self.request.drain(..sent);
                if !self.request.is_empty() {
                    return Step::NoRoom;
                }
                core.finish(self.channel, Flow::Request);
            }
            State::Open => {}
        }
        let fed = self.feed(core);
        let read = self.read(core);
        if !self.reads && !self.writes {
            if self.is_over {
                core.release(self.channel);
                return Step::Done;
            }
            if !self.is_ours {
                core.exit(self.channel, Outcome::Exited(0), b"");
                return Step::Done;
            }
        }
        if fed && read != Step::Done { Step::Progress } else { read }
    }

    fn read_addresses(&mut self, core: &mut Core) -> Step {
        let (code, errno, text): (_, _, &[u8]) = match self.fd.as_ref().and_then(resolve::report) {
            None => return Step::Idle,
            Some(Ok(found)) => {
                if let To::Hosts(addresses, _) = &mut self.to {
                    *addresses = found;
                }
                self.fd = None;
                self.state = State::Between;
                return Step::Asks;
            }
            Some(Err(Unresolved::NoSuchHost)) => (RefusalCode::NotFound, 0, b"there is no such host"),
            Some(Err(Unresolved::NoAnswer)) => {
                (RefusalCode::System, number(Errno::HOSTUNREACH), b"no name server answers")
            }
        };
        core.refuse(self.channel, code, errno, text);
        Step::Done
    }

    /// Writes what is parked, and then the end; whether anything was written.
    fn feed(&mut self, core: &mut Core) -> bool {
        let (flow, _) = self.flows();
        let mut fed = false;
        while self.writes && self.writable {
            if core.parked(self.channel, flow).is_empty() {
                if core.is_drained(self.channel, flow) {
                    self.writes = false;
                    if let Some(socket) = &self.fd {
                        let _ = shutdown(socket, Shutdown::Write);
                    }
                    fed = true;
                }
                break;
            }
            let written = self.write(&mut core.parked_pieces(self.channel, flow));
            let taken = self.judge(core, written);
            core.consume(self.channel, flow, taken);
            fed |= taken > 0;
        }
        fed
    }

    fn write(&self, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Errno> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        self.fd.as_ref().map_or(Err(Errno::PIPE), |socket| rustix::io::writev(socket, &slices))
    }

    /// What became of a write: how many bytes it took.
    fn judge(&mut self, core: &mut Core, written: Result<usize, Errno>) -> usize {
        match written {
            Ok(taken) => return taken,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.writable = false,
            Err(errno) => {
                let (flow, _) = self.flows();
                self.writes = false;
                // EPIPE only says that the other end takes no more.
                self.failure = Some(errno).filter(|&errno| errno != Errno::PIPE);
                core.stop(self.channel, flow);
            }
        }
        0
    }

    /// Moves one frame from the socket straight into the ring.
    fn read(&mut self, core: &mut Core) -> Step {
        let (_, flow) = self.flows();
        let Some(socket) = self.fd.as_ref().filter(|_| self.reads && self.readable) else {
            return Step::Idle;
        };
        let Some(places) = core.reserve(self.channel, flow, FRAME_PAYLOAD_MAX) else {
            return if core.room() == 0 { Step::NoRoom } else { Step::Idle };
        };
        let slices = &mut [IoSliceMut::new(places.first), IoSliceMut::new(places.second)];
        let read = rustix::io::readv(socket, slices);
        core.commit(*read.as_ref().unwrap_or(&0));
        // A write that failed was told why, and this read is not told again.
        let read = if read == Ok(0) { self.failure.map_or(read, Err) } else { read };
        match read {
            Ok(0) => self.end_reading(core),
            // A short read does not mean that there is no more: it ends at urgent data (`tcp(7)`) and behind what came with
            // descriptors (`unix(7)`), and nothing would tell of the rest.
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Step::Idle;
            }
            Err(errno) => {
                if self.is_ours {
                    core.reset(self.channel, CloseCode::Cancelled);
                } else {
                    core.exit(self.channel, Outcome::Failed(number(errno)), b"read");
                }
                return Step::Done;
            }
        }
        Step::Progress
    }

    fn end_reading(&mut self, core: &mut Core) {
        self.reads = false;
        core.finish(self.channel, self.flows().1);
    }
}
