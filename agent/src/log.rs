//! What the agent says of itself: to standard error, or to the kernel's log where there is none.
//!
//! One line is one `write`, so that lines of several processes do not mix. A process that was forked logs on to the
//! same place. Nothing is logged that a peer sent, except escaped ([`Part::Bytes`]), and never a session's id.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::clock;
use crate::line::{Line, Part, text};
use crate::sys::descriptor;

/// The name that lines begin with.
pub const NAME: &CStr = c"vsock-shell-agent";

/// How much a line matters; its number is the kernel log's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// Lines that peers cause, in each span of [`SPAN_MS`] and process.
const PEER_LINES: u32 = 20;
const SPAN_MS: u64 = 10_000;

/// The least important level that is told.
static THRESHOLD: AtomicU8 = AtomicU8::new(Level::Warning as u8);
/// The descriptor of /dev/kmsg; 0 while the log goes to standard error.
static KERNEL_LOG: AtomicI32 = AtomicI32::new(0);

/// Tells more: `-v` things that happen normally, `-vv` what helps to find a bug.
pub fn set_verbosity(count: u8) {
    let level = match count {
        0 => Level::Warning,
        1 => Level::Info,
        _ => Level::Debug,
    };
    THRESHOLD.store(level as u8, Relaxed);
}

/// Sends the log to /dev/kmsg from now on, as there is no standard error; nowhere, if that cannot be opened.
pub fn use_kernel_log() {
    let opened = rustix::fs::open(c"/dev/kmsg", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    KERNEL_LOG.store(opened.map_or(-1, descriptor::leak), Relaxed);
}

/// Something failed that the one who started the agent wanted.
#[inline(never)]
pub fn error(parts: &[Part<'_>]) {
    write(Level::Error, parts);
}

/// An error of the system: what could not be done, on what, and why.
#[inline(never)]
pub fn failure(what: &'static CStr, on: &[u8], errno: Errno) {
    let blank = text(if on.is_empty() { c"" } else { c" " });
    error(&[text(c"cannot "), text(what), blank, Part::Bytes(on), text(c": "), Part::Error(errno)]);
}

/// The same, as a warning that a peer can cause.
#[inline(never)]
pub fn peer_failure(what: &'static CStr, errno: Errno) {
    peer_warning(&[text(c"cannot "), text(what), text(c": "), Part::Error(errno)]);
}

/// Something is wrong, and the agent goes on.
pub fn warning(parts: &[Part<'_>]) {
    write(Level::Warning, parts);
}

/// Something happened that is normal.
pub fn info(parts: &[Part<'_>]) {
    write(Level::Info, parts);
}

/// Something that helps to find a bug.
pub fn debug(parts: &[Part<'_>]) {
    write(Level::Debug, parts);
}

/// A warning that a peer can cause as often as it likes: told at most twenty times in ten seconds.
pub fn peer_warning(parts: &[Part<'_>]) {
    static LIMIT: RateLimit = RateLimit::new();
    match LIMIT.admit(clock::now_ms()) {
        Admission::Told => warning(parts),
        Admission::Last => {
            warning(parts);
            warning(&[text(c"further warnings about peers are left out for some seconds")]);
        }
        Admission::LeftOut => {}
    }
}

fn write(level: Level, parts: &[Part<'_>]) {
    if level as u8 > THRESHOLD.load(Relaxed) {
        return;
    }
    let mut line = Line::new();
    let kernel_log = KERNEL_LOG.load(Relaxed);
    if kernel_log != 0 {
        line.append(&[text(c"<"), Part::Number(u64::from(level as u8)), text(c">")]);
    }
    line.append(&[text(NAME), text(c": ")]);
    line.append(parts);
    // A log that cannot be written has nobody to complain to.
    let _ = descriptor::write(if kernel_log == 0 { 2 } else { kernel_log }, line.end());
}

/// Counts lines in spans of time.
struct RateLimit {
    span: AtomicU64,
    count: AtomicU32,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Told,
    Last,
    LeftOut,
}

impl RateLimit {
    const fn new() -> Self {
        Self { span: AtomicU64::new(0), count: AtomicU32::new(0) }
    }

    fn admit(&self, now_ms: u64) -> Admission {
        let span = now_ms / SPAN_MS;
        if self.span.load(Relaxed) != span {
            self.span.store(span, Relaxed);
            self.count.store(0, Relaxed);
        }
        let count = self.count.load(Relaxed).saturating_add(1);
        self.count.store(count, Relaxed);
        match count.cmp(&PEER_LINES) {
            core::cmp::Ordering::Less => Admission::Told,
            core::cmp::Ordering::Equal => Admission::Last,
            core::cmp::Ordering::Greater => Admission::LeftOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_cause_a_bounded_number_of_lines() {
        let limit = RateLimit::new();
        let told = (0..1000).filter(|_| limit.admit(5_000_000) != Admission::LeftOut).count();
        assert_eq!(told, PEER_LINES as usize);
        assert_eq!(limit.admit(5_000_000 + SPAN_MS), Admission::Told);
    }

    #[test]
    fn levels_are_the_kernel_logs() {
        assert!(Level::Error < Level::Warning && Level::Info < Level::Debug);
        assert_eq!(Level::Warning as u8, 4);
    }
}
