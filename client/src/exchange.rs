//! Owns how a connection begins: the preamble on its way out, and its answer on the way in, as far as they came; with a key
//! the proofs of both sides stand between them.
//!
//! ```text
//!   preamble ──→ answer                               without a key, or where the agent refuses
//!   preamble ──→ challenge ──→ proof ──→ proof, answer
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::io::Errno;
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::{Answer, Preamble, Status};
use vsock_shell_proto::proof::{PROOF_LEN, Said};

use crate::dial::Stream;
use crate::error::Error;
use crate::key::Prover;
use crate::trace::{Direction, Trace};

/// A preamble on its way, and its answer.
pub(crate) struct Exchange {
    pub stream: Stream,
    preamble: [u8; PREAMBLE_LEN],
    prover: Option<Arc<Prover>>,
    /// What the agent has asked, once it has.
    challenge: Option<[u8; PREAMBLE_LEN]>,
    leaving: Vec<u8>,
    sent: usize,
    is_flushed: bool,
    came: [u8; PROOF_LEN + PREAMBLE_LEN],
    have: usize,
}

impl Exchange {
    /// With a `prover` the agent has to prove that it has the key.
    pub(crate) fn new(
        stream: Stream,
        mut preamble: Preamble,
        prover: Option<Arc<Prover>>,
        trace: &mut Option<Box<Trace>>,
    ) -> Self {
        preamble.wants_proof = prover.is_some();
        if let Some(trace) = trace {
            trace.handle_asked(&preamble);
        }
        let preamble = preamble.encode();
        Self {
            stream,
            preamble,
            prover,
            challenge: None,
            leaving: preamble.to_vec(),
            sent: 0,
            is_flushed: false,
            came: [0; PROOF_LEN + PREAMBLE_LEN],
            have: 0,
        }
    }

    /// Goes on as far as possible without waiting; the answer, once it is complete.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Lost`]; the agent is not the one that is wanted.
    pub(crate) fn step(
        &mut self,
        trace: &mut Option<Box<Trace>>,
    ) -> Result<Option<[u8; PREAMBLE_LEN]>, Error> {
        loop {
            let wanted = if self.challenge.is_some() { PROOF_LEN + PREAMBLE_LEN } else { PREAMBLE_LEN };
            if self.have == wanted
                && let Some(answer) = self.handle_message(trace)?
            {
                if let Some(trace) = trace {
                    trace.handle_answer(&answer);
                }
                return Ok(Some(answer));
            }
            let step = match self.leaving.get(self.sent..).filter(|rest| !rest.is_empty()) {
                Some(rest) => self.stream.write(&[rest, &[], &[]]).map(|taken| {
                    self.sent += taken;
                    count(trace, Direction::Sent, taken);
                }),
                None if !self.is_flushed => self.stream.flush().map(|()| self.is_flushed = true),
                None => match self.stream.read(self.came.get_mut(self.have..wanted).unwrap_or_default()) {
                    Ok(0) => return Err(Error::Closed),
                    result => result.map(|taken| {
                        self.have += taken;
                        count(trace, Direction::Received, taken);
                    }),
                },
            };
            match step {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::PIPE) => return Err(Error::Closed),
                Err(errno) => return Err(Error::Lost(errno.into())),
            }
        }
    }

    /// What the agent says is complete. The answer, where it is that.
    fn handle_message(
        &mut self,
        trace: &mut Option<Box<Trace>>,
    ) -> Result<Option<[u8; PREAMBLE_LEN]>, Error> {
        let Some(prover) = &self.prover else { return Ok(self.came.first_chunk().copied()) };
        let Some(challenge) = &self.challenge else {
            let first = *self.came.first_chunk().unwrap_or(&[0; PREAMBLE_LEN]);
            let Some(proof) = prover.answer(&self.preamble, &first)? else {
                // Without having proved anything it can only refuse.
                let refuses = Answer::parse(&first)
                    .is_ok_and(|answer| !matches!(answer.status, Status::Created | Status::Resumed));
                return if refuses { Ok(Some(first)) } else { Err(Error::Unproved) };
            };
            if let Some(trace) = trace {
                trace.handle_challenged(&self.preamble, &first);
            }
            self.challenge = Some(first);
            (self.leaving, self.sent, self.have, self.is_flushed) = (proof.to_vec(), 0, 0, false);
            return Ok(None);
        };
        let (Some(proof), Some(answer)) = (self.came.first_chunk(), self.came.last_chunk()) else {
            return Ok(None);
        };
        let wrong_key = Answer::parse(answer).is_ok_and(|answer| answer.status == Status::WrongKey);
        let said = Said { preamble: &self.preamble, challenge };
        let is_proved = prover.is_proved(&said, proof);
        if let Some(trace) = trace {
            trace.handle_proof(is_proved);
        }
        if wrong_key || is_proved { Ok(Some(*answer)) } else { Err(Error::Unproved) }
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

fn count(trace: &mut Option<Box<Trace>>, direction: Direction, count: usize) {
    if let Some(trace) = trace {
        trace.handle_exchanged(direction, count);
    }
}
