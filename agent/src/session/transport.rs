//! The stream to the client: bytes in, and the core's bytes out, several pieces in one call.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FileType;
use rustix::io::{Errno, IoSlice, Result};
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::link::Transmit;
use vsock_shell_proto::serial::Port;
use vsock_shell_proto::time::Instant;

use super::door::Visit;
use super::watch::{self, Token, Watch};
use super::wire::{LINE_PAUSE_US, Wire};
use super::{BULK_MIN, Core};
use crate::clock::{now_ms, until};

/// Bytes asked of the kernel for a socket's send buffer; it gives what `net.core.wmem_max` allows.
pub const SEND_BUFFER: usize = 512 * 1024;

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
    /// The port is to be given back.
    is_recalled: bool,
    /// What makes a connection of a port.
    wire: Option<Wire>,
    /// When a line is tried again that had enough to send: the kernel does not tell.
    retry_at: Option<u64>,
    /// What is left to send of the answer to the preamble, before everything else.
    answer: [u8; PREAMBLE_LEN],
    unanswered: usize,
}

impl Transport {
    /// A transport without a connection.
    pub const fn closed() -> Self {
        Self {
            streams: None,
            gives_all: false,
            readable: false,
            writable: false,
            is_armed: false,
            is_recalled: false,
            wire: None,
            retry_at: None,
            answer: [0; PREAMBLE_LEN],
            unanswered: 0,
        }
    }

    /// Goes over to a connection over two descriptors that do not block; they may be the same stream. Over a port, which is lent
    /// to us, `wire` makes it. Something may have come already. The transport must be [closed](Self::close).
    #[inline(never)]
    pub fn begin(&mut self, input: OwnedFd, output: OwnedFd, wire: Option<Wire>) {
        // More in flight, so that neither side waits for the other to wake up. What is no socket has no such buffer.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&output, SEND_BUFFER);
        let kind = rustix::fs::fstat(&input).map(|status| FileType::from_raw_mode(status.st_mode));
        self.gives_all = matches!(kind, Ok(FileType::Socket | FileType::Fifo));
        self.streams = Some((input, output));
        self.readable = true;
        self.writable = true;
        self.is_armed = false;
        self.is_recalled = false;
        self.wire = wire;
        self.retry_at = None;
    }

    /// What is read, to be waited for.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.streams.as_ref().map(|(input, _)| input.as_fd())
    }

    /// Puts the answer to the preamble, or what comes before it, of at most as many bytes, before everything that is written.
    #[inline(never)]
    pub fn answer(&mut self, answer: &[u8]) {
        let start = PREAMBLE_LEN.saturating_sub(answer.len());
        for (place, byte) in self.answer.iter_mut().skip(start).zip(answer) {
            *place = *byte;
        }
        self.unanswered = PREAMBLE_LEN - start;
    }

    /// All of it has left.
    fn has_answered(&self) -> bool {
        self.unanswered == 0 && !self.is_pending()
    }

    /// Hands the connection, which began with `preamble`, to the process of the session whose door has this name. Nothing
    /// of it may have been written.
    ///
    /// # Errors
    /// There is none; of [`Visit::hand_over`].
    pub fn hand_over(&self, preamble: &[u8; PREAMBLE_LEN], whose: &[u8]) -> Result<()> {
        let (input, output) = self.streams.as_ref().ok_or(Errno::BADF)?;
        let second = self.wire.as_ref().map_or_else(|| output.as_fd(), Wire::heir);
        let connection = self.wire.as_ref().and_then(Wire::connection);
        let descriptors = [input.as_fd(), second];
        Visit { preamble: *preamble, connection, descriptors }.hand_over(whose).map(drop)
    }

    /// Watches both directions.
    ///
    /// # Errors
    /// Of `epoll_ctl`.
    pub fn watch(&self, watch: &Watch) -> Result<()> {
        match &self.streams {
            Some((input, output)) => {
                watch.add(input, Token::Input, watch::READ)?;
                if let Some(wire) = &self.wire {
                    watch.add(wire.heir(), Token::Heir, watch::ENDED)?;
                }
                watch.add(output, Token::Output, watch::WRITE_ONCE)
            }
            None => Ok(()),
        }
    }

    /// Writes a last record where there is room. Who lost a port has lost it to who took over, and hears nothing there.
    pub fn say(&self, record: &[u8]) {
        if let (Some((_, output)), None, 0) = (&self.streams, &self.wire, self.unanswered) {
            let _ = rustix::io::write(output, record);
        }
    }

    /// Closes both directions. Of a port storage is left, for another.
    pub fn close(&mut self) -> Option<&'static mut Port> {
        let (port, _) = &self.streams.take()?;
        self.readable = false;
        self.wire.take().map(|wire| wire.leave(port))
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
        // Whoever handed the connection to us may still hold it, so that a former one is told of after it was closed.
        self.readable = self.streams.is_some();
        self.gives_all &= !has_ended;
    }

    /// The port is gone for us, where whoever lent it `is_gone`.
    pub fn recall(&mut self, is_gone: bool) {
        self.is_recalled |= is_gone;
        self.readable |= is_gone;
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
            _ if self.is_recalled => Err(Lost),
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

    /// Fills `place`, and waits for what is missing; whether it came in time.
    pub fn receive(&mut self, place: &mut [u8], deadline_ms: u64) -> bool {
        let mut have = 0;
        while let Some(room) = place.get_mut(have..).filter(|room| !room.is_empty()) {
            match self.try_read(room) {
                Ok(0) => return false,
                Ok(count) => have += count,
                Err(Errno::AGAIN | Errno::INTR) if self.wait(PollFlags::IN, deadline_ms) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends at most as much as an answer is, and waits until it has left; whether it has in time.
    pub fn send(&mut self, bytes: &[u8], deadline_ms: u64) -> bool {
        self.answer(bytes);
        loop {
            self.writable = true;
            if self.write(None, Instant::default()).is_err() {
                return false;
            }
            if self.has_answered() {
                return true;
            }
            if !self.wait(PollFlags::OUT, deadline_ms) {
                return false;
            }
        }
    }

    /// Waits for the stream; whether there is time left.
    #[inline(never)]
    fn wait(&self, flags: PollFlags, deadline_ms: u64) -> bool {
        let Some((input, output)) = &self.streams else { return false };
        let fd = if flags == PollFlags::IN { input } else { output };
        let _ = poll(&mut [PollFd::new(fd, flags)], Some(&until(deadline_ms)));
        now_ms() < deadline_ms
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
