//! A way to a guest that is cut, and stands still, when a test wants it to.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Guest;

/// What becomes of a connection.
#[derive(Clone, Copy)]
pub enum Fate {
    /// It is cut once so many bytes have passed, of both directions together.
    Cut(u64),
    /// It stands still after so many, and stays open.
    Stall(u64),
    /// It goes on.
    Lasts,
}

/// A Unix socket before a guest's.
pub struct Proxy {
    socket: PathBuf,
    connections: Arc<AtomicUsize>,
    is_open: Arc<AtomicBool>,
}

impl Proxy {
    /// One that asks what is to become of each connection, which are counted from 0.
    pub fn start(guest: &Guest, mut fate: impl FnMut(usize) -> Fate + Send + 'static) -> Self {
        let socket = guest.directory.path("proxy");
        let listener = UnixListener::bind(&socket).unwrap();
        let (connections, is_open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (count, open, there) = (connections.clone(), is_open.clone(), guest.socket());
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for here in listener.incoming() {
                let (Ok(here), Ok(there)) = (here, UnixStream::connect(&there)) else { return };
                let fate = fate(count.fetch_add(1, Ordering::SeqCst));
                let open = open.clone();
                std::thread::spawn(move || carry(&here, &there, fate, &open));
            }
        });
        Self { socket, connections, is_open }
    }

    /// What the client calls the guest behind it.
    pub fn target(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// The same, as `cp` takes it.
    pub fn remote(&self, path: &std::path::Path) -> String {
        format!("unix%{}:{}", self.socket.display(), path.display())
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// From now on every connection is cut, or none that has something left.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::SeqCst);
    }
}

/// Carries bytes both ways until the connection has had its fate.
fn carry(here: &UnixStream, there: &UnixStream, fate: Fate, is_open: &AtomicBool) {
    let mut passed = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = match fate {
            Fate::Cut(limit) | Fate::Stall(limit) => limit - passed,
            Fate::Lasts => u64::MAX,
        };
        if left == 0 && matches!(fate, Fate::Stall(_)) {
            // Until the process of the test ends.
            std::thread::sleep(Duration::from_secs(600));
        }
        if left == 0 || !is_open.load(Ordering::SeqCst) {
            return;
        }
        let mut fds = [PollFd::new(here, PollFlags::IN), PollFd::new(there, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut fds, Some(&timeout)).is_err() {
            return;
        }
        let ready = [0, 1].map(|side| !fds[side].revents().is_empty());
        for (is_ready, from, to) in [(ready[0], here, there), (ready[1], there, here)] {
            let left = match fate {
                Fate::Cut(limit) | Fate::Stall(limit) => limit - passed,
                Fate::Lasts => u64::MAX,
            };
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if !is_ready || most == 0 {
                continue;
            }
            let (mut from, mut to) = (from, to);
            let Ok(length @ 1..) = from.read(&mut buffer[..most]) else { return };
            if to.write_all(&buffer[..length]).is_err() {
                return;
            }
            passed += length as u64;
        }
    }
}
