//! Into the root that process 1 has: moving mounts, as `switch_root(8)` does, moves nobody but who does it.
//!
//! A descriptor on /proc that was opened at the start leads there whatever became of the name. Only who shared the root of
//! process 1 at the start follows it: an agent in a chroot stays there.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::sys::descriptor;

/// The number of the descriptor on /proc; 0 where nobody is followed.
static PROC: AtomicI32 = AtomicI32::new(0);

const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Remembers where process 1 can be found, if it has the same root as we.
#[inline(never)]
pub fn remember() {
    let Ok(proc) = rustix::fs::open(c"/proc", FLAGS, Mode::empty()) else { return };
    if PROC.load(Relaxed) == 0 && matches!(root_of_init(proc.as_fd()), Ok((_, true))) {
        PROC.store(descriptor::leak(proc), Relaxed);
    }
}

/// Takes on the root of process 1 where it is another one, and goes to its top. Before the rights to do so are dropped.
#[inline(never)]
pub fn follow() {
    let number = PROC.load(Relaxed);
    if number == 0 {
        return;
    }
    let found = descriptor::duplicate(number).and_then(|proc| root_of_init(proc.as_fd()));
    if let Ok((root, false)) = found
        && rustix::process::fchdir(root).is_ok()
    {
        let _ = rustix::process::chroot(c".");
    }
}

/// The root of process 1, and whether it is ours.
#[inline(never)]
fn root_of_init(proc: BorrowedFd<'_>) -> Result<(OwnedFd, bool), Errno> {
    let look = |path: &CStr| rustix::fs::stat(path);
    let root = rustix::fs::openat(proc, c"1/root", FLAGS, Mode::empty())?;
    let id = |stat: Stat| (stat.st_dev, stat.st_ino);
    let is_ours = id(rustix::fs::fstat(&root)?) == id(look(c"/")?);
    Ok((root, is_ours))
}
