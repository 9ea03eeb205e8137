//! The process of a port: it waits for clients, and lends the port to the session of each.
//!
//! ```text
//!  waiting ──a client begins──→ fork ──→ lent ──the session leaves the port──→ waiting
//! ```
//! A session drives the port itself, so that nothing more stands between them in which bytes could pile up. When it
//! leaves, because the next client has begun or its own is gone, it hands back what it had read and not used.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal};
use vsock_shell_proto::limits::SESSIONS_MAX;
use vsock_shell_proto::serial::{Arrival, Port};

use crate::log;
use crate::oom;
use crate::serial;
use crate::session::wire::Wire;
use crate::sessions::Sessions;
use crate::sys::process::{Forked, fork};
use crate::sys::signal::{HANDLED_BY_INIT, RELEASED, Signals};
use crate::sys::storage::Storage;

/// How long a port is left alone that nobody holds at the other end: it would be ready all the time.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Tells that the listener is gone.
const ORPHANED: Signal = Signal::USR1;

/// The port of this process: its keeper's, or of a session that goes on over one.
pub static PORT: Storage<Port> = Storage::new(Port::agent());

/// The process of one port.
struct Keeper {
    fd: OwnedFd,
    port: &'static mut Port,
    watch: Watch,
}

/// What it waits for beside the port.
struct Watch {
    signals: Signals,
    sessions: Sessions,
    is_ending: bool,
}

impl Watch {
    /// Waits for `fd`, a signal, or the time.
    fn wait(&mut self, fd: Option<BorrowedFd<'_>>, timeout: Option<&Timespec>) {
        let signals = self.signals.as_fd();
        let fds = [signals, fd.unwrap_or(signals)];
        let _ = poll(&mut fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)), timeout);
        while let Some((number, sender)) = self.signals.next_from() {
            if number.unsigned_abs() == RELEASED {
                self.sessions.release(sender);
                continue;
            }
            if number == Signal::CHILD.as_raw() {
                self.sessions.reap(&mut |_, _| {});
                continue;
            }
            self.is_ending = true;
            if number == ORPHANED.as_raw() {
                // Sessions notice that nobody is there to have the port back, and wait for their clients without it.
                self.sessions = Sessions::new(SESSIONS_MAX);
            } else {
                self.sessions.signal(Signal::TERM);
            }
        }
    }
}

/// Serves the port until a signal ends it. Returns in the process of each session, with the port and what has come.
pub fn serve(fd: OwnedFd) -> Option<(OwnedFd, Wire)> {
    oom::lock_pages();
    // A listener that was killed is started again, and cannot open a port of virtio-serial that somebody has open.
    let _ = set_parent_process_death_signal(Some(ORPHANED));
    let keeper = Keeper {
        fd,
        port: PORT.take()?,
        watch: Watch {
            signals: Signals::open(&HANDLED_BY_INIT).ok()?,
            sessions: Sessions::new(SESSIONS_MAX),
            is_ending: false,
        },
    };
    keeper.run()
}

impl Keeper {
    fn run(mut self) -> Option<(OwnedFd, Wire)> {
        while !self.watch.is_ending {
            match self.port.poll() {
                Some(Arrival::Begun) => match self.lend() {
                    Ok(Some(heir)) => {
                        self.port.accept();
                        let is_line = serial::is_line(&self.fd);
                        return Some((self.fd, Wire::new(self.port, is_line, heir)));
                    }
                    Ok(None) => {}
                    // Without an answer the client begins again in a moment, when there may be room.
                    Err(errno) => {
                        log::peer_failure(c"start a session", errno);
                        self.port.accept();
                    }
                },
                // Of a client that got no session.
                Some(Arrival::Bytes(bytes)) => {
                    let length = bytes.len();
                    self.port.consume(length);
                }
                Some(Arrival::Ended) => self.port.leave(),
                None => self.read(),
            }
        }
        // Who comes after us can open the port while sessions still end what they run.
        let Self { fd, mut watch, .. } = self;
        drop(fd);
        while !watch.sessions.is_empty() {
            watch.wait(None, None);
        }
        None
    }

    /// Reads the port once, or waits until there is something.
    fn read(&mut self) {
        match rustix::io::read(&self.fd, self.port.places()) {
            Ok(length @ 1..) => self.port.fill(length),
            Err(Errno::AGAIN) => self.watch.wait(Some(self.fd.as_fd()), None),
            Ok(_) | Err(_) => self.watch.wait(None, Some(&PAUSE)),
        }
    }

    /// Forks a session, which gets the port until it closes its end of a pipe: that end, in its process.
    fn lend(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let (returns, heir) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        match fork()? {
            Forked::Child => Ok(Some(heir)),
            Forked::Parent(pid) => {
                drop(heir);
                self.watch.sessions.begin(pid);
                *self.port = Port::agent();
                self.take_back(&returns);
                Ok(None)
            }
        }
    }

    /// Waits until the session has left the port, and takes what it had read of it and not used.
    fn take_back(&mut self, returns: &OwnedFd) {
        while !self.watch.is_ending {
            match rustix::io::read(returns, self.port.places()) {
                Ok(length @ 1..) => self.port.fill(length),
                Err(Errno::AGAIN) => self.watch.wait(Some(returns.as_fd()), None),
                Ok(_) | Err(_) => return,
            }
        }
    }
}
