//! Starting a command: the descriptors between it and its session, the new process, and how it tells that it could
//! not become the command. What happens in that process is in [`crate::exec`].

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::Pid;

use crate::command::ExecRequest;
use crate::config::Config;
use crate::exec;
use crate::failure::{Failure, MESSAGE_MAX, Step, Told};
use crate::sys::process::{Forked, fork};
use crate::sys::start::exit;
use crate::terminal;

/// Bytes asked of the kernel for the pipe of a command's standard output; 64 KiB is what it gives by itself.
const OUTPUT_PIPE_LEN: usize = 256 * 1024;

/// A process that is, or is about to become, a command. Nothing is killed or reaped by dropping it.
pub struct Child {
    /// Its id, also of its session and of its process group.
    pub pid: Pid,
    /// Our ends of what it reads and writes; they do not block.
    pub standard: Standard,
    /// Readable when it is decided whether the command runs; see [`read_status`].
    pub status: OwnedFd,
}

/// Our ends of the standard descriptors of a command.
pub enum Standard {
    /// Three pipes.
    Pipes {
        /// What the command reads; nothing where it is a job.
        input: Option<OwnedFd>,
        /// What it writes.
        output: OwnedFd,
        /// What it writes to standard error.
        error: OwnedFd,
    },
    /// The master of its terminal.
    Terminal(OwnedFd),
}

/// What has become of a process that was to become a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    /// Not decided yet.
    Pending,
    /// The command runs, or has run.
    Started,
    /// It could not be started; the process has ended and wants to be reaped.
    Failed(Failure),
}

/// The other ends, which the new process puts in the place of 0, 1 and 2.
enum Theirs {
    Pipes(OwnedFd, OwnedFd, OwnedFd),
    Terminal(OwnedFd),
}

/// Starts the command and does not wait for it. `memory` is what the new process may use of a copy of this one's
/// memory to put the arguments together; its content does not change here.
///
/// # Errors
/// `failure` says what failed before there was a process. What fails later is told by [`Child::status`].
pub fn spawn(
    request: &ExecRequest<'_>,
    memory: &mut [u8],
    config: &Config,
    failure: &mut Failure,
) -> Result<Child, Told> {
    let started = start(request).map_err(|(step, errno)| failure.tell(step, errno, b""))?;
    match started {
        Started::Parent(child) => Ok(child),
        Started::Child(theirs, report) => {
            let descriptors = match &theirs {
                Theirs::Pipes(input, output, error) => [input.as_fd(), output.as_fd(), error.as_fd()],
                Theirs::Terminal(terminal) => [terminal.as_fd(); 3],
            };
            let Told = exec::run(request, descriptors, memory, config, failure);
            let _ = rustix::io::write(&report, &failure.encode());
            exit(127)
        }
    }
}

/// Which of the two processes one is.
enum Started {
    Parent(Child),
    /// The new one: what it puts in the place of 0, 1 and 2, and where it reports.
    Child(Theirs, OwnedFd),
}

fn start(request: &ExecRequest<'_>) -> Result<Started, (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    let (standard, theirs) = match request.terminal {
        Some(size) => {
            let (master, terminal) = terminal::open(size, request.modes).map_err(at(Step::Terminal))?;
            (Standard::Terminal(master), Theirs::Terminal(terminal))
        }
        None => make_pipes(request.detach.is_some()).map_err(at(Step::Pipe))?,
    };
    let (status, report) = half_blocking_pipe(End::Read).map_err(at(Step::Pipe))?;
    Ok(match fork().map_err(at(Step::Fork))? {
        Forked::Parent(pid) => Started::Parent(Child { pid, standard, status }),
        Forked::Child => Started::Child(theirs, report),
    })
}

fn make_pipes(reads_nothing: bool) -> Result<(Standard, Theirs), Errno> {
    let (their_input, input) = if reads_nothing {
        (rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?, None)
    } else {
        half_blocking_pipe(End::Write).map(|(theirs, ours)| (theirs, Some(ours)))?
    };
    let (output, their_output) = half_blocking_pipe(End::Read)?;
    let (error, their_error) = half_blocking_pipe(End::Read)?;
    // The fuller a pipe gets, the fewer times its ends wake each other. A user with too much of them keeps what is.
    let _ = fcntl_setpipe_size(&output, OUTPUT_PIPE_LEN);
    Ok((Standard::Pipes { input, output, error }, Theirs::Pipes(their_input, their_output, their_error)))
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Read,
    Write,
}

/// A pipe of which our end does not block. The command's does, as programs expect.
fn half_blocking_pipe(ours: End) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(if ours == End::Read { &read } else { &write }, OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// What has become of the process whose [`Child::status`] this is. Never blocks.
pub fn read_status(status: BorrowedFd<'_>) -> Status {
    let mut message = [0; MESSAGE_MAX];
    match rustix::io::read(status, &mut message) {
        // `execve` closed the only other end.
        Ok(0) => Status::Started,
        // The message is smaller than PIPE_BUF, so it comes as a whole.
        Ok(len) => Status::Failed(Failure::decode(message.get(..len).unwrap_or_default())),
        Err(Errno::AGAIN | Errno::INTR) => Status::Pending,
        Err(errno) => Status::Failed(Failure::new(Step::Fork, errno)),
    }
}
