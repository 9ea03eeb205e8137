//! Owns reading directories and small files of a guest by `get` (`docs/PROTOCOL.md`, R-10.12), and writing into what is there.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::MemfdFlags;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::items::{Kind, Meta};

use super::listing::Entry;
use crate::client::Client;
use crate::error::{Error, Failure};
use crate::transfer::{Answer, Fetched};

const ENOENT: u32 = rustix::io::Errno::NOENT.raw_os_error().unsigned_abs();

/// What a directory holds.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// What is known of each entry.
    pub entries: Vec<Entry>,
    /// What could not be looked at, by its path from the directory on, and why. Hostile bytes.
    pub problems: Vec<(Vec<u8>, Failure)>,
}

impl Client {
    /// What is in a directory; or, where `path` is no directory or `is_itself`, what is known of it itself.
    ///
    /// # Errors
    /// [`Error::Failed`] where nothing is known of it; those of every request.
    pub fn list(&mut self, path: &OsStr, is_itself: bool) -> Result<Listed, Error> {
        let flags =
            if is_itself { flag::META | flag::NO_FOLLOW } else { flag::META | flag::TREE | flag::SHALLOW };
        let answers = self.fetch(path, flags, &[], None).map_err(|error| failed("look at", path, error))?;
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Answer::Entry(fetched) if fetched.path.is_empty() => {
                    if is_itself || fetched.meta.kind() != Kind::Directory {
                        entries.push(entry(Fetched { path: path.as_bytes().to_vec(), ..fetched }));
                    }
                }
                Answer::Entry(fetched) => entries.push(entry(fetched)),
                // It vanished between its name and a look at it.
                Answer::Problem(_, Failure { errno: ENOENT, .. }) => {}
                Answer::Problem(inside, failure) => problems.push((inside, failure)),
                Answer::Attribute(..) | Answer::Leave(_) => {}
            }
        }
        Ok(Listed { entries, problems })
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be read; [`Error::TooMuch`] of one that is not small; those of every request.
    pub fn read_file(&mut self, path: &OsStr) -> Result<Vec<u8>, Error> {
        let answers = self.fetch(path, 0, &[], None).map_err(|error| failed("read", path, error))?;
        answers
            .into_iter()
            .find_map(|answer| match answer {
                Answer::Entry(fetched) => Some(Ok(fetched.content)),
                Answer::Problem(_, Failure { errno, .. }) if errno != 0 => {
                    Some(Err(failure("read", path, errno)))
                }
                _ => None,
            })
            .unwrap_or(Err(Error::Garbled))
    }

    /// Writes into a file that is there, from its beginning: a setting of /proc or /sys, a device.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be written; those of every request.
    pub fn write_file(&mut self, path: &OsStr, content: &[u8]) -> Result<(), Error> {
        let here = |error: std::io::Error| Error::local("use", "memory")(error);
        let memory = rustix::fs::memfd_create("vsock-shell", MemfdFlags::CLOEXEC);
        let mut file = File::from(memory.map_err(|errno| here(errno.into()))?);
        file.write_all(content).and_then(|()| file.rewind()).map_err(here)?;
        self.put_in_place(file, content.len() as u64, path).map_err(|error| match error {
            Error::Failed(Failure { errno, .. }) => failure("write", path, errno),
            error => failed("write", path, error),
        })
    }

    /// Reads the files of these names in one directory, all together.
    ///
    /// # Errors
    /// Those of every request; what is wrong with one file stands in its place.
    pub fn read_files(
        &mut self,
        folder: &OsStr,
        names: &[CString],
    ) -> Result<Vec<Result<Vec<u8>, Failure>>, Error> {
        let answers = self.fetch_contents(folder, names)?;
        if answers.len() == names.len() { Ok(answers) } else { Err(Error::Garbled) }
    }
}

fn entry(fetched: Fetched) -> Entry {
    let Fetched { meta, path, target, .. } = fetched;
    let Meta { mode, links, owner, group, size, modified, inode, device, blocks, .. } = meta;
    let is_device = meta.kind() == Kind::Device;
    Entry {
        name: path,
        mode,
        links,
        owner,
        group,
        size: if is_device { 0 } else { size },
        device_number: if is_device { (size as u32, (size >> 32) as u32) } else { (0, 0) },
        modified: (modified.seconds, modified.nanoseconds),
        inode,
        device,
        blocks,
        target: (meta.kind() == Kind::Symlink).then_some(target),
    }
}

/// What the guest refuses is a failure of what was asked, in words of ours.
fn failed(what: &str, path: &OsStr, error: Error) -> Error {
    match error {
        Error::Refused(refusal) if refusal.errno != 0 => failure(what, path, refusal.errno),
        error => error,
    }
}

fn failure(what: &str, path: &OsStr, errno: u32) -> Error {
    Failure { errno, text: [what.as_bytes(), b" ", path.as_bytes()].concat() }.into()
}
