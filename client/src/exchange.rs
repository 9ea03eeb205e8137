//! Owns how a connection begins: the preamble on its way out, and its answer on the way in, as far as they came.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use vsock_shell_proto::limits::PREAMBLE_LEN;

use crate::dial::Stream;
use crate::error::Error;

/// A preamble on its way, and its answer.
pub(crate) struct Exchange {
    pub stream: Stream,
    preamble: [u8; PREAMBLE_LEN],
    sent: usize,
    answer: [u8; PREAMBLE_LEN],
    have: usize,
    is_flushed: bool,
}

impl Exchange {
    pub(crate) fn new(stream: Stream, preamble: [u8; PREAMBLE_LEN]) -> Self {
        Self { stream, preamble, sent: 0, answer: [0; PREAMBLE_LEN], have: 0, is_flushed: false }
    }

    /// Goes on as far as possible without waiting; the answer, once it is complete.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Lost`].
    pub(crate) fn step(&mut self) -> Result<Option<[u8; PREAMBLE_LEN]>, Error> {
        while self.have < PREAMBLE_LEN {
            let step = match self.preamble.get(self.sent..).filter(|rest| !rest.is_empty()) {
                Some(rest) => self.stream.write(&[rest, &[], &[]]).map(|taken| self.sent += taken),
                None if !self.is_flushed => self.stream.flush().map(|()| self.is_flushed = true),
                None => match self.stream.read(self.answer.get_mut(self.have..).unwrap_or_default()) {
                    Ok(0) => return Err(Error::Closed),
                    result => result.map(|taken| self.have += taken),
                },
            };
            match step {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::PIPE) => return Err(Error::Closed),
                Err(errno) => return Err(Error::Lost(errno.into())),
            }
        }
        Ok(Some(self.answer))
    }

    /// What to wait for after [`Self::step`].
    pub(crate) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.is_flushed {
            (self.stream.input.as_fd(), PollFlags::IN)
        } else {
            (self.stream.output.as_fd(), PollFlags::OUT)
        }
    }
}
