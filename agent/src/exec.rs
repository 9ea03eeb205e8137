//! From a process that was just forked to the command that was asked for. Everything here runs in that process,
//! which has a copy of the session's memory and must leave through `execve` or with a [`Failure`] that says why not.
//!
//! The order matters: descriptors and terminal first, then signals, then the account, then its groups, group and
//! user in the one order that works, and only then the directory, the shell and the program, so that they are found
//! with the user's rights and not with root's.

use core::ffi::CStr;

use rustix::fd::BorrowedFd;
use rustix::fs::{Access, Uid};
use rustix::io::Errno;
use rustix::process::{Signal, getegid, geteuid};

use crate::account::{Account, LINE_MAX};
use crate::arena::{Arena, Full};
use crate::command::{ExecRequest, Program, Strings};
use crate::config::Config;
use crate::environ::{self, Login};
use crate::failure::{Failure, Step, Told};
use crate::oom;
use crate::path::{self, PathBuffer};
use crate::sys::pointers::Pointers;
use crate::sys::process::{close_on_exec_from, execute_file, execve};
use crate::sys::signal;

/// Shells where the account has none, or none that can be executed.
const SHELLS: [&[u8]; 2] = [b"/bin/bash", b"/bin/sh"];

/// Becomes the command. Returns only when that failed, as `failure` says then.
#[inline(never)]
pub fn run(
    request: &ExecRequest<'_>,
    standard: [BorrowedFd<'_>; 3],
    memory: &mut [u8],
    config: &Config,
    failure: &mut Failure,
) -> Told {
    let Err(told) = try_run(request, standard, memory, config, failure);
    told
}

enum Never {}

fn try_run(
    request: &ExecRequest<'_>,
    standard: [BorrowedFd<'_>; 3],
    memory: &mut [u8],
    config: &Config,
    failure: &mut Failure,
) -> Result<Never, Told> {
    set_up_standard(standard, request.terminal.is_some())
        .map_err(|errno| failure.tell(Step::Standard, errno, b""))?;
    // Every descriptor of ours is born so already; this is for what a later mistake forgets.
    let _ = close_on_exec_from(3);
    signal::restore_for_command();
    oom::expose();
    let account = become_user(request.user, standard, request.terminal.is_some(), memory, failure)?;
    // Where the session is killed, and cannot hang up. (Another user would have undone it.)
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::HUP));
    enter_directory(&account, request.directory, failure)?;
    let arena = &mut Arena::new(memory);
    let (result, program) = match &request.program {
        Program::Arguments(arguments) => {
            let program = arguments.clone().next().unwrap_or_default();
            (execute_arguments(arena, request, &account, arguments, config, failure), program)
        }
        Program::Shell(line) => {
            (execute_shell(arena, request, &account, Some(*line), config, failure), c"the shell")
        }
        Program::Login => (execute_shell(arena, request, &account, None, config, failure), c"the shell"),
    };
    Err(result.unwrap_or_else(|Full| failure.tell(Step::TooLong, Errno::TOOBIG, program.to_bytes())))
}

/// A session of its own, with the terminal as its controlling one; the standard descriptors.
fn set_up_standard(standard: [BorrowedFd<'_>; 3], is_terminal: bool) -> Result<(), Errno> {
    let [input, output, error] = standard;
    rustix::process::setsid()?;
    if is_terminal {
        rustix::process::ioctl_tiocsctty(input)?;
    }
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)
}

/// Finds the account and takes its groups and ids on. Without a name it is the agent's own, and nothing changes.
fn become_user(
    user: Option<&CStr>,
    [terminal, ..]: [BorrowedFd<'_>; 3],
    is_terminal: bool,
    memory: &mut [u8],
    failure: &mut Failure,
) -> Result<Account, Told> {
    let len = memory.len().min(LINE_MAX);
    let buffer = memory.get_mut(..len).unwrap_or_default();
    let own = geteuid();
    let Some(user) = user.map(CStr::to_bytes) else {
        return Ok(Account::own(own, getegid(), buffer));
    };
    let account =
        Account::of_user(user, buffer).ok_or_else(|| failure.tell(Step::NoUser, Errno::NOENT, user))?;
    let mut failed = |errno| failure.tell(Step::User, errno, user);
    if own.is_root() {
        if is_terminal {
            // As a login does, so that the user can open the terminal by its name. Not every devpts allows it.
            let _ = rustix::fs::fchown(terminal, Some(Uid::from_raw_unchecked(account.uid)), None);
        }
        account.take_on(buffer).map_err(failed)?;
    } else if account.uid != own.as_raw() {
        return Err(failed(Errno::PERM));
    }
    Ok(account)
}

/// HOME, or `/` where that cannot be entered; from there to where the client wants to be, which must work.
fn enter_directory(account: &Account, wanted: Option<&CStr>, failure: &mut Failure) -> Result<(), Told> {
    let mut enter = |path: &CStr| {
        rustix::process::chdir(path).map_err(|errno| failure.tell(Step::Directory, errno, path.to_bytes()))
    };
    if PathBuffer::new().join(&[&account.home]).and_then(rustix::process::chdir).is_err() {
        enter(c"/")?;
    }
    wanted.map_or(Ok(()), enter)
}

fn environment<'a>(
    arena: &mut Arena<'a>,
    request: &ExecRequest<'a>,
    account: &Account,
    shell: &[u8],
    config: &Config,
) -> Result<Pointers<'a>, Full> {
    let login = Login { account, shell, path: config.path, term: request.term };
    environ::build(arena, login, request.environment.clone())
}

/// Gives the strings of the environment of a command for which the client sends nothing (`R-9.5`).
#[inline(never)]
pub fn own_environment(memory: &mut [u8], config: &Config, give: &mut dyn FnMut(&CStr)) {
    let account = Account::own(geteuid(), getegid(), memory);
    let login = Login { account: &account, shell: first_shell(&account), path: config.path, term: None };
    if let Ok(array) = environ::build(&mut Arena::new(memory), login, Strings::new(b"", 0)) {
        array.iter().for_each(give);
    }
}

/// The account's own shell and the others, each once; what is empty is none.
#[inline(never)]
fn shells(account: &Account) -> [&[u8]; 3] {
    let own = &account.shell[..];
    let [first, second] = SHELLS.map(|shell| if shell == own { b"" } else { shell });
    [own, first, second]
}

fn can_execute(path: &[u8]) -> bool {
    !path.is_empty()
        && PathBuffer::new().join(&[path]).and_then(|path| rustix::fs::access(path, Access::EXEC_OK)).is_ok()
}

/// The shell that a command's SHELL names.
#[inline(never)]
fn first_shell(account: &Account) -> &[u8] {
    shells(account).into_iter().find(|shell| can_execute(shell)).unwrap_or(b"/bin/sh")
}

/// Executes a program with its arguments.
fn execute_arguments<'a>(
    arena: &mut Arena<'a>,
    request: &ExecRequest<'a>,
    account: &Account,
    arguments: &Strings<'a>,
    config: &Config,
    failure: &mut Failure,
) -> Result<Told, Full> {
    let program = arguments.clone().next().unwrap_or_default();
    let mut argv = arena.pointers(arguments.clone().count())?;
    for argument in arguments.clone() {
        argv.push(argument);
    }
    let envp = environment(arena, request, account, first_shell(account), config)?;
    Ok(match request.file {
        Some(file) => {
            let errno = execute_file(file, &argv, &envp);
            failure.tell(Step::Execute, errno, program.to_bytes())
        }
        None => execute_from_path(program, &argv, &envp, failure),
    })
}

/// Executes the first shell that can be: of a damaged system often only the last one works.
fn execute_shell<'a>(
    arena: &mut Arena<'a>,
    request: &ExecRequest<'a>,
    account: &Account,
    line: Option<&'a CStr>,
    config: &Config,
    failure: &mut Failure,
) -> Result<Told, Full> {
    let told = failure.tell(Step::NoShell, Errno::NOENT, b"");
    // Built once; only SHELL differs between the tries.
    let mut variable = arena.string(&[b"SHELL="])?;
    let mut envp = environment(arena, request, account, b"", config)?;
    for shell in shells(account).into_iter().filter(|shell| !shell.is_empty()) {
        let path = arena.string(&[shell])?;
        let next = arena.string(&[b"SHELL=", shell])?;
        if envp.replace(next, &|old| old == variable) {
            variable = next;
        }
        let mut argv = arena.pointers(3)?;
        match line {
            Some(line) => {
                argv.push(path);
                argv.push(c"-c");
                argv.push(line);
            }
            None => {
                let name = shell.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                argv.push(arena.string(&[b"-", name])?);
            }
        }
        match execve(path, &argv, &envp) {
            Errno::TOOBIG => return Err(Full),
            errno @ (Errno::NOENT | Errno::ACCESS | Errno::NOTDIR | Errno::NOEXEC) => {
                failure.errno = errno;
            }
            errno => return Ok(failure.tell(Step::Execute, errno, shell)),
        }
        failure.add_subject(if failure.subject.is_empty() { b"" } else { b", " });
        failure.add_subject(shell);
    }
    Ok(told)
}

/// Executes `program`, searched as `execvp(3)` does in the PATH that the command will have.
fn execute_from_path(
    program: &CStr,
    argv: &Pointers<'_>,
    envp: &Pointers<'_>,
    failure: &mut Failure,
) -> Told {
    let name = program.to_bytes();
    if name.is_empty() {
        return failure.tell(Step::Missing, Errno::NOENT, b"\"\"");
    }
    if path::has(name, b'/') {
        return tell(failure, program, execve(program, argv, envp));
    }
    // A file that may not be executed is told only when no later one can be.
    let told = failure.tell(Step::Missing, Errno::NOENT, name);
    let path = environ::value(envp, b"PATH=").unwrap_or_default();
    let is_told = any_in_path(path, name, &mut |file| match execve(file, argv, envp) {
        Errno::NOENT | Errno::NOTDIR => false,
        errno => {
            tell(failure, file, errno);
            errno != Errno::ACCESS
        }
    });
    if !is_told && failure.step == Step::Missing {
        // Nothing was executed: perhaps a file is there and its interpreter is not.
        any_in_path(path, name, &mut |file| {
            let exists = exists(file);
            if exists {
                tell(failure, file, Errno::NOENT);
            }
            exists
        });
    }
    told
}

/// Calls `act` with the path of `name` in each directory of PATH until it says that this was it; whether it did. A path that
/// is too long is no file.
#[inline(never)]
fn any_in_path(path: &[u8], name: &[u8], act: &mut dyn FnMut(&CStr) -> bool) -> bool {
    path.split(|&byte| byte == b':').any(|directory| {
        let mut file = PathBuffer::new();
        file_in(directory, name, &mut file).is_ok_and(&mut *act)
    })
}

/// The path of `name` in a directory of PATH, of which an empty one means the current.
fn file_in<'f>(directory: &[u8], name: &[u8], file: &'f mut PathBuffer) -> Result<&'f CStr, Errno> {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    file.join(&[directory, slash, name])
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, Access::EXISTS).is_ok()
}

/// Tells why `path` was not executed. ENOENT for a file that exists is about its interpreter.
fn tell(failure: &mut Failure, path: &CStr, errno: Errno) -> Told {
    let is_missing = matches!(errno, Errno::NOENT | Errno::NOTDIR) && !exists(path);
    let step = match errno {
        Errno::TOOBIG => Step::TooLong,
        _ if is_missing => Step::Missing,
        _ => Step::Execute,
    };
    let told = failure.tell(step, errno, path.to_bytes());
    if errno == Errno::NOENT && !is_missing {
        failure.add_subject(b", whose interpreter does not exist");
    }
    told
}
