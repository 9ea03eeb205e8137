//! The process that keeps a job. One loop tries everything whenever anything happened, so nothing has a state but the rings and
//! how far each watcher has read:
//!
//! ```text
//!   kept   ·······[ oldest ─────────── end )     the last KEPT_LEN bytes of each output
//!   watcher            at ──→ until              where it is, and where it stops: `end` of then, or of the job
//! ```
//! A watcher who is attached is waited for, one whose client is away only while there is no other; the rest, and all once nobody
//! is attached, lose the oldest bytes, and are told how many. A job that holds waits for the next one who attaches instead.
//! Who attaches begins where the last one has left in order: what others were sent they may not have got.

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSlice};
use rustix::process::{Pid, Signal, WaitOptions, getppid, kill_process, wait};
use vsock_shell_proto::frame::Outcome;
use vsock_shell_proto::job::{FOLLOW, JobRequest, Verb};
use vsock_shell_proto::limits::{KEPT_LEN, WATCHERS_MAX};

use super::{COMMAND_MAX, Report, Slot, Word, is_attached};
use crate::clock::now_us;
use crate::line::{Line, Part, text};
use crate::path::PathBuffer;
use crate::session::ROUNDS_MAX;
use crate::session::door::{Door, Visit};
use crate::session::ends::{Got, Source};
use crate::session::exec::{Exec, outcome};
use crate::session::watch::{self, Token, Watch};
use crate::sys::descriptor;
use crate::sys::signal::{self, RELEASED, Signals};
use crate::sys::start::exit;
use crate::sys::storage::Storage;

static KEPT: Storage<[[u8; KEPT_LEN]; 2]> = Storage::new([[0; KEPT_LEN]; 2]);

/// One output of the command: the ring for it, how much was ever written, and how much of that was for whoever was attached.
struct Output {
    kept: &'static mut [u8; KEPT_LEN],
    end: u64,
    seen: u64,
}

/// How far an output has gone to a watcher, and how far it goes.
struct Tap {
    sink: OwnedFd,
    at: u64,
    until: u64,
}

/// Somebody who waits for the end of what he asked.
struct Watcher {
    control: OwnedFd,
    taps: [Tap; 2],
    verb: Verb,
    /// The job waits for him,
    is_attached: bool,
    /// but for others before, while his client has no connection.
    is_away: bool,
    /// He takes no more.
    is_gone: bool,
    /// Bytes that he missed and was not told of.
    lost: u64,
    /// It is over for him, and he was told so.
    is_over: bool,
}

/// A command without a client.
struct Job {
    exec: Exec,
    number: u32,
    /// Closed once the job is forgotten.
    door: Option<Door>,
    is_held: bool,
    outputs: [Output; 2],
    watchers: ArrayVec<Watcher, WATCHERS_MAX>,
    began_us: u64,
    ended_us: u64,
    command: ArrayVec<u8, COMMAND_MAX>,
}

/// Keeps a command as a job until somebody has read how it ended. It was forked by this process, which `parent` has forked, and
/// waits for.
pub fn run(exec: Exec, slot: Slot, watch: &Watch, signals: &Signals, parent: Option<Pid>) -> ! {
    // Who waits for it shall not. Where that process is gone its number may be another's.
    if let Some(parent) = parent.filter(|_| getppid() == parent)
        && let Some(signal) = signal::from_number(RELEASED)
    {
        let _ = kill_process(parent, signal);
    }
    let _ = descriptor::leave_standard();
    let Some(kept) = KEPT.take() else { exit(1) };
    let output = |kept| Output { kept, end: 0, seen: 0 };
    let mut job = Job {
        exec,
        number: slot.number,
        door: Some(slot.door),
        is_held: slot.is_held,
        outputs: kept.each_mut().map(output),
        watchers: ArrayVec::new_const(),
        began_us: now_us(),
        ended_us: 0,
        command: slot.command,
    };
    if job.command.is_empty() {
        job.read_command();
    }
    // Between the words, and within them what is no line.
    for byte in job.command.iter_mut().filter(|byte| **byte < b' ') {
        *byte = b' ';
    }
    if !job.exec.is_terminal {
        // Nobody is there to write to it.
        job.exec.input = None;
    }
    let _ = watch.add(signals, Token::Signals, watch::READ);
    let _ = job.exec.watch(watch, 0);
    if let Some(door) = &job.door {
        let _ = watch.add(door, Token::Door, watch::READ);
    }
    for source in [&mut job.exec.output, &mut job.exec.error].into_iter().flatten() {
        source.ready = true;
    }
    loop {
        while let Some((visit, control)) = job.door.as_ref().and_then(Door::answer) {
            job.receive(visit, control, watch);
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if job.exec.is_running(pid) {
                job.exec.handle_ended(outcome(status));
            }
        }
        // A command that writes all the time keeps nobody waiting.
        let is_busy = (0..ROUNDS_MAX).all(|_| job.keep() | job.tell());
        job.dismiss();
        if job.door.is_none() && job.watchers.is_empty() {
            exit(0)
        }
        let mut is_ended = false;
        let exec = &mut job.exec;
        watch.wait(is_busy.then_some(0), &mut |token, readiness| match token {
            Token::Task { part, .. } => exec.set_ready(part, readiness),
            Token::Signals => {
                while let Some((number, sender)) = signals.next_from() {
                    // That the listener ends is nothing to us, if it has not heard of us yet; everybody else means us.
                    is_ended |= number == Signal::TERM.as_raw() && sender != parent;
                }
            }
            _ => {}
        });
        if is_ended {
            if let Some(target) = job.exec.target() {
                target.hang_up();
            }
            exit(0)
        }
    }
}

impl Output {
    /// The first byte that is kept.
    fn oldest(&self) -> u64 {
        self.end.saturating_sub(KEPT_LEN as u64)
    }

    /// Reads what the command writes, as far as there is room; whether that was anything. The bytes from `waited_for` on are not
    /// overwritten.
    #[inline(never)]
    fn keep(&mut self, place: &mut Option<Source>, waited_for: u64) -> bool {
        let Some(source) = place else { return false };
        let room = KEPT_LEN.saturating_sub((self.end - waited_for) as usize);
        let places = self.kept.get_mut(self.end as usize % KEPT_LEN..).unwrap_or_default();
        let most = places.len().min(room).min(source.most());
        let got = match places.get_mut(..most) {
            _ if source.most() == 0 => Got::End,
            Some(places) if most > 0 && source.ready => source.read(places, &mut []),
            _ => Got::Nothing,
        };
        match got {
            Got::Bytes(length) => self.end += length as u64,
            Got::Nothing => return false,
            Got::End => *place = None,
        }
        true
    }
}

impl Tap {
    /// He cannot be told of a gap before he takes what is behind it.
    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(&self.sink, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    /// Everything that goes there has.
    fn has_all(&self, output: &Output) -> bool {
        self.at >= output.end.min(self.until)
    }

    /// Writes what there is room for: how many bytes.
    ///
    /// # Errors
    /// Of `write`: nobody reads there any more.
    fn tell(&mut self, output: &Output) -> Result<usize, Errno> {
        let length = output.end.min(self.until).saturating_sub(self.at) as usize;
        let bytes = output.kept.get(self.at as usize % KEPT_LEN..).unwrap_or_default();
        let bytes = bytes.get(..length).unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(0);
        }
        match rustix::io::write(&self.sink, bytes) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            written => {
                self.at += *written.as_ref().unwrap_or(&0) as u64;
                written
            }
        }
    }
}

impl Job {
    /// Its words, as they are now: later there may be none any more.
    fn read_command(&mut self) {
        let Some(target) = self.exec.target() else { return };
        let path = Line::of(&[
            text(c"/proc/"),
            Part::Number(u64::from(target.pid.as_raw_pid().unsigned_abs())),
            text(c"/cmdline"),
        ]);
        let mut bytes = [0; COMMAND_MAX];
        let length = PathBuffer::new()
            .join(&[path.as_bytes()])
            .and_then(|path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
            .and_then(|file| rustix::io::read(file, &mut bytes));
        let words = bytes.get(..length.unwrap_or(0)).unwrap_or_default();
        let words = words.strip_suffix(b"\0").unwrap_or(words);
        let _ = self.command.try_extend_from_slice(words);
    }

    /// It has ended, and what it wrote is kept.
    fn is_over(&self) -> bool {
        self.exec.ended.is_some() && self.exec.output.is_none() && self.exec.error.is_none()
    }

    /// Keeps what the command writes; whether that was anything.
    #[inline(never)]
    fn keep(&mut self) -> bool {
        let mut waited_for =
            self.outputs.each_ref().map(|output| if self.is_held { output.seen } else { output.end });
        let is_there = |watcher: &Watcher| watcher.is_attached && !watcher.is_away;
        let is_somebody = self.watchers.iter().any(is_there);
        let attached = self.watchers.iter().filter(|watcher| watcher.is_attached);
        let attached = attached.filter(|watcher| !watcher.is_away || !is_somebody);
        for (is_first, watcher) in attached.enumerate().map(|(place, watcher)| (place == 0, watcher)) {
            for (waited_for, tap) in waited_for.iter_mut().zip(&watcher.taps) {
                *waited_for = if is_first { tap.at } else { tap.at.min(*waited_for) };
            }
        }
        let mut moved = false;
        let places = [&mut self.exec.output, &mut self.exec.error];
        for ((output, place), waited_for) in self.outputs.iter_mut().zip(places).zip(waited_for) {
            moved |= output.keep(place, waited_for);
        }
        if self.ended_us == 0 && self.exec.ended.is_some() {
            self.ended_us = now_us();
        }
        moved
    }

    /// Writes what is kept to who wants it; whether that was anything.
    #[inline(never)]
    fn tell(&mut self) -> bool {
        let mut moved = false;
        for watcher in &mut self.watchers {
            for (tap, output) in watcher.taps.iter_mut().zip(&self.outputs) {
                let oldest = output.oldest();
                if tap.at < oldest && tap.is_writable() {
                    watcher.lost += oldest - tap.at;
                    tap.at = oldest;
                }
            }
            if watcher.lost > 0 {
                let end = if self.exec.is_terminal { c" bytes are lost\r" } else { c" bytes are lost" };
                let mut line =
                    Line::of(&[text(c"vsock-shell-agent: "), Part::Number(watcher.lost), text(end)]);
                let [_, error] = &watcher.taps;
                if rustix::io::write(&error.sink, line.end()).is_err() {
                    continue;
                }
                watcher.lost = 0;
            }
            for (tap, output) in watcher.taps.iter_mut().zip(&self.outputs) {
                if tap.at < output.oldest() {
                    continue;
                }
                match tap.tell(output) {
                    Ok(written) => moved |= written > 0,
                    Err(_) => watcher.is_gone = true,
                }
            }
        }
        moved
    }

    /// What a watcher waits for has come about, but for what he is to be sent.
    fn is_over_for(&self, watcher: &Watcher) -> bool {
        let is_over = if watcher.verb == Verb::Result { self.exec.ended.is_some() } else { self.is_over() };
        is_over || watcher.taps.iter().all(|tap| tap.until != u64::MAX)
    }

    /// Hears what the sessions of the watchers say, and tells those for whom it is over that it is.
    #[inline(never)]
    fn dismiss(&mut self) {
        let mut place = 0;
        while let Some(watcher) = self.watchers.get_mut(place) {
            let mut word = [0];
            let heard = loop {
                match rustix::io::read(&watcher.control, &mut word) {
                    Ok(1) if word == [Word::Done as u8] => break Some(true),
                    Ok(1) => watcher.is_away = word == [Word::Away as u8],
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break None,
                    Ok(_) | Err(_) => break Some(false),
                }
            };
            let is_told = watcher.is_over;
            for (tap, output) in watcher.taps.iter_mut().zip(&mut self.outputs).filter(|_| heard.is_some()) {
                // Who leaves in order gets what is on its way to him; who does not may miss it.
                let seen = if heard == Some(true) { tap.at } else { output.oldest() };
                if watcher.is_attached {
                    output.seen = output.seen.max(seen);
                }
                tap.until = 0;
            }
            let knows = watcher.is_attached || watcher.verb == Verb::Result;
            if heard == Some(true) && is_told && knows && self.exec.ended.is_some() {
                self.door = None;
            }
            let Some(watcher) = self.watchers.get(place) else { break };
            let has_all = watcher.taps.iter().zip(&self.outputs).all(|(tap, output)| tap.has_all(output));
            let is_over = watcher.is_gone || (has_all && watcher.lost == 0 && self.is_over_for(watcher));
            if is_over && !is_told {
                self.report(&watcher.control, watcher.verb, false);
            }
            if heard.is_some() {
                self.watchers.swap_pop(place);
                continue;
            }
            if let Some(watcher) = self.watchers.get_mut(place) {
                watcher.is_over = is_over;
            }
            place += 1;
        }
    }

    #[inline(never)]
    fn report(&self, control: &OwnedFd, verb: Verb, is_full: bool) {
        let outcome = match (verb, self.exec.ended) {
            (Verb::Result, Some(outcome)) => outcome,
            (Verb::Result, None) => Outcome::Failed(Errno::BUSY.raw_os_error().unsigned_abs()),
            (Verb::Attach, Some(outcome)) if self.is_over() => outcome,
            (Verb::Attach, _) => Outcome::Detached(self.number),
            _ => Outcome::Exited(0),
        };
        let ended_us = if self.ended_us == 0 { 0 } else { now_us() - self.ended_us + 1 };
        let terminal = self.exec.master();
        Report { is_full, is_terminal: terminal.is_some(), outcome, ended_us }
            .send(control, terminal.unwrap_or_else(|| control.as_fd()));
    }

    /// Somebody wants something.
    #[inline(never)]
    fn receive(&mut self, visit: Visit<OwnedFd>, control: OwnedFd, watch: &Watch) {
        let Some(request) = visit.preamble.first_chunk().and_then(JobRequest::parse) else { return };
        let JobRequest { verb, flags, .. } = request;
        let follows = flags & FOLLOW != 0 || verb == Verb::Attach;
        let [output, error] = visit.descriptors;
        let waits = match verb {
            Verb::Status | Verb::Signal => false,
            Verb::Result => follows || self.exec.ended.is_some(),
            Verb::Attach | Verb::Logs => true,
        };
        if waits
            && self.watchers.is_full()
            && let Some(place) = self.watchers.iter().position(|watcher| watcher.is_away)
            && let Some(away) = self.watchers.swap_pop(place)
        {
            self.report(&away.control, Verb::Attach, false);
        }
        let is_full = waits && self.watchers.is_full();
        self.report(&control, verb, is_full);
        match verb {
            Verb::Status => self.describe(&output),
            Verb::Signal => self.exec.signal(request.signal),
            _ => {}
        }
        if !waits {
            self.report(&control, verb, false);
        }
        if !waits || is_full {
            return;
        }
        let [of_output, of_error] = &self.outputs;
        let tap = |sink, output: &Output| {
            let _ = watch.add(&sink, Token::Door, watch::WRITE);
            let (at, until) = match verb {
                Verb::Attach => (output.seen, 0),
                Verb::Logs => (0, output.end),
                _ => (u64::MAX, 0),
            };
            Tap { sink, at, until: if follows { u64::MAX } else { until } }
        };
        let taps = [tap(output, of_output), tap(error, of_error)];
        let _ = watch.add(&control, Token::Door, watch::READ);
        let is_attached = is_attached(verb, flags);
        let _ = self.watchers.try_push(Watcher {
            control,
            taps,
            verb,
            is_attached,
            is_away: false,
            is_gone: false,
            lost: 0,
            is_over: false,
        });
    }

    /// What it is, in lines of `key=value`.
    #[inline(never)]
    fn describe(&self, sink: &OwnedFd) {
        let (state, number) = match self.exec.ended {
            None => (c"running", 0),
            Some(Outcome::Killed { signal, .. }) => (c"killed", signal),
            Some(Outcome::Exited(status) | Outcome::Failed(status) | Outcome::Detached(status)) => {
                (c"exited", status)
            }
        };
        let (mut written, mut lost) = (0, 0);
        for output in &self.outputs {
            written += output.end;
            lost += output.oldest().saturating_sub(output.seen);
        }
        let numbers = [
            (c"job=", u64::from(self.number)),
            (c"\nstatus=", u64::from(number)),
            (c"\nseconds=", (now_us() - self.began_us) / 1_000_000),
            (c"\nterminal=", u64::from(self.exec.is_terminal)),
            (c"\nhold=", u64::from(self.is_held)),
            (c"\nwritten=", written),
            (c"\nlost=", lost),
            (c"\nwatchers=", self.watchers.len() as u64),
        ];
        let mut line = Line::new();
        for (key, number) in numbers {
            line.append(&[text(key), Part::Number(number)]);
        }
        line.append(&[text(c"\nstate="), text(state), text(c"\ncommand=")]);
        // In one piece: others write to the same pipe.
        let pieces = [line.as_bytes(), &self.command, b"\n"];
        let _ = rustix::io::writev(sink, &pieces.map(IoSlice::new));
    }
}
