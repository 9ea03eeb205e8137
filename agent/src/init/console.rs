//! A login shell on a terminal of the machine, beside the agent.

use core::ffi::CStr;

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use vsock_shell_proto::frame::WindowSize;

use crate::command::{ExecRequest, Program, Strings};
use crate::config::Config;
use crate::exec;
use crate::failure::{Failure, Step};
use crate::line::Part;
use crate::log;
use crate::path::PathBuffer;

/// What is enough for the arguments and the environment of a login shell, and for a line of /etc/passwd.
const MEMORY_LEN: usize = 32 * 1024;

/// Becomes the shell on the terminal of this name in /dev, in a process that was just forked; the exit status where that
/// failed.
pub fn run(name: &[u8], term: Option<&'static CStr>, config: &Config) -> i32 {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = PathBuffer::new()
        .join(&[b"/dev/", name])
        .and_then(|path| rustix::fs::open(path, flags, Mode::empty()));
    let told = match opened {
        Ok(terminal) => {
            let request = ExecRequest {
                program: Program::Login,
                environment: Strings::new(&[], 0),
                // It is one; its size is its own affair.
                terminal: Some(WindowSize::default()),
                modes: b"",
                term,
                directory: None,
                user: None,
            };
            exec::run(&request, [terminal.as_fd(); 3], &mut [0; MEMORY_LEN], config)
        }
        Err(errno) => Failure::new(Step::Terminal, errno),
    };
    log::error(&[
        Part::Text("no shell on "),
        Part::Bytes(name),
        Part::Text(": "),
        Part::Text(told.step.text()),
        Part::Text(" "),
        Part::Bytes(&told.subject),
        Part::Text(": "),
        Part::Error(told.errno),
    ]);
    127
}
