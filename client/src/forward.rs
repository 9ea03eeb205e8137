//! Owns the forwarding of connections: what listens here and in the guest, and every connection, beside whatever else is done in
//! the session.
//!
//! All sockets are watched by one epoll descriptor, which the `poll` of the loop watches, so that hundreds of them cost no
//! more than a few.

mod arrivals;
mod beside;
mod greeting;
mod local;
mod pass;
mod remote;
mod socks;
mod spec;
mod stream;
mod table;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::fields::tag;
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow};
use vsock_shell_proto::mux::Event;

use crate::connection::{Connection, Core};
use crate::drive::drive;
use crate::error::{Error, Refusal};
use crate::request::Request;
use crate::text;

use arrivals::REQUEST_MAX;
use beside::Establishing;
pub(crate) use beside::{Beside, Waiting};
use local::{Connector, Listener};
use remote::Remote;
pub use spec::{Endpoint, Forward, parse, parse_destination};
use stream::{Step, Stream};
use table::{Place, Table};

/// Connections that are taken, or events, in one go.
const BATCH: usize = 64;
/// Failed connections that are told one by one; the others are counted.
const NOTES_MAX: usize = 16;

/// What epoll tells of.
#[derive(Clone, Copy)]
enum Token {
    Listener(usize),
    Place(usize),
    Connected,
}

impl Token {
    fn data(self) -> EventData {
        let (kind, at) = match self {
            Self::Listener(at) => (0, at),
            Self::Place(at) => (1, at),
            Self::Connected => (2, 0),
        };
        EventData::new_u64(kind << 32 | at as u64)
    }

    fn of(data: u64) -> Self {
        let at = (data & u64::from(u32::MAX)) as usize;
        match data >> 32 {
            0 => Self::Listener(at),
            1 => Self::Place(at),
            _ => Self::Connected,
        }
    }
}

/// What listens here, and where that leads; by SOCKS, where that is not said.
struct Local {
    listener: Listener,
    to: Option<Endpoint>,
    label: String,
}

/// Everything that is forwarded.
pub struct Forwards {
    epoll: OwnedFd,
    locals: Vec<Local>,
    remotes: Vec<Remote>,
    table: Table,
    connector: Connector,
    /// The connector has told that there are results.
    has_results: bool,
    user: Option<OsString>,
    /// What a person may want to know.
    notes: Vec<String>,
    untold: usize,
}

impl Forwards {
    /// Begins to listen here, for connections in the name of `user`.
    ///
    /// # Errors
    /// Somewhere cannot be listened.
    pub fn open(forwards: &[Forward], user: Option<&OsStr>) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::local("forward", "connections")(error);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let mut all = Self {
            epoll,
            locals: Vec::new(),
            remotes: Vec::new(),
            table: Table::default(),
            connector: Connector::new().map_err(failed)?,
            has_results: false,
            user: user.map(OsStr::to_owned),
            notes: Vec::new(),
            untold: 0,
        };
        all.watch(Token::Connected, all.connector.wake(), EventFlags::IN).map_err(failed)?;
        for forward in forwards {
            match forward {
                Forward::Local(listen, to) => all.listen(listen, Some(to))?,
                Forward::Dynamic(listen) => all.listen(listen, None)?,
                Forward::Remote(listen, to) => all.remotes.push(Remote::new(listen, to, user, false)?),
            }
        }
        local::raise_limit();
        Ok(all)
    }

    /// Forwards connections to a socket at `path` in the guest, in a directory of its own, to the ssh-agent that listens at `to`.
    ///
    /// # Errors
    /// The path cannot be sent.
    pub fn add_agent(&mut self, path: &OsStr, to: &OsStr) -> Result<(), Error> {
        let (listen, to) = (Endpoint::Unix(path.to_owned()), Endpoint::Unix(to.to_owned()));
        self.remotes.push(Remote::new(&listen, &to, self.user.as_deref(), true)?);
        Ok(())
    }

    fn watch(&self, token: Token, fd: impl AsFd, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, token.data(), interest | EventFlags::ET)?)
    }

    fn listen(&mut self, listen: &Endpoint, to: Option<&Endpoint>) -> Result<(), Error> {
        let failed = |error| Error::NotListening(listen.to_string(), error);
        let (listener, port) = Listener::open(listen).map_err(failed)?;
        let at = self.locals.len();
        for socket in listener.sockets() {
            self.watch(Token::Listener(at), socket, EventFlags::IN).map_err(failed)?;
        }
        let here = match listen {
            Endpoint::Tcp(host, 0) => {
                let here = Endpoint::Tcp(host.clone(), port).to_string();
                self.notes.push(format!("listening on {here}"));
                here
            }
            listen => listen.to_string(),
        };
        let label = match to {
            Some(to) => format!("{here} to {to}"),
            None => here,
        };
        self.locals.push(Local { listener, to: to.cloned(), label });
        Ok(())
    }

    /// Waits until the guest listens wherever it is to.
    ///
    /// # Errors
    /// It cannot, or the connection was lost.
    pub(crate) fn establish(&mut self, connection: &mut Connection) -> Result<(), Error> {
        if self.remotes.is_empty() {
            return Ok(());
        }
        drive(connection, &mut Establishing(self))?;
        for remote in &mut self.remotes {
            match &remote.result {
                Some(Ok(port)) => {
                    if let Endpoint::Tcp(host, 0) = &remote.listen {
                        let port = u16::try_from(*port).unwrap_or(0);
                        let listen = Endpoint::Tcp(host.clone(), port);
                        self.notes.push(format!("the guest listens on {listen} for {}", remote.to));
                    }
                }
                Some(Err(refusal)) if remote.is_optional => {
                    self.notes.push(format!("the ssh-agent is not forwarded: {refusal}"));
                }
                Some(Err(refusal)) => {
                    return Err(Error::NotForwarded(remote.listen.to_string(), refusal.clone()));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Where the guest listens for the ssh-agent.
    pub(crate) fn agent_socket(&self) -> Option<&OsStr> {
        let agent = self.remotes.iter().find(|remote| remote.is_optional);
        match agent.map(|remote| (&remote.listen, &remote.result)) {
            Some((Endpoint::Unix(path), Some(Ok(_)))) => Some(path),
            _ => None,
        }
    }

    fn is_established(&self) -> bool {
        self.remotes.iter().all(|remote| remote.result.is_some())
    }

    /// What the person is to be told.
    fn notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            notes.push(format!("and {untold} more connections that could not be forwarded"));
        }
        notes
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX { self.notes.push(note) } else { self.untold += 1 }
    }

    /// The channel is one of these.
    fn owns(&self, channel: ChannelId) -> bool {
        self.table.has(channel) || self.remotes.iter().any(|remote| remote.channel == Some(channel))
    }

    // What happens.

    /// Takes an event of one of these channels, and whatever the agent opens; whether it was one.
    fn handle(&mut self, core: &mut Core, event: Event<'_>) -> bool {
        match event {
            // Somebody has come to a listener in the guest.
            Event::Opened { channel, kind: ChannelKind::Connect } => {
                self.table.insert(Some(channel), Place::Asked { request: Vec::new() });
            }
            Event::Opened { channel, .. } => core.refuse(channel, RefusalCode::Unsupported, 0, b""),
            event => match event.channel().filter(|&channel| self.owns(channel)) {
                Some(channel) => self.handle_own(core, channel, event),
                None => return false,
            },
        }
        true
    }

    fn handle_own(&mut self, core: &mut Core, channel: ChannelId, event: Event<'_>) {
        if let Some(remote) = self.remotes.iter_mut().find(|remote| remote.channel == Some(channel)) {
            if remote.handle(core, event) {
                let note = format!("the guest no longer listens on {}", remote.listen);
                self.note(note);
            }
            return;
        }
        let Some((at, place)) = self.table.of(channel) else { return };
        match (event, place) {
            (Event::Finished { flow: Flow::Request, .. }, Place::Asked { request }) => {
                let request = std::mem::take(request);
                self.answer(core, channel, at, &request);
            }
            (Event::Accepted { .. }, Place::Stream { stream, .. }) => stream.handle_accepted(),
            (Event::Exited { outcome, .. }, Place::Stream { stream, .. }) => stream.handle_exited(outcome),
            (Event::Stopped { .. }, Place::Stream { stream, .. }) => stream.handle_stopped(core),
            (Event::Refused { code, errno, .. }, _) => {
                let refusal = Refusal { code, errno, text: core.text().to_vec() };
                if let Some(Place::Stream { stream, label }) = self.table.remove(at) {
                    stream.handle_refused(code, errno);
                    self.note(format!("{label}: {refusal}"));
                }
                return;
            }
            (Event::Reset { .. }, _) => {
                if let Some(Place::Stream { stream, .. }) = self.table.remove(at) {
                    stream.abort();
                }
                return;
            }
            _ => {}
        }
        self.table.mark_ready(at);
    }

    fn take(&mut self, core: &mut Core, channel: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        let Some((at, place)) = self.table.of(channel) else { return 0 };
        let taken = match place {
            Place::Asked { request } if flow == Flow::Request => {
                // A listener's number; what is more is not read, and refused at its end.
                let room = REQUEST_MAX.saturating_sub(request.len());
                request.extend(pieces.iter().copied().flatten().take(room));
                pieces.iter().map(|piece| piece.len()).sum()
            }
            Place::Stream { stream, .. } if flow != Flow::Request && flow != Flow::Error => {
                stream.take(core, pieces)
            }
            // What is said there is for nobody.
            Place::Stream { .. } if flow == Flow::Error => pieces.iter().map(|piece| piece.len()).sum(),
            _ => 0,
        };
        self.table.mark_ready(at);
        taken
    }

    /// Takes what epoll has to tell.
    fn gather(&mut self) {
        let empty = epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [empty; BATCH];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(&self.epoll, &mut events, Some(&now)).unwrap_or(0);
        for event in events.iter().take(count) {
            let flags = event.flags;
            match Token::of(event.data.u64()) {
                Token::Connected => self.has_results = true,
                Token::Listener(at) => {
                    self.locals.get_mut(at).into_iter().for_each(|local| local.listener.is_ready = true);
                }
                Token::Place(at) => {
                    match self.table.at(at) {
                        Some(Place::Greeting { is_ready, .. }) => *is_ready = true,
                        Some(Place::Stream { stream, .. }) => stream.set_ready(flags),
                        _ => continue,
                    }
                    self.table.mark_ready(at);
                }
            }
        }
    }

    /// Does what can be done without blocking; whether anything was done.
    fn step(&mut self, core: &mut Core) -> bool {
        let mut moved = false;
        for remote in &mut self.remotes {
            moved |= remote.step(core);
        }
        while self.has_results {
            moved = true;
            let Some(connected) = self.connector.next() else {
                self.has_results = false;
                break;
            };
            self.handle_connected(core, connected);
        }
        for at in 0..self.locals.len() {
            moved |= self.welcome(core, at);
        }
        for at in self.table.take_ready() {
            moved |= self.step_place(core, at);
        }
        moved
    }

    /// Takes those who have come to a listener of ours, as long as there are channels.
    fn welcome(&mut self, core: &mut Core, at: usize) -> bool {
        for taken in 0..BATCH {
            let Some(local) = self.locals.get_mut(at) else { return false };
            let Some(socket) = local.listener.accept() else { return taken > 0 };
            let (to, label) = (local.to.clone(), local.label.clone());
            let opened = match &to {
                Some(to) => self.connect(core, to, socket, Vec::new(), label).err(),
                None => {
                    let place = Place::Greeting {
                        socket,
                        said: Vec::new(),
                        is_greeted: false,
                        is_ready: true,
                        label,
                    };
                    let place = self.table.insert(None, place);
                    self.watch_place(place);
                    None
                }
            };
            if let Some(socket) = opened {
                if let Some(local) = self.locals.get_mut(at) {
                    local.listener.waiting = Some(socket);
                }
                return taken > 0;
            }
        }
        true
    }

    /// Opens a channel for a socket; gives the socket back where there is none free.
    fn connect(
        &mut self,
        core: &mut Core,
        to: &Endpoint,
        socket: OwnedFd,
        early: Vec<u8>,
        label: String,
    ) -> Result<usize, OwnedFd> {
        let mut request = Request::default();
        let written = to.write(&mut request).and_then(|()| match &self.user {
            Some(user) => request.string(tag::USER, &[user]),
            None => Ok(()),
        });
        let Ok(channel) = core.open(ChannelKind::Connect) else { return Err(socket) };
        if let Err(error) = written {
            // Names that no system has; the agent would say so too.
            core.reset(channel, CloseCode::Cancelled);
            self.note(format!("{label}: {error}"));
            return Ok(usize::MAX);
        }
        let stream = Stream::opened(channel, socket, request.into_bytes(), early);
        let at = self.table.insert(Some(channel), Place::Stream { stream, label });
        self.watch_place(at);
        Ok(at)
    }

    fn watch_place(&mut self, at: usize) {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let socket = match self.table.at(at) {
            Some(Place::Greeting { socket, .. }) => &*socket,
            Some(Place::Stream { stream, .. }) => stream.socket(),
            _ => return,
        };
        if let Err(errno) = epoll::add(&self.epoll, socket, Token::Place(at).data(), interest) {
            self.note(format!("a connection is not watched: {}", text::reason(&errno.into())));
        }
    }

    fn step_place(&mut self, core: &mut Core, at: usize) -> bool {
        match self.table.at(at) {
            Some(Place::Greeting { .. }) => self.step_greeting(core, at),
            Some(Place::Stream { stream, .. }) => match stream.step(core) {
                Step::Progress => {
                    self.table.mark_ready(at);
                    true
                }
                Step::NoRoom => {
                    self.table.mark_ready(at);
                    false
                }
                Step::Idle => false,
                Step::Done => {
                    self.table.remove(at);
                    true
                }
            },
            _ => false,
        }
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        for place in self.table.drain() {
            // Where more was to come, it ends as one that broke.
            if let Place::Stream { stream, .. } = place {
                stream.abort();
            }
        }
    }
}
