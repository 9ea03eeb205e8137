//! Jobs: commands that go on without a client, in the process of the session that they came from, because only that can
//! wait for them ([`keeper`]). Whoever wants something of a job visits its [door].
//!
//! Seen from a session, that of the client who visits: [`visit`] brings the job two pipes to write to, and the job answers at
//! once, and once more at the end of what was asked; over the same socket the session says what its client does ([`Word`]).

pub mod keeper;

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use vsock_shell_proto::fields::DETACH_HOLD;
use vsock_shell_proto::frame::Outcome;
use vsock_shell_proto::job::{JOB_REQUEST_LEN, JobRequest, READ_ONLY, Verb};
use vsock_shell_proto::limits::{JOBS_MAX, PREAMBLE_LEN};

use super::door::{self, Door, PATIENCE, Visit};
use crate::sys::pass;

/// Bytes of a command line that are told of a job.
const COMMAND_MAX: usize = 256;
/// How often room is made for a job before that is given up.
const EVICTIONS_MAX: u32 = 8;
/// Bytes of a [`Report`].
const REPORT_LEN: usize = 24;

/// What a session says to a job that its client visits: one byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// The connection is lost.
    Away,
    /// There is another one.
    Back,
    /// The client wants no more. Or it knows how the job has ended, which nobody finds any more afterwards.
    Done,
}

impl Word {
    /// Says it over [`Watched::control`].
    pub fn say(self, control: &OwnedFd) {
        // A job that is gone needs to know nothing.
        let _ = rustix::io::write(control, &[self as u8]);
    }
}

/// The name of a job.
#[derive(Clone, Copy)]
pub struct Name {
    /// Whose it is.
    pub realm: u64,
    /// The number that people know.
    pub number: u32,
}

impl Name {
    /// As its [door] has it.
    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.realm.to_le_bytes());
        bytes[8..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }
}

/// What a job says to a visitor, with a descriptor of its terminal: that it does what is asked, and then that this has ended.
#[derive(Clone, Copy)]
struct Report {
    /// It does not: too many visit it.
    is_full: bool,
    /// The descriptor is a terminal's, and the visitor may use it.
    is_terminal: bool,
    outcome: Outcome,
    /// How long ago the job ended, in microseconds; 0 while it runs.
    ended_us: u64,
}

impl Report {
    fn send(&self, control: &OwnedFd, terminal: BorrowedFd<'_>) {
        let mut bytes = [0; REPORT_LEN];
        bytes[0] = u8::from(self.is_full);
        bytes[1] = u8::from(self.is_terminal);
        bytes[8..16].copy_from_slice(&self.outcome.encode());
        bytes[16..].copy_from_slice(&self.ended_us.to_le_bytes());
        // Who is gone does not want to know.
        let _ = pass::send(control.as_fd(), &bytes, [terminal, control.as_fd()]);
    }

    fn parse(bytes: &[u8; REPORT_LEN]) -> Self {
        let mut ended = [0; 8];
        ended.copy_from_slice(&bytes[16..]);
        Self {
            is_full: bytes[0] != 0,
            is_terminal: bytes[1] != 0,
            outcome: Outcome::parse(&bytes[8..16]).unwrap_or(Outcome::Failed(0)),
            ended_us: u64::from_le_bytes(ended),
        }
    }
}

/// A job that is visited.
pub struct Watched {
    /// Its name.
    pub name: Name,
    /// Where it tells [how it ended](end). All of them have said what they have to say.
    pub control: Option<OwnedFd>,
    /// What it wrote to its standard output.
    pub output: OwnedFd,
    /// What it wrote to its standard error, and what is to be said of it.
    pub error: OwnedFd,
    /// The master of its terminal, for who may use it.
    pub terminal: Option<OwnedFd>,
    /// Its end is the job's, which is forgotten once the client [has it](confirm).
    pub is_told: bool,
}

/// Asks something of a job, or the status of all where its number is 0. What comes back is the job, and whether it has a terminal.
///
/// # Errors
/// ECONNREFUSED where there is no such job, EUSERS where too many visit it; of what else failed.
pub fn visit(realm: u64, request: &JobRequest) -> Result<(Watched, bool), Errno> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
    let ((output, its_output), (error, its_error)) = (pipe()?, pipe()?);
    let descriptors = [its_output.as_fd(), its_error.as_fd()];
    let name = Name { realm, number: request.job };
    if request.job == 0 && request.verb == Verb::Status {
        for job in 1..=JOBS_MAX as u32 {
            let _ = send(realm, &JobRequest { job, verb: Verb::Status, ..*request }, descriptors);
        }
        // They close the pipe when they have said what they are; one that is stopped does not.
        drop((its_output, its_error));
        let _ = poll(&mut [PollFd::new(&output, PollFlags::empty())], Some(&PATIENCE));
        return Ok((Watched { name, control: None, output, error, terminal: None, is_told: false }, false));
    }
    let control = send(realm, request, descriptors)?;
    let mut bytes = [0; REPORT_LEN];
    let [terminal, _] = door::receive(&control, &mut bytes)?;
    let report = Report::parse(&bytes);
    if report.is_full {
        return Err(Errno::USERS);
    }
    let is_attached = is_attached(request.verb, request.flags);
    let is_told = is_attached || request.verb == Verb::Result;
    let terminal = Some(terminal).filter(|_| report.is_terminal && is_attached);
    Ok((Watched { name, control: Some(control), output, error, terminal, is_told }, report.is_terminal))
}

fn send(realm: u64, request: &JobRequest, descriptors: [BorrowedFd<'_>; 2]) -> Result<OwnedFd, Errno> {
    let name = Name { realm, number: request.job };
    let mut preamble = [0; PREAMBLE_LEN];
    preamble[..JOB_REQUEST_LEN].copy_from_slice(&request.encode());
    Visit { preamble, connection: None, descriptors }.hand_over(&name.bytes())
}

/// How what was asked of a job has ended, over its [`Watched::control`]; `None` while it has not.
pub fn end(control: &OwnedFd) -> Option<Outcome> {
    let mut bytes = [0; REPORT_LEN];
    match pass::receive(control.as_fd(), &mut bytes) {
        Ok(_) => Some(Report::parse(&bytes).outcome),
        Err(Errno::AGAIN | Errno::INTR) => None,
        // The process of the job was killed.
        Err(_) => Some(Outcome::Failed(Errno::SRCH.raw_os_error().unsigned_abs())),
    }
}

/// The client knows how the job has ended whose [`Watched::control`] this is.
#[inline(never)]
pub fn confirm(control: &OwnedFd) {
    Word::Done.say(control);
    // It closes its end when it has closed its door.
    let _ = door::receive(control, &mut [0; REPORT_LEN]);
}

/// The job waits for who asks that.
fn is_attached(verb: Verb, flags: u8) -> bool {
    verb == Verb::Attach && flags & READ_ONLY == 0
}

/// Sends a signal to a job, and waits for no answer.
pub fn signal(job: Name, number: u32) {
    let _ = ask(job, Verb::Signal, number);
}

/// Asks something of a job to which it writes nothing: what comes back is [`Watched::control`].
fn ask(job: Name, verb: Verb, signal: u32) -> Result<OwnedFd, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let request = JobRequest { job: job.number, verb, flags: 0, signal };
    send(job.realm, &request, [read.as_fd(), write.as_fd()])
}

/// A place for a job, taken: its number and its door.
pub struct Slot {
    /// The number.
    pub number: u32,
    door: Door,
    is_held: bool,
    /// The command's words, where they are known already.
    pub command: ArrayVec<u8, COMMAND_MAX>,
}

impl Slot {
    /// Takes the first free number; where there is none, that of the job that ended first.
    #[inline(never)]
    pub fn take(realm: u64, flags: u32) -> Option<Self> {
        let free = |number| Door::open(&Name { realm, number }.bytes()).ok().map(|door| (number, door));
        let numbers = 1..=JOBS_MAX as u32;
        let ended_us = |number, verb| {
            let control = ask(Name { realm, number }, verb, 0).ok()?;
            let mut bytes = [0; REPORT_LEN];
            door::receive(&control, &mut bytes).ok()?;
            if verb == Verb::Result {
                door::receive(&control, &mut bytes).ok()?;
                confirm(&control);
            }
            Some(Report::parse(&bytes).ended_us).filter(|&ended| ended > 0)
        };
        let mut taken = numbers.clone().find_map(free);
        // Others may want room at the same time, and choose the same one.
        for _ in 0..EVICTIONS_MAX {
            if taken.is_some() {
                break;
            }
            let oldest = numbers.clone().max_by_key(|&job| ended_us(job, Verb::Status))?;
            // It is forgotten.
            let _ = ended_us(oldest, Verb::Result);
            taken = numbers.clone().find_map(free);
        }
        let (number, door) = taken?;
        Some(Self { number, door, is_held: flags & DETACH_HOLD != 0, command: ArrayVec::new_const() })
    }
}
