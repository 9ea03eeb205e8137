//! Making way for a real init: the agent goes on in a child, and process 1 becomes the program that the settings name.

use core::ffi::CStr;

use rustix::io::Errno;

use crate::arena::{Arena, Full};
use crate::sys::process::execve;
use crate::sys::signal;
use crate::sys::start::Start;

/// What is enough for the pointers to what the kernel passes: 32 arguments and 32 variables, `init/main.c`.
const MEMORY_LEN: usize = 4096;

/// Becomes `init`, as the kernel would have started it: with its arguments and variables, default dispositions, no signal
/// blocked. Options are ours and are left out. Returns only when that failed.
pub fn become_init(init: &'static CStr, start: &Start) -> Errno {
    let mut memory = [0; MEMORY_LEN];
    signal::restore_for_command();
    let errno = execute(init, start, &mut Arena::new(&mut memory)).unwrap_or(Errno::TOOBIG);
    signal::take_over();
    errno
}

fn execute(init: &'static CStr, start: &Start, arena: &mut Arena<'_>) -> Result<Errno, Full> {
    let arguments = || start.arguments().skip(1).filter(|word| word.to_bytes().first() != Some(&b'-'));
    let mut argv = arena.pointers(1 + arguments().count())?;
    argv.push(init);
    for argument in arguments() {
        argv.push(argument);
    }
    let mut envp = arena.pointers(start.environment().count())?;
    for variable in start.environment() {
        envp.push(variable);
    }
    Ok(execve(init, &argv, &envp))
}
