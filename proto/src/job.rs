//! What is asked of a job (`PROTOCOL.md` §11): the value of the field JOB, in 12 bytes.
//!
//! ```text
//! 0  4  number of the job
//! 4  1  verb
//! 5  1  flags
//! 6  2  zero
//! 8  4  signal, for the verb SIGNAL
//! ```

use crate::wire::{array, put, u32_at};

/// Bytes of a [`JobRequest`].
pub const JOB_REQUEST_LEN: usize = 12;

/// What to do with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    /// Tell what it is, in lines of `key=value`.
    Status = 0,
    /// Send what it writes from where the last one attached has left, until it ends; take what it reads.
    Attach = 1,
    /// Send what is kept of its output.
    Logs = 2,
    /// Send it a signal.
    Signal = 3,
    /// Tell how it ended, and forget it.
    Result = 4,
}

impl Verb {
    const ALL: [Self; 5] = [Self::Status, Self::Attach, Self::Logs, Self::Signal, Self::Result];
}

/// Attach: it hears nothing from this client, does not wait for it, and is not forgotten.
pub const READ_ONLY: u8 = 1;
/// Logs: go on with what it writes. Result: wait until it has ended.
pub const FOLLOW: u8 = 2;

/// What is asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobRequest {
    /// Its number, from 1.
    pub job: u32,
    /// What to do with it.
    pub verb: Verb,
    /// [`READ_ONLY`], [`FOLLOW`].
    pub flags: u8,
    /// Linux's generic number of the signal, or 0.
    pub signal: u32,
}

impl JobRequest {
    /// Reads the 12 bytes; `None` where the verb is unknown.
    #[must_use]
    pub fn parse(bytes: &[u8; JOB_REQUEST_LEN]) -> Option<Self> {
        let [verb, flags] = array(bytes, 4);
        let verb = Verb::ALL.get(usize::from(verb)).copied()?;
        Some(Self { job: u32_at(bytes, 0), verb, flags, signal: u32_at(bytes, 8) })
    }

    /// The 12 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; JOB_REQUEST_LEN] {
        let mut bytes = [0; JOB_REQUEST_LEN];
        put(&mut bytes, 0, &self.job.to_le_bytes());
        put(&mut bytes, 4, &[self.verb as u8, self.flags]);
        put(&mut bytes, 8, &self.signal.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_encoding_and_an_unknown_verb_is_none() {
        for verb in Verb::ALL {
            let request = JobRequest { job: 0x0102_0304, verb, flags: READ_ONLY | FOLLOW, signal: 15 };
            assert_eq!(JobRequest::parse(&request.encode()), Some(request));
        }
        assert_eq!(JobRequest::parse(&[0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
