//! The stream to the client: bytes in, and the core's bytes out, several pieces in one call.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FileType;
use rustix::io::{Errno, IoSlice, Result};
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::link::Transmit;
use vsock_shell_proto::time::Instant;

use super::watch::{self, Token, Watch};
use super::wire::{LINE_PAUSE_US, Wire};
use super::{BULK_MIN, Core};

/// Bytes asked of the kernel for a socket's send buffer; it gives what `net.core.wmem_max` allows.
const SEND_BUFFER: usize = 512 * 1024;

/// The stream has ended, or failed: which of them does not matter (`R-1.3`).
pub struct Lost;

/// Both directions of the stream.
pub struct Transport {
    streams: Option<(OwnedFd, OwnedFd)>,
    readable: bool,
    writable: bool,
    /// Room was missing, and is waited for.
    is_armed: bool,
    /// A read that brings less than was asked for has brought all there was, and epoll tells of what comes later
    /// (epoll(7), questions and answers): so sockets and pipes are, until they hang up, and terminals are not.
    gives_all: bool,
    /// What makes a connection of a port.
    wire: Option<Wire>,
    /// When a line is tried again that had enough to send: the kernel does not tell.
    retry_at: Option<u64>,
    /// What is left to send of the answer to the preamble, before everything else.
    answer: [u8; PREAMBLE_LEN],
    unanswered: usize,
}

impl Transport {
    /// A transport over two descriptors that do not block; they may be the same stream.
    pub fn new(input: OwnedFd, output: OwnedFd) -> Self {
        // More in flight, so that neither side waits for the other to wake up. What is no socket has no such buffer.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&output, SEND_BUFFER);
        let kind = rustix::fs::fstat(&input).map(|status| FileType::from_raw_mode(status.st_mode));
        Self {
            streams: Some((input, output)),
            gives_all: matches!(kind, Ok(FileType::Socket | FileType::Fifo)),
            readable: false,
            writable: true,
            is_armed: false,
            wire: None,
            retry_at: None,
            answer: [0; PREAMBLE_LEN],
            unanswered: 0,
        }
    }

    /// A transport over a port that is lent to us. Something may have come already.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn over(port: OwnedFd, wire: Wire) -> Result<Self> {
        let output = rustix::io::fcntl_dupfd_cloexec(&port, 3)?;
        Ok(Self { wire: Some(wire), readable: true, ..Self::new(port, output) })
    }

    /// What is read, to be waited for.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.streams.as_ref().map(|(input, _)| input.as_fd())
    }

    /// Puts the answer to the preamble before everything that is written.
    pub fn answer(&mut self, answer: &[u8; PREAMBLE_LEN]) {
        self.answer = *answer;
        self.unanswered = PREAMBLE_LEN;
    }

    /// Watches both directions.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watch(&self, watch: &Watch) -> Result<()> {
        match &self.streams {
            Some((input, output)) => {
                watch.add(input, Token::Input, watch::READ)?;
                watch.add(output, Token::Output, watch::WRITE_ONCE)
            }
            None => Ok(()),
        }
    }

    /// Closes both directions.
    pub fn close(&mut self) {
        if let (Some((port, _)), Some(wire)) = (&self.streams, self.wire.take()) {
            wire.leave(port);
        }
        self.streams = None;
    }

    /// Before the driver waits: if room is missing, it is waited for. A line is tried again instead.
    pub fn arm(&mut self, watch: &Watch) {
        if let Some((_, output)) = &self.streams
            && !self.writable
            && !self.is_armed
            && self.retry_at.is_none()
        {
            self.is_armed = watch.rearm(output, Token::Output).is_ok();
        }
    }

    /// A part of what was written has not left yet.
    pub fn is_pending(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_pending)
    }

    /// When [`Self::handle_time`] wants to be called, in microseconds.
    pub fn deadline_us(&self) -> Option<u64> {
        self.retry_at
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now.micros()) {
            self.retry_at = None;
            self.writable = true;
        }
    }

    /// Reading may give something.
    pub fn can_read(&self) -> bool {
        self.readable
    }

    /// Writing may take something.
    pub fn can_write(&self) -> bool {
        self.writable
    }

    /// The kernel says that there is something to read, or that nothing more will come: that end is read too, and may
    /// have been told together with what came before it.
    pub fn set_readable(&mut self, has_ended: bool) {
        self.readable = true;
        self.gives_all &= !has_ended;
    }

    /// The kernel says that there is room.
    pub fn set_writable(&mut self) {
        self.writable = true;
        self.is_armed = false;
    }

    /// Reads once; 0 when nothing is there now.
    pub fn read(&mut self, buffer: &mut [u8]) -> core::result::Result<usize, Lost> {
        if !self.readable {
            return Ok(0);
        }
        match self.try_read(buffer) {
            Ok(0) => Err(Lost),
            Ok(length) => {
                // Who sends much has mostly sent again.
                self.readable = length >= BULK_MIN || !self.gives_all;
                Ok(length)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(_) => Err(Lost),
        }
    }

    /// Reads once, whatever epoll has told; 0 is the end.
    ///
    /// # Errors
    /// EAGAIN when nothing is there now; of `read`.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match (&self.streams, &mut self.wire) {
            (None, _) => Ok(0),
            (Some((input, _)), None) => rustix::io::read(input, buffer),
            (Some((port, _)), Some(wire)) => wire.read(port, buffer),
        }
    }

    /// Writes what the core has, until it has nothing or the stream is full.
    pub fn write(&mut self, mut core: Option<&mut Core>, now: Instant) -> core::result::Result<(), Lost> {
        while self.writable {
            let Some((_, output)) = &self.streams else { return Ok(()) };
            let transmit = match &mut core {
                Some(core) => core.poll_transmit(now),
                None => None,
            };
            let Transmit { head, first, second } =
                transmit.unwrap_or(Transmit { head: &[], first: &[], second: &[] });
            let answer = self.answer.get(PREAMBLE_LEN - self.unanswered..).unwrap_or_default();
            let pieces = [answer, head, first, second];
            let is_empty = pieces.iter().all(|piece| piece.is_empty());
            let written = match &mut self.wire {
                Some(wire) if is_empty => wire.flush(output).map(|()| 0),
                Some(wire) => wire.write(output, &pieces),
                None if is_empty => Ok(0),
                None => rustix::io::writev(output, &pieces.map(IoSlice::new)),
            };
            match written {
                Ok(0) if is_empty => return Ok(()),
                Ok(taken) => {
                    let answered = taken.min(self.unanswered);
                    self.unanswered -= answered;
                    if let Some(core) = &mut core {
                        core.handle_transmitted(taken - answered, now);
                    }
                }
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    let is_line = self.wire.as_ref().is_some_and(Wire::is_line);
                    self.retry_at = is_line.then(|| now.micros() + LINE_PAUSE_US);
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Lost),
            }
        }
        Ok(())
    }
}
