//! Why a command could not be started: which step failed, with what errno, on what. The step decides the code that
//! the client is told (`PROTOCOL.md` §6). It travels from the child to its parent in a pipe, as one small message.
//!
//! There is one for each command, written where something fails ([`Failure::tell`]); what is passed back is only that it
//! was ([`Told`]). As the error of a dozen results it was copied at each `?`, which took 1 KiB of the file.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::io::Errno;
use vsock_shell_proto::code::RefusalCode;

/// Bytes of what a step failed on; more is cut.
pub const SUBJECT_MAX: usize = 112;
/// Bytes of a message, less than a pipe takes at once (PIPE_BUF).
pub const MESSAGE_MAX: usize = 8 + SUBJECT_MAX;

/// A text that ends with a NUL: another one does not compile.
const fn with_nul(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("no NUL at the end of a text"),
    }
}

macro_rules! steps {
    ($($step:ident $code:ident $text:literal)*) => {
        /// A step on the way to a command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $(#[doc = $text] $step,)*
        }

        impl Step {
            const ALL: &'static [Self] = &[$(Self::$step),*];

            /// The code of a failure of this step.
            const fn code(self) -> RefusalCode {
                match self { $(Self::$step => RefusalCode::$code,)* }
            }

            /// What was tried, for people; the subject follows.
            pub const fn text(self) -> &'static CStr {
                match self { $(Self::$step => const { with_nul(concat!($text, "\0")) },)* }
            }
        }
    };
}

steps! {
    Pipe System "cannot make a pipe"
    Terminal System "cannot make a terminal"
    Fork System "cannot make a process"
    Standard System "cannot set up the standard descriptors"
    NoUser NoUser "no such user"
    User System "cannot become user"
    Directory System "cannot enter"
    TooLong TooLarge "arguments and environment are too long for"
    NoShell NoShell "no shell; tried"
    Missing NotFound "not found:"
    Execute CannotExecute "cannot execute"
}

/// A failure to start a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub step: Step,
    /// Why.
    pub errno: Errno,
    /// On what: a path, a name. Bytes of the peer's or the guest's, to be told as such.
    pub subject: ArrayVec<u8, SUBJECT_MAX>,
}

const _: () = assert!(size_of::<Failure>() <= 120);

/// Something failed, and the [`Failure`] at hand says what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told;

impl Failure {
    /// A failure that needs no subject.
    pub fn new(step: Step, errno: Errno) -> Self {
        Self { step, errno, subject: ArrayVec::new() }
    }

    /// Makes this the failure of `step`, on `subject`.
    pub fn tell(&mut self, step: Step, errno: Errno, subject: &[u8]) -> Told {
        self.step = step;
        self.errno = errno;
        self.subject.clear();
        self.add_subject(subject);
        Told
    }

    /// Appends to the subject what there is room for.
    #[inline(never)]
    pub fn add_subject(&mut self, subject: &[u8]) {
        let room = self.subject.remaining_capacity().min(subject.len());
        let _ = self.subject.try_extend_from_slice(subject.get(..room).unwrap_or_default());
    }

    /// The code for REFUSED.
    pub fn code(&self) -> RefusalCode {
        if self.errno == Errno::TOOBIG { RefusalCode::TooLarge } else { self.step.code() }
    }

    /// The message that carries it through a pipe.
    pub fn encode(&self) -> ArrayVec<u8, MESSAGE_MAX> {
        let mut message = ArrayVec::new();
        let _ = message.try_extend_from_slice(&[self.step as u8, 0, 0, 0]);
        let _ = message.try_extend_from_slice(&self.errno.raw_os_error().to_ne_bytes());
        let _ = message.try_extend_from_slice(&self.subject);
        message
    }

    /// Reads the message; what is none of ours is an execution that failed for an unknown reason.
    #[inline(never)]
    pub fn decode(message: &[u8]) -> Self {
        let step = message.first().and_then(|&step| Step::ALL.get(usize::from(step)));
        let errno = message.get(4..).and_then(|rest| rest.first_chunk()).map(|raw| i32::from_ne_bytes(*raw));
        let mut failure = Self::default();
        if let (Some(&step), Some(errno @ 1..4096)) = (step, errno) {
            failure.tell(step, Errno::from_raw_os_error(errno), message.get(8..).unwrap_or_default());
        }
        failure
    }
}

impl Default for Failure {
    /// An execution that failed for an unknown reason: what is there before anything is told.
    fn default() -> Self {
        Self::new(Step::Execute, Errno::IO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(step: Step, errno: Errno, subject: &[u8]) -> Failure {
        let mut failure = Failure::default();
        failure.tell(step, errno, subject);
        failure
    }

    #[test]
    fn a_failure_survives_the_pipe() {
        for &step in Step::ALL {
            let failure = failure(step, Errno::NOENT, b"/a/b");
            assert_eq!(Failure::decode(&failure.encode()), failure);
        }
    }

    #[test]
    fn a_long_subject_is_cut() {
        let failure = failure(Step::Missing, Errno::NOENT, &[b'x'; 4096]);
        assert_eq!(failure.subject.len(), SUBJECT_MAX);
        assert_eq!(Failure::decode(&failure.encode()), failure);
    }

    #[test]
    fn a_message_of_any_bytes_is_some_failure() {
        for len in 0..=MESSAGE_MAX {
            for fill in [0, 1, 0x7F, 0xFF] {
                let _ = Failure::decode(&[fill; MESSAGE_MAX][..len]).code();
            }
        }
    }

    #[test]
    fn what_is_too_big_for_the_kernel_is_told_as_that() {
        assert_eq!(Failure::new(Step::Execute, Errno::TOOBIG).code(), RefusalCode::TooLarge);
        assert_eq!(Failure::new(Step::Execute, Errno::ACCESS).code(), RefusalCode::CannotExecute);
    }
}
