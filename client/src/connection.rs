//! Owns the conversation with one agent: the preamble, the protocol core, and the bytes between it and one stream after the other.
//!
//! [`drive`](crate::drive) moves it along; what is done in its channels is a [`Task`].

mod batch;
mod capacity;
mod drain;
mod single;
mod transmit;

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::Hello;
use vsock_shell_proto::limits::{BLOCK_LEN, RING_LEN, WINDOW_MAX, pool_len};
use vsock_shell_proto::link::End;
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{DialError as PreambleError, Dialer, SessionId, Status};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::dial::Stream;
use crate::drive::Task;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::key::Prover;
use crate::patience::Patience;
use crate::redial::{Quiet, Redial, SILENCE, retry_pause};
use crate::target::{Address, Target};
use crate::trace::{Detail, Trace, dial_told};
use batch::Batch;
pub(crate) use capacity::Capacity;
use drain::Drain;
use transmit::send;

/// The protocol core with the memory of a client.
pub(crate) type Core = Session<Vec<u8>, Vec<u8>, Vec<Channel>>;

/// Name and version, for HELLO.
pub(crate) const SOFTWARE: &str = concat!("vsock-shell ", env!("CARGO_PKG_VERSION"));
/// Blocks for windows to grow into: each received flow reaches its largest window.
const SURPLUS: usize = 8 * WINDOW_MAX / BLOCK_LEN;
/// Bytes read from the stream at once.
pub(crate) const INPUT_LEN: usize = 256 * 1024;
/// Bytes asked of the kernel for a socket's send buffer; it gives what `net.core.wmem_max` allows.
pub(crate) const SEND_BUFFER: usize = 512 * 1024;
/// How long an agent behind a port may take to answer at first; the longer it takes, the longer it may.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the agent has to confirm that the session is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of a request of the agent's: the number of a listener.
const GREETING_MAX: u32 = 1024;

/// A session with an agent, over one stream after the other.
pub struct Connection {
    way: Way,
    pub(crate) core: Core,
    dialer: Dialer,
    /// Both sides prove that they have its key.
    prover: Option<Arc<Prover>>,
    redial: Redial,
    quiet: Quiet,
    input: Vec<u8>,
    start: Clock,
    can_write: bool,
    /// The person is told what becomes of the connection.
    pub(crate) is_talkative: bool,
    /// Tells of everything, where that is wanted.
    trace: Option<Box<Trace>>,
}

/// What leads to the agent.
enum Way {
    /// A stream on which the session goes on.
    Up(Stream),
    /// A stream on which it was asked to go on, and since when.
    Asking(Box<Exchange>, Clock),
    /// Nothing.
    Down,
}

impl Connection {
    /// Reaches the agent of `target` and begins a session.
    ///
    /// # Errors
    /// The agent cannot be reached, does not answer, or gives no session.
    pub(crate) fn open(
        target: &Target,
        patience: Patience,
        capacity: Capacity,
        detail: Detail,
    ) -> Result<Self, Error> {
        let address = &target.address;
        let timeout = patience.connect;
        let is_called = matches!(address, Address::Listen(_));
        let start = Clock::now();
        let mut connection = Self::new(address, patience, capacity)?;
        connection.tell(Trace::new(address, detail));
        let prover = target.credentials.as_ref().map(Prover::load).transpose()?;
        connection.prover = prover.map(Arc::new);
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let voice = connection.trace.as_ref().map(|trace| trace.voice());
            let stream = dial_told(address, left, voice).map_err(Error::Dial)?;
            // An agent that is reached late still gets a moment to answer.
            let left = timeout.saturating_sub(start.elapsed()).max(FAREWELL);
            // What goes over a port before the agent holds it is lost: it is said again. Whoever calls us may be
            // anybody, and the next one the agent.
            let is_port = matches!(address, Address::Serial(_) | Address::Listen(_));
            let left = if is_port { left.min(start.elapsed().max(PATIENCE)) } else { left };
            let Err(reason) = connection.begin(stream, left) else { return Ok(connection) };
            let pause = match reason {
                Error::Silent(_) if is_port && start.elapsed() < timeout => Duration::ZERO,
                // A backend accepts for a guest that does not listen yet, and then closes.
                Error::Closed | Error::Lost(_) if start.elapsed() + retry_pause(address) < timeout => {
                    retry_pause(address)
                }
                Error::Closed | Error::Lost(_) => return Err(Error::NoAnswer(start.elapsed())),
                // Anybody can call; the one who is waited for has the key.
                Error::Unproved | Error::NotAnAgent | Error::AnotherGuest { .. }
                    if is_called && connection.prover.is_some() && start.elapsed() < timeout =>
                {
                    Duration::ZERO
                }
                error => return Err(error),
            };
            if let Some(trace) = &connection.trace {
                trace.handle_retry(&reason);
            }
            std::thread::sleep(pause);
        }
    }

    /// A session that no agent knows yet, to be begun over a connection to `address`.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(crate) fn new(address: &Address, patience: Patience, capacity: Capacity) -> Result<Self, Error> {
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::local("draw", "random bytes")(errno.into()))?;
        let memory = Memory {
            ring: vec![0; RING_LEN],
            pool: vec![0; pool_len(capacity.channels, SURPLUS)],
            channels: vec![Channel::FREE; 2 * capacity.channels],
            channels_max: capacity.channels,
        };
        // How long a session without a connection is worth keeping to us.
        let grace_ms = u32::try_from(patience.reconnect.as_millis()).unwrap_or(u32::MAX);
        Ok(Self {
            way: Way::Down,
            core: Core::new(
                Side::Client,
                memory,
                Hello::new(SOFTWARE, capacity.taken, GREETING_MAX, grace_ms),
                None,
            ),
            dialer: Dialer::new(SessionId(id)),
            prover: None,
            redial: Redial::new(address.clone(), patience),
            quiet: Quiet::new(Clock::now()),
            input: vec![0; INPUT_LEN],
            start: Clock::now(),
            can_write: true,
            is_talkative: false,
            trace: None,
        })
    }

    /// From now on everything is told.
    fn tell(&mut self, trace: Option<Box<Trace>>) {
        self.redial.voice = trace.as_ref().map(|trace| trace.voice().clone());
        self.trace = trace;
    }

    /// Begins it over a stream that does not block, or goes on with what was begun over another whose answer was lost.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Lost`] before the answer, [`Error::Silent`] after `timeout`, and what the answer says.
    pub fn begin(&mut self, stream: Stream, timeout: Duration) -> Result<(), Error> {
        self.ask(stream)?;
        let deadline = Clock::now() + timeout;
        while !self.is_answered()? {
            let left = deadline.saturating_duration_since(Clock::now());
            if left.is_zero() {
                return Err(Error::Silent(timeout));
            }
            let mut fds = Vec::with_capacity(1);
            self.interests(&mut fds);
            _ = poll(&mut fds, Some(&timespec(left)));
        }
        Ok(())
    }

    /// Asks over `stream` whether the session goes on. From now on nothing is taken from a former one (`R-3.5`).
    ///
    /// # Errors
    /// The system has no random bytes.
    fn ask(&mut self, stream: Stream) -> Result<(), Error> {
        self.core.detach();
        // More in flight, so that neither side waits for the other to wake up. What is no socket has no such buffer.
        _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream.output, SEND_BUFFER);
        let mut nonce = [0; 16];
        if self.prover.is_some() {
            rustix::rand::getrandom(&mut nonce[..], rustix::rand::GetRandomFlags::empty())
                .map_err(|errno| Error::local("draw", "random bytes")(errno.into()))?;
        }
        let preamble = self.dialer.next_preamble(self.core.link().received(), nonce);
        let exchange = Exchange::new(stream, preamble, self.prover.clone(), &mut self.trace);
        self.way = Way::Asking(Box::new(exchange), Clock::now());
        Ok(())
    }

    /// Whether the session goes on over the stream on which that was asked.
    ///
    /// # Errors
    /// The stream has ended, or the session has.
    fn is_answered(&mut self) -> Result<bool, Error> {
        let Way::Asking(exchange, _) = &mut self.way else { return Ok(true) };
        let Some(answer) = exchange.step(&mut self.trace)? else { return Ok(false) };
        let received = self.dialer.handle_answer(&answer).map_err(|error| match error {
            PreambleError::NotAnAnswer => Error::NotAnAgent,
            // Somebody else has the latest number: we draw a higher one.
            PreambleError::Refused(Status::Stale) => Error::Closed,
            PreambleError::Refused(status) => Error::NoSession(status),
        })?;
        let rolled_back = |_| Error::NoSession(Status::RolledBack);
        self.core.attach(received, self.now()).map_err(rolled_back)?;
        if let Some(trace) = &mut self.trace {
            trace.handle_attached(received, self.core.link().received());
        }
        if let Way::Asking(exchange, _) = std::mem::replace(&mut self.way, Way::Down) {
            self.way = Way::Up(exchange.stream);
        }
        self.can_write = true;
        Ok(true)
    }

    /// The stream was lost; whether it pays to go on without.
    ///
    /// # Errors
    /// `reason`, where there will not be another one.
    pub(crate) fn handle_lost(&mut self, reason: Error) -> Result<(), Error> {
        self.hang_up();
        let told = self.trace.as_ref().map(|_| reason.to_string());
        let lost = if self.core.link().is_ending() || self.redial.is_off() {
            Err(reason)
        } else {
            let grace = self.core.peer().map(|hello| Duration::from_millis(hello.grace_ms.into()));
            self.redial.handle_lost(reason, grace, Clock::now())
        };
        if let (Some(trace), Some(told)) = (&self.trace, told) {
            trace.handle_lost(&told, self.redial.news());
        }
        lost
    }

    /// Something else can be done in this session.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.way, Way::Up(_)) && !self.core.link().is_ending()
    }

    /// Leaves the stream.
    pub(crate) fn hang_up(&mut self) {
        self.core.detach();
        self.way = Way::Down;
    }

    /// Looks after the connection: replaces it where it was lost, and dials another where it is silent.
    ///
    /// # Errors
    /// The session is over.
    pub(crate) fn advance(&mut self) -> Result<(), Error> {
        let now = Clock::now();
        match &self.way {
            Way::Up(_) => {
                let silence = self.silence(now);
                if !silence.is_zero() {
                    self.redial.handle_silence(silence, now)?;
                } else {
                    if self.redial.is_silent() {
                        self.redial.handle_heard();
                    }
                    if self.quiet.is_due(now) {
                        self.core.ask();
                    }
                }
            }
            Way::Asking(_, since) => {
                self.redial.handle_silence(now.duration_since(*since), now)?;
                match self.is_answered() {
                    Ok(true) => self.redial.handle_resumed(),
                    Ok(false) if self.redial.has_to_leave(now) => self.way = Way::Down,
                    Ok(false) => {}
                    Err(reason @ (Error::Closed | Error::Lost(_))) => self.handle_lost(reason)?,
                    Err(error) => return Err(error),
                }
            }
            Way::Down => {}
        }
        if let Some(stream) = self.redial.advance(now)? {
            self.ask(stream)?;
        }
        Ok(())
    }

    /// One line for the person about what has become of the connection.
    pub(crate) fn news(&mut self) -> Option<String> {
        let news = self.redial.news()?;
        if let Some(trace) = &self.trace {
            trace.voice().say_whole(&news);
            return None;
        }
        self.is_talkative.then_some(news)
    }

    fn silence(&self, now: Clock) -> Duration {
        Duration::from_micros(self.core.link().silence_micros(self.at(now)))
    }

    fn now(&self) -> Instant {
        self.at(Clock::now())
    }

    /// The core's time.
    fn at(&self, clock: Clock) -> Instant {
        let since = clock.saturating_duration_since(self.start);
        Instant::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// How long until the core, or [`Self::advance`], wants to be called.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let now = Clock::now();
        let until = |due: Clock| due.saturating_duration_since(now);
        let core = self.core.poll_timeout().map(|due| due.duration_from(self.at(now)));
        let (quiet, silence) = match &self.way {
            Way::Up(_) => match self.silence(now) {
                Duration::ZERO => (Some(until(self.quiet.due())), None),
                silence => (None, Some(silence)),
            },
            Way::Asking(_, since) => (None, Some(now.duration_since(*since))),
            Way::Down => (None, None),
        };
        let silence = silence.map(|silence| SILENCE.saturating_sub(silence)).filter(|left| !left.is_zero());
        let redial = self.redial.deadline().map(until);
        [core, quiet, silence, redial].into_iter().flatten().min()
    }

    /// The descriptors to wait for: the stream to be read, and, where that would block, to be written. Asked about when
    /// nothing waits for it, a pipe without a reader would be told again and again.
    pub(crate) fn interests<'f>(&'f self, fds: &mut Vec<PollFd<'f>>) {
        match &self.way {
            Way::Up(stream) => {
                fds.push(PollFd::new(&stream.input, PollFlags::IN));
                if !self.can_write {
                    fds.push(PollFd::new(&stream.output, PollFlags::OUT));
                }
            }
            Way::Asking(exchange, _) => {
                let (fd, flags) = exchange.interest();
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
            Way::Down => {}
        }
        if let Some(wake) = self.redial.wake() {
            fds.push(PollFd::from_borrowed_fd(wake, PollFlags::IN));
        }
    }

    /// Something came already, with the answer.
    pub(crate) fn has_unread(&mut self) -> bool {
        match &mut self.way {
            Way::Up(stream) => stream.has_unread(),
            _ => false,
        }
    }

    /// What `poll` said of the descriptors of [`Self::interests`]; whether there is something to read.
    pub(crate) fn set_ready(&mut self, ready: &[PollFlags]) -> bool {
        if !matches!(self.way, Way::Up(_)) {
            return false;
        }
        if !self.can_write {
            self.can_write = ready.get(1).is_some_and(|flags| !flags.is_empty());
        }
        ready.first().is_some_and(|flags| !flags.is_empty()) || self.has_unread()
    }

    /// Reads once and gives what came to the task; whether anything came.
    pub(crate) fn receive(&mut self, task: &mut dyn Task) -> Result<bool, Error> {
        let clock = Clock::now();
        let now = self.at(clock);
        let Way::Up(stream) = &mut self.way else { return Ok(false) };
        let length = match stream.read(&mut self.input) {
            Ok(0) => return Err(Error::Closed),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::Lost(errno.into())),
        };
        self.quiet.handle_received(length, clock);
        let core = &mut self.core;
        let mut rest = self.input.get(..length).unwrap_or_default();
        let trace = &mut self.trace;
        if let Some(trace) = trace {
            trace.handle_received(rest);
        }
        let mut batch = Batch::default();
        let mut lost = Ok(false);
        let mut deliver = |batch: &mut Batch<'_>, core: &mut Core, task: &mut dyn Task| {
            if core.is_ack_due() && lost.is_ok() {
                // The agent goes on sending while we work on what it sent.
                lost = send(stream, core, &mut self.can_write, trace, now);
            }
            batch.deliver(core, task);
        };
        while !rest.is_empty() {
            let (taken, event) = core.handle_received(rest, now);
            rest = rest.get(taken..).unwrap_or_default();
            match event {
                Some(Event::Data { channel, flow, bytes }) => {
                    if batch.of != Some((channel, flow)) {
                        deliver(&mut batch, core, task);
                        batch.of = Some((channel, flow));
                    }
                    batch.pieces.push(bytes);
                }
                Some(event) => {
                    deliver(&mut batch, core, task);
                    task.handle(core, event);
                }
                None => break,
            }
        }
        deliver(&mut batch, core, task);
        lost.map(|_| true)
    }

    /// Writes what the core has, until it has nothing or the stream is full; whether anything left.
    pub(crate) fn transmit(&mut self) -> Result<bool, Error> {
        let now = self.now();
        self.core.handle_timeout(now);
        let Way::Up(stream) = &mut self.way else { return Ok(false) };
        send(stream, &mut self.core, &mut self.can_write, &mut self.trace, now)
    }

    /// How the session ended, when it has.
    pub(crate) fn ended(&self) -> Result<(), Error> {
        match self.core.end() {
            None => Ok(()),
            Some(End::Peer(code)) => Err(Error::Ended(code)),
            Some(End::Own(code)) if code.number() < CloseCode::RecordType.number() => Err(Error::Ended(code)),
            Some(End::Own(code)) => Err(Error::Broken(code)),
        }
    }

    /// Ends the session and waits, within bounds, until the agent has heard it.
    pub fn close(mut self, code: CloseCode) {
        self.core.close(code);
        let deadline = Clock::now() + FAREWELL;
        while matches!(self.way, Way::Up(_)) && self.transmit().is_ok() && self.core.end().is_none() {
            let left = deadline.saturating_duration_since(Clock::now());
            let mut fds = Vec::with_capacity(2);
            self.interests(&mut fds);
            if left.is_zero()
                || poll(&mut fds, Some(&timespec(left))).is_err_and(|errno| errno != Errno::INTR)
            {
                return;
            }
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            if self.set_ready(&ready) && self.receive(&mut Drain).is_err() {
                return;
            }
        }
    }

    /// Ends the session where nothing is at stake any more: the agent hears it, but is not waited for.
    pub fn leave(mut self) {
        self.core.close(CloseCode::Normal);
        // Whoever does not hear it finds the stream closed.
        _ = self.transmit();
    }
}

/// A duration as `poll` wants it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
