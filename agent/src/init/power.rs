//! The end of the machine: who asks for which, and what is done about file systems before `reboot(2)`.

use core::ffi::CStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::system::RebootCommand;

use crate::account::Lines;
use crate::session::verb::Verb;

/// Rounds of unmounting: one for each level at which mounts lie above each other.
const ROUNDS_MAX: usize = 8;

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is switched off.
    PowerOff,
    /// It starts again.
    Reboot,
    /// It stands still.
    Halt,
}

impl Action {
    /// The action of a verb (`R-9.11`).
    pub fn of_verb(verb: Verb) -> Option<Self> {
        match verb {
            Verb::PowerOff => Some(Self::PowerOff),
            Verb::Reboot => Some(Self::Reboot),
            Verb::Halt => Some(Self::Halt),
            _ => None,
        }
    }

    /// The action of a signal to process 1: what the kernel sends for Ctrl-Alt-Del and a failing power supply, and what
    /// other inits use.
    pub fn of_signal(number: i32) -> Option<Self> {
        let is = |signal: Signal| number == signal.as_raw();
        if is(Signal::TERM) || is(Signal::POWER) {
            Some(Self::PowerOff)
        } else if is(Signal::INT) {
            Some(Self::Reboot)
        } else if is(Signal::USR1) {
            Some(Self::Halt)
        } else {
            None
        }
    }

    /// The signal that asks process 1 for it where that is the agent.
    pub const fn signal(self) -> Signal {
        match self {
            Self::PowerOff => Signal::TERM,
            Self::Reboot => Signal::INT,
            Self::Halt => Signal::USR1,
        }
    }

    /// Ends the machine now: everything that is not on its disks is lost.
    ///
    /// # Errors
    /// Of `reboot(2)`: EPERM without CAP_SYS_BOOT.
    pub fn perform(self) -> Errno {
        let command = match self {
            Self::PowerOff => RebootCommand::PowerOff,
            Self::Reboot => RebootCommand::Restart,
            Self::Halt => RebootCommand::Halt,
        };
        rustix::system::reboot(command).err().unwrap_or(Errno::INVAL)
    }
}

/// Writes everything to the disks, then unmounts what can be and makes the others read-only. Nothing runs any more.
pub fn leave_file_systems() {
    rustix::fs::sync();
    for _ in 0..ROUNDS_MAX {
        if !for_each_mount(&mut |_, at| rustix::mount::unmount(at, UnmountFlags::NOFOLLOW).is_ok()) {
            break;
        }
    }
    for_each_mount(&mut |device, at| {
        // What has no device has nothing to lose.
        device.starts_with(b"/") && rustix::mount::mount_remount(at, MountFlags::RDONLY, c"").is_ok()
    });
}

/// Calls `act` with the device and the place of each mount; whether it did anything once.
fn for_each_mount(act: &mut dyn FnMut(&[u8], &CStr) -> bool) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(c"/proc/self/mounts", flags, Mode::empty()) else { return false };
    let mut buffer = [0; 4096];
    let mut lines = Lines::new(&mut buffer);
    let mut acted = false;
    while let Some(line) = lines.next(&mut |room: &mut [u8]| rustix::io::read(&file, room)) {
        let mut fields = line.split(|&byte| byte == b' ');
        let (Some(device), Some(place)) = (fields.next(), fields.next()) else { continue };
        let mut memory = [0; 4096];
        if let Some(place) = unescape(place, &mut memory) {
            acted |= act(device, place);
        }
    }
    acted
}

/// A path of /proc/mounts, in which blanks and backslashes are written in octal, see `getmntent(3)`.
fn unescape<'m>(text: &[u8], memory: &'m mut [u8]) -> Option<&'m CStr> {
    let mut rest = text;
    let mut len = 0;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.split_first_chunk::<3>().filter(|_| byte == b'\\');
        let decode = |digits: &[u8; 3]| digits.iter().fold(0, |number, digit| number << 3 | (digit & 7));
        let (byte, tail) = digits.map_or((byte, tail), |(digits, tail)| (decode(digits), tail));
        *memory.get_mut(len)? = byte;
        rest = tail;
        len += 1;
    }
    *memory.get_mut(len)? = 0;
    CStr::from_bytes_until_nul(memory).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_its_signal() {
        for action in [Action::PowerOff, Action::Reboot, Action::Halt] {
            assert_eq!(Action::of_signal(action.signal().as_raw()), Some(action));
        }
        assert_eq!(Action::of_signal(Signal::POWER.as_raw()), Some(Action::PowerOff));
        assert_eq!(Action::of_signal(Signal::HUP.as_raw()), None);
    }
    #[test]
    fn blanks_in_paths_of_mounts_are_octal() {
        let mut memory = [0xFF; 12];
        assert_eq!(unescape(b"/a\\040b\\134", &mut memory), Some(c"/a b\\"));
        assert_eq!(unescape(b"/", &mut memory), Some(c"/"));
        assert_eq!(unescape(b"", &mut memory), Some(c""));
        assert_eq!(unescape(b"\\04", &mut memory), Some(c"\\04"));
        assert_eq!(unescape(b"/23456789ab", &mut memory), Some(c"/23456789ab"));
        assert_eq!(unescape(b"/23456789abc", &mut memory), None);
    }
}
