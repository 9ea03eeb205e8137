//! Owns what is done with files of a guest without a program in it (`docs/PROTOCOL.md`, R-9.12).
//!
//! `files` reads and lists, [`listing`] is how entries are shown, [`space`] how full a file system is. A relative path starts in the user's home.

mod files;
pub mod listing;
pub mod space;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use vsock_shell_proto::frame::ChannelKind;
use vsock_shell_proto::items::Kind;

use crate::client::Client;
use crate::error::{Error, Failure};
use crate::transfer::home_path;
use crate::verb::Verb;
pub use files::Listed;
use space::Space;

/// The mode that a new directory asks for; the guest takes its umask off.
const DIRECTORY_MODE: u64 = 0o777;

impl Client {
    /// Makes a directory.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be made; those of every request.
    pub fn make_directory(&mut self, path: &OsStr) -> Result<(), Error> {
        self.ask(ChannelKind::Fs, &mkdir(path, path)).map(drop)
    }

    /// Makes a directory and those that lead there. One that is there already is fine.
    ///
    /// # Errors
    /// As [`Self::make_directory`].
    pub fn make_directories(&mut self, path: &OsStr) -> Result<(), Error> {
        match self.make_if_missing(path, path) {
            Err(Error::Failed(failure)) if is(&failure, Errno::NOENT) => {}
            made => return made,
        }
        for leading in leading(path) {
            self.make_if_missing(&leading, path)?;
        }
        self.make_if_missing(path, path)
    }

    /// Makes a directory on the way to `about`, unless it is there.
    fn make_if_missing(&mut self, path: &OsStr, about: &OsStr) -> Result<(), Error> {
        let exists = match self.ask(ChannelKind::Fs, &mkdir(path, about)) {
            // The latter of `/` and of the home directory, which have no name that could be made.
            Err(Error::Failed(failure)) if is(&failure, Errno::EXIST) || is(&failure, Errno::INVAL) => {
                failure
            }
            made => return made.map(drop),
        };
        // What is there may be no directory.
        match self.stat(path, None)?.map(|meta| meta.kind()) {
            Some(Kind::Directory) => Ok(()),
            _ => Err(exists.into()),
        }
    }

    /// Removes a file, a link, or a directory that is empty. With what is in it: [`Self::remove_tree`].
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be removed; those of every request.
    pub fn remove(&mut self, path: &OsStr) -> Result<(), Error> {
        let phrase = ("remove", Some(path));
        let verb = Verb { name: "remove", path: Some(path), phrase, ..Verb::default() };
        self.ask(ChannelKind::Fs, &verb).map(drop)
    }

    /// Gives a file another name. A file of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Failed`] where that cannot be; those of every request.
    pub fn rename(&mut self, from: &OsStr, to: &OsStr) -> Result<(), Error> {
        let phrase = ("rename", Some(from));
        let verb =
            Verb { name: "rename", path: Some(from), arguments: &[home_path(to)], phrase, ..Verb::default() };
        self.ask(ChannelKind::Fs, &verb).map(drop)
    }

    /// Makes a symbolic link at `path` that holds `target`.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be made; those of every request.
    pub fn make_link(&mut self, target: &OsStr, path: &OsStr) -> Result<(), Error> {
        let phrase = ("make the link", Some(path));
        let verb =
            Verb { name: "symlink", path: Some(path), arguments: &[target], phrase, ..Verb::default() };
        self.ask(ChannelKind::Fs, &verb).map(drop)
    }

    /// Sets the permissions of a file: twelve bits.
    ///
    /// # Errors
    /// [`Error::Failed`] where they cannot be set; those of every request.
    pub fn set_mode(&mut self, path: &OsStr, mode: u32) -> Result<(), Error> {
        let values = &[mode.into()];
        let phrase = ("set the mode of", Some(path));
        let verb = Verb { name: "chmod", path: Some(path), values, phrase, ..Verb::default() };
        self.ask(ChannelKind::Fs, &verb).map(drop)
    }

    /// How much room there is in the file system that holds `path`.
    ///
    /// # Errors
    /// [`Error::Failed`] where nothing is known of it; those of every request.
    pub fn space(&mut self, path: &OsStr) -> Result<Space, Error> {
        let phrase = ("look at", Some(path));
        let verb = Verb { name: "statfs", path: Some(path), phrase, ..Verb::default() };
        self.ask(ChannelKind::Fs, &verb).map(|answer| Space::parse(path, &answer))
    }
}

fn mkdir<'a>(path: &'a OsStr, about: &'a OsStr) -> Verb<'a> {
    let phrase = ("make the directory", Some(about));
    Verb { name: "mkdir", path: Some(path), values: &[DIRECTORY_MODE], phrase, ..Verb::default() }
}

fn is(failure: &Failure, errno: Errno) -> bool {
    failure.errno == errno.raw_os_error().unsigned_abs()
}

/// The directories that lead to `path`, from the first one on.
fn leading(path: &OsStr) -> Vec<OsString> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let before = |&(at, byte): &(usize, &u8)| *byte == b'/' && at > 0 && bytes[at - 1] != b'/';
    let cut = |(at, _): (usize, &u8)| OsStr::from_bytes(&bytes[..at]).to_owned();
    bytes[..end].iter().enumerate().filter(before).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_a_path_comes_from_the_first_on() {
        let leading = |path: &str| {
            leading(OsStr::new(path)).iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(leading("/a/b//c"), ["/a", "/a/b"]);
        assert_eq!(leading("a/b/c/"), ["a", "a/b"]);
        assert!(["", "/", "//", "a", "/a", "a///"].iter().all(|path| leading(path).is_empty()));
    }
}
