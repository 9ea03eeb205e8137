//! Owns a channel whose flows are plumbed to descriptors or memory of this side, until the agent tells how it ended:
//! a command, and everything else that answers with bytes.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Outcome};
use vsock_shell_proto::mux::Event;

use crate::call::Call;
use crate::command::Streams;
use crate::connection::Core;
use crate::drive::{STEP_ROUNDS, Task};
use crate::error::Error;
use crate::json::Kept;
use crate::signals::Signals;
use crate::stdio::{Sink, Source};

/// How long a command has after SIGTERM before it gets SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;

/// Where what a command reads comes from.
pub struct Input(From);

enum From {
    /// Somebody else sends it.
    Elsewhere,
    Nothing,
    Bytes(Vec<u8>, usize),
    Source {
        source: Source,
        is_ready: bool,
    },
}

impl Input {
    /// It is at its end from the beginning.
    #[must_use]
    pub fn nothing() -> Self {
        Self(From::Nothing)
    }

    /// Somebody else sends it on the same flow.
    pub(crate) fn elsewhere() -> Self {
        Self(From::Elsewhere)
    }

    /// These bytes.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self(From::Bytes(bytes, 0))
    }

    /// A descriptor of this side.
    #[must_use]
    pub fn source(source: Source) -> Self {
        // Read before it is polled: of a named pipe whose writers left before we came, poll does not tell the end.
        Self(From::Source { source, is_ready: true })
    }
}

/// Where what a command writes goes.
pub struct Output {
    to: To,
    /// Nobody reads any more where it goes.
    is_unread: bool,
}

/// What becomes of a piece.
type Take = dyn FnMut(&[u8]) -> io::Result<()>;

enum To {
    Nowhere,
    Memory(Kept),
    Each { take: Box<Take>, at_last: Option<Sink> },
    Sink { sink: Sink, is_ready: bool },
}

impl Output {
    /// It is dropped.
    #[must_use]
    pub fn discard() -> Self {
        Self::to(To::Nowhere)
    }

    fn to(to: To) -> Self {
        Self { to, is_unread: false }
    }

    /// Its beginning is kept, up to [`KEPT_BYTES_MAX`](crate::json::KEPT_BYTES_MAX) bytes.
    #[must_use]
    pub fn keep() -> Self {
        Self::to(To::Memory(Kept::default()))
    }

    /// Each piece is given to `take`, which may block; when it fails, nothing more is wanted.
    pub fn each(take: impl FnMut(&[u8]) -> io::Result<()> + 'static) -> Self {
        Self::to(To::Each { take: Box::new(take), at_last: None })
    }

    /// The same for a `take` that writes to `sink`: once nobody reads that any more, nothing more is wanted either.
    pub fn each_into(sink: Sink, take: impl FnMut(&[u8]) -> io::Result<()> + 'static) -> Self {
        Self::to(To::Each { take: Box::new(take), at_last: Some(sink) })
    }

    /// A descriptor of this side. Once nobody reads it any more, nothing more is wanted.
    #[must_use]
    pub fn sink(sink: Sink) -> Self {
        Self::to(To::Sink { sink, is_ready: true })
    }

    /// Takes a beginning of the pieces: how many bytes.
    fn take(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> io::Result<usize> {
        match &mut self.to {
            To::Nowhere => Ok(pieces.map(<[u8]>::len).sum()),
            To::Memory(kept) => Ok(pieces
                .map(|piece| {
                    kept.push(piece);
                    piece.len()
                })
                .sum()),
            To::Each { take, .. } => pieces.map(|piece| take(piece).map(|()| piece.len())).sum(),
            To::Sink { is_ready: false, .. } => Ok(0),
            To::Sink { sink, is_ready } => match sink.write_pieces(pieces) {
                Ok(taken) => Ok(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *is_ready = false;
                    Ok(0)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                Err(error) => Err(error),
            },
        }
    }

    fn sink_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.to {
            To::Sink { sink, .. } | To::Each { at_last: Some(sink), .. } => Some(sink.as_fd()),
            _ => None,
        }
    }

    fn set_ready(&mut self, flags: PollFlags) {
        self.is_unread |= flags.intersects(PollFlags::ERR | PollFlags::HUP);
        if let To::Sink { is_ready, .. } = &mut self.to {
            *is_ready |= !flags.is_empty();
        }
    }

    fn into_kept(self) -> Kept {
        match self.to {
            To::Memory(kept) => kept,
            _ => Kept::default(),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub outcome: Outcome,
    pub output: Kept,
    pub error: Kept,
    pub timed_out: bool,
}

/// The channel.
pub(crate) struct Run<'s> {
    call: Call<'s>,
    input: Option<Input>,
    output: Output,
    error: Output,
    kill_at: Option<(Clock, u32)>,
    timed_out: bool,
    /// Which descriptors `poll` was asked about: input, output, error.
    polled: Cell<[bool; 3]>,
}

impl<'s> Run<'s> {
    /// Opens the channel. `signals`, where given, end it when they arrive.
    pub(crate) fn new(
        core: &mut Core,
        kind: ChannelKind,
        request: Vec<u8>,
        streams: Streams,
        signals: Option<&'s mut Signals>,
    ) -> Result<Self, Error> {
        let Streams { input, output, error } = streams;
        Ok(Self {
            call: Call::open(core, kind, request, signals)?,
            input: Some(input),
            output,
            error,
            kill_at: None,
            timed_out: false,
            polled: Cell::new([false; 3]),
        })
    }

    pub(crate) fn kill_after(&mut self, limit: Option<Duration>) {
        self.kill_at = limit.and_then(|limit| Clock::now().checked_add(limit)).map(|at| (at, SIGTERM));
    }

    /// What came of it, once it is done or `driven` has failed.
    pub(crate) fn finish(self, core: &mut Core, driven: Result<(), Error>) -> Result<Ended, Error> {
        let outcome = self.call.finish(core, driven)?;
        let (output, error) = (self.output.into_kept(), self.error.into_kept());
        Ok(Ended { outcome, output, error, timed_out: self.timed_out })
    }

    /// The agent has taken it on.
    pub(crate) fn is_accepted(&self) -> bool {
        self.call.is_accepted()
    }

    pub(crate) fn channel(&self) -> ChannelId {
        self.call.channel()
    }

    /// Moves one frame from the input straight into the ring; whether it did anything.
    fn send_input(&mut self, core: &mut Core) -> Result<bool, Error> {
        let Some(input) = &mut self.input else { return Ok(false) };
        let mut is_at_end = false;
        let moved = match &mut input.0 {
            From::Elsewhere => false,
            From::Nothing => {
                is_at_end = true;
                true
            }
            From::Bytes(bytes, at) => {
                let sent = core.send(self.call.channel(), Flow::Input, bytes.get(*at..).unwrap_or_default());
                *at += sent;
                is_at_end = *at == bytes.len();
                sent > 0 || is_at_end
            }
            From::Source { is_ready: false, .. } => false,
            From::Source { source, is_ready } => {
                match core.reserve(self.call.channel(), Flow::Input, usize::MAX) {
                    None => false,
                    Some(places) => {
                        let read = source.read(places.first);
                        core.commit(*read.as_ref().unwrap_or(&0));
                        match read {
                            Ok(0) => {
                                is_at_end = true;
                                true
                            }
                            Ok(_) => true,
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                *is_ready = false;
                                false
                            }
                            Err(error) => return Err(Error::local("read", "standard input")(error)),
                        }
                    }
                }
            }
        };
        if is_at_end {
            self.input = None;
            core.finish(self.call.channel(), Flow::Input);
        }
        Ok(moved)
    }

    fn output(&mut self, flow: Flow) -> &mut Output {
        if flow == Flow::Output { &mut self.output } else { &mut self.error }
    }

    /// A sink failed: it wants nothing more. As in a pipeline of one machine, the command finds nobody at the other end.
    fn end_output(&mut self, core: &mut Core, flow: Flow, error: io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            let name = if flow == Flow::Output { "standard output" } else { "standard error" };
            self.call.fail(Error::local("write to", name)(error));
        }
        *self.output(flow) = Output::discard();
        core.stop(self.call.channel(), flow);
    }

    /// Writes what is parked; whether anything was.
    fn drain(&mut self, core: &mut Core, flow: Flow) -> bool {
        let mut moved = false;
        if self.output(flow).is_unread {
            self.end_output(core, flow, io::ErrorKind::BrokenPipe.into());
            moved = true;
        }
        for _ in 0..STEP_ROUNDS {
            if core.parked(self.call.channel(), flow).is_empty() {
                break;
            }
            let channel = self.call.channel();
            let taken = self.output(flow).take(&mut core.parked_pieces(channel, flow));
            match taken {
                Ok(0) => break,
                Ok(taken) => core.consume(channel, flow, taken),
                Err(error) => self.end_output(core, flow, error),
            }
            moved = true;
        }
        moved
    }

    fn handle_time(&mut self, core: &mut Core) {
        if let Some((at, signal)) = self.kill_due().filter(|(at, _)| *at <= Clock::now()) {
            self.timed_out = true;
            core.signal(self.call.channel(), signal);
            self.kill_at = (signal == SIGTERM).then(|| (at + GRACE, SIGKILL));
        }
    }

    /// When the command gets which signal. Not before it runs: nobody would hear it.
    fn kill_due(&self) -> Option<(Clock, u32)> {
        self.kill_at.filter(|_| self.call.is_accepted())
    }
}

impl Task for Run<'_> {
    fn take(&mut self, core: &mut Core, _: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        match self.output(flow).take(&mut pieces.iter().copied()) {
            Ok(taken) => taken,
            Err(error) => {
                self.end_output(core, flow, error);
                0
            }
        }
    }

    fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        if let Event::Stopped { flow: Flow::Input, .. } = event {
            self.input = None;
        }
        self.call.handle(core, event);
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.call.prepare()
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        self.handle_time(core);
        let mut moved = self.call.step(core)?;
        // Bounded by the ring; what is stopped or refused sends nothing.
        for _ in 0..STEP_ROUNDS {
            if self.call.is_over() || !self.send_input(core)? {
                break;
            }
            moved = true;
        }
        let output = self.drain(core, Flow::Output);
        let error = self.drain(core, Flow::Error);
        Ok(moved || output || error)
    }

    fn has_outcome(&self) -> bool {
        self.call.has_outcome()
    }

    fn is_done(&self, core: &Core) -> bool {
        let drained =
            || [Flow::Output, Flow::Error].iter().all(|&flow| core.is_drained(self.call.channel(), flow));
        self.call.has_failed() || (self.call.is_over() && drained())
    }

    fn interests<'f>(&'f self, core: &Core, fds: &mut Vec<PollFd<'f>>) {
        // What is not waited for is not asked about: a hang-up would be told again and again.
        let mut polled = [false; 3];
        if let Some(Input(From::Source { source, is_ready: false })) = &self.input
            && core.writable(self.call.channel(), Flow::Input) > 0
        {
            polled[0] = true;
            fds.push(PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN));
        }
        let outputs = [(&self.output, Flow::Output), (&self.error, Flow::Error)];
        for ((output, flow), polled) in outputs.into_iter().zip(&mut polled[1..]) {
            // Asked about nothing, it still tells that nobody reads it any more, and is left then. Before the agent knows the
            // channel nothing can be stopped in it.
            if let Some(sink) = output.sink_fd().filter(|_| self.call.is_accepted()) {
                let has_more = !core.parked(self.call.channel(), flow).is_empty();
                *polled = true;
                fds.push(PollFd::from_borrowed_fd(
                    sink,
                    if has_more { PollFlags::OUT } else { PollFlags::empty() },
                ));
            }
        }
        self.polled.set(polled);
        if let Some(signals) = self.call.signal_fd() {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
        }
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        let [input, output, error] = self.polled.get();
        let mut ready = ready.iter().peekable();
        let mut next = |polled: bool| ready.next_if(|_| polled).copied().unwrap_or(PollFlags::empty());
        if let Some(Input(From::Source { is_ready, .. })) = &mut self.input {
            *is_ready |= !next(input).is_empty();
        }
        self.output.set_ready(next(output));
        self.error.set_ready(next(error));
        self.call.set_signalled(!next(true).is_empty());
    }

    fn tell(&mut self, news: &str) {
        crate::text::say(news);
    }

    fn deadline(&self) -> Option<Clock> {
        self.kill_due().map(|(at, _)| at)
    }
}
