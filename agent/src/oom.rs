//! When the guest runs out of memory: the agent is never what is killed for it, and keeps the pages that it has; what it runs
//! for clients is like everything else in the guest.
//!
//! Each function takes what it may and goes on without the rest: it needs root, and /proc.

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MlockAllFlags, mlockall};

/// The kernel never kills this process for memory, nor those that it forks, see `proc_pid_oom_score_adj(5)`.
pub fn exempt() {
    set_score(b"-1000");
}

/// This process can be killed again like any other. Not what it was before [`exempt`]: a service manager may have exempted the
/// agent already, and did not mean its commands.
pub fn expose() {
    set_score(b"0");
}

/// The pages that this process has touched, or touches from now on, stay in memory, see `mlockall(2)`. A fork has to do it again.
pub fn lock_pages() {
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
}

#[inline(never)]
fn set_score(score: &[u8]) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        let _ = rustix::io::write(file, score);
    }
}
