//! The file systems that a system cannot do without, and the links in /dev that programs expect.

use core::ffi::CStr;

use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxAttributes, StatxFlags, makedev};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::log;

struct Mount {
    kind: &'static CStr,
    at: &'static CStr,
    flags: MountFlags,
    data: &'static CStr,
}

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// What everybody needs, in this order.
const SYSTEM: [Mount; 4] = [
    Mount { kind: c"proc", at: c"/proc", flags: QUIET.union(MountFlags::NOEXEC), data: c"" },
    Mount { kind: c"sysfs", at: c"/sys", flags: QUIET.union(MountFlags::NOEXEC), data: c"" },
    Mount { kind: c"devtmpfs", at: c"/dev", flags: MountFlags::NOSUID, data: c"mode=755" },
    Mount {
        kind: c"devpts",
        at: c"/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        // Group 5 is tty's, as everywhere.
        data: c"gid=5,mode=620,ptmxmode=666",
    },
];

/// What belongs to the init that we are, not to one that comes after us.
const OURS: [Mount; 2] = [
    Mount { kind: c"tmpfs", at: c"/run", flags: QUIET, data: c"mode=755" },
    Mount { kind: c"tmpfs", at: c"/tmp", flags: QUIET, data: c"mode=1777" },
];

/// Names in /dev that lead to a process's own descriptors.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// Mounts what is missing of what everybody needs, and completes /dev.
pub fn mount_system() {
    mount_missing(&SYSTEM);
    for (target, link) in LINKS {
        // It is there already, or cannot be made; either way somebody else will say so.
        let _ = rustix::fs::symlink(target, link);
    }
    let mode = Mode::from_raw_mode(0o666);
    let _ = rustix::fs::mknodat(CWD, c"/dev/null", FileType::CharacterDevice, mode, makedev(1, 3));
}

/// Mounts what is missing of an init's own.
pub fn mount_own() {
    mount_missing(&OURS);
}

#[inline(never)]
fn mount_missing(table: &[Mount]) {
    for mount in table {
        let _ = rustix::fs::mkdir(mount.at, Mode::from_raw_mode(0o755));
        if is_mount_point(mount.at) {
            continue;
        }
        match rustix::mount::mount(mount.kind, mount.at, mount.kind, mount.flags, mount.data) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(errno) => log::failure(c"mount", mount.at.to_bytes(), errno),
        }
    }
}

/// Whether something is mounted there, as far as the kernel says so, which it does since Linux 5.8. Before, a second proc, sysfs
/// or devtmpfs in the same place is refused anyway.
fn is_mount_point(path: &CStr) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_a_mount_point_and_its_folders_are_none() {
        assert!(is_mount_point(c"/proc"));
        assert!(!is_mount_point(c"/proc/self"));
        assert!(!is_mount_point(c"/no/such/place"));
    }
}
