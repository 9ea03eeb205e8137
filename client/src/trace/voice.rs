//! Owns how a line of a trace gets to the person, from whichever thread and in whichever state the terminal is.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as Clock};

use super::transcript::Direction;
use crate::target::Address;
use crate::terminal;

/// What time stamps count from, for all sessions of the process: their lines may stand between each other.
static START: OnceLock<Clock> = OnceLock::new();
static SESSIONS: AtomicUsize = AtomicUsize::new(0);

/// Who tells about one session.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    name: Arc<str>,
    /// Counts the sessions of the process that are traced, from 1.
    pub(super) number: usize,
    /// The cursor may be anywhere in a line, because something else was written since our last one.
    is_amid: Arc<AtomicBool>,
}

impl Voice {
    pub(super) fn new(address: &Address) -> Self {
        START.get_or_init(Clock::now);
        Self {
            name: address.to_string().into(),
            number: SESSIONS.fetch_add(1, Ordering::Relaxed) + 1,
            is_amid: Arc::new(AtomicBool::new(false)),
        }
    }

    /// One line of the story, about the session's address.
    pub(crate) fn say(&self, text: impl Display) {
        self.write(&format!("vsock-shell: {}: {text}", self.name));
    }

    /// The same, where the text names the address itself.
    pub(crate) fn say_whole(&self, line: &str) {
        self.write(&format!("vsock-shell: {line}"));
    }

    /// One line about what went over the wire, with the time in seconds since the start. The first session of a process is
    /// the only one, as a rule; the arrows of others have their number.
    pub(super) fn show(&self, direction: Direction, line: &str) {
        let time = START.get_or_init(Clock::now).elapsed().as_secs_f64();
        let arrow = direction.arrow();
        match self.number {
            1 => self.write(&format!("{time:.6} {arrow} {line}")),
            number => self.write(&format!("{time:.6} {number}{arrow} {line}")),
        }
    }

    /// The command of the session writes to the terminal now.
    pub(super) fn is_interrupted(&self) {
        self.is_amid.store(true, Ordering::Relaxed);
    }

    fn write(&self, line: &str) {
        let is_amid = self.is_amid.swap(false, Ordering::Relaxed);
        let is_raw = terminal::is_raw() && io::stderr().is_terminal();
        // At once, so that lines of several threads do not mix. Where even this cannot be said nobody listens.
        _ = io::stderr().write_all(ended(line, is_raw, is_amid).as_bytes());
    }
}

/// The line with its end. A raw terminal begins none by itself.
fn ended(line: &str, is_raw: bool, is_amid: bool) -> String {
    match (is_raw, is_amid) {
        (false, _) => format!("{line}\n"),
        (true, false) => format!("{line}\r\n"),
        (true, true) => format!("\r\n{line}\r\n"),
    }
}

/// A time as people read it.
pub(super) fn took(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_terminal_gets_whole_line_ends_and_a_fresh_line() {
        assert_eq!(ended("x", false, true), "x\n");
        assert_eq!(ended("x", true, false), "x\r\n");
        assert_eq!(ended("x", true, true), "\r\nx\r\n");
    }

    #[test]
    fn times_have_their_unit() {
        assert_eq!(took(Duration::from_micros(340)), "0.3 ms");
        assert_eq!(took(Duration::from_micros(999_900)), "999.9 ms");
        assert_eq!(took(Duration::from_millis(61_234)), "61.23 s");
    }
}
