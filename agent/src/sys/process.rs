//! Making processes and turning them into programs.

use core::ffi::{CStr, c_char, c_int};

use linux_raw_sys::general::{
    __NR_clone, __NR_close_range, __NR_execve, __NR_execveat, __NR_exit, __NR_kill, __NR_prctl, AT_EMPTY_PATH,
};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::{Errno, Result};
use rustix::process::{Pid, Signal};

use super::call::{call, call5};
use super::pointers::Pointers;

/// Which of the two processes one is after [`fork`].
pub enum Forked {
    /// The new one.
    Child,
    /// The old one, with the id of the new.
    Parent(Pid),
}

/// `fork(2)`, by `clone(2)`: without the handlers of `pthread_atfork(3)`, of which there are none.
///
/// The agent has one thread, no heap and no locks, so that the child can go on with any of its code.
pub fn fork() -> Result<Forked> {
    // SAFETY: nothing in this crate is shared between threads or held across the call, see above.
    let raw = unsafe { call(__NR_clone, Signal::CHILD.as_raw() as usize, 0, 0, 0) }?;
    // A process id is an int.
    Ok(Pid::from_raw(raw as c_int).map_or(Forked::Child, Forked::Parent))
}

/// `execve(2)`. Returns only when it failed.
pub fn execve(path: &CStr, argv: &Pointers<'_>, envp: &Pointers<'_>) -> Errno {
    // SAFETY: `Pointers` keeps valid strings and a null pointer behind them.
    unsafe { execve_raw(path, argv.as_ptr(), envp.as_ptr()) }
}

/// `execveat(2)` of an open file, which needs no name and no /proc. Returns only when it failed.
pub fn execute_file(file: BorrowedFd<'_>, argv: &Pointers<'_>, envp: &Pointers<'_>) -> Errno {
    // SAFETY: as above; the path is empty, and so the file itself is meant.
    let result = unsafe {
        let (argv, envp) = (argv.as_ptr().expose_provenance(), envp.as_ptr().expose_provenance());
        let (file, path) = (file.as_raw_fd() as usize, c"".as_ptr().expose_provenance());
        call5(__NR_execveat, file, path, argv, envp, AT_EMPTY_PATH as usize)
    };
    result.err().unwrap_or(Errno::INVAL)
}

/// The same with arrays of pointers.
///
/// # Safety
/// Both are arrays of strings, and end with a null pointer.
pub(super) unsafe fn execve_raw(
    path: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the path ends with NUL, the rest is the caller's promise.
    let result = unsafe {
        let path = path.as_ptr().expose_provenance();
        call(__NR_execve, path, argv.expose_provenance(), envp.expose_provenance(), 0)
    };
    result.err().unwrap_or(Errno::INVAL)
}

/// `kill(2)` of one process; signal 0 only asks whether it is there.
///
/// # Errors
/// EINVAL for what is no process or no signal; of the call.
pub fn kill(process: u64, signal: u64) -> Result<()> {
    match (c_int::try_from(process), c_int::try_from(signal)) {
        // SAFETY: no memory is involved.
        (Ok(1..), Ok(_)) => unsafe { call(__NR_kill, process as usize, signal as usize, 0, 0) }.map(|_| ()),
        _ => Err(Errno::INVAL),
    }
}

/// Marks every descriptor from `first` on to be closed by `execve`. Since Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    const FLAG_CLOEXEC: usize = 4;
    // SAFETY: with this flag nothing is closed now, so that no owner of a descriptor notices.
    unsafe { call(__NR_close_range, first as usize, u32::MAX as usize, FLAG_CLOEXEC, 0) }.map(|_| ())
}

/// Closes every descriptor but this one, for a process that uses no other any more. Since Linux 5.9.
pub fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd() as usize;
    for (first, last) in [(0, kept.wrapping_sub(1)), (kept + 1, u32::MAX as usize)] {
        // SAFETY: the owners of these do not come to use or close them.
        let _ = unsafe { call(__NR_close_range, first, last & u32::MAX as usize, 0, 0) };
    }
}

/// From now on this process can read, write and [`end`], and is killed for everything else: SECCOMP_MODE_STRICT, `seccomp(2)`.
/// A kernel that has no such thing goes on without.
pub fn confine() {
    const PR_SET_SECCOMP: usize = 22;
    const STRICT: usize = 1;
    // SAFETY: no memory is involved.
    let _ = unsafe { call(__NR_prctl, PR_SET_SECCOMP, STRICT, 0, 0) };
}

/// Ends a process of one thread, `_exit(2)`: unlike `exit_group(2)` also after [`confine`].
pub fn end(status: i32) -> ! {
    loop {
        // SAFETY: it has no conditions, and does not return.
        let _ = unsafe { call(__NR_exit, usize::from(status as u8), 0, 0, 0) };
    }
}

/// The descriptors that one without a table of them has to try.
pub const DESCRIPTORS_TRIED: c_int = 4096;

#[cfg(test)]
pub(super) mod tests {
    use rustix::fd::AsFd as _;
    use rustix::pipe::pipe;
    use rustix::process::{WaitOptions, getpid, waitpid};

    use super::*;

    /// What a new process gives as its status, or the signal that ended it. It must not allocate: another thread may have been
    /// doing so when it began.
    pub fn in_child(act: impl FnOnce() -> u8) -> core::result::Result<i32, i32> {
        match fork().unwrap() {
            Forked::Child => end(act().into()),
            Forked::Parent(pid) => {
                let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
                status.exit_status().ok_or_else(|| status.terminating_signal().unwrap())
            }
        }
    }

    #[test]
    fn a_new_process_goes_on_and_ends_with_its_status() {
        let parent = getpid();
        assert_eq!(in_child(|| if getpid() == parent { 1 } else { 7 }), Ok(7));
    }

    #[test]
    fn only_one_process_and_a_signal_of_a_number_are_sent() {
        let own = u64::from(getpid().as_raw_pid().unsigned_abs());
        assert_eq!(kill(own, 0), Ok(()));
        for (process, signal) in [(0, 0), (u64::MAX, 0), (1 << 31, 0), (own, 65), (own, 1 << 32)] {
            assert_eq!(kill(process, signal), Err(Errno::INVAL));
        }
    }

    #[test]
    fn what_cannot_be_executed_is_told() {
        let mut memory = [0; 256];
        let mut rest = &mut memory[..];
        let mut argv = Pointers::carve(&mut rest, 2).unwrap();
        let envp = Pointers::carve(&mut rest, 1).unwrap();
        assert!(argv.push(c"a"));
        assert_eq!(execve(c"/no/such/program", &argv, &envp), Errno::NOENT);
        let folder = super::super::descriptor::open_null().unwrap();
        assert_eq!(execute_file(folder.as_fd(), &argv, &envp), Errno::ACCESS);
    }

    #[test]
    fn a_program_gets_its_arguments_and_its_environment() {
        let (reader, writer) = pipe().unwrap();
        let mut memory = [0; 256];
        let mut rest = &mut memory[..];
        let mut argv = Pointers::carve(&mut rest, 4).unwrap();
        let mut envp = Pointers::carve(&mut rest, 1).unwrap();
        assert!([c"sh", c"-c", c"echo $0 $A", c"zero"].into_iter().all(|word| argv.push(word)));
        assert!(envp.push(c"A=one"));
        let ended = in_child(|| {
            let _ = rustix::stdio::dup2_stdout(&writer);
            let _ = close_on_exec_from(3);
            execve(c"/bin/sh", &argv, &envp);
            9
        });
        assert_eq!(ended, Ok(0));
        let mut said = [0; 32];
        let count = rustix::io::read(reader, &mut said).unwrap();
        assert_eq!(&said[..count], b"zero one\n");
    }

    #[test]
    fn a_confined_process_has_one_descriptor_and_three_calls() {
        let (reader, writer) = pipe().unwrap();
        let ended = in_child(|| {
            close_all_but(writer.as_fd());
            if rustix::io::fcntl_getfd(&reader).is_ok() || rustix::io::fcntl_getfd(&writer).is_err() {
                return 1;
            }
            confine();
            let _ = rustix::io::write(&writer, b"x");
            let _ = getpid();
            2
        });
        assert_eq!(ended, Err(Signal::KILL.as_raw()));
        assert_eq!(rustix::io::read(&reader, &mut [0; 2]), Ok(1));
    }
}
