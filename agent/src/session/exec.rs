//! A command that runs, or the job of another process that is watched: its descriptors and its flows, how it ends, and how it is
//! ended.
//!
//! ```text
//!  starting ──execve──→ running ──reaped──→ draining ──nothing left──→ EXIT
//!     └──failed──→ REFUSED      └──detached──→ kept by this process, the session goes on in another (see `job`)
//! ```
//! Draining: what the pipes or the terminal hold when the command is reaped is delivered, and no more, so that a
//! grandchild that goes on holding them delays nothing (`R-9.7`).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitStatus};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome, WindowSize};

use super::Core;
use super::dying::Dying;
use super::ends::{Sink, Source, pump};
use super::job::{self, Name, Slot, Watched, Word};
use super::request::refuse_failure;
use super::tasks::Step;
use super::watch::{self, Readiness, Token, Watch};
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

/// Whose flows they are.
pub enum Of {
    /// A child of this process.
    Command(Pid),
    /// A job.
    Job(Name),
}

/// A command, or a job that is watched.
pub struct Exec {
    channel: ChannelId,
    pub(super) of: Of,
    /// Tells whether the command could be executed, gone once it has told; or how the job ended.
    status: Option<OwnedFd>,
    /// Where it is said that the client knows how the job ended.
    pub(super) told: Option<OwnedFd>,
    is_told: bool,
    pub(super) is_terminal: bool,
    pub(super) input: Option<Sink>,
    pub(super) output: Option<Source>,
    pub(super) error: Option<Source>,
    pub(super) ended: Option<Outcome>,
    /// It is to become a job, in this place.
    pub(super) slot: Option<Slot>,
    /// How often the end of the input was typed into its terminal.
    ends_typed: u8,
}

impl Exec {
    /// Takes over a command that was started, and watches its descriptors. Its place in the table is `place`.
    ///
    /// # Errors
    /// Of `epoll_ctl` and of the duplicate of a terminal's master.
    pub fn new(
        channel: ChannelId,
        child: Child,
        slot: Option<Slot>,
        watch: &Watch,
        place: usize,
    ) -> Result<Self, Errno> {
        let is_terminal = matches!(child.standard, Standard::Terminal(_));
        let (input, output, error) = match child.standard {
            Standard::Pipes { input, output, error } => (input, output, Some(error)),
            Standard::Terminal(master) => (Some(rustix::io::fcntl_dupfd_cloexec(&master, 3)?), master, None),
        };
        let exec = Self {
            channel,
            of: Of::Command(child.pid),
            status: Some(child.status),
            told: None,
            is_told: false,
            ends_typed: 0,
            is_terminal,
            input: input.map(Sink::new),
            output: Some(Source::new(output, Flow::Output, is_terminal)),
            error: error.map(|error| Source::new(error, Flow::Error, is_terminal)),
            ended: None,
            slot,
        };
        exec.watch(watch, place).map(|()| exec)
    }

    /// The same for a job.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watching(channel: ChannelId, job: Watched, watch: &Watch, place: usize) -> Result<Self, Errno> {
        let mut exec = Self {
            channel,
            of: Of::Job(job.name),
            ended: None,
            status: job.control,
            told: None,
            is_told: job.is_told,
            ends_typed: 0,
            is_terminal: job.terminal.is_some(),
            input: job.terminal.map(Sink::new),
            output: Some(Source::new(job.output, Flow::Output, false)),
            error: Some(Source::new(job.error, Flow::Error, false)),
            slot: None,
        };
        if exec.status.is_none() {
            exec.handle_ended(Outcome::Exited(0));
        }
        exec.watch(watch, place).map(|()| exec)
    }

    /// Watches its descriptors.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watch(&self, watch: &Watch, place: usize) -> Result<(), Errno> {
        let token = |part| Token::Task { place, part };
        if let Some(status) = &self.status {
            watch.add(status, token(STATUS), watch::READ)?;
        }
        if let Some(input) = &self.input {
            watch.add(&input.fd, token(INPUT), watch::WRITE)?;
        }
        for (source, part) in [(&self.output, OUTPUT), (&self.error, ERROR)] {
            if let Some(source) = source {
                watch.add(&source.fd, token(part), watch::READ)?;
            }
        }
        Ok(())
    }

    /// Says something to the job that is watched.
    pub fn say(&self, word: Word) {
        if let (Of::Job(_), Some(control)) = (&self.of, &self.status) {
            word.say(control);
        }
    }

    /// Its process is this one, and was not reaped before: afterwards its number may be another's.
    pub fn is_running(&self, process: Pid) -> bool {
        self.ended.is_none() && matches!(self.of, Of::Command(pid) if pid == process)
    }

    /// The command, where it is ours and runs.
    pub fn target(&self) -> Option<Target<'_>> {
        let Of::Command(pid) = self.of else { return None };
        self.ended.is_none().then(|| Target { pid, master: self.master() })
    }

    /// The master of its terminal.
    pub fn master(&self) -> Option<BorrowedFd<'_>> {
        let output = self.output.as_ref().filter(|source| source.is_terminal).map(|source| source.fd.as_fd());
        output.or_else(|| self.input.as_ref().filter(|_| self.is_terminal).map(|sink| sink.fd.as_fd()))
    }

    /// Sends a signal to the command, as `R-9.9` has it.
    pub fn signal(&self, number: u32) {
        if let Of::Job(job) = self.of {
            job::signal(job, number);
        } else if let Some(signal) = signal::from_number(number)
            && let Some(target) = self.target()
        {
            // Where nobody is left to hear it, the end of the command is on its way.
            let _ = target.send(signal);
        }
    }

    /// Changes the size of its terminal.
    pub fn resize(&self, size: WindowSize) {
        if let Some(master) = self.master() {
            let _ = terminal::resize(master, size);
        }
    }

    /// Nobody is there any more for the command.
    pub fn hang_up(self, dying: &mut Dying) {
        if let Some(target) = self.target() {
            target.hang_up();
            dying.add(target.pid);
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
    pub fn handle_ended(&mut self, outcome: Outcome) {
        self.ended = Some(outcome);
        for source in [&mut self.output, &mut self.error].into_iter().flatten() {
            let held = rustix::io::ioctl_fionread(&source.fd).map_or(0, |held| held as usize);
            source.left = Some(if source.is_terminal { TERMINAL_LEFT } else { held });
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
        match (&self.of, &self.status) {
            (Of::Command(pid), Some(status)) => match read_status(status.as_fd()) {
                Status::Pending => return Step::Idle,
                Status::Started => {
                    core.accept(self.channel, u64::from(pid.as_raw_pid().unsigned_abs()));
                    self.status = None;
                }
                Status::Failed(failure) => {
                    refuse_failure(core, self.channel, &failure);
                    return Step::Done;
                }
            },
            (Of::Job(_), Some(status)) => {
                if let Some(outcome) = job::end(status) {
                    self.handle_ended(outcome);
                    let is_told = self.is_told && !matches!(outcome, Outcome::Failed(_));
                    self.told = self.status.take().filter(|_| is_told);
                }
            }
            (_, None) => {}
        }
        if self.slot.is_some() {
            return Step::Detached;
        }
        if self.ended.is_some() && self.input.is_some() {
            self.close_input(core);
        }
        let fed = self.feed(core);
        let output = pump(&mut self.output, core, self.channel);
        let error = pump(&mut self.error, core, self.channel);
        if output == Step::Progress {
            self.type_end_again();
        }
        match self.ended {
            Some(outcome) if self.output.is_none() && self.error.is_none() => {
                core.exit(self.channel, outcome, b"");
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
        let is_job = matches!(self.of, Of::Job(_));
        while let Some(sink) = self.input.as_mut().filter(|sink| sink.ready) {
            if core.parked(self.channel, Flow::Input).is_empty() {
                // Who leaves a job does not end it.
                if !is_job && core.is_drained(self.channel, Flow::Input) && sink.finish(self.is_terminal) {
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

/// How a process ended.
pub fn outcome(status: WaitStatus) -> Outcome {
    const CORE_DUMPED: i32 = 0x80;
    match status.terminating_signal() {
        Some(signal) => {
            Outcome::Killed { signal: signal.unsigned_abs(), core_dumped: status.as_raw() & CORE_DUMPED != 0 }
        }
        None => Outcome::Exited(status.exit_status().unwrap_or(0).unsigned_abs()),
    }
}
