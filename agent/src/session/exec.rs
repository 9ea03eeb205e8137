//! A command that runs: its descriptors and its flows, how it ends, and how it is ended.
//!
//! ```text
//!  starting ──execve──→ running ──reaped──→ draining ──nothing left──→ EXIT
//!     └──failed──→ REFUSED
//! ```
//! Draining: what the pipes or the terminal hold when the command is reaped is delivered, and no more, so that a
//! grandchild that goes on holding them delays nothing (`R-9.7`).

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::process::{Pid, WaitStatus};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome, WindowSize};
use vsock_shell_proto::limits::FRAME_PAYLOAD_MAX;

use super::dying::Dying;
use super::request::refuse_failure;
use super::tasks::Step;
use super::watch::{self, Readiness, Token, Watch};
use super::{BULK_MIN, Core, PIECES_MAX};
use crate::hangup::Target;
use crate::spawn::{Child, Standard, Status, read_status};
use crate::sys::signal;
use crate::terminal;

/// The most that a terminal can still hold when its command is reaped; the kernel's buffers are smaller.
const TERMINAL_LEFT: usize = 128 * 1024;

/// How often an end is typed: more often than a shell writes before its first prompt, and never as often as fills the
/// terminal's buffer.
const ENDS_MAX: u8 = 64;

/// The descriptors of a command, as epoll names them.
const STATUS: usize = 0;
const INPUT: usize = 1;
const OUTPUT: usize = 2;
const ERROR: usize = 3;

/// What the command reads.
struct Sink {
    fd: OwnedFd,
    ready: bool,
    /// The last byte written, to know whether a terminal's line is complete.
    last: u8,
}

/// What the command writes.
struct Source {
    fd: OwnedFd,
    flow: Flow,
    ready: bool,
    is_terminal: bool,
    /// The command has closed its end, which is told once.
    has_hung_up: bool,
    /// Bytes that are still delivered, once the command has ended.
    left: Option<usize>,
}

/// A command.
pub struct Exec {
    channel: ChannelId,
    pid: Pid,
    /// Tells whether the command could be executed; gone once it has told.
    starting: Option<OwnedFd>,
    is_terminal: bool,
    input: Option<Sink>,
    output: Option<Source>,
    error: Option<Source>,
    ended: Option<WaitStatus>,
    /// How often the end of the input was typed into its terminal.
    ends_typed: u8,
}

impl Exec {
    /// Takes over a command that was started, and watches its descriptors. Its place in the table is `place`.
    ///
    /// # Errors
    /// Of `epoll_ctl` and of the duplicate of a terminal's master.
    pub fn new(channel: ChannelId, child: Child, watch: &Watch, place: usize) -> Result<Self, Errno> {
        let token = |part| Token::Task { place, part };
        watch.add(&child.status, token(STATUS), watch::READ)?;
        let is_terminal = matches!(child.standard, Standard::Terminal(_));
        let source =
            |fd, flow| Source { fd, flow, ready: false, is_terminal, has_hung_up: false, left: None };
        let (input, output, error) = match child.standard {
            Standard::Pipes { input, output, error } => (input, output, Some(error)),
            Standard::Terminal(master) => (rustix::io::fcntl_dupfd_cloexec(&master, 3)?, master, None),
        };
        watch.add(&input, token(INPUT), watch::WRITE)?;
        watch.add(&output, token(OUTPUT), watch::READ)?;
        if let Some(error) = &error {
            watch.add(error, token(ERROR), watch::READ)?;
        }
        Ok(Self {
            channel,
            pid: child.pid,
            starting: Some(child.status),
            ends_typed: 0,
            is_terminal,
            input: Some(Sink { fd: input, ready: true, last: b'\n' }),
            output: Some(source(output, Flow::Output)),
            error: error.map(|error| source(error, Flow::Error)),
            ended: None,
        })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// It was reaped: its number may be another's.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    fn target(&self) -> Target<'_> {
        let master = self.output.as_ref().filter(|_| self.is_terminal).map(|source| source.fd.as_fd());
        Target { pid: self.pid, master }
    }

    /// Sends a signal to the command, as `R-9.9` has it.
    pub fn signal(&self, number: u32) {
        if let Some(signal) = signal::from_number(number).filter(|_| self.ended.is_none()) {
            // Where nobody is left to hear it, the end of the command is on its way.
            let _ = self.target().send(signal);
        }
    }

    /// Changes the size of its terminal.
    pub fn resize(&self, size: WindowSize) {
        if let Some(master) = self.target().master {
            let _ = terminal::resize(master, size);
        }
    }

    /// Nobody is there any more for the command.
    pub fn hang_up(self, dying: &mut Dying) {
        if self.ended.is_none() {
            self.target().hang_up();
            dying.add(self.pid);
        }
    }

    /// The client takes no more of `flow`: the command finds nobody at the other end of its pipe, or its terminal hung
    /// up (`R-9.8`).
    pub fn stop(&mut self, flow: Flow, core: &mut Core) {
        if flow == Flow::Error {
            self.error = None;
            return;
        }
        self.output = None;
        if self.is_terminal {
            // The other descriptor of the master.
            self.close_input(core);
        }
    }

    /// The command has ended. Only what it left behind is still delivered.
    pub fn handle_ended(&mut self, status: WaitStatus, core: &mut Core) {
        self.ended = Some(status);
        if self.input.take().is_some() {
            core.stop(self.channel, Flow::Input);
        }
        let is_terminal = self.is_terminal;
        for source in [&mut self.output, &mut self.error].into_iter().flatten() {
            let held = rustix::io::ioctl_fionread(&source.fd).map_or(0, |held| held as usize);
            source.left = Some(if is_terminal { TERMINAL_LEFT } else { held });
            source.ready = true;
        }
    }

    /// A descriptor became ready.
    pub fn set_ready(&mut self, part: usize, readiness: Readiness) {
        match part {
            INPUT => {
                if let Some(sink) = &mut self.input {
                    sink.ready |= readiness.writable;
                }
            }
            OUTPUT | ERROR => {
                let source = if part == OUTPUT { &mut self.output } else { &mut self.error };
                if let Some(source) = source {
                    source.ready |= readiness.readable;
                    source.has_hung_up |= readiness.ended;
                }
            }
            _ => {}
        }
    }

    /// Takes bytes for its input: how many.
    pub fn take(&mut self, core: &mut Core, pieces: &[&[u8]]) -> usize {
        let Some(sink) = self.input.as_mut().filter(|sink| sink.ready) else { return 0 };
        match sink.write(&mut pieces.iter().copied()) {
            Ok(taken) => taken,
            Err(_) => {
                self.close_input(core);
                0
            }
        }
    }

    fn close_input(&mut self, core: &mut Core) {
        self.input = None;
        core.stop(self.channel, Flow::Input);
    }

    /// Does what can be done now.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        if let Some(status) = &self.starting {
            match read_status(status.as_fd()) {
                Status::Pending => return Step::Idle,
                Status::Started => {
                    self.starting = None;
                    core.accept(self.channel, u64::from(self.pid.as_raw_pid().unsigned_abs()));
                }
                Status::Failed(failure) => {
                    refuse_failure(core, self.channel, &failure);
                    return Step::Done;
                }
            }
        }
        let fed = self.feed(core);
        let output = pump(&mut self.output, core, self.channel);
        let error = pump(&mut self.error, core, self.channel);
        if output == Step::Progress {
            self.type_end_again();
        }
        match self.ended {
            Some(status) if self.output.is_none() && self.error.is_none() => {
                core.exit(self.channel, outcome(status), b"");
                Step::Done
            }
            _ if fed || output == Step::Progress || error == Step::Progress => Step::Progress,
            _ if output == Step::NoRoom || error == Step::NoRoom => Step::NoRoom,
            _ => Step::Idle,
        }
    }

    /// What was typed before a shell edits its line is lost on it, and an end stays an end: once more, now that something was
    /// written, which may be a prompt.
    fn type_end_again(&mut self) {
        if let Some(source) = self.output.as_ref().filter(|source| source.is_terminal)
            && (1..ENDS_MAX).contains(&self.ends_typed)
            && let Some(character) = terminal::eof_character(source.fd.as_fd())
        {
            self.ends_typed += 1;
            let _ = rustix::io::write(&source.fd, &[character]);
        }
    }

    /// Writes what is parked, and then the end of the input; whether anything was written.
    fn feed(&mut self, core: &mut Core) -> bool {
        let mut fed = false;
        while let Some(sink) = self.input.as_mut().filter(|sink| sink.ready) {
            if core.parked(self.channel, Flow::Input).is_empty() {
                if core.is_drained(self.channel, Flow::Input) && sink.finish(self.is_terminal) {
                    self.input = None;
                    self.ends_typed = 1;
                }
                break;
            }
            let written = sink.write(&mut core.parked_pieces(self.channel, Flow::Input));
            match written {
                Ok(0) => break,
                Ok(taken) => {
                    core.consume(self.channel, Flow::Input, taken);
                    fed = true;
                }
                Err(_) => self.close_input(core),
            }
        }
        fed
    }
}

impl Sink {
    /// Writes what can be written now of these pieces.
    fn write(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Errno> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut last = self.last;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            last = piece.last().copied().unwrap_or(last);
        }
        match rustix::io::writev(&self.fd, &slices) {
            Ok(taken) => {
                // Where not all was taken there is more to come, and the last byte is not the last.
                self.last = last;
                Ok(taken)
            }
            Err(Errno::AGAIN) => {
                self.ready = false;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(errno) => Err(errno),
        }
    }

    /// Ends the input: whether it could. A terminal stays open; its end-of-file character is typed (`R-9.8`), twice
    /// where the first one only completes a line.
    fn finish(&mut self, is_terminal: bool) -> bool {
        let character = if is_terminal { terminal::eof_character(self.fd.as_fd()) } else { None };
        let Some(character) = character else { return true };
        let typed = [character; 2];
        let count = if self.last == b'\n' || self.last == b'\r' { 1 } else { 2 };
        match rustix::io::write(&self.fd, typed.get(..count).unwrap_or_default()) {
            Err(Errno::AGAIN) => {
                self.ready = false;
                false
            }
            Err(Errno::INTR) => false,
            Ok(_) | Err(_) => true,
        }
    }
}

/// Moves one frame from what the command writes straight into the ring.
fn pump(place: &mut Option<Source>, core: &mut Core, channel: ChannelId) -> Step {
    let Some(source) = place.as_mut() else { return Step::Idle };
    if source.left == Some(0) {
        return close(place, core, channel);
    }
    if !source.ready {
        return Step::Idle;
    }
    let most = source.left.unwrap_or(FRAME_PAYLOAD_MAX);
    let Some(places) = core.reserve(channel, source.flow, most) else {
        return if core.room() == 0 { Step::NoRoom } else { Step::Idle };
    };
    let room = places.length();
    let read =
        rustix::io::readv(&source.fd, &mut [IoSliceMut::new(places.first), IoSliceMut::new(places.second)]);
    core.commit(read.unwrap_or(0));
    match read {
        // Nothing is left of what an ended command wrote, or its terminal is not open any more.
        Ok(0) | Err(Errno::AGAIN | Errno::IO) if source.left.is_some() => close(place, core, channel),
        Ok(length @ 1..) => {
            source.left = source.left.map(|left| left.saturating_sub(length));
            // A pipe that gives less than there is room for is empty, and tells when it is not any more; but whoever
            // writes much has mostly written again. Asking a terminal, which gives what its buffer held, is the only
            // way to know.
            source.ready &= source.is_terminal
                || source.has_hung_up
                || length == room
                || length >= BULK_MIN
                || source.left.is_some();
            Step::Progress
        }
        Err(Errno::INTR) => Step::Progress,
        // EIO of a terminal: nobody has it open now. Closed by us as well, it would hang up on a command that only closed its own.
        Err(errno) if errno == Errno::AGAIN || source.is_terminal => {
            source.ready = false;
            Step::Idle
        }
        // The end of a pipe.
        Ok(0) | Err(_) => close(place, core, channel),
    }
}

fn close(place: &mut Option<Source>, core: &mut Core, channel: ChannelId) -> Step {
    if let Some(source) = place.take() {
        core.finish(channel, source.flow);
    }
    Step::Progress
}

fn outcome(status: WaitStatus) -> Outcome {
    const CORE_DUMPED: i32 = 0x80;
    match status.terminating_signal() {
        Some(signal) => {
            Outcome::Killed { signal: signal.unsigned_abs(), core_dumped: status.as_raw() & CORE_DUMPED != 0 }
        }
        None => Outcome::Exited(status.exit_status().unwrap_or(0).unsigned_abs()),
    }
}
