//! Owns what is done with the system of a guest without a program in it (`docs/PROTOCOL.md`, R-9.13).
//!
//! [`log`] reads the kernel's log, [`mount`] the options of a mount, [`processes`], [`modules`] and [`mounts`] what /proc tells
//! of each.

pub mod log;
pub mod modules;
pub mod mount;
pub mod mounts;
pub mod processes;

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::ChannelKind::System;

use crate::client::Client;
use crate::command::Streams;
use crate::error::{Error, Failure};
use crate::run::{Input, Output};
use crate::signals::Signals;
use crate::verb::Verb;
use mount::Mount;
use processes::Process;

/// MODULE_INIT_COMPRESSED_FILE: the kernel decompresses, since Linux 5.17.
const COMPRESSED: u64 = 4;
/// O_NONBLOCK: a module that is used is refused, instead of waiting until it is not, `delete_module(2)`.
const NONBLOCK: u64 = 0o4000;

/// What a clock says, and how far it was from ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuestTime {
    /// Since 1970.
    pub time: Duration,
    /// Seconds by which our clock is ahead of it.
    pub behind: f64,
}

impl Client {
    /// All processes that /proc shows.
    ///
    /// # Errors
    /// [`Error::Failed`] where there is no /proc; those of every request.
    pub fn processes(&mut self) -> Result<Vec<Process>, Error> {
        const PARTS: [&str; 3] = ["stat", "status", "cmdline"];
        let folder = OsStr::new("/proc");
        let entries = self.list(folder, false)?.entries;
        let numbers = entries.iter().filter(|entry| entry.name.iter().all(u8::is_ascii_digit));
        let names: Vec<CString> = numbers
            .flat_map(|entry| PARTS.map(|part| [&entry.name, &b"/"[..], part.as_bytes()].concat()))
            .filter_map(|name| CString::new(name).ok())
            .collect();
        let files = self.read_files(folder, &names)?;
        let content = |file: &Result<Vec<u8>, Failure>| file.as_deref().unwrap_or_default().to_vec();
        let process = |files: &[Result<Vec<u8>, Failure>]| match files {
            [stat, status, words] => Process::parse(&content(stat), &content(status), &content(words)),
            _ => None,
        };
        // One that has ended meanwhile is none.
        Ok(files.chunks(PARTS.len()).filter_map(process).collect())
    }

    /// What is mounted where: the lines of mountinfo, `proc_pid_mountinfo(5)`.
    ///
    /// # Errors
    /// As for [`Self::processes`].
    pub fn mounts(&mut self) -> Result<Vec<u8>, Error> {
        // Process 1 may be in another root than the agent.
        match self.read_file(OsStr::new("/proc/1/mountinfo")) {
            Err(Error::Failed(_)) => self.read_file(OsStr::new("/proc/self/mountinfo")),
            read => read,
        }
    }

    /// Sends a process a signal, by its generic number; 0 only asks whether the process is there.
    ///
    /// # Errors
    /// [`Error::Failed`] where that cannot be; those of every request.
    pub fn kill(&mut self, process: u64, signal: u32) -> Result<(), Error> {
        let number = OsString::from(process.to_string());
        let values = &[process, signal.into()];
        let phrase = ("signal process", Some(number.as_os_str()));
        self.ask(System, &Verb { name: "kill", values, phrase, ..Verb::default() }).map(drop)
    }

    /// Mounts something.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be mounted; those of every request.
    pub fn mount(&mut self, source: &OsStr, target: &OsStr, mount: &Mount) -> Result<(), Error> {
        let kind = mount.kind.as_deref().unwrap_or_default();
        let data = OsStr::from_bytes(&mount.data);
        for flags in mount.steps() {
            let verb = Verb {
                name: "mount",
                arguments: &[source, target, kind, data],
                values: &[flags],
                phrase: ("mount on", Some(target)),
                ..Verb::default()
            };
            self.ask(System, &verb)?;
        }
        Ok(())
    }

    /// Takes a mount away: with `is_lazy` as soon as nobody uses it, with `is_forced` whoever does.
    ///
    /// # Errors
    /// [`Error::Failed`] where that cannot be; those of every request.
    pub fn umount(&mut self, target: &OsStr, is_lazy: bool, is_forced: bool) -> Result<(), Error> {
        // MNT_FORCE and MNT_DETACH.
        let values = &[u64::from(is_forced) | u64::from(is_lazy) << 1];
        let phrase = ("unmount", Some(target));
        let verb = Verb { name: "umount", arguments: &[target], values, phrase, ..Verb::default() };
        self.ask(System, &verb).map(drop)
    }

    /// Loads the kernel module of a file in the guest.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be loaded; those of every request.
    pub fn load_module(&mut self, path: &OsStr, parameters: &[OsString]) -> Result<(), Error> {
        let parameters =
            OsString::from_vec(parameters.iter().map(|word| word.as_bytes()).collect::<Vec<_>>().join(&b' '));
        let flags = if path.as_bytes().ends_with(b".ko") { 0 } else { COMPRESSED };
        let verb = Verb {
            name: "load",
            arguments: &[path, &parameters],
            values: &[flags],
            phrase: ("load", Some(path)),
            ..Verb::default()
        };
        self.ask(System, &verb).map(drop)
    }

    /// Unloads a kernel module; one that is used is refused.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be unloaded; those of every request.
    pub fn unload_module(&mut self, name: &OsStr) -> Result<(), Error> {
        let plain = |&byte: &u8| if byte == b'-' { b'_' } else { byte };
        let plain = OsString::from_vec(name.as_bytes().iter().map(plain).collect());
        let phrase = ("unload", Some(name));
        let verb =
            Verb { name: "unload", arguments: &[&plain], values: &[NONBLOCK], phrase, ..Verb::default() };
        self.ask(System, &verb).map(drop)
    }

    /// What the guest's clock says.
    ///
    /// # Errors
    /// Those of every request; [`Error::Garbled`] for what is no time.
    pub fn time(&mut self) -> Result<GuestTime, Error> {
        self.clock(&[])
    }

    /// Sets the guest's clock from ours; what it said before.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be set; those of every request.
    pub fn set_time(&mut self) -> Result<GuestTime, Error> {
        let before = self.time()?;
        let now = since_1970();
        self.clock(&[now.as_secs(), now.subsec_nanos().into()])?;
        Ok(before)
    }

    /// How long ago the guest started; to the second where it has no /proc.
    ///
    /// # Errors
    /// Those of every request.
    pub fn uptime(&mut self) -> Result<Duration, Error> {
        let precise = match self.read_file(OsStr::new("/proc/uptime")) {
            Err(Error::Failed(_)) => None,
            read => parse_uptime(&read?),
        };
        match precise {
            Some(uptime) => Ok(uptime),
            None => {
                let seconds = self.info()?.get("uptime_seconds").and_then(|value| value.parse().ok());
                Ok(Duration::from_secs(seconds.unwrap_or(0)))
            }
        }
    }

    fn clock(&mut self, values: &[u64]) -> Result<GuestTime, Error> {
        let asked = since_1970();
        let phrase = ("set the clock", None);
        let answer = self.ask(System, &Verb { name: "clock", values, phrase, ..Verb::default() })?;
        let told = since_1970();
        let time = parse_time(&answer).ok_or(Error::Garbled)?;
        // It was read somewhere between.
        let ours = f64::midpoint(asked.as_secs_f64(), told.as_secs_f64());
        Ok(GuestTime { time, behind: ours - time.as_secs_f64() })
    }

    /// Writes what the guest has not yet written to its disks.
    ///
    /// # Errors
    /// Those of every request.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.ask(System, &Verb { name: "sync", ..Verb::default() }).map(drop)
    }

    /// The environment that a command in the guest gets: strings NAME=VALUE, as they are.
    ///
    /// # Errors
    /// Those of every request.
    pub fn environment(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let phrase = ("tell the environment", None);
        let answer = self.ask(System, &Verb { name: "env", phrase, ..Verb::default() })?;
        let strings = answer.split(|&byte| byte == 0).filter(|string| !string.is_empty());
        Ok(strings.map(<[u8]>::to_vec).collect())
    }

    /// Gives the kernel's log to `output`, as it comes, records in any pieces; with `follows` until a signal arrives or nothing
    /// more is wanted.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be read; those of every request and of `output`.
    pub fn kernel_log(
        &mut self,
        follows: bool,
        output: Output,
        signals: Option<&mut Signals>,
    ) -> Result<(), Error> {
        let verb = Verb {
            name: "kmsg",
            flags: if follows { flag::FOLLOW } else { 0 },
            phrase: ("read the kernel's log", None),
            ..Verb::default()
        };
        let streams = Streams { input: Input::nothing(), output, error: Output::discard() };
        self.ask_with(System, &verb, streams, signals).map(drop)
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `time=seconds.nanoseconds`.
fn parse_time(answer: &[u8]) -> Option<Duration> {
    let line = std::str::from_utf8(answer).ok()?.trim_end().strip_prefix("time=")?;
    let (seconds, nanoseconds) = line.split_once('.')?;
    let nanoseconds = nanoseconds.parse().ok().filter(|&nanoseconds: &u32| nanoseconds < 1_000_000_000)?;
    Some(Duration::new(seconds.parse().ok()?, nanoseconds))
}

/// The first number of `proc_uptime(5)`.
fn parse_uptime(content: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(content).ok()?.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_of_a_guest_are_too_much_for_what_reads_them() {
        const ALPHABET: &[u8] = b" \n\0,;:=-()\\x0134567mZ\x1b\xff/";
        let mut state = 1_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..next(64)).map(|_| ALPHABET[next(ALPHABET.len())]).collect();
            let texts = [
                modules::table(&modules::parse(&bytes)),
                mounts::table(&mounts::parse(&bytes)),
                processes::table(
                    &processes::Process::parse(&bytes, &bytes, &bytes).into_iter().collect::<Vec<_>>(),
                ),
                log::Reader::default()
                    .take(&bytes, true)
                    .iter()
                    .map(|record| record.to_text(jiff::Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC))
                    .collect(),
            ];
            let is_plain =
                |text: &String| text.chars().all(|character| character == '\n' || !character.is_control());
            assert!(texts.iter().all(is_plain), "{bytes:?}");
            let _ = (parse_time(&bytes), parse_uptime(&bytes));
        }
    }

    #[test]
    fn an_uptime_is_told_to_the_hundredth() {
        assert_eq!(parse_uptime(b"350735.47 234388.90\n"), Some(Duration::from_millis(350_735_470)));
        for wrong in [&b""[..], b"-1 1", b"x", b"nan", b"inf", b"1e400", b"\xff"] {
            assert_eq!(parse_uptime(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn r_9_13_a_time_is_seconds_and_nanoseconds() {
        assert_eq!(parse_time(b"time=12.000000345\n"), Some(Duration::new(12, 345)));
        for wrong in
            [&b""[..], b"time=1", b"time=x.1", b"time=1.1000000000", b"12.1", b"time=1.\xff", b"time=-1.0"]
        {
            assert_eq!(parse_time(wrong), None, "{wrong:?}");
        }
    }
}
