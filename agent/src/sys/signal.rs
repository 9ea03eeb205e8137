//! Signals: which are blocked and read from a descriptor, what the others do, and sending them by number.

use core::ffi::c_int;
use core::num::NonZeroI32;

use linux_raw_sys::general::{__NR_rt_sigaction, __NR_rt_sigprocmask, __NR_signalfd4};
use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;
use rustix::process::{Pid, Signal};

use super::call::call;

/// The highest signal number.
pub const HIGHEST: u32 = 64;

const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const SIG_SETMASK: usize = 2;

/// Bytes of the kernel's `sigset_t`.
const SET_LEN: usize = size_of::<u64>();

/// Gives every signal its default disposition, then ignores SIGPIPE: a peer that vanishes is an error of `write`.
/// Returns whether the parent process had SIGHUP ignored, as `nohup` does. The [`HANDLED`] signals are blocked before, so that
/// one that comes early waits until somebody reads it.
///
/// Done once at the start, so that only SIGPIPE is left to [`restore_for_command`].
pub fn take_over() -> bool {
    block_handled();
    let mut hangup_ignored = false;
    for number in 1..=HIGHEST as c_int {
        let former = set_disposition(number, SIG_DFL);
        hangup_ignored |= number == Signal::HUP.as_raw() && former == SIG_IGN;
    }
    set_disposition(Signal::PIPE.as_raw(), SIG_IGN);
    hangup_ignored
}

/// `rt_sigaction(2)`, also for the signals that a libc keeps for its threads: a parent process can have ignored those
/// too. Gives the former disposition.
fn set_disposition(number: c_int, disposition: usize) -> usize {
    // `struct sigaction` of the kernel begins with the handler, on all architectures that we run on; the rest is flags and
    // a mask, and may be zero.
    let (mut action, mut former) = ([0_usize; 8], [0_usize; 8]);
    action[0] = disposition;
    // SAFETY: both are larger than the kernel's structure, and no handler is involved, only a fixed disposition.
    let _ = unsafe {
        let (action, former) = (action.as_ptr().expose_provenance(), former.as_mut_ptr().expose_provenance());
        call(__NR_rt_sigaction, number as usize, action, former, SET_LEN)
    };
    former[0]
}

/// What a command finds: every disposition is the default one, no signal is blocked.
pub fn restore_for_command() {
    set_disposition(Signal::PIPE.as_raw(), SIG_DFL);
    block_only(0);
}

/// Blocks the signals of `set`, the lowest bit for signal 1, and no others; `rt_sigprocmask(2)`.
fn block_only(set: u64) {
    // SAFETY: the set is valid for the call.
    let _ =
        unsafe { call(__NR_rt_sigprocmask, SIG_SETMASK, (&raw const set).expose_provenance(), 0, SET_LEN) };
}

/// Tells who waits for a session that it has become a job, and is not to be ended with the others. A real-time one, so that each
/// is heard.
pub const RELEASED: u32 = HIGHEST;

/// The signals that every process of the agent blocks and reads from a descriptor, beside [`RELEASED`].
pub const HANDLED: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::CHILD];
/// Those of process 1, which has no other use for them than to end the machine.
pub const HANDLED_BY_INIT: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::CHILD, Signal::POWER, Signal::USR1];

fn bits_of(signals: &[Signal]) -> u64 {
    signals.iter().fold(1 << (RELEASED - 1), |set, signal| set | 1 << (signal.as_raw() - 1))
}

/// Blocks the [`HANDLED`] signals and no other; they wait until [`Signals`] reads them.
pub fn block_handled() {
    block_only(bits_of(&HANDLED));
}

/// A descriptor that reads signals, `signalfd(2)`. Each process needs its own.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals, [`HANDLED`] or [`HANDLED_BY_INIT`], and opens the descriptor.
    pub fn open(signals: &[Signal]) -> Result<Self> {
        const NONBLOCK_CLOEXEC: usize = 0o2_004_000;
        const NEW: usize = usize::MAX;
        let set = bits_of(signals);
        block_only(set);
        // SAFETY: the set is valid for the call.
        let raw = unsafe {
            call(__NR_signalfd4, NEW, (&raw const set).expose_provenance(), SET_LEN, NONBLOCK_CLOEXEC)
        }?;
        // SAFETY: the descriptor is new, so that nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw as c_int) }))
    }

    /// The next signal that has arrived, by number. SIGCHLD may stand for several children.
    pub fn next(&self) -> Option<i32> {
        self.next_from().map(|(number, _)| number)
    }

    /// The same, and whose it is. Every [`RELEASED`] tells of one process.
    pub fn next_from(&self) -> Option<(i32, Option<Pid>)> {
        // `struct signalfd_siginfo` has 128 bytes, 32-bit numbers: the first is the signal's, the fourth the sender's.
        let mut info = [0_u8; 128];
        let len = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut info)).ok()?;
        let (number, sender) = (info.first_chunk::<4>()?, info.get(12..)?.first_chunk::<4>()?);
        let (number, sender) = (i32::from_ne_bytes(*number), i32::from_ne_bytes(*sender));
        (len == info.len()).then_some((number, Pid::from_raw(sender)))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The signal of a number from 1 to 64, also a real-time one.
pub fn from_number(number: u32) -> Option<Signal> {
    let raw = NonZeroI32::new(i32::try_from(number).ok().filter(|_| number <= HIGHEST)?)?;
    // SAFETY: it is only ever sent, which is safe with any number; libc's own (32 to 34) mean nothing to other
    // programs' threads than what their sender could do by himself.
    Some(unsafe { Signal::from_raw_nonzero_unchecked(raw) })
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpid, kill_process};

    use super::super::process::tests::in_child;
    use super::*;

    #[test]
    fn signals_are_numbered_from_1_to_64() {
        assert!(from_number(0).is_none());
        assert!(from_number(65).is_none());
        assert!(from_number(u32::MAX).is_none());
        assert!((1..=64).all(|number| from_number(number).is_some_and(|s| s.as_raw() == number as i32)));
    }

    #[test]
    fn a_signal_waits_until_it_is_read_and_tells_its_sender() {
        let ended = in_child(|| {
            take_over();
            let Ok(signals) = Signals::open(&HANDLED) else { return 1 };
            let own = getpid();
            if signals.next().is_some() || kill_process(own, Signal::TERM).is_err() {
                return 2;
            }
            match signals.next_from() {
                Some((number, Some(sender))) if number == Signal::TERM.as_raw() && sender == own => {}
                _ => return 3,
            }
            // To a command it is as deadly as ever.
            restore_for_command();
            let _ = kill_process(own, Signal::TERM);
            4
        });
        assert_eq!(ended, Err(Signal::TERM.as_raw()));
    }
}
