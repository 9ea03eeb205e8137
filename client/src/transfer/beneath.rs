//! Owns how what is inside a directory is opened: never outside of it, and never through a symbolic link (`openat2(2)`),
//! whatever a guest has sent before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// A directory that is only there to start from.
pub(super) const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Times that the kernel may say that somebody renamed something meanwhile.
const RACES_MAX: u32 = 128;

/// Opens what is at `path` beneath `folder`.
///
/// # Errors
/// See `openat2(2)`: EXDEV where it would lead out of the directory, ELOOP where it is a symbolic link or leads through one.
pub(super) fn open_beneath(
    folder: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for _ in 0..RACES_MAX {
        match openat2(folder, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Before Linux 5.6; EPERM from a sandbox that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => return stepwise(folder, path, flags, mode),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// The same where the kernel has no `openat2`: one component after the other.
fn stepwise(folder: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut components = path.components().filter(|component| *component != Component::CurDir).peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else { return Err(Errno::XDEV) };
        let (flags, mode) = if components.peek().is_some() { (FOLDER, Mode::empty()) } else { (flags, mode) };
        let from = at.as_ref().map_or(folder, AsFd::as_fd);
        at = Some(openat(from, name, flags | OFlags::NOFOLLOW, mode)?);
    }
    match at {
        Some(opened) => Ok(opened),
        None => openat(folder, c".", flags, mode),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_with_or_without_openat2() {
        let path = std::env::temp_dir().join(format!("vsock-shell-beneath-{}", std::process::id()));
        fs::create_dir_all(path.join("d")).unwrap();
        fs::write(path.join("d/f"), "f").unwrap();
        symlink("/etc", path.join("out")).unwrap();
        symlink("d", path.join("in")).unwrap();
        let folder = fs::File::open(&path).unwrap();
        for open in [open_beneath, stepwise] {
            let open = |path| open(folder.as_fd(), Path::new(path), OFlags::RDONLY, Mode::empty());
            for inside in ["d/f", "d", ".", "./d//f"] {
                assert!(open(inside).is_ok(), "{inside}");
            }
            for outside in ["/etc/passwd", "..", "d/../../x"] {
                assert_eq!(open(outside).err(), Some(Errno::XDEV), "{outside}");
            }
            for link in ["out/passwd", "in/f", "out"] {
                assert!(matches!(open(link).err(), Some(Errno::LOOP | Errno::NOTDIR)), "{link}");
            }
        }
        fs::remove_dir_all(path).unwrap();
    }
}
