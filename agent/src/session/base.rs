//! Where the paths of a request start, and how far they lead: from the home directory to anywhere, or, for an agent that
//! serves one directory, never out of that (`R-9.14`).

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::transfer::Failed;
use super::walk::Name;
use crate::path::{self, PathBuffer};

/// A directory that is only there to start paths from.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Times that the kernel may say that somebody renamed something meanwhile, `openat2(2)`.
const RACES_MAX: u32 = 128;

/// What paths start from.
pub struct Base {
    folder: OwnedFd,
    /// They do not lead out of it.
    is_confined: bool,
}

impl Base {
    /// The directory that the agent serves, or the home directory, or `/` where there is none.
    ///
    /// # Errors
    /// Neither can be opened.
    pub fn open(root: Option<&CStr>, home: &[u8]) -> Result<Self, Failed> {
        let open = |path: &CStr| rustix::fs::open(path, FOLDER, Mode::empty());
        let folder = match root {
            Some(root) => open(root).map_err(Failed::to(c"open the directory that is served")),
            None => PathBuffer::new()
                .join(&[home])
                .and_then(open)
                .or_else(|_| open(c"/"))
                .map_err(Failed::to(c"open the home directory")),
        }?;
        Ok(Self { folder, is_confined: root.is_some() })
    }

    /// Paths do not lead out of it.
    pub fn is_confined(&self) -> bool {
        self.is_confined
    }

    /// Starts from a directory inside.
    ///
    /// # Errors
    /// It cannot be opened, or is none.
    pub fn descend(&mut self, path: &CStr) -> Result<(), Errno> {
        self.folder = self.at(path, FOLDER)?;
        Ok(())
    }

    /// Starts from a directory inside, and leads nowhere out of that.
    ///
    /// # Errors
    /// As for [`Self::descend`].
    pub fn enclose(&mut self, path: &CStr) -> Result<(), Errno> {
        self.descend(path)?;
        self.is_confined = true;
        Ok(())
    }

    /// Opens what is at `path`.
    ///
    /// # Errors
    /// See `open(2)`; EXDEV or ELOOP where it would lead out of what is served.
    pub fn at(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        if self.is_confined {
            beneath(self.folder.as_fd(), path, flags)
        } else {
            let path = if path.is_empty() { c"." } else { path };
            rustix::fs::openat(&self.folder, path, flags | OFlags::CLOEXEC, Mode::empty())
        }
    }

    /// The directory that a path's last component is in, and that component. Slashes at the end do not count.
    ///
    /// # Errors
    /// The directory cannot be opened; ENAMETOOLONG; EINVAL where the path ends in nothing that can be made or removed.
    pub fn parent(&self, path: &CStr) -> Result<(OwnedFd, Name), Errno> {
        let mut path = path.to_bytes();
        while let [front @ .., b'/'] = path {
            path = front;
        }
        let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, last) = path.split_at(at);
        if matches!(last, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        let mut buffer = PathBuffer::new();
        let parent = buffer.join(&[if parent.is_empty() { b"." } else { parent }])?;
        let folder = self.at(parent, FOLDER)?;
        Ok((folder, name(last)?))
    }
}

impl AsFd for Base {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// A name with its NUL.
///
/// # Errors
/// EINVAL where it is no single component, ENAMETOOLONG.
pub fn name(bytes: &[u8]) -> Result<Name, Errno> {
    if matches!(bytes, b"" | b"." | b"..") || path::has(bytes, b'/') {
        return Err(Errno::INVAL);
    }
    let mut name = Name::new_const();
    let fits = name.try_extend_from_slice(bytes).is_ok() && name.try_push(0).is_ok();
    if fits { Ok(name) } else { Err(Errno::NAMETOOLONG) }
}

/// Opens what is beneath a directory; no symbolic link is followed on the way.
///
/// # Errors
/// See `openat2(2)`.
pub fn beneath(folder: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut bytes = path.to_bytes_with_nul();
    while let [b'/', rest @ ..] = bytes {
        bytes = rest;
    }
    let path = if bytes == b"\0" { c"." } else { CStr::from_bytes_until_nul(bytes).unwrap_or(c".") };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for _ in 0..RACES_MAX {
        match rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Before Linux 5.6; or forbidden by who started us, who may not know it.
            Err(Errno::NOSYS | Errno::PERM) => return stepwise(folder, path, flags),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// The same, by one component after the other.
fn stepwise(folder: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at = rustix::fs::openat(folder, c".", FOLDER, Mode::empty())?;
    let mut components =
        path.to_bytes().split(|&byte| byte == b'/').filter(|&part| part != b"" && part != b".");
    let mut component = components.next();
    let mut buffer = PathBuffer::new();
    while let Some(part) = component {
        if part == b".." {
            return Err(Errno::XDEV);
        }
        component = components.next();
        let flags = if component.is_some() { FOLDER } else { flags };
        at = rustix::fs::openat(&at, buffer.join(&[part])?, flags | OFlags::NOFOLLOW, Mode::empty())?;
        if component.is_none() {
            return Ok(at);
        }
    }
    rustix::fs::openat(&at, c".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of the test's own with a file, a directory, and links out of it.
    fn folder(test: &str) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(std::format!("vsock-shell-base-{}-{test}", std::process::id()));
        std::fs::create_dir_all(folder.join("d")).unwrap();
        std::fs::write(folder.join("d/f"), "f").unwrap();
        symlink("/etc", folder.join("out")).unwrap();
        symlink("d", folder.join("in")).unwrap();
        folder
    }

    #[test]
    fn r_9_14_nothing_leads_out_whatever_the_kernel_has() {
        let path = folder("out");
        let opened = rustix::fs::open(path.to_str().unwrap(), FOLDER, Mode::empty()).unwrap();
        let folder = opened.as_fd();
        for open in [beneath, stepwise] {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            let open = |path| open(folder, path, flags);
            assert!(
                open(c"d/f").is_ok() && open(c"d").is_ok() && open(c".").is_ok() && open(c"./d//f").is_ok()
            );
            assert_eq!(open(c"d/../../x").err(), Some(Errno::XDEV));
            assert_eq!(open(c"..").err(), Some(Errno::XDEV));
            assert!(matches!(open(c"out/passwd").err(), Some(Errno::LOOP | Errno::NOTDIR)));
            assert!(matches!(open(c"in/f").err(), Some(Errno::LOOP | Errno::NOTDIR)));
            assert_eq!(open(c"out").err(), Some(Errno::LOOP));
        }
        assert!(beneath(folder, c"//d/f", OFlags::RDONLY).is_ok());
        assert_eq!(beneath(folder, c"/etc/passwd", OFlags::RDONLY).err(), Some(Errno::NOENT));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_parent_is_that_of_the_last_component() {
        let path = folder("parent");
        let base = Base::open(None, path.to_str().unwrap().as_bytes()).ok().unwrap();
        let name_of = |path| base.parent(path).map(|(_, name)| name.to_vec());
        assert_eq!(name_of(c"d/f"), Ok(b"f\0".to_vec()));
        assert_eq!(name_of(c"d/new//"), Ok(b"new\0".to_vec()));
        assert_eq!(name_of(c"new"), Ok(b"new\0".to_vec()));
        assert_eq!(name_of(c"no/x"), Err(Errno::NOENT));
        for none in [c"", c"/", c".", c"d/.."] {
            assert_eq!(name_of(none), Err(Errno::INVAL));
        }
        std::fs::remove_dir_all(path).unwrap();
    }
}
