//! Owns the conversation with one agent: the preamble, the protocol core, and the bytes between it and the stream.
//!
//! [`drive`](crate::drive) moves it along; what is done in its channels is a [`Task`].

use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, Flow, Hello};
use vsock_shell_proto::limits::{BLOCK_LEN, CHANNELS_MAX, PREAMBLE_LEN, RING_LEN, WINDOW_MAX, pool_len};
use vsock_shell_proto::link::{End, Transmit};
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{DialError as PreambleError, Dialer, SessionId};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::dial::{Stream, dial};
use crate::drive::Task;
use crate::error::Error;
use crate::target::Address;

/// The protocol core with the memory of a client.
pub(crate) type Core = Session<Vec<u8>, Vec<u8>, Vec<Channel>>;

/// Name and version, for HELLO.
const SOFTWARE: &str = concat!("vsock-shell ", env!("CARGO_PKG_VERSION"));
/// Channels that a client opens at once.
const CHANNELS: usize = 8;
/// Blocks for windows to grow into: each received flow reaches its largest window.
const SURPLUS: usize = 8 * WINDOW_MAX / BLOCK_LEN;
/// Bytes read from the stream at once.
const INPUT_LEN: usize = 256 * 1024;
/// Bytes asked of the kernel for a socket's send buffer; it gives what `net.core.wmem_max` allows.
const SEND_BUFFER: usize = 512 * 1024;
/// Between two tries where the agent closes without an answer.
const RETRY: Duration = Duration::from_millis(100);
/// The same where a command has to be started again: with the usual timeout it is not.
const RETRY_COMMAND: Duration = Duration::from_secs(2);
/// How long an agent behind a port may take to answer at first; the longer it takes, the longer it may.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the agent has to confirm that the session is over.
const FAREWELL: Duration = Duration::from_secs(1);

const _: () = assert!(CHANNELS <= CHANNELS_MAX);

/// A session with an agent, over one stream.
pub struct Connection {
    stream: Stream,
    pub(crate) core: Core,
    input: Vec<u8>,
    start: Clock,
    can_write: bool,
}

impl Connection {
    /// Reaches the agent at `address`, trying for `timeout` as long as it can still succeed (zero: once), and begins a
    /// session.
    ///
    /// # Errors
    /// The agent cannot be reached, does not answer, or gives no session.
    pub fn open(address: &Address, timeout: Duration) -> Result<Self, Error> {
        let start = Clock::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let stream = dial(address, left).map_err(Error::Dial)?;
            // An agent that is reached late still gets a moment to answer.
            let left = timeout.saturating_sub(start.elapsed()).max(FAREWELL);
            // What goes over a port before the agent holds it is lost: it is said again. Whoever calls us may be
            // anybody, and the next one the agent.
            let is_port = matches!(address, Address::Serial(_) | Address::Listen(_));
            // A command that is started anew may ask for a password again, or log in somewhere.
            let pause = if matches!(address, Address::Exec(_)) { RETRY_COMMAND } else { RETRY };
            match Self::begin(stream, if is_port { left.min(start.elapsed().max(PATIENCE)) } else { left }) {
                Err(Error::Silent(_)) if is_port && start.elapsed() < timeout => {}
                // A backend accepts for a guest that does not listen yet, and then closes.
                Err(Error::Closed | Error::Lost(_)) if start.elapsed() + pause < timeout => {
                    std::thread::sleep(pause);
                }
                Err(Error::Closed | Error::Lost(_)) => return Err(Error::NoAnswer(start.elapsed())),
                result => return result,
            }
        }
    }

    /// Begins a session over a stream that does not block.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Lost`] before the answer, [`Error::Silent`] after `timeout`, and what the answer says.
    pub fn begin(mut stream: Stream, timeout: Duration) -> Result<Self, Error> {
        // More in flight, so that neither side waits for the other to wake up. What is no socket has no such buffer.
        _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream.output, SEND_BUFFER);
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::local("draw", "random bytes")(errno.into()))?;
        let mut dialer = Dialer::new(SessionId(id));
        let preamble = dialer.next_preamble(0, [0; 16]).encode();
        let deadline = Clock::now() + timeout;
        exchange(&mut stream, &preamble, deadline, timeout).and_then(|answer| {
            let received = dialer.handle_answer(&answer).map_err(|error| match error {
                PreambleError::NotAnAnswer => Error::NotAnAgent,
                PreambleError::Refused(status) => Error::NoSession(status),
            })?;
            let memory = Memory {
                ring: vec![0; RING_LEN],
                pool: vec![0; pool_len(CHANNELS, SURPLUS)],
                channels: vec![Channel::FREE; 2 * CHANNELS],
                channels_max: CHANNELS,
            };
            let mut core = Core::new(Side::Client, memory, Hello::new(SOFTWARE, 0, 0, 0), None);
            let start = Clock::now();
            core.attach(received, Instant::default()).map_err(|_| Error::NotAnAgent)?;
            Ok(Self { stream, core, input: vec![0; INPUT_LEN], start, can_write: true })
        })
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// How long until the core wants to be called.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.core.poll_timeout().map(|due| due.duration_from(self.now()))
    }

    /// The descriptors to wait for: the stream to be read, and, where that would block, to be written. Asked about when
    /// nothing waits for it, a pipe without a reader would be told again and again.
    pub(crate) fn interests<'f>(&'f self, fds: &mut Vec<PollFd<'f>>) {
        let input = PollFd::new(&self.stream.input, PollFlags::IN);
        fds.push(input.clone());
        // The same again where nothing waits, so that there are always two.
        fds.push(if self.can_write { input } else { PollFd::new(&self.stream.output, PollFlags::OUT) });
    }

    /// Something came already, with the answer.
    pub(crate) fn has_unread(&mut self) -> bool {
        self.stream.has_unread()
    }

    /// What `poll` said of the two descriptors of [`Self::interests`].
    pub(crate) fn set_writable(&mut self, output: PollFlags) {
        self.can_write |= !output.is_empty();
    }

    /// Reads once and gives what came to the task; whether anything came.
    pub(crate) fn receive(&mut self, task: &mut dyn Task) -> Result<bool, Error> {
        let length = match self.stream.read(&mut self.input) {
            Ok(0) => return Err(Error::Closed),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::Lost(errno.into())),
        };
        let now = self.now();
        let core = &mut self.core;
        let mut rest = self.input.get(..length).unwrap_or_default();
        let mut batch = Batch::default();
        let mut lost = Ok(false);
        let mut deliver = |batch: &mut Batch<'_>, core: &mut Core, task: &mut dyn Task| {
            if core.is_ack_due() && lost.is_ok() {
                // The agent goes on sending while we work on what it sent.
                lost = send(&mut self.stream, core, &mut self.can_write, now);
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
        send(&mut self.stream, &mut self.core, &mut self.can_write, now)
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
        while self.transmit().is_ok() && self.core.end().is_none() {
            let left = deadline.saturating_duration_since(Clock::now());
            let mut fds = Vec::with_capacity(2);
            self.interests(&mut fds);
            if left.is_zero()
                || poll(&mut fds, Some(&timespec(left))).is_err_and(|errno| errno != Errno::INTR)
            {
                return;
            }
            let output = fds.get(1).map_or(PollFlags::empty(), PollFd::revents);
            self.set_writable(output);
            if self.receive(&mut Drain).is_err() {
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

/// Writes what the core has, until it has nothing or the stream is full; whether anything left.
fn send(stream: &mut Stream, core: &mut Core, can_write: &mut bool, now: Instant) -> Result<bool, Error> {
    let mut has_sent = false;
    while *can_write {
        let step = match core.poll_transmit(now) {
            Some(Transmit { head, first, second }) => stream.write(&[head, first, second]).map(|taken| {
                core.handle_transmitted(taken, now);
                has_sent = true;
            }),
            None => match stream.flush() {
                Ok(()) => break,
                Err(errno) => Err(errno),
            },
        };
        match step {
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => *can_write = false,
            Err(Errno::PIPE) => return Err(Error::Closed),
            Err(errno) => return Err(Error::Lost(errno.into())),
        }
    }
    Ok(has_sent)
}

/// Bytes of one flow that came together, and are given to their task together: what their frames were cut into shall
/// not cost a system call each.
#[derive(Default)]
struct Batch<'i> {
    of: Option<(ChannelId, Flow)>,
    pieces: Vec<&'i [u8]>,
}

impl Batch<'_> {
    fn deliver(&mut self, core: &mut Core, task: &mut dyn Task) {
        let Some((channel, flow)) = self.of.take() else { return };
        let waits = !core.parked(channel, flow).is_empty();
        let mut taken = if waits { 0 } else { task.take(core, flow, &self.pieces) };
        for piece in self.pieces.drain(..) {
            let of_it = taken.min(piece.len());
            taken -= of_it;
            core.deliver(channel, flow, piece, of_it);
        }
    }
}

/// What takes everything and does nothing, while a session ends.
struct Drain;

impl Task for Drain {
    fn handle(&mut self, _: &mut Core, _: Event<'_>) {}

    fn take(&mut self, _: &mut Core, _: Flow, pieces: &[&[u8]]) -> usize {
        pieces.iter().map(|piece| piece.len()).sum()
    }

    fn step(&mut self, _: &mut Core) -> Result<bool, Error> {
        Ok(false)
    }

    fn has_outcome(&self) -> bool {
        true
    }

    fn is_done(&self, _: &Core) -> bool {
        true
    }

    fn interests<'f>(&'f self, _: &Core, _: &mut Vec<PollFd<'f>>) {}

    fn set_ready(&mut self, _: &[PollFlags]) {}
}

/// Sends the preamble and reads the answer.
fn exchange(
    stream: &mut Stream,
    preamble: &[u8; PREAMBLE_LEN],
    deadline: Clock,
    timeout: Duration,
) -> Result<[u8; PREAMBLE_LEN], Error> {
    let mut answer = [0; PREAMBLE_LEN];
    let (mut sent, mut have) = (0, 0);
    while have < PREAMBLE_LEN {
        let (flags, step) = match preamble.get(sent..).filter(|rest| !rest.is_empty()) {
            Some(rest) => (PollFlags::OUT, stream.write(&[rest, &[], &[]]).map(|taken| sent += taken)),
            None => match stream.flush() {
                Err(errno) => (PollFlags::OUT, Err(errno)),
                Ok(()) => match stream.read(answer.get_mut(have..).unwrap_or_default()) {
                    Ok(0) => return Err(Error::Closed),
                    result => (PollFlags::IN, result.map(|taken| have += taken)),
                },
            },
        };
        match step {
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = deadline.saturating_duration_since(Clock::now());
                let fd = if flags == PollFlags::IN { &stream.input } else { &stream.output };
                if left.is_zero() {
                    return Err(Error::Silent(timeout));
                }
                _ = poll(&mut [PollFd::new(fd, flags)], Some(&timespec(left)));
            }
            Err(errno) => return Err(Error::Lost(errno.into())),
        }
    }
    Ok(answer)
}

/// A duration as `poll` wants it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
