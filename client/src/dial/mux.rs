//! Owns one try over the Unix socket that a virtual machine's vsock has on this side: `CONNECT port\n`, answered by
//! `OK host_port\n` (Firecracker, `docs/vsock.md`).
//!
//! A question can be lost, where the machine is restored or what is behind its vsock is exchanged at that moment. So who gets
//! no answer asks again, over another connection, and keeps the former ones: a guest that was only busy answers them too, and
//! a vhost-device-vsock carries nothing any more once a guest answers a connection that was given up.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use socket2::Socket;

use super::attempt::{connect, retrying, unix_address, wait, wait_for_any};
use super::{Failure, Step};

/// How long nothing is answered until it is asked again; from then on twice as long each time.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is read: `OK`, a port and a newline, with room to spare.
const ANSWER_BYTES_MAX: usize = 64;

/// A connection over which the port was asked for, and what was answered so far.
struct Question {
    socket: Socket,
    answer: Vec<u8>,
}

/// Asks for the agent's port, until there is an answer.
pub(super) fn ask(path: &Path, port: u32, deadline: Option<Instant>) -> Result<Socket, Failure> {
    let mut asked = vec![Question::put(path, port, deadline)?];
    let mut patience = PATIENCE;
    let mut due = Instant::now() + patience;
    loop {
        for (number, question) in asked.iter_mut().enumerate() {
            if let Some(answered) = question.answered(port).transpose() {
                let Question { socket, .. } = asked.swap_remove(number);
                hear_out(asked, deadline);
                return answered.map(|()| socket).map_err(Step::Greet.failed());
            }
        }
        let is_last = deadline.is_some_and(|deadline| deadline <= due);
        match wait_for_any(&mut readable(&asked), if is_last { deadline } else { Some(due) }) {
            Ok(()) => {}
            Err(error) if !is_last && Errno::from_io_error(&error) == Some(Errno::TIMEDOUT) => {
                // Where nobody can be asked now, the former questions stand all the same.
                asked.extend(Question::put(path, port, deadline));
                patience *= 2;
                due = Instant::now() + patience;
            }
            Err(error) => return Err(Step::Greet.failed()(error)),
        }
    }
}

/// Keeps connections until each has its answer, which nobody needs any more.
fn hear_out(mut asked: Vec<Question>, deadline: Option<Instant>) {
    if asked.is_empty() {
        return;
    }
    let hear = move || {
        while wait_for_any(&mut readable(&asked), deadline).is_ok() {
            asked.retain_mut(|question| question.read_line().is_ok_and(|line| line.is_none()));
            if asked.is_empty() {
                break;
            }
        }
    };
    // Without a thread they are given up, as they are when the process ends.
    _ = std::thread::Builder::new().spawn(hear);
}

fn write_all(socket: &Socket, mut rest: &[u8], deadline: Option<Instant>) -> io::Result<()> {
    while !rest.is_empty() {
        match retrying(|| rustix::io::write(socket, rest)) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => wait(socket, PollFlags::OUT, deadline)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn readable(asked: &[Question]) -> Vec<PollFd<'_>> {
    asked.iter().map(|question| PollFd::new(&question.socket, PollFlags::IN)).collect()
}

impl Question {
    fn put(path: &Path, port: u32, deadline: Option<Instant>) -> Result<Self, Failure> {
        let socket = connect(&unix_address(path)?, deadline)?;
        write_all(&socket, format!("CONNECT {port}\n").as_bytes(), deadline).map_err(Step::Greet.failed())?;
        Ok(Self { socket, answer: Vec::with_capacity(ANSWER_BYTES_MAX) })
    }

    /// Reads what there is of the answer; `None` until all of it came.
    fn answered(&mut self, port: u32) -> io::Result<Option<()>> {
        let Some(line) = self.read_line()? else { return Ok(None) };
        // Cloud Hypervisor and libkrun answer as Firecracker does; what follows `OK` is of no use to us.
        if line == b"OK" || line.starts_with(b"OK ") {
            return Ok(Some(()));
        }
        let shown = String::from_utf8_lossy(line).into_owned();
        Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it answered `{shown}` to CONNECT {port}, and not OK"),
        ))
    }

    /// Reads one byte at a time up to the first newline: the bytes behind it are the guest's and belong to the session.
    fn read_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let mut byte = [0];
            match retrying(|| rustix::io::read(&self.socket, &mut byte)) {
                Ok(0) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "closed without an answer to CONNECT",
                    ));
                }
                Ok(_) if byte == *b"\n" => break,
                Ok(_) if self.answer.len() == ANSWER_BYTES_MAX => break,
                Ok(_) => self.answer.push(byte[0]),
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(self.answer.strip_suffix(b"\r").unwrap_or(&self.answer)))
    }
}
