//! A login shell on a terminal of the machine, beside the agent.

use core::ffi::CStr;

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use vsock_shell_proto::frame::WindowSize;

use crate::command::{ExecRequest, Program, Strings};
use crate::config::Config;
use crate::exec;
use crate::failure::{Failure, Step};
use crate::log;
use crate::path::PathBuffer;

/// What is enough for the arguments and the environment of a login shell, and for a line of /etc/passwd.
const MEMORY_LEN: usize = 32 * 1024;

/// What every terminal that may be at the other end of a line understands.
const TERM: &CStr = c"linux";

/// Becomes the shell on the terminal of this name in /dev, in a process that was just forked; the exit status where that
/// failed.
pub fn run(name: &[u8], config: &Config) -> i32 {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = PathBuffer::new()
        .join(&[b"/dev/", name])
        .and_then(|path| rustix::fs::open(path, flags, Mode::empty()));
    let errno = match opened {
        Ok(terminal) => {
            let request = ExecRequest {
                program: Program::Login,
                environment: Strings::new(&[], 0),
                // It is one; its size is its own affair.
                terminal: Some(WindowSize::default()),
                modes: b"",
                term: Some(TERM),
                directory: None,
                detach: None,
                user: None,
                number: None,
                file: None,
            };
            let mut failure = Failure::new(Step::Execute, Errno::INVAL);
            exec::run(&request, [terminal.as_fd(); 3], &mut [0; MEMORY_LEN], config, &mut failure);
            failure.errno
        }
        Err(errno) => errno,
    };
    log::failure(c"give a shell to", name, errno);
    127
}
