//! Requests: gathered in the one buffer that a session has for them, read in place, and begun.
//!
//! A channel holds the buffer from the first byte of its request to its end; requests of other channels wait parked
//! meanwhile, in the credit that every flow has.

use core::ffi::CStr;

use rustix::fd::AsFd;
use rustix::io::Errno;
use vsock_shell_proto::ability;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{Field, Fields, Malformed, flag, tag};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow};
use vsock_shell_proto::job::JobRequest;
use vsock_shell_proto::limits::REQUEST_MAX;

use super::base::Base;
use super::exec::Exec;
use super::forward;
use super::get::{self, Get, Source};
use super::identity::Identity;
use super::job::{self, Slot};
use super::programs::Programs;
use super::put::{self, Destination, Put};
use super::system;
use super::tasks::Task;
use super::watch::Watch;
use super::{Core, Driver};
use crate::command::{ExecRequest, Program};
use crate::config::Config;
use crate::failure::{Failure, Step, Told};
use crate::hangup::Target;
use crate::line::{Line, Part, text};
use crate::root;
use crate::spawn::spawn;
use crate::sys::storage::Storage;

/// What a new process may use to put arguments and environment together: pointers to as many strings as a request
/// can have, and the strings of a login.
const MEMORY_LEN: usize = 2 * REQUEST_MAX;

static BUFFER: Storage<[u8; REQUEST_MAX]> = Storage::new([0; REQUEST_MAX]);
static MEMORY: Storage<[u8; MEMORY_LEN]> = Storage::new([0; MEMORY_LEN]);

/// The buffer, and who holds it.
pub struct Requests {
    buffer: &'static mut [u8; REQUEST_MAX],
    memory: &'static mut [u8; MEMORY_LEN],
    holder: Option<ChannelId>,
    length: usize,
}

/// What has become of a request.
pub enum Gathered {
    /// It is in the buffer.
    Complete,
    /// Another channel holds the buffer, or not all of it has come.
    Waiting,
    /// It exceeds the buffer.
    TooLarge,
}

impl Requests {
    /// The buffer, once.
    pub fn new() -> Option<Self> {
        Some(Self { buffer: BUFFER.take()?, memory: MEMORY.take()?, holder: None, length: 0 })
    }

    /// Takes bytes of a channel's request: how many, `None` when it becomes too long.
    pub fn take(&mut self, channel: ChannelId, bytes: &[u8]) -> Option<usize> {
        match self.holder {
            Some(holder) if holder != channel => return Some(0),
            Some(_) => {}
            None => {
                self.holder = Some(channel);
                self.length = 0;
            }
        }
        let end = self.length + bytes.len();
        self.buffer.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(bytes.len())
    }

    /// Takes what is parked of a channel's request.
    pub fn gather(&mut self, core: &mut Core, channel: ChannelId) -> Gathered {
        loop {
            let parked = core.parked(channel, Flow::Request);
            let length = parked.len();
            match self.take(channel, parked) {
                None => return Gathered::TooLarge,
                Some(taken) if taken < length => return Gathered::Waiting,
                Some(0) => break,
                Some(taken) => core.consume(channel, Flow::Request, taken),
            }
        }
        if self.holder == Some(channel) && core.is_drained(channel, Flow::Request) {
            Gathered::Complete
        } else {
            Gathered::Waiting
        }
    }

    /// The channel is gone, or its request has been used.
    pub fn release(&mut self, channel: ChannelId) {
        if self.holder == Some(channel) {
            self.holder = None;
        }
    }

    /// Begins what the complete request asks for, or refuses it.
    pub fn start(
        &mut self,
        kind: ChannelKind,
        channel: ChannelId,
        core: &mut Core,
        place: &mut Place<'_>,
    ) -> Option<Task> {
        self.release(channel);
        root::follow();
        let request = self.buffer.get(..self.length).unwrap_or_default();
        let memory = &mut self.memory[..];
        let started = match kind {
            kind if place.config.denied & needs(kind) != 0 => refuse_denied(core, channel),
            ChannelKind::Exec => {
                let denied = place.config.denied;
                start_exec(request, denied, memory, channel, core, place)
            }
            ChannelKind::Put | ChannelKind::Get => {
                start_transfer(kind, request, memory, channel, core, place)
            }
            ChannelKind::Job => start_job(request, channel, core, place),
            ChannelKind::Connect | ChannelKind::Listen => {
                forward::start(kind == ChannelKind::Listen, request, memory, channel, core, place)
            }
            kind => system::start(kind == ChannelKind::Fs, request, memory, channel, core, place),
        };
        started.ok()
    }
}

impl Driver<'_> {
    /// The request of a channel is complete, or may be once others have been served.
    pub(super) fn finish_request(&mut self, channel: ChannelId) {
        let mut next = Some(channel);
        while let Some(channel) = next {
            let Some(Task::Request(kind)) = self.tasks.of_channel(channel) else { return };
            let kind = *kind;
            match self.requests.gather(&mut self.core, channel) {
                Gathered::Complete => {}
                Gathered::Waiting => return,
                Gathered::TooLarge => {
                    self.refuse_too_large(channel);
                    return;
                }
            }
            let mut place = Place {
                number: self.tasks.place(channel),
                watch: &self.watch,
                config: self.config,
                programs: &mut self.programs,
            };
            match self.requests.start(kind, channel, &mut self.core, &mut place) {
                Some(task) => {
                    // A command is accepted once it has been executed.
                    match &task {
                        Task::Exec(_) | Task::Stream(_) => {}
                        Task::Listen(listen) => self.core.accept(channel, listen.port.into()),
                        Task::Put(put) if put.is_program() => self.core.accept(channel, u64::from(channel.0)),
                        _ => self.core.accept(channel, 0),
                    }
                    self.tasks.replace(channel, task);
                    self.tasks.mark_ready(channel);
                }
                None => drop(self.tasks.remove(channel)),
            }
            next = self.next_request();
        }
    }

    pub(super) fn refuse_too_large(&mut self, channel: ChannelId) {
        let text = Line::of(&[text(c"the limit is "), Part::Number(REQUEST_MAX as u64), text(c" bytes")]);
        self.core.refuse(channel, RefusalCode::TooLarge, 0, text.as_bytes());
        self.tasks.remove(channel);
        self.requests.release(channel);
        if let Some(next) = self.next_request() {
            self.finish_request(next);
        }
    }

    /// A channel whose request has waited for the buffer.
    pub(super) fn next_request(&self) -> Option<ChannelId> {
        let waits = |channel: &ChannelId| {
            !self.core.parked(*channel, Flow::Request).is_empty()
                || self.core.is_drained(*channel, Flow::Request)
        };
        self.tasks.requests().find(waits)
    }
}

/// Where in the table a task is to be, and what watches its descriptors.
pub struct Place<'d> {
    /// Its number.
    pub number: usize,
    /// What waits.
    pub watch: &'d Watch,
    /// How the agent was started.
    pub config: &'d Config,
    /// Programs in memory.
    pub programs: &'d mut Programs,
}

/// The channel was refused.
pub(super) type Started = Result<Task, ()>;

/// What every request of this kind takes, of [`ability`].
pub(super) const fn needs(kind: ChannelKind) -> u32 {
    match kind {
        ChannelKind::Put => ability::PUT,
        ChannelKind::Get => ability::GET,
        ChannelKind::Connect => ability::CONNECT,
        ChannelKind::Listen => ability::LISTEN,
        ChannelKind::Job => ability::DETACH | ability::EXEC,
        _ => 0,
    }
}

/// The agent was started without what the request takes.
pub(super) fn refuse_denied(core: &mut Core, channel: ChannelId) -> Started {
    core.refuse(channel, RefusalCode::Denied, 0, b"");
    Err(())
}

/// Starts a command, unless what it takes is `denied`.
#[inline(never)]
pub(super) fn start_exec(
    request: &[u8],
    denied: u32,
    memory: &mut [u8],
    channel: ChannelId,
    core: &mut Core,
    place: &mut Place<'_>,
) -> Started {
    let mut request = ExecRequest::parse(request).map_err(|code| core.refuse(channel, code, 0, b""))?;
    let takes = if let Program::Login = request.program { ability::SHELL } else { ability::EXEC };
    if denied & (takes | if request.detach.is_some() { ability::DETACH } else { 0 }) != 0 {
        return refuse_denied(core, channel);
    }
    let file = request.number.map(|number| place.programs.take(number));
    if let Some(None) = file {
        core.refuse(channel, RefusalCode::NotFound, 0, b"no such program was put");
        return Err(());
    }
    let file = file.flatten();
    request.file = file.as_ref().map(AsFd::as_fd);
    let slot = match request.detach.map(|flags| Slot::take(place.config.realm, flags)) {
        Some(None) => {
            core.refuse(channel, RefusalCode::TooMany, 0, b"there is no room for another job");
            return Err(());
        }
        slot => slot.flatten().map(|mut slot| {
            request.describe(&mut slot.command);
            slot
        }),
    };
    let mut failure = Failure::default();
    let started = spawn(&request, memory, place.config, &mut failure).and_then(|child| {
        let pid = child.pid;
        Exec::new(channel, child, slot, place.watch, place.number).map(Task::Exec).map_err(|errno| {
            Target { pid, master: None }.kill();
            failure.tell(Step::Pipe, errno, b"")
        })
    });
    started.map_err(|Told| refuse_failure(core, channel, &failure))
}

/// Asks something of a job, and watches it until that has ended.
#[inline(never)]
fn start_job(request: &[u8], channel: ChannelId, core: &mut Core, place: &mut Place<'_>) -> Started {
    let request = parse_job(request).map_err(|code| core.refuse(channel, code, 0, b""))?;
    let watched = job::visit(place.config.realm, &request).and_then(|(job, has_terminal)| {
        let exec = Exec::watching(channel, job, place.watch, place.number);
        exec.map(|exec| (exec, has_terminal))
    });
    match watched {
        Ok((exec, has_terminal)) => {
            core.accept(channel, u64::from(has_terminal));
            // Nobody hears what is said to it (`R-11.5`).
            if exec.input.is_none() {
                core.stop(channel, Flow::Input);
            }
            Ok(Task::Exec(exec))
        }
        Err(errno) => {
            let (code, errno, text): (_, _, &[u8]) = match errno {
                // Or what there is belongs to another user.
                Errno::CONNREFUSED | Errno::PERM => (RefusalCode::NotFound, 0, b""),
                Errno::AGAIN => (RefusalCode::System, 0, b"the process that keeps this job does not answer"),
                Errno::USERS => (RefusalCode::TooMany, 0, b"too many clients watch this job"),
                _ => (RefusalCode::System, number(errno), b"ask the job"),
            };
            core.refuse(channel, code, errno, text);
            Err(())
        }
    }
}

/// Tells why a command could not be started.
pub fn refuse_failure(core: &mut Core, channel: ChannelId, failure: &Failure) {
    let text = Line::of(&[text(failure.step.text()), text(c" "), Part::Bytes(&failure.subject)]);
    core.refuse(channel, failure.code(), number(failure.errno), text.as_bytes());
}

#[inline(never)]
fn start_transfer(
    kind: ChannelKind,
    request: &[u8],
    memory: &mut [u8],
    channel: ChannelId,
    core: &mut Core,
    place: &mut Place<'_>,
) -> Started {
    let is_get = kind == ChannelKind::Get;
    let file = parse_file(request, is_get).map_err(|code| core.refuse(channel, code, 0, b""))?;
    let Identity { home, rights } = Identity::or_refuse(file.user, memory, channel, core)?;
    let begun = rights.with(|| Base::open(place.config.root, &home)).and_then(|base| {
        if is_get {
            let excludes = &mut Fields::new(request).flatten().filter_map(|field| match field.tag {
                tag::EXCLUDE => field.string().ok(),
                _ => None,
            });
            let source = Source { path: file.path, flags: file.flags, excludes };
            Get::begin(channel, source, base, rights).map(Task::Get)
        } else {
            let to = Destination { path: file.path, name: file.name, flags: file.flags };
            Put::begin(channel, &to, &base, rights).map(Task::Put)
        }
    });
    begun.map_err(|failed| {
        let text = Line::of(&[text(c"cannot "), Part::Bytes(failed.what.as_bytes())]);
        let code = match failed.errno {
            Some(Errno::USERS) => RefusalCode::TooMany,
            Some(Errno::TOOBIG) => RefusalCode::TooLarge,
            _ => RefusalCode::System,
        };
        core.refuse(channel, code, failed.number(), text.as_bytes());
    })
}

/// An errno, as the protocol has it.
pub fn number(errno: Errno) -> u32 {
    errno.raw_os_error().unsigned_abs()
}

/// A request for put or get.
pub struct FileRequest<'r> {
    /// PATH; empty where there is none to be.
    pub path: &'r CStr,
    /// NAME.
    pub name: Option<&'r CStr>,
    /// With whose rights.
    pub user: Option<&'r CStr>,
    /// Of those that the kind knows.
    pub flags: u32,
}

/// Sets what may stand once.
pub fn once<T>(place: &mut Option<T>, value: Result<T, Malformed>) -> Result<(), RefusalCode> {
    let value = value.map_err(|_| RefusalCode::Malformed)?;
    if place.replace(value).is_some() { Err(RefusalCode::Malformed) } else { Ok(()) }
}

/// What a tag that is not for this kind comes to (`R-9.1`).
pub fn unknown(field: &Field<'_>) -> Result<(), RefusalCode> {
    if field.is_optional() { Ok(()) } else { Err(RefusalCode::Unsupported) }
}

/// Reads a request for put, or for get.
///
/// # Errors
/// UNSUPPORTED or MALFORMED, by `R-9.1`.
pub fn parse_file(request: &[u8], is_get: bool) -> Result<FileRequest<'_>, RefusalCode> {
    let (mut path, mut name, mut user, mut flags) = (None, None, None, None);
    for field in Fields::new(request) {
        let Ok(field) = &field else { return Err(RefusalCode::Malformed) };
        match field.tag {
            tag::PATH => once(&mut path, field.string())?,
            tag::NAME if !is_get => once(&mut name, field.string())?,
            tag::USER => once(&mut user, field.string())?,
            tag::FLAGS => once(&mut flags, field.number())?,
            tag::EXCLUDE if is_get => drop(field.string().map_err(|_| RefusalCode::Malformed)?),
            _ => unknown(field)?,
        }
    }
    let flags = flags.unwrap_or(0);
    let path = if flags & flag::MEMORY != 0 { Some(c"") } else { path.filter(|path| !path.is_empty()) };
    let is_known = flags & !if is_get { get::FLAGS } else { put::FLAGS } == 0;
    let path = path.filter(|_| is_known).ok_or(RefusalCode::Malformed)?;
    Ok(FileRequest { path, name, user, flags })
}

/// Reads a request for job.
///
/// # Errors
/// UNSUPPORTED or MALFORMED, by `R-9.1`.
pub fn parse_job(request: &[u8]) -> Result<JobRequest, RefusalCode> {
    let mut job = None;
    for field in Fields::new(request) {
        let Ok(field) = &field else { return Err(RefusalCode::Malformed) };
        match field.tag {
            tag::JOB => once(&mut job, field.value.try_into().map_err(|_| Malformed))?,
            _ => unknown(field)?,
        }
    }
    job.and_then(JobRequest::parse).ok_or(RefusalCode::Malformed)
}
