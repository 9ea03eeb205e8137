//! What is sent as the answer to a request: the content of a pipe, and of the kernel's log.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use vsock_shell_proto::ability;
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::limits::{CHANNELS_MAX, JOBS_MAX, KEPT_LEN, REQUEST_MAX, WATCHERS_MAX};
use vsock_shell_proto::preamble::VERSION_MAX;

use super::ends::{Source, pump};
use super::request::Place;
use super::tasks::Step;
use super::watch::{self, Token};
use super::{Core, SOFTWARE};
use crate::config::Config;
use crate::line::{Line, Part, text};
use crate::sys::clock::{self, uptime_seconds};

/// Bytes of the longest record of the kernel's log (CONSOLE_EXT_LOG_MAX); it gives no part of one.
const RECORD_MAX: usize = 8192;

/// What there is so much of, and no more.
const LIMITS: &str = "channels_max\0request_max\0jobs_max\0watchers_max\0kept_max";
const LIMIT_VALUES: [u64; 5] =
    [CHANNELS_MAX as u64, REQUEST_MAX as u64, JOBS_MAX as u64, WATCHERS_MAX as u64, KEPT_LEN as u64];

/// An answer on its way.
pub struct Answer {
    channel: ChannelId,
    /// The pipe that holds what is not sent; gone once all of it is.
    source: Option<Source>,
    /// Its other end, while there is more to be written.
    sink: Option<OwnedFd>,
    /// The kernel's log, from which the pipe is filled again.
    log: Option<OwnedFd>,
    follows: bool,
}

impl Answer {
    /// That it was done, and nothing more.
    pub fn nothing(channel: ChannelId) -> Self {
        Self { channel, source: None, sink: None, log: None, follows: false }
    }

    /// From now on it can be written; [`Self::end`] ends it.
    ///
    /// # Errors
    /// There is no pipe.
    #[inline(never)]
    pub fn open(&mut self) -> Result<(), Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        self.source = Some(Source::new(read, Flow::Output, false));
        self.sink = Some(write);
        Ok(())
    }

    /// What `info` tells (`R-9.10`): lines of `key=value`.
    ///
    /// # Errors
    /// There is no pipe.
    #[inline(never)]
    pub fn tell_info(&mut self, config: &Config) -> Result<(), Errno> {
        self.open()?;
        let system = rustix::system::uname();
        self.line(c"agent", Part::Bytes(SOFTWARE.as_bytes()));
        self.line(c"protocol", Part::Number(u64::from(VERSION_MAX)));
        self.line(c"system", Part::Bytes(system.sysname().to_bytes()));
        self.line(c"kernel", Part::Bytes(system.release().to_bytes()));
        self.line(c"machine", Part::Bytes(system.machine().to_bytes()));
        self.line(c"hostname", Part::Bytes(system.nodename().to_bytes()));
        self.line(c"uptime_seconds", Part::Number(uptime_seconds()));
        let mut id = [0; 64];
        if let Some(id) = read_line(c"/proc/sys/kernel/random/boot_id", &mut id) {
            self.line(c"boot_id", Part::Bytes(id));
        }
        if let Some(id) = read_line(c"/etc/machine-id", &mut id) {
            self.line(c"machine_id", Part::Bytes(id));
        }
        self.line(c"sessions_max", Part::Number(u64::from(config.sessions_max)));
        self.numbers(LIMITS, &LIMIT_VALUES);
        self.line(c"grace_seconds", Part::Number(u64::from(config.grace_ms) / 1000));
        let mut denied = Line::new();
        for name in ability::names(config.denied) {
            let comma = if denied.as_bytes().is_empty() { c"" } else { c"," };
            denied.append(&[text(comma), Part::Bytes(name.as_bytes())]);
        }
        if config.denied != 0 {
            self.line(c"denied", Part::Line(&denied));
        }
        self.end();
        Ok(())
    }

    /// What `statfs` tells (`R-9.12`).
    ///
    /// # Errors
    /// Of `fstatfs`; there is no pipe.
    #[inline(never)]
    pub fn tell_space(&mut self, there: OwnedFd) -> Result<(), Errno> {
        let told = rustix::fs::fstatfs(there)?;
        self.open()?;
        const KEYS: &str = "block_size\0blocks\0blocks_free\0blocks_available\0inodes\0inodes_free\0type";
        self.numbers(
            KEYS,
            &[
                told.f_bsize as u64,
                told.f_blocks,
                told.f_bfree,
                told.f_bavail,
                told.f_files,
                told.f_ffree,
                told.f_type as u64,
            ],
        );
        self.end();
        Ok(())
    }

    /// What `clock` tells (`R-9.13`). Nine digits of nanoseconds, so that it is a decimal number too.
    ///
    /// # Errors
    /// There is no pipe.
    pub fn tell_time(&mut self) -> Result<(), Errno> {
        self.open()?;
        let [seconds, nanoseconds] = clock::time();
        let mut line = Line::of(&[text(c"time="), Part::Number(seconds), Part::Fraction(nanoseconds)]);
        self.write(line.end());
        self.end();
        Ok(())
    }

    /// Goes on with the kernel's log, and where it `follows`, with what is still to come.
    ///
    /// # Errors
    /// Of `open`, and of `epoll_ctl`.
    pub fn tell_log(&mut self, follows: bool, place: &Place<'_>) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let log = rustix::fs::open(c"/dev/kmsg", flags, Mode::empty())?;
        if follows {
            place.watch.add(log.as_fd(), Token::Task { place: place.number, part: 0 }, watch::READ)?;
        }
        self.log = Some(log);
        self.follows = follows;
        self.open()
    }

    fn line(&self, key: &'static CStr, value: Part<'_>) {
        self.pair(text(key), value);
    }

    /// Keys with a NUL between them, and their values.
    #[inline(never)]
    fn numbers(&self, keys: &str, values: &[u64]) {
        for (key, &value) in keys.as_bytes().split(|&byte| byte == 0).zip(values) {
            self.pair(Part::Bytes(key), Part::Number(value));
        }
    }

    #[inline(never)]
    fn pair(&self, key: Part<'_>, value: Part<'_>) {
        self.write(Line::of(&[key, text(c"="), value]).end());
    }

    /// Appends to it. What the pipe has no room for, which is 64 KiB, is left out.
    #[inline(never)]
    pub fn write(&self, bytes: &[u8]) {
        if let Some(sink) = &self.sink {
            let _ = rustix::io::write(sink, bytes);
        }
    }

    /// Nothing more is written.
    pub fn end(&mut self) {
        self.sink = None;
        if let Some(source) = &mut self.source {
            source.ready = true;
            source.has_hung_up = true;
        }
    }

    /// The client takes no more of it.
    pub fn stop(&mut self) {
        self.source = None;
    }

    /// Sends on.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        let step = pump(&mut self.source, core, self.channel);
        match &mut self.source {
            None => {
                core.exit(self.channel, Outcome::Exited(0), b"");
                Step::Done
            }
            // It is empty.
            Some(source) if !source.ready => {
                source.ready = true;
                self.refill()
            }
            Some(_) => step,
        }
    }

    /// Takes one more record of the log.
    fn refill(&mut self) -> Step {
        let Some(log) = &self.log else { return Step::Idle };
        let mut record = [0; RECORD_MAX];
        match rustix::io::read(log, &mut record) {
            Ok(length @ 1..) => self.write(record.get(..length).unwrap_or_default()),
            // Records were overwritten before they were read, devkmsg_read(): the next one is the oldest that there is.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(Errno::AGAIN) if self.follows => return Step::Idle,
            Ok(0) | Err(_) => self.end(),
        }
        Step::Progress
    }
}

/// The first line of a small file.
fn read_line<'b>(path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *buffer).ok()?;
    buffer.get(..length)?.split(|&byte| byte == b'\n').next().filter(|line| !line.is_empty())
}
