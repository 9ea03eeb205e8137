//! Owns `each`: one command in several guests at once.
//!
//! Each guest has a client of its own, a process that runs this program: so one that fails or is stuck holds up no other, and
//! what it does is what it would do alone. Its standard output and error come through pipes, and are told line by line under
//! the guest's name. A signal that ends us is given to all of them, and no more are started.

mod lines;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Map, Value};

use super::{FAILED, SIGPIPE, complain, interrupted};
use crate::connection::timespec;
use crate::error::Error;
use crate::invocation::Each;
use crate::signals::{Caught, Signals};
use crate::text;
use lines::Lines;

/// How long clients may take to end after a signal, before they are left to it.
const FAREWELL: Duration = Duration::from_secs(3);

/// Runs the command in all of them; the status to exit with: the worst of theirs.
#[must_use]
pub fn each(invocation: &Each) -> u8 {
    match try_each(invocation) {
        Ok(status) => status,
        Err(error) => {
            complain("each", &error);
            match error {
                Error::Interrupted(signal) => interrupted(signal),
                _ => FAILED,
            }
        }
    }
}

fn try_each(invocation: &Each) -> Result<u8, Error> {
    let program = std::env::current_exe().map_err(Error::local("find", "this program"))?;
    let mut signals = Signals::new(Caught::ENDS);
    signals.arm().map_err(Error::local("catch", "signals"))?;
    let failed = || Error::local("make", "a pair of sockets");
    let (done, working) = UnixStream::pair().map_err(failed())?;
    let crew = Arc::new(Crew {
        invocation: invocation.clone(),
        program,
        state: Mutex::default(),
        voice: Mutex::default(),
    });
    for _ in 0..invocation.parallel.min(invocation.targets.len()) {
        let (crew, working) = (Arc::clone(&crew), working.try_clone().map_err(failed())?);
        // Not joined: one that writes where nobody reads ends with the process.
        thread::spawn(move || {
            crew.work();
            drop(working);
        });
    }
    drop(working);
    crew.wait(&mut signals, &done)?;
    let state = crew.state();
    if state.is_unread { Ok(interrupted(SIGPIPE)) } else { Ok(state.worst) }
}

/// Those who run the clients, each one after the other.
struct Crew {
    invocation: Each,
    program: PathBuf,
    state: Mutex<State>,
    /// Held by whoever writes, so that lines are whole.
    voice: Mutex<()>,
}

/// What they have in common.
#[derive(Default)]
struct State {
    /// How many guests were begun with.
    begun: usize,
    /// The clients that run.
    running: Vec<(usize, OwnedFd)>,
    /// The worst status so far.
    worst: u8,
    /// Nobody reads our standard output any more.
    is_unread: bool,
    /// The signal that ends all this.
    ending: Option<Signal>,
}

impl Crew {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one guest after the other, until none is left.
    fn work(&self) {
        while let Some((place, started)) = self.start_next() {
            let name = text::escape(self.invocation.targets[place].as_encoded_bytes()).into_owned();
            let status = match started {
                Ok(child) => self.attend(&name, child),
                Err(error) => {
                    let why = format!("cannot start a client: {}", text::reason(&error));
                    self.complain(format!("{name}: vsock-shell: {why}\n").as_bytes());
                    self.print_result(&name, FAILED, None, Some(why));
                    FAILED
                }
            };
            let mut state = self.state();
            state.worst = state.worst.max(status);
            state.running.retain(|(other, _)| *other != place);
        }
    }

    /// Starts the client of the next guest. Under the lock, so that a signal finds it or keeps it from starting.
    fn start_next(&self) -> Option<(usize, io::Result<Child>)> {
        let mut state = self.state();
        let place = state.begun;
        let target = self.invocation.targets.get(place).filter(|_| state.ending.is_none())?;
        state.begun += 1;
        let started = self.command(target).spawn();
        if let Ok(child) = &started
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
            && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        {
            state.running.push((place, pidfd));
        }
        Some((place, started))
    }

    /// A process group of its own: Ctrl-C reaches it once, through us.
    fn command(&self, target: &OsString) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.invocation.flags);
        command.arg("--").arg(target).args(&self.invocation.command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    /// Tells what a client says, to its end; its status.
    fn attend(&self, name: &str, mut child: Child) -> u8 {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (result, last) = thread::scope(|scope| {
            let errors = scope.spawn(|| stderr.map(|stderr| self.pass(name, stderr, Self::complain)));
            let result = match stdout {
                Some(mut stdout) if self.invocation.is_json => {
                    let mut result = Vec::new();
                    // What is cut off is no object.
                    _ = stdout.read_to_end(&mut result);
                    Some(result)
                }
                stdout => {
                    stdout.map(|stdout| self.pass(name, stdout, Self::tell));
                    None
                }
            };
            (result, errors.join().ok().flatten())
        });
        let status = child.wait().map_or(FAILED, status_of);
        if let Some(result) = result {
            self.print_result(name, status, serde_json::from_slice(&result).ok(), last);
        }
        status
    }

    /// Passes lines on under a name; the last one, without what this program puts before it.
    fn pass(&self, name: &str, mut source: impl Read, tell: fn(&Self, &[u8])) -> String {
        let mut lines = Lines::new(name);
        let mut last = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let told = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => lines.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            tell(self, &told);
            keep_last(&mut last, &told);
        }
        let told = lines.finish();
        tell(self, &told);
        keep_last(&mut last, &told);
        let line = last.strip_prefix(format!("{name}: ").as_bytes()).unwrap_or(&last);
        let line = line.strip_prefix(b"vsock-shell: ").unwrap_or(line);
        text::escape(line.trim_ascii_end()).into_owned()
    }

    /// One object on one line.
    fn print_result(&self, name: &str, status: u8, result: Option<Map<String, Value>>, last: Option<String>) {
        if !self.invocation.is_json {
            return;
        }
        let has_result = result.is_some();
        let mut object = result.unwrap_or_default();
        object.insert("target".to_owned(), name.into());
        object.insert("status".to_owned(), status.into());
        object.insert("error".to_owned(), last.filter(|_| !has_result).into());
        self.tell(format!("{}\n", Value::Object(object)).as_bytes());
    }

    /// Writes whole lines to standard output. Where nobody reads them, everything ends, as it does in a pipeline.
    fn tell(&self, lines: &[u8]) {
        let voice = self.voice();
        let told = io::stdout().write_all(lines).and_then(|()| io::stdout().flush());
        drop(voice);
        if told.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            let mut state = self.state();
            if !std::mem::replace(&mut state.is_unread, true) {
                state.end(Signal::TERM);
            }
        }
    }

    /// Writes whole lines to standard error. Where they cannot be written nobody listens.
    fn complain(&self, lines: &[u8]) {
        let _voice = self.voice();
        _ = io::stderr().write_all(lines);
    }

    fn voice(&self) -> MutexGuard<'_, ()> {
        self.voice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all are done; ends them where a signal ends us, and gives them [`FAREWELL`].
    ///
    /// # Errors
    /// [`Error::Interrupted`], once they have ended.
    fn wait(&self, signals: &mut Signals, done: &UnixStream) -> Result<(), Error> {
        let mut ending: Option<(i32, Instant)> = None;
        loop {
            let left = ending.map(|(_, deadline)| deadline.saturating_duration_since(Instant::now()));
            let mut fds = vec![PollFd::new(done, PollFlags::IN)];
            let signal_fd = signals.fd();
            fds.extend(signal_fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            // Interrupted by the signal that is looked for next.
            _ = poll(&mut fds, left.map(timespec).as_ref());
            let is_done = !fds[0].revents().is_empty();
            if let Err(Error::Interrupted(number)) = signals.ended() {
                self.state().end(Signal::from_named_raw(number).unwrap_or(Signal::TERM));
                let (_, deadline) = ending.unwrap_or_else(|| (number, Instant::now() + FAREWELL));
                ending = Some((number, deadline));
            }
            match ending {
                Some((number, _)) if is_done || left.is_some_and(|left| left.is_zero()) => {
                    return Err(Error::Interrupted(number));
                }
                None if is_done => return Ok(()),
                _ => {}
            }
        }
    }
}

impl State {
    /// Starts no more, and gives a signal to those that run.
    fn end(&mut self, signal: Signal) {
        self.ending = Some(signal);
        for (_, pidfd) in &self.running {
            // One that has ended meanwhile needs none.
            _ = pidfd_send_signal(pidfd.as_fd(), signal);
        }
    }
}

fn keep_last(last: &mut Vec<u8>, lines: &[u8]) {
    if let Some(line) =
        lines.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().filter(|line| !line.is_empty())
    {
        last.clear();
        last.extend_from_slice(line);
    }
}

fn status_of(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(FAILED),
        (None, Some(signal)) => interrupted(signal),
        (None, None) => FAILED,
    }
}
