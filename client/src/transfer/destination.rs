//! Owns where a download goes: which directory, under which name. The operand is the person's, and may be or lead through a
//! symbolic link; nothing that a guest names can.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::beneath::FOLDER;
use super::landing::{Folder, Landing, followed, is_marked};
use crate::error::Error;

/// Where the first entry goes.
pub(super) enum Place {
    /// Into a directory, under this name.
    In(Rc<Folder>, OsString),
    /// It is this directory.
    Itself(Rc<Folder>),
    /// A directory of this name may be made, and nothing else: this is wrong with the path.
    OnlyDirectory(Rc<Folder>, OsString, Errno),
    /// Something that is written as it comes, until it is taken.
    There(Option<Landing>),
}

impl Place {
    /// Finds where `to` is, or, where that is a directory, `name` in it. With `is_resumed`, one that is marked as incomplete is
    /// what is copied itself.
    pub(super) fn find(to: &Path, name: Option<&OsStr>, is_resumed: bool) -> Result<Self, Error> {
        if let Some(there) = Landing::there(to)? {
            return Ok(Self::There(Some(there)));
        }
        // One that a copy before has not completed is gone on with, and not gone into.
        if to.is_dir() && !(is_resumed && is_marked(to, name)) {
            let folder = Rc::new(Folder { fd: open(to)?, path: to.to_owned(), is_new: false });
            let Some(name) = name else { return Ok(Self::Itself(folder)) };
            // A link in it may be a guest's: it is replaced, and not followed. So may a pipe be, that nobody reads.
            let inside = to.join(name);
            let kind = inside.symlink_metadata().map(|there| there.file_type());
            if kind.is_ok_and(|kind| kind.is_block_device() || kind.is_char_device())
                && let Some(there) = Landing::there(&inside)?
            {
                return Ok(Self::There(Some(there)));
            }
            return Ok(Self::In(folder, name.to_owned()));
        }
        let ends_in_slash = to.as_os_str().as_bytes().ends_with(b"/");
        let Some(name) = to.file_name().filter(|_| !to.as_os_str().is_empty()) else {
            let errno = if to.exists() { Errno::NOTDIR } else { Errno::NOENT };
            return Err(Error::local("write", to)(errno.into()));
        };
        if ends_in_slash {
            let errno =
                if to.exists() || to.with_file_name(name).exists() { Errno::NOTDIR } else { Errno::NOENT };
            let parent = parent_of(to);
            let folder = Rc::new(Folder { fd: open(&parent)?, path: parent, is_new: false });
            return Ok(Self::OnlyDirectory(folder, name.to_owned(), errno));
        }
        let path = followed(to.to_owned());
        let parent = parent_of(&path);
        let folder = Rc::new(Folder { fd: open(&parent)?, path: parent, is_new: false });
        Ok(Self::In(folder, path.file_name().unwrap_or(name).to_owned()))
    }

    /// The directory that it is or is in.
    pub(super) fn folder(&self) -> Option<&Rc<Folder>> {
        match self {
            Self::In(folder, _) | Self::Itself(folder) | Self::OnlyDirectory(folder, ..) => Some(folder),
            Self::There(_) => None,
        }
    }
}

fn open(path: &Path) -> Result<rustix::fd::OwnedFd, Error> {
    rustix::fs::open(path, FOLDER, Mode::empty()).map_err(|errno| Error::local("open", path)(errno.into()))
}

/// The directory that something is in.
pub(super) fn parent_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned()
}
