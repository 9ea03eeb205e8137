//! One session: a process that drives one protocol core, over one connection after the other, and the commands and transfers in it.
//!
//! The loop follows the order that [`vsock_shell_proto::session`] asks for: bytes in, sinks and sources, time, bytes
//! out. Every descriptor is registered once with epoll and used until it would block; epoll is not asked while the last
//! calls still brought something. What is done for a channel is a [`Task`]; it is stepped while it is
//! marked ready, one frame at a time, so that all have their turn.

pub mod answer;
pub mod base;
mod detach;
pub mod door;
pub mod dying;
mod ending;
pub mod endpoint;
pub mod ends;
pub mod exec;
mod forward;
pub mod fs;
pub mod get;
pub mod identity;
pub mod job;
pub mod landing;
pub mod listen;
mod power;
pub mod programs;
pub mod put;
pub mod remove;
pub mod request;
mod resume;
pub mod stream;
pub mod system;
pub mod tasks;
pub mod transfer;
pub mod transport;
pub mod verb;
pub mod walk;
pub mod watch;
pub mod wire;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, wait};
use vsock_shell_proto::ability;
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, FEATURE_JOBS, Flow, Hello};
use vsock_shell_proto::limits::{
    CHANNEL_IDS, CHANNELS_MAX, POOL_LEN, PREAMBLE_LEN, REQUEST_MAX, RING_LEN, WATCHERS_MAX,
};
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{Preamble, SessionId, Status, admit};
use vsock_shell_proto::serial::Port;
use vsock_shell_proto::session::{Channel, Memory};
use vsock_shell_proto::time::Instant;

use crate::clock::{earliest, now_us};
use crate::config::Config;
use crate::line::text;
use crate::log;
use crate::oom;
use crate::port::PORT;
use crate::sys::signal::{HANDLED, Signals};
use crate::sys::start::exit;
use crate::sys::storage::Storage;
use door::Door;
use dying::Dying;
use programs::Programs;
use request::Requests;
use tasks::{Step, Task, Tasks};
use transport::{Lost, Transport};
use watch::{Token, Watch};

/// The core with the memory of this process.
pub type Core =
    vsock_shell_proto::session::Session<&'static mut [u8], &'static mut [u8], &'static mut [Channel]>;

/// Name and version, for HELLO.
pub const SOFTWARE: &str = concat!("vsock-shell-agent ", env!("CARGO_PKG_VERSION"));
/// Bytes read from the transport at once.
const INPUT_LEN: usize = 256 * 1024;
/// A read that brings as much is tried again before epoll is asked: it mostly brings more.
const BULK_MIN: usize = 4096;
/// Rounds of the loop after which epoll is asked in any case: a signal or another descriptor may wait.
const ROUNDS_MAX: u32 = 8;
/// Pieces of one flow that a task gets at once.
pub const PIECES_MAX: usize = 16;
/// How long what is still unsent has after the session has ended.
pub const LINGER_US: u64 = 2_000_000;

static RING: Storage<[u8; RING_LEN]> = Storage::new([0; RING_LEN]);
static POOL: Storage<[u8; POOL_LEN]> = Storage::new([0; POOL_LEN]);
static CHANNELS: Storage<[Channel; CHANNEL_IDS]> = Storage::new([const { Channel::FREE }; CHANNEL_IDS]);
static INPUT: Storage<[u8; INPUT_LEN]> = Storage::new([0; INPUT_LEN]);

/// What the loop holds.
struct Driver<'c> {
    core: Core,
    transport: Transport,
    watch: Watch,
    signals: Signals,
    tasks: Tasks,
    requests: Requests,
    dying: Dying,
    config: &'c Config,
    /// When the loop last asked epoll: read no more often, because it is a system call.
    now: Instant,
    /// When this process ends what it runs: the session has ended, and what is left to send had its time; or nobody has come
    /// back to it.
    ends_at: Option<u64>,
    /// Where other connections come in; gone where the system has none, and once the session is over.
    door: Option<Door>,
    /// Jobs whose end the client was told, and has not confirmed.
    told: ArrayVec<OwnedFd, WATCHERS_MAX>,
    programs: Programs,
    /// The session, and the latest of its connections.
    id: SessionId,
    attempt: u64,
    /// For a connection over a port.
    storage: Option<&'static mut Port>,
    /// When a full queue is asked again, and how many channels were open when a listener had to wait for one.
    retry_at: Option<u64>,
    turned_away_at: usize,
}

/// Runs the session to its end. The process is this session's alone: no descriptor of the listener is open, the
/// signals of [`HANDLED`] are blocked, SIGPIPE is ignored, both streams do not block.
pub fn run(mut transport: Transport, preamble: &[u8; PREAMBLE_LEN], config: &Config) -> ! {
    // What is no preamble gets no answer.
    let Ok(parsed) = Preamble::parse(preamble) else { exit(0) };
    // Not of the id alone: a session is gone on with only through an agent that is told the same as the one that began it.
    let mut whose = [0; 24];
    whose[..16].copy_from_slice(&parsed.id.0);
    whose[16..].copy_from_slice(&config.realm.to_ne_bytes());
    let door = Door::open(&whose);
    if matches!(door, Err(Errno::ADDRINUSE)) {
        if let Err(errno) = transport.hand_over(preamble, &whose) {
            log::peer_failure(c"hand a connection to its session", errno);
        }
        exit(0)
    }
    oom::lock_pages();
    let answer = admit(&parsed, None);
    transport.answer(&answer.encode());
    if answer.status != Status::Created {
        let _ = transport.write(None, Instant::default());
        transport.close();
        exit(0)
    }
    match Driver::new(transport, &parsed, door.ok(), config) {
        Some(mut driver) => {
            driver.run();
            exit(0)
        }
        None => {
            log::error(&[text(c"cannot begin a session")]);
            exit(1)
        }
    }
}

impl<'c> Driver<'c> {
    #[inline(never)]
    fn new(
        transport: Transport,
        preamble: &Preamble,
        door: Option<Door>,
        config: &'c Config,
    ) -> Option<Self> {
        let now = Instant::from_micros(now_us());
        let signals = Signals::open(&HANDLED).ok()?;
        let watch = Watch::new().ok()?;
        let tasks = Tasks::new()?;
        let requests = Requests::new()?;
        let dying = Dying::new()?;
        let memory = Memory {
            ring: &mut RING.take()?[..],
            pool: &mut POOL.take()?[..],
            channels: &mut CHANNELS.take()?[..],
            channels_max: CHANNELS_MAX,
        };
        let mut hello = Hello::new(SOFTWARE, CHANNELS_MAX as u32, REQUEST_MAX as u32, config.grace_ms);
        hello.denied = config.denied;
        if config.denied & ability::DETACH != 0 {
            hello.features &= !FEATURE_JOBS;
        }
        let mut core = Core::new(Side::Agent, memory, hello, None);
        // At offset 0 there is nothing that could not be had.
        let _ = core.attach(0, now);
        let driver = Self {
            core,
            transport,
            watch,
            signals,
            tasks,
            requests,
            dying,
            config,
            now,
            ends_at: None,
            door,
            told: ArrayVec::new_const(),
            programs: Programs::new(),
            id: preamble.id,
            attempt: preamble.attempt,
            storage: PORT.take(),
            retry_at: None,
            turned_away_at: 0,
        };
        driver.watch_all().ok()?;
        Some(driver)
    }

    #[inline(never)]
    fn run(&mut self) {
        let Some(input) = INPUT.take() else { return };
        let mut rounds = 0;
        loop {
            let lost = self.receive(input).is_err();
            self.core.handle_timeout(self.now);
            self.work();
            let lost = lost || self.transport.write(Some(&mut self.core), self.now).is_err();
            if self.is_over() || (lost && !self.is_kept()) {
                break;
            }
            rounds += 1;
            let is_busy = self.is_busy();
            if !is_busy || rounds == ROUNDS_MAX {
                self.wait(is_busy);
                rounds = 0;
            }
        }
        self.end();
    }

    /// Reads once and handles what came.
    #[inline(never)]
    fn receive(&mut self, input: &mut [u8]) -> Result<(), Lost> {
        let length = self.transport.read(input)?;
        let now = self.now;
        let mut rest = input.get(..length).unwrap_or_default();
        let mut batch = Batch { of: None, pieces: ArrayVec::new_const() };
        while !rest.is_empty() {
            let (taken, event) = self.core.handle_received(rest, now);
            rest = rest.get(taken..).unwrap_or_default();
            match event {
                Some(Event::Data { channel, flow, bytes }) => {
                    if batch.of != Some((channel, flow)) || batch.pieces.is_full() {
                        self.deliver(&mut batch);
                        batch.of = Some((channel, flow));
                    }
                    let _ = batch.pieces.try_push(bytes);
                }
                Some(event) => {
                    self.deliver(&mut batch);
                    self.handle(event);
                }
                None => break,
            }
        }
        self.deliver(&mut batch);
        Ok(())
    }

    /// Gives bytes of one flow that came together to their task.
    fn deliver(&mut self, batch: &mut Batch<'_>) {
        let Some((channel, flow)) = batch.of.take() else { return };
        if self.core.is_ack_due() {
            // The client goes on sending while we work on what it sent. Where it is gone, the next write tells so too.
            let _ = self.transport.write(Some(&mut self.core), self.now);
        }
        if flow == Flow::Request {
            for piece in batch.pieces.drain(..) {
                // One that was refused for the pieces before must not hold the buffer again: its number is used again.
                let is_wanted = matches!(self.tasks.of_channel(channel), Some(Task::Request(_)));
                let taken = if is_wanted { self.requests.take(channel, piece) } else { Some(piece.len()) };
                self.core.deliver(channel, flow, piece, taken.unwrap_or(0));
                if taken.is_none() {
                    self.refuse_too_large(channel);
                }
            }
            return;
        }
        let waits = !self.core.parked(channel, flow).is_empty();
        let mut taken = match self.tasks.of_channel(channel).filter(|_| !waits) {
            Some(task) => task.take(&mut self.core, &batch.pieces),
            None => 0,
        };
        for piece in batch.pieces.drain(..) {
            let of_it = taken.min(piece.len());
            taken -= of_it;
            self.core.deliver(channel, flow, piece, of_it);
        }
        if self.tasks.of_channel(channel).is_some_and(|task| task.has_work()) {
            self.tasks.mark_ready(channel);
        }
    }

    #[inline(never)]
    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Opened { channel, kind } => match kind {
                ChannelKind::Exec
                | ChannelKind::Put
                | ChannelKind::Get
                | ChannelKind::Connect
                | ChannelKind::Listen
                | ChannelKind::Fs
                | ChannelKind::System
                | ChannelKind::Job => {
                    if !self.tasks.insert(channel, Task::Request(kind)) {
                        self.core.refuse(channel, RefusalCode::TooMany, 0, b"");
                    }
                }
                ChannelKind::Unknown(_) => self.core.refuse(channel, RefusalCode::Unsupported, 0, b""),
            },
            Event::Finished { channel, flow: Flow::Request } => self.finish_request(channel),
            Event::Finished { channel, .. } | Event::Credit { channel, .. } => self.tasks.mark_ready(channel),
            Event::Stopped { channel, flow } => {
                if let Some(task) = self.tasks.of_channel(channel) {
                    task.stop(flow, &mut self.core);
                }
                self.tasks.mark_ready(channel);
            }
            Event::Signal { channel, number } => {
                if let Some(Task::Exec(exec)) = self.tasks.of_channel(channel) {
                    exec.signal(number);
                }
            }
            Event::Resized { channel, size } => {
                if let Some(Task::Exec(exec)) = self.tasks.of_channel(channel) {
                    exec.resize(size);
                }
            }
            Event::Detach { channel, value } => self.detach(channel, value),
            Event::Reset { channel, .. } => self.abandon(channel),
            // Data has come in a batch.
            Event::Closed { code: CloseCode::Normal } => self.told.iter().for_each(job::confirm),
            Event::Hello | Event::Closed { .. } | Event::Data { .. } => {}
            // Of who came to a listener.
            Event::Accepted { .. } => {}
            Event::Refused { channel, .. } => self.abandon(channel),
            Event::Exited { channel, outcome } => {
                if let Some(Task::Stream(stream)) = self.tasks.of_channel(channel) {
                    stream.handle_exited(outcome);
                }
                self.tasks.mark_ready(channel);
            }
        }
    }

    /// Watches everything but what tasks have.
    fn watch_all(&self) -> rustix::io::Result<()> {
        self.watch.add(&self.signals, Token::Signals, watch::READ)?;
        if let Some(door) = &self.door {
            self.watch.add(door, Token::Door, watch::READ)?;
        }
        self.transport.watch(&self.watch)
    }

    /// The client aborted a channel, or refused one of ours.
    fn abandon(&mut self, channel: ChannelId) {
        match self.tasks.remove(channel) {
            Some(Task::Exec(exec)) => exec.hang_up(&mut self.dying),
            Some(Task::Stream(mut stream)) => stream.abort(),
            _ => {}
        }
        self.requests.release(channel);
        if let Some(next) = self.next_request() {
            self.finish_request(next);
        }
    }

    /// Steps the tasks that are ready until each waits for something. Bounded by the ring and the pool.
    fn work(&mut self) {
        self.ask_again();
        loop {
            let mut progress = false;
            let mut from = 0;
            while let Some(place) = self.tasks.next_ready(from) {
                from = place + 1;
                match self.tasks.step(place, &mut self.core) {
                    Step::Progress => progress = true,
                    Step::NoRoom => {}
                    Step::Idle => self.tasks.mark_idle(place),
                    Step::Done => {
                        if let Some((channel, task)) = self.tasks.remove_place(place) {
                            self.keep(channel, task);
                        }
                        progress = true;
                    }
                    Step::Detached => {
                        self.part_with(place);
                        progress = true;
                    }
                    Step::Asks => self.advance(place),
                }
            }
            if !progress || self.core.room() == 0 {
                return;
            }
        }
    }

    /// Keeps what the session still needs of a task that is over.
    fn keep(&mut self, channel: ChannelId, task: Task) {
        match task {
            Task::Exec(exec) => {
                if let Some(control) = exec.told {
                    let _ = self.told.try_push(control);
                }
            }
            Task::Put(put) => {
                if let Some(program) = put.into_program() {
                    self.programs.add(channel, program);
                }
            }
            _ => {}
        }
    }

    /// There is something to do, as far as the last calls told.
    fn is_busy(&self) -> bool {
        self.transport.can_read()
            || (self.tasks.next_ready(0).is_some() && self.core.room() > 0)
            || (self.transport.can_write()
                && (self.core.link().can_transmit() || self.transport.is_pending()))
    }

    /// Waits until there is something to do, or only asks what happened meanwhile.
    #[inline(never)]
    fn wait(&mut self, is_busy: bool) {
        self.transport.arm(&self.watch);
        let core = self.core.poll_timeout().map(Instant::micros);
        let deadlines =
            [core, self.retry_at, self.dying.deadline_us(), self.ends_at, self.transport.deadline_us()];
        let timeout = if is_busy {
            Some(0)
        } else {
            earliest(&deadlines).map(|deadline| deadline.saturating_sub(self.now.micros()))
        };
        let mut children = false;
        let mut end = false;
        let mut has_visitors = false;
        let (transport, tasks, signals) = (&mut self.transport, &mut self.tasks, &self.signals);
        self.watch.wait(timeout, &mut |token, readiness| match token {
            Token::Input => transport.set_readable(readiness.ended),
            Token::Output => transport.set_writable(),
            Token::Door => has_visitors = true,
            Token::Heir => transport.recall(readiness.ended),
            Token::Signals => {
                while let Some(number) = signals.next() {
                    children |= number == Signal::CHILD.as_raw();
                    end |= number == Signal::TERM.as_raw();
                }
            }
            Token::Task { place, part } => tasks.set_ready(place, part, readiness),
        });
        self.now = Instant::from_micros(now_us());
        self.transport.handle_time(self.now);
        if children {
            self.reap();
        }
        while has_visitors && let Some((visit, _)) = self.door.as_ref().and_then(Door::answer) {
            self.receive_visit(visit);
        }
        if end {
            self.core.close(CloseCode::ShuttingDown);
            if !self.core.link().is_attached() {
                self.ends_at = Some(0);
            }
            self.linger();
        }
        self.dying.kill_due(self.now.micros());
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if self.dying.remove(pid) {
                continue;
            }
            self.tasks.handle_ended(pid, exec::outcome(status));
        }
    }
}

/// Bytes of one flow that came together: what their frames were cut into shall not cost a system call each.
struct Batch<'i> {
    of: Option<(ChannelId, Flow)>,
    pieces: ArrayVec<&'i [u8], PIECES_MAX>,
}
