//! The listener process: accepts, checks the peer, reads the preamble, forks the session.
//!
//! One loop over epoll. Nothing in it waits for a peer, every turn does bounded work, and it parses nothing. A peer
//! that misbehaves costs one entry of a table ([`crate::half_open`]), with a process at the gate ([`crate::gate`]) where there is a
//! key, or one process ([`sessions`](crate::sessions)).

use arrayvec::ArrayVec;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process};
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::{Preamble, Status};
use vsock_shell_proto::proof::Key;

use crate::args::{ADDRESSES_MAX, Options};
use crate::caller::Caller;
use crate::clock::{earliest, now_ms, until};
use crate::gate;
use crate::half_open::{Entry, HALF_OPEN_MAX, HalfOpen, Partial, Progress, Stage};
use crate::hangup::KILL_AFTER_MS;
use crate::line::{Part, text};
use crate::listen::{Listening, call};
use crate::log;
use crate::session::LINGER_US;
use crate::sessions::Sessions;
use crate::sys::process::{Forked, fork};
use crate::sys::signal::{HANDLED, RELEASED, Signals};
use crate::sys::storage::Storage;
use crate::sys::{random, socket};

/// Connections accepted from one socket before the others have their turn.
const ACCEPTS_PER_TURN: usize = 16;
/// How long nothing is accepted after the system had nothing left for another connection.
const PAUSE_MS: u64 = 100;
/// How long a port waits for another process when its own has ended.
const PORT_PAUSE_MS: u64 = 1000;
/// How long sessions may take to end before they are killed: to say so to a client that does not listen, to kill
/// commands that do not hang up, and a little more.
const ENDING_MS: u64 = LINGER_US / 1000 + KILL_AFTER_MS + 1000;

/// What an event of epoll is about: the signals, a call, a listening socket, or a place of the half-open table.
const TOKEN_SIGNALS: u64 = u64::MAX;
const TOKEN_CALL: u64 = u64::MAX - 1;
const TOKEN_SOCKETS: u64 = 1 << 32;

static ENTRIES: Storage<[Option<Entry>; HALF_OPEN_MAX]> = Storage::new([const { None }; HALF_OPEN_MAX]);

/// Ports without connections, each with the process that serves it. Taken only in that process.
pub type Ports = ArrayVec<(Option<OwnedFd>, Option<Pid>), ADDRESSES_MAX>;

/// The listener. What is small stands in front, where instructions reach it by one byte.
#[repr(C)]
pub struct Listener<'a> {
    epoll: OwnedFd,
    signals: Signals,
    /// See [`Options::allowed_cid`].
    allowed_cid: u32,
    /// When ports get a process that have none.
    ports_due_ms: Option<u64>,
    /// Of the connection that came last.
    pub preamble: [u8; PREAMBLE_LEN],
    /// SIGHUP was ignored when the agent started, or there is no terminal that could hang up.
    ignores_hangup: bool,
    /// Nothing is accepted before this.
    paused_until_ms: Option<u64>,
    /// When the sessions are killed that have not ended; set once the listener is ending.
    ending_at_ms: Option<u64>,
    ports: Ports,
    caller: Option<Caller<'a>>,
    /// What clients have to have.
    pub key: Option<&'static mut Key>,
    sockets: ArrayVec<Listening, ADDRESSES_MAX>,
    sessions: Sessions,
    half_open: HalfOpen<'static>,
}

/// How [`Listener::run`] ends: the listener in the first way, every session's process in the second.
pub enum Outcome {
    /// All sessions have ended, and so does the agent.
    Ended,
    /// This is a new process, for the session over this stream, which began with [`Listener::preamble`]. The caller drops the
    /// listener.
    Session(OwnedFd),
    /// This is a new process, for this port. The caller drops the listener.
    Port(OwnedFd),
}

impl<'a> Listener<'a> {
    /// A listener on these sockets.
    ///
    /// # Errors
    /// Of `epoll_create`, `epoll_ctl` and `signalfd`.
    pub fn new(
        sockets: ArrayVec<Listening, ADDRESSES_MAX>,
        ports: Ports,
        options: &Options<'a>,
        key: Option<&'static mut Key>,
        ignores_hangup: bool,
    ) -> Result<Self, Errno> {
        let signals = Signals::open(&HANDLED)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let seed =
            random::seed() ^ now_ms().rotate_left(32) ^ u64::from(getpid().as_raw_pid().unsigned_abs());
        let listener = Self {
            epoll,
            signals,
            sockets,
            preamble: [0; PREAMBLE_LEN],
            half_open: HalfOpen::new(ENTRIES.take().ok_or(Errno::NOMEM)?, seed),
            // The process of a port is none of them.
            sessions: Sessions::new(options.sessions_max as usize + ports.len()),
            ports,
            caller: options.connect.map(Caller::new),
            key,
            allowed_cid: options.allowed_cid,
            ports_due_ms: Some(0),
            ignores_hangup,
            paused_until_ms: None,
            ending_at_ms: None,
        };
        let token = epoll::EventData::new_u64(TOKEN_SIGNALS);
        epoll::add(&listener.epoll, &listener.signals, token, epoll::EventFlags::IN)?;
        listener.watch_sockets()?;
        Ok(listener)
    }

    /// Serves until a signal ends it, or until this is the process of a session.
    ///
    /// # Errors
    /// Of `epoll_wait`, none of which happens.
    #[inline(never)]
    pub fn run(&mut self) -> Result<Outcome, Errno> {
        let empty = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        loop {
            self.call();
            if let Some(port) = self.start_ports() {
                return Ok(Outcome::Port(port));
            }
            let mut events = [empty; 32];
            let timeout = self.timeout();
            let count = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Err(Errno::INTR) => 0,
                result => result?,
            };
            for event in events.iter().take(count) {
                let token = event.data.u64();
                let session = if token == TOKEN_SIGNALS {
                    self.handle_signals();
                    self.admit_proved()
                } else if token == TOKEN_CALL {
                    self.handle_call()
                } else if token >= TOKEN_SOCKETS {
                    self.accept((token - TOKEN_SOCKETS) as usize)
                } else {
                    self.read_preamble(token as usize)
                };
                if let Some(stream) = session {
                    return Ok(Outcome::Session(stream));
                }
            }
            if self.handle_time() {
                return Ok(Outcome::Ended);
            }
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let deadlines = [
            self.half_open.next_deadline_ms(),
            self.paused_until_ms,
            self.ending_at_ms,
            self.ports_due_ms,
            self.caller.as_ref().and_then(Caller::due_ms),
        ];
        earliest(&deadlines).map(until)
    }

    /// What is due. Whether everything is over.
    fn handle_time(&mut self) -> bool {
        let now = now_ms();
        while let Some(entry) = self.half_open.expire(now) {
            self.forget(entry);
        }
        if self.paused_until_ms.is_some_and(|until| until <= now) {
            self.paused_until_ms = None;
            if let Err(errno) = self.watch_sockets() {
                self.pause(errno);
            }
        }
        match self.ending_at_ms {
            Some(_) if self.sessions.is_empty() => true,
            Some(at) if at <= now => {
                self.sessions.signal(Signal::KILL);
                true
            }
            _ => false,
        }
    }

    fn handle_signals(&mut self) {
        while let Some((number, sender)) = self.signals.next_from() {
            let is = |signal: Signal| number == signal.as_raw();
            if number.unsigned_abs() == RELEASED {
                self.sessions.release(sender);
            }
            if is(Signal::CHILD) {
                self.reap();
            } else if is(Signal::TERM) || is(Signal::INT) || (is(Signal::HUP) && !self.ignores_hangup) {
                self.end();
            }
        }
    }

    /// Begins the sessions of those who have come through the gate.
    fn admit_proved(&mut self) -> Option<OwnedFd> {
        while let Some(entry) = self.half_open.take_proved() {
            self.preamble = *entry.preamble.bytes();
            let session = self.start(entry.stream);
            if session.is_some() {
                return session;
            }
        }
        None
    }

    #[inline(never)]
    fn reap(&mut self) {
        let Self { sessions, ports, ports_due_ms, ending_at_ms, half_open, .. } = self;
        sessions.reap(&mut |ended, status| {
            half_open.leave_gate(ended, status, now_ms());
            for (_, keeper) in ports.iter_mut().filter(|(_, keeper)| *keeper == Some(ended)) {
                *keeper = None;
                if ending_at_ms.is_none() {
                    *ports_due_ms = Some(now_ms().saturating_add(PORT_PAUSE_MS));
                }
            }
        });
    }

    /// Forks the process of each port that has none. In such a process: its port.
    fn start_ports(&mut self) -> Option<OwnedFd> {
        if self.ports_due_ms.is_none_or(|due| due > now_ms()) {
            return None;
        }
        self.ports_due_ms = None;
        for (port, keeper) in self.ports.iter_mut().filter(|(_, keeper)| keeper.is_none()) {
            match fork() {
                Ok(Forked::Child) => return port.take(),
                Ok(Forked::Parent(pid)) => {
                    *keeper = Some(pid);
                    self.sessions.add(pid);
                }
                Err(errno) => {
                    log::peer_failure(c"serve a port", errno);
                    self.ports_due_ms = Some(now_ms().saturating_add(PORT_PAUSE_MS));
                }
            }
        }
        None
    }

    /// Makes the call that is due.
    #[inline(never)]
    fn call(&mut self) {
        let Some(caller) = &mut self.caller else { return };
        if caller.due_ms().is_none_or(|due| due > now_ms()) {
            return;
        }
        let called = call(caller.peer).and_then(|stream| {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(TOKEN_CALL), flags)?;
            Ok(stream)
        });
        match called {
            Ok(stream) => caller.handle_called(stream),
            Err(errno) => {
                if caller.handle_failed(now_ms()) {
                    log::peer_warning(&[text(c"nobody answers a call: "), Part::Error(errno)]);
                }
            }
        }
    }

    /// Something came on the call, or it has ended.
    #[inline(never)]
    fn handle_call(&mut self) -> Option<OwnedFd> {
        let (stream, preamble) = self
            .caller
            .as_mut()?
            .handle_readable(now_ms(), &|stream, room| rustix::io::read(stream, room))?;
        let _ = epoll::delete(&self.epoll, &stream);
        self.approach(stream, preamble, Stage::Preamble)
    }

    /// Stops accepting, and asks the sessions to hang up. A second signal kills them.
    fn end(&mut self) {
        if self.ending_at_ms.is_some() {
            self.ending_at_ms = Some(0);
            return;
        }
        self.ending_at_ms = Some(now_ms().saturating_add(ENDING_MS));
        self.paused_until_ms = None;
        self.ports_due_ms = None;
        for socket in &self.sockets {
            let _ = epoll::delete(&self.epoll, socket);
            socket.remove_file();
        }
        self.sockets.clear();
        self.caller = None;
        while let Some(entry) = self.half_open.evict() {
            self.forget(entry);
        }
        self.sessions.signal(Signal::TERM);
        log::info(&[text(c"ending")]);
    }

    /// Accepts from the socket of this index.
    fn accept(&mut self, index: usize) -> Option<OwnedFd> {
        for _ in 0..ACCEPTS_PER_TURN {
            let socket = self.sockets.get(index).filter(|_| self.paused_until_ms.is_none())?;
            match socket::accept(socket.as_fd()) {
                Ok((stream, peer)) => {
                    let stage = if socket.is_allowed(&peer, self.allowed_cid) {
                        Stage::Preamble
                    } else {
                        let cid = u64::from(peer.vsock_cid().unwrap_or(u32::MAX));
                        log::peer_warning(&[
                            text(c"refused a connection from CID "),
                            Part::Number(cid),
                            text(c", which is not the host"),
                        ]);
                        Stage::Forbidden
                    };
                    let session = self.admit(stream, stage);
                    if session.is_some() {
                        return session;
                    }
                }
                Err(Errno::AGAIN) => return None,
                // Errors of a connection that died in the queue: the next one may be fine.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::CONNRESET | Errno::PROTO) => {}
                Err(errno) => {
                    // No descriptor or memory left: somebody who says nothing makes room, or else time has to.
                    let Some(entry) = self.half_open.evict() else {
                        self.pause(errno);
                        return None;
                    };
                    self.forget(entry);
                }
            }
        }
        None
    }

    /// Takes on a new connection. Its preamble is often there already, and then the table is not needed.
    #[inline(never)]
    fn admit(&mut self, stream: OwnedFd, stage: Stage) -> Option<OwnedFd> {
        let mut preamble = Partial::new();
        match preamble.read(&mut |room| rustix::io::read(&stream, room)) {
            Progress::Complete => return self.approach(stream, preamble, stage),
            Progress::Closed => return None,
            Progress::Pending => {}
        }
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        let place = self.keep(stream, preamble, stage);
        let token = epoll::EventData::new_u64(place as u64);
        let added = self.half_open.stream(place).map(|stream| epoll::add(&self.epoll, stream, token, flags));
        if added != Some(Ok(())) {
            log::peer_warning(&[text(c"cannot watch a new connection")]);
            drop(self.half_open.take(place));
        }
        None
    }

    /// Reads on from the connection at this place of the table.
    #[inline(never)]
    fn read_preamble(&mut self, place: usize) -> Option<OwnedFd> {
        let progress = self.half_open.read(place);
        if progress == Progress::Pending {
            return None;
        }
        let entry = self.half_open.take(place)?;
        if progress == Progress::Closed {
            self.forget(entry);
            return None;
        }
        let _ = epoll::delete(&self.epoll, &entry.stream);
        self.approach(entry.stream, entry.preamble, entry.stage.get())
    }

    /// Keeps a connection in the table, at which place.
    #[inline(never)]
    fn keep(&mut self, stream: OwnedFd, preamble: Partial, stage: Stage) -> usize {
        let (place, evicted) = self.half_open.insert(stream, preamble, stage, now_ms());
        if let Some(evicted) = evicted {
            self.forget(evicted);
        }
        place
    }

    /// Goes on with a connection whose preamble is complete: through the gate, where there is one.
    #[inline(never)]
    fn approach(&mut self, stream: OwnedFd, preamble: Partial, stage: Stage) -> Option<OwnedFd> {
        let bytes = preamble.bytes();
        if stage == Stage::Forbidden {
            gate::refuse(&stream, bytes, Status::Forbidden);
            return None;
        }
        if let Err(status) = gate::screen(bytes, self.key.is_some()) {
            log::peer_warning(&[text(c"refused a session: "), Part::Bytes(status.text().as_bytes())]);
            gate::refuse(&stream, bytes, status);
            return None;
        }
        let Some(key) = &self.key else {
            self.preamble = *bytes;
            return self.start(stream);
        };
        match fork() {
            Ok(Forked::Child) => gate::keep(key, stream, bytes),
            Ok(Forked::Parent(pid)) => {
                self.keep(stream, preamble, Stage::Gate(pid));
            }
            Err(errno) => {
                log::peer_failure(c"keep the gate", errno);
                gate::refuse(&stream, bytes, Status::NoResources);
            }
        }
        None
    }

    /// Forks the session that [`Self::preamble`] is of. In its process it gives back what belongs to it.
    fn start(&mut self, stream: OwnedFd) -> Option<OwnedFd> {
        if self.sessions.is_full() {
            // Some may have ended in this very turn.
            self.reap();
        }
        // The process of a connection that goes on with a session ends once it has handed it over.
        if self.sessions.is_full() && !Preamble::must_exist(&self.preamble) {
            log::peer_warning(&[text(c"refused a session: as many run as are allowed")]);
            gate::refuse(&stream, &self.preamble, Status::Full);
            return None;
        }
        match fork() {
            Ok(Forked::Child) => Some(stream),
            Ok(Forked::Parent(pid)) => {
                self.sessions.begin(pid);
                None
            }
            Err(errno) => {
                log::peer_failure(c"start a session", errno);
                gate::refuse(&stream, &self.preamble, Status::NoResources);
                None
            }
        }
    }

    /// Closes a connection of the table. It is taken out of epoll by name, because a session that was forked just
    /// now may still hold a duplicate, with which the kernel would go on reporting it.
    fn forget(&self, entry: Entry) {
        match entry.stage.get() {
            Stage::Preamble | Stage::Forbidden => drop(epoll::delete(&self.epoll, &entry.stream)),
            Stage::Gate(pid) => drop(kill_process(pid, Signal::KILL)),
            Stage::Proved => {}
            Stage::Refused(status) => {
                log::peer_warning(&[text(c"refused a session: "), Part::Bytes(status.text().as_bytes())]);
                gate::refuse(&entry.stream, entry.preamble.bytes(), status);
            }
        }
    }

    /// Closes what this new process has of connections that are others' business.
    pub fn leave_half_open(&mut self) {
        while self.half_open.evict().is_some() {}
    }

    fn watch_sockets(&self) -> Result<(), Errno> {
        for (index, socket) in self.sockets.iter().enumerate() {
            let token = epoll::EventData::new_u64(TOKEN_SOCKETS + index as u64);
            match epoll::add(&self.epoll, socket, token, epoll::EventFlags::IN) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Stops accepting for a moment, so that a lack of something does not become a loop.
    fn pause(&mut self, errno: Errno) {
        log::peer_failure(c"accept", errno);
        for socket in &self.sockets {
            let _ = epoll::delete(&self.epoll, socket);
        }
        self.paused_until_ms = Some(now_ms().saturating_add(PAUSE_MS));
    }
}
