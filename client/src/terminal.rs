//! Owns our side's terminal: its raw mode, its restoration on every way out, its size.
//!
//! The modes to restore are kept in one place for the whole process, because a panic has to find them as well:
//!
//! | way out | who restores |
//! |---|---|
//! | return, `?` | [`RawMode`]'s `Drop` |
//! | panic | the hook of [`install_panic_hook`], before the message; the profile aborts, so no `Drop` runs |
//! | SIGTERM, SIGHUP, SIGINT, SIGQUIT | `signals` and the main loop, which returns: `Drop` |
//! | `~^Z` | [`RawMode::suspend`] |
//! | `std::process::exit` | whoever calls it, by [`restore`] first |
//!
//! Nothing can be done about SIGKILL.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, Once, PoisonError, TryLockError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, Winsize, tcgetattr,
    tcgetwinsize, tcsetattr,
};
use signal_hook::consts::SIGCONT;
use signal_hook::low_level;

/// The terminal that is raw now, and what it was before.
struct Saved {
    terminal: OwnedFd,
    cooked: Termios,
}

static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

/// A terminal in raw mode, until this is dropped.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    cooked: Termios,
}

impl RawMode {
    /// Puts `terminal` (standard input, as a rule) into raw mode: every byte goes to the guest as it is typed, Ctrl-C,
    /// Ctrl-Z and Ctrl-S too, and nothing is echoed here. What is not of the line discipline (speed, parity, the
    /// width of a character, HUPCL) stays as it was.
    ///
    /// # Errors
    /// `terminal` is none, or it was hung up; [`io::ErrorKind::AlreadyExists`] when one is raw already.
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let cooked = tcgetattr(terminal)?;
        let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a terminal is in raw mode already"));
        }
        let raw_mode = Self { terminal: terminal.try_clone_to_owned()?, cooked: cooked.clone() };
        // Saved first: a panic or an error from here on must find what to restore.
        *saved = Some(Saved { terminal: terminal.try_clone_to_owned()?, cooked });
        drop(saved);
        raw_mode.reenter()?;
        Ok(raw_mode)
    }

    /// The modes that the terminal had before, to be encoded for the guest's.
    pub fn cooked(&self) -> &Termios {
        &self.cooked
    }

    /// Makes the terminal raw again; to be called on SIGCONT, since a shell sets it up for itself while we are
    /// stopped.
    ///
    /// # Errors
    /// The terminal was hung up.
    pub fn reenter(&self) -> io::Result<()> {
        // Not `Drain`: a terminal whose output is stopped would hold us here for ever. Linux translates output when
        // it is written, so nothing that is on its way is changed.
        Ok(tcsetattr(&self.terminal, OptionalActions::Now, &raw(&self.cooked))?)
    }

    /// Stops the whole job, as Ctrl-Z would without raw mode, and returns once it goes on, raw again. The window may
    /// have another size then. In an orphaned process group, which nobody could continue, it returns soon.
    ///
    /// # Errors
    /// The terminal was hung up meanwhile, or no descriptor is left.
    pub fn suspend(&self) -> io::Result<()> {
        let (continued, waker) = UnixStream::pair()?;
        let id = low_level::pipe::register(SIGCONT, waker)?;
        let stopped = self.stop(&continued);
        low_level::unregister(id);
        stopped.and_then(|()| self.reenter())
    }

    /// A process of one thread stops within `kill`. Beside other threads this one would run on for a moment, and the
    /// terminal be raw while we are stopped; so it waits for SIGCONT, but not for long, since none comes without a stop.
    fn stop(&self, continued: &UnixStream) -> io::Result<()> {
        tcsetattr(&self.terminal, OptionalActions::Now, &self.cooked)?;
        kill_current_process_group(Signal::TSTP)?;
        let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match poll(&mut [PollFd::new(continued, PollFlags::IN)], Some(&moment)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the raw terminal its old modes back, if there is one. May be called at any time and more than once.
pub fn restore() {
    let mut saved = match SAVED.try_lock() {
        Ok(saved) => saved,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // Held for the few instructions of `enter` and of this; only a panic within them could come here.
        Err(TryLockError::WouldBlock) => return,
    };
    if let Some(Saved { terminal, cooked }) = saved.take() {
        // A terminal that was hung up cannot be restored and needs not to be.
        _ = tcsetattr(terminal, OptionalActions::Now, &cooked);
    }
}

/// A terminal is in raw mode, and begins no line by itself.
pub fn is_raw() -> bool {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Makes a panic restore the terminal before anything is written. Once for the process; later calls do nothing.
pub fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            show(panic);
        }));
    });
}

/// The size that a terminal is given where nobody knows one.
pub const DEFAULT_SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// The size of `terminal`, in characters and (0 when not known) in pixels; `None` where it is no terminal.
pub fn window_size(terminal: impl AsFd) -> Option<Winsize> {
    tcgetwinsize(terminal).ok()
}

/// What ssh and rsh set, which is `cfmakeraw` less what concerns the line and not its discipline (CSIZE, PARENB).
fn raw(cooked: &Termios) -> Termios {
    let mut raw = cooked.clone();
    raw.input_modes |= InputModes::IGNPAR;
    raw.input_modes -= InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IUCLC
        | InputModes::IXON
        | InputModes::IXANY
        | InputModes::IXOFF;
    raw.local_modes -= LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHONL
        | LocalModes::IEXTEN;
    raw.output_modes -= OutputModes::OPOST;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::tcsetwinsize;

    use super::*;

    /// Both ends, the master first.
    fn pty() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        (master, slave)
    }

    fn shown(modes: &Termios) -> String {
        format!("{modes:?}")
    }

    // One test, because a process has one raw terminal.
    #[test]
    fn raw_mode_is_entered_once_and_left_by_drop_and_by_restore() {
        let (_master, slave) = pty();
        let before = tcgetattr(&slave).unwrap();
        let raw_mode = RawMode::enter(slave.as_fd()).unwrap();
        assert!(is_raw());
        let during = tcgetattr(&slave).unwrap();
        assert!(!during.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        assert!(!during.output_modes.contains(OutputModes::OPOST));
        assert_eq!(during.control_modes, before.control_modes);
        assert_eq!(shown(raw_mode.cooked()), shown(&before));
        assert_eq!(RawMode::enter(slave.as_fd()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(raw_mode);
        assert!(!is_raw());
        assert_eq!(shown(&tcgetattr(&slave).unwrap()), shown(&before));

        let again = RawMode::enter(slave.as_fd()).unwrap();
        restore();
        assert_eq!(shown(&tcgetattr(&slave).unwrap()), shown(&before));
        again.reenter().unwrap();
        assert_eq!(shown(&tcgetattr(&slave).unwrap()), shown(&during));
    }

    #[test]
    fn what_is_no_terminal_cannot_be_raw_and_has_no_size() {
        let (file, _other) = rustix::pipe::pipe().unwrap();
        assert!(RawMode::enter(file.as_fd()).is_err());
        assert_eq!(window_size(&file), None);
    }

    #[test]
    fn the_size_is_the_terminals() {
        let (master, slave) = pty();
        tcsetwinsize(&master, Winsize { ws_row: 7, ws_col: 9, ws_xpixel: 70, ws_ypixel: 90 }).unwrap();
        let size = window_size(&slave).unwrap();
        assert_eq!((size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel), (7, 9, 70, 90));
    }
}
