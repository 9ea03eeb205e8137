//! Owns the signals that the client acts on, as a descriptor that the main loop polls beside all others.
//!
//! A handler sets a flag and writes a byte into a socket pair; everything else happens in the loop, which therefore
//! can close the session, and returns so that the terminal is restored. SIGPIPE is ignored by the standard library
//! before `main`, so a write tells EPIPE. SIGTSTP keeps its default: a shell restores the terminal of a job that
//! stops, and SIGCONT tells when to set it up again.
//!
//! While nothing is installed, Ctrl-C simply ends the process: install after `dial`, so that it can be left.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use crate::error::Error;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::{SigId, flag, low_level};

/// A signal that can be caught here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// SIGINT: Ctrl-C where the terminal is not raw. Ends the session.
    Interrupt,
    /// SIGQUIT. Ends the session.
    Quit,
    /// SIGTERM. Ends the session.
    Terminate,
    /// SIGHUP: our terminal is gone. Ends the session.
    HangUp,
    /// SIGWINCH: the terminal has another size.
    WindowChange,
    /// SIGCONT: we were stopped and go on; the terminal may have been set up by others meanwhile.
    Continue,
}

impl Caught {
    /// Those that end a session.
    pub const ENDS: [Self; 4] = [Self::Interrupt, Self::Quit, Self::Terminate, Self::HangUp];
    /// Those that concern a terminal.
    pub const TERMINAL: [Self; 2] = [Self::WindowChange, Self::Continue];

    /// Its number, `signal(7)`. A client that ends because of it exits with 128 more, as a shell would show it.
    pub fn number(self) -> i32 {
        match self {
            Self::Interrupt => SIGINT,
            Self::Quit => SIGQUIT,
            Self::Terminate => SIGTERM,
            Self::HangUp => SIGHUP,
            Self::WindowChange => SIGWINCH,
            Self::Continue => SIGCONT,
        }
    }
}

/// The latest signal that ends a session and arrived since some were armed last; 0 is none. Signals are the process's, and so
/// is this.
static ENDING: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Whether a signal has arrived that ends what is being done, for work between two looks of the main loop. Takes none away.
///
/// # Errors
/// [`Error::Interrupted`] when one has.
pub(crate) fn interrupted() -> Result<(), Error> {
    match i32::try_from(ENDING.load(Ordering::SeqCst)).unwrap_or(0) {
        0 => Ok(()),
        signal => Err(Error::Interrupted(signal)),
    }
}

/// The signals that are caught, until it is dropped. After that they are ignored: drop it on the way out only.
#[derive(Debug)]
pub struct Signals {
    wanted: Vec<Caught>,
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    wake: UnixStream,
    caught: Vec<(Caught, Arc<AtomicBool>)>,
    registered: Vec<SigId>,
}

impl Signals {
    /// To catch `wanted` once it is [armed](Self::arm). Until then a signal ends the process.
    pub fn new(wanted: impl IntoIterator<Item = Caught>) -> Self {
        Self { wanted: wanted.into_iter().collect(), armed: None }
    }

    /// Catches the signals, except those that were ignored when we were started: `nohup` means it, and so does a
    /// shell that starts us in the background. Does nothing when called again.
    ///
    /// # Errors
    /// No descriptor is left, or the kernel refuses a handler.
    pub fn arm(&mut self) -> io::Result<()> {
        if self.armed.is_some() {
            return Ok(());
        }
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let ignored = ignored_signals();
        ENDING.store(0, Ordering::SeqCst);
        let armed = self.armed.insert(Armed { wake, caught: Vec::new(), registered: Vec::new() });
        for caught in self.wanted.drain(..) {
            if ignored & (1 << (caught.number() - 1)) != 0 {
                continue;
            }
            let is_pending = Arc::new(AtomicBool::new(false));
            // In this order, so that whoever is woken finds the flag set.
            armed.registered.push(flag::register(caught.number(), Arc::clone(&is_pending))?);
            if Caught::ENDS.contains(&caught) {
                let number = usize::try_from(caught.number()).unwrap_or(0);
                armed.registered.push(flag::register_usize(caught.number(), Arc::clone(&ENDING), number)?);
            }
            armed.registered.push(low_level::pipe::register(caught.number(), waker.try_clone()?)?);
            armed.caught.push((caught, is_pending));
        }
        Ok(())
    }

    /// What to poll for reading, once it is armed.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.armed.as_ref().map(|armed| armed.wake.as_fd())
    }

    /// Takes the signals that arrived; see [`Self::poll`].
    ///
    /// # Errors
    /// [`Error::Interrupted`] when one of them ends the client.
    pub fn ended(&mut self) -> Result<(), Error> {
        while let Some(caught) = self.poll() {
            if Caught::ENDS.contains(&caught) {
                return Err(Error::Interrupted(caught.number()));
            }
        }
        Ok(())
    }

    /// The next signal that arrived, each kind once however often it did. Call until `None` when [`Self::fd`]
    /// is readable; never blocks.
    pub fn poll(&mut self) -> Option<Caught> {
        let armed = self.armed.as_mut()?;
        // Emptied before the flags are read: a signal in between wakes again, and none is lost.
        let mut bytes = [0; 64];
        while matches!(armed.wake.read(&mut bytes), Ok(count) if count == bytes.len()) {}
        let arrived = armed.caught.iter().find(|(_, is_pending)| is_pending.swap(false, Ordering::SeqCst));
        arrived.map(|(caught, _)| *caught)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

/// Arms the signals that somebody gave.
pub(crate) fn arm(signals: &mut Option<&mut Signals>) -> Result<(), Error> {
    signals.as_mut().map_or(Ok(()), |signals| signals.arm().map_err(Error::local("catch", "signals")))
}

/// The mask of ignored signals, bit N−1 for signal N (`proc(5)`, SigIgn); none where /proc is missing.
fn ignored_signals() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| parse_ignored(&status))
}

fn parse_ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(signals: &Signals) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(signals.fd().unwrap(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    // One test, because the signals of a process are shared by all of its threads.
    #[test]
    fn a_signal_wakes_the_poll_and_is_told_once() {
        let mut signals = Signals::new(Caught::TERMINAL);
        signals.arm().unwrap();
        assert!(!is_readable(&signals));
        assert_eq!(signals.poll(), None);
        for _ in 0..100 {
            low_level::raise(SIGWINCH).unwrap();
        }
        assert!(is_readable(&signals));
        assert_eq!(signals.poll(), Some(Caught::WindowChange));
        assert_eq!(signals.poll(), None);
        assert!(!is_readable(&signals));
        low_level::raise(SIGCONT).unwrap();
        low_level::raise(SIGWINCH).unwrap();
        assert_eq!(signals.poll(), Some(Caught::WindowChange));
        assert_eq!(signals.poll(), Some(Caught::Continue));
        assert_eq!(signals.poll(), None);
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_proc() {
        assert_eq!(parse_ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t1\n"), 0x1001);
        assert_eq!(parse_ignored("SigIgn:\tnonsense\n"), 0);
        assert_eq!(parse_ignored(""), 0);
    }
}
