//! Owns `--delete`: what is at the destination and did not come is removed. On either side it is named from the destination
//! on, through directories and never through a link, so that whoever owns one of them leads nothing elsewhere meanwhile.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use vsock_shell_proto::fields::flag;

use super::beneath::{FOLDER, open_beneath};
use super::compare::join;
use super::destination::Place;
use super::fetch::Answer;
use super::metadata::{keep_time, meta_of};
use super::report::Report;
use super::source::{Found, Tree};
use crate::client::Client;
use crate::error::{Error, Failure};
use crate::invocation::CopyOptions;
use crate::signals::{Signals, interrupted};

const ENOENT: u32 = Errno::NOENT.raw_os_error().unsigned_abs();
const ENOTEMPTY: u32 = Errno::NOTEMPTY.raw_os_error().unsigned_abs();

/// Where an upload has ended up.
pub(super) struct End {
    /// A path of the guest's, or the directory that it went into.
    pub(super) path: OsString,
    /// Its name in that directory.
    pub(super) name: Option<OsString>,
}

impl End {
    /// Where that is.
    pub(super) fn whole(&self) -> OsString {
        match &self.name {
            Some(name) => join(&self.path, name.as_bytes()),
            None => self.path.clone(),
        }
    }
}

impl Client {
    /// Removes what the guest has beneath `end` and `came` has not.
    pub(super) fn remove_others(
        &mut self,
        end: &End,
        came: &HashSet<Vec<u8>>,
        options: &CopyOptions,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Error> {
        // The operand itself may be a link.
        let no_follow = if end.name.is_some() { flag::NO_FOLLOW } else { 0 };
        let flags = flag::TREE | flag::META | no_follow;
        let listed = self.fetch(&end.whole(), flags, &options.excludes, Some(signals))?;
        let paths = listed.into_iter().filter_map(|answer| match answer {
            Answer::Entry(entry) if !entry.path.is_empty() => Some(entry.path),
            // What cannot be opened can be removed.
            Answer::Problem(path, Failure { errno: 1.., .. }) if !path.is_empty() => Some(path),
            _ => None,
        });
        let mut met = HashSet::new();
        let paths = paths.filter(|path| met.insert(path.clone()));
        let tree = if options.excludes.is_empty() { flag::TREE } else { 0 };
        let flags = if keeps_times(options) { tree | flag::KEEP_TIME } else { tree };
        for path in too_much(paths, came, options) {
            let inside = match &end.name {
                Some(name) => join(name, &path),
                None => OsStr::from_bytes(&path).to_owned(),
            };
            match self.remove_inside(&end.path, Some(&inside), flags, Some(signals)) {
                // What is excluded is in it; or it is gone.
                Err(Error::Failed(Failure { errno: ENOTEMPTY | ENOENT, .. })) => {}
                Ok(problems) => {
                    for (inside, failure) in &problems {
                        let path = join(OsStr::from_bytes(&path), inside);
                        report.told(failure.errno, path.as_bytes(), &failure.text);
                    }
                    if problems.is_empty() {
                        report.removed();
                    }
                }
                Err(error @ (Error::Refused(_) | Error::Failed(_))) => {
                    report.problem(&path, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Removes what is here beneath the destination and did not come.
pub(super) fn remove_others_here(
    place: &Place,
    came: &HashSet<Vec<u8>>,
    options: &CopyOptions,
    signals: &mut Signals,
    report: &mut Report,
) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let (opened, at) = match place {
        Place::In(folder, name) | Place::OnlyDirectory(folder, name, _) => {
            (folder.open(name, flags), folder.path_of(name))
        }
        Place::Itself(folder) => {
            (open_beneath(folder.fd.as_fd(), Path::new(""), flags, Mode::empty()), folder.path.clone())
        }
        Place::There(_) => return Ok(()),
    };
    let failed = |what| {
        let at = &at;
        move |errno: Errno| Error::local(what, at)(errno.into())
    };
    let base = opened.map_err(failed("open"))?;
    let walked = rustix::io::fcntl_dupfd_cloexec(&base, 0).map_err(failed("open"))?;
    let mut tree = Tree::of(walked, &options.excludes).map_err(|(what, errno)| failed(what)(errno))?;
    let mut paths = Vec::new();
    while tree.depth() > 0 {
        interrupted()?;
        match tree.next() {
            Ok(Found::End) => drop(tree.leave()),
            Ok(Found::LeftOut("")) => {}
            // What cannot be opened can be removed.
            Ok(_) | Err(_) => paths.push(tree.path().to_vec()),
        }
    }
    for path in too_much(paths.into_iter(), came, options) {
        signals.ended()?;
        match remove(base.as_fd(), Path::new(OsStr::from_bytes(&path)), options) {
            Ok(()) => report.removed(),
            // What is excluded is in it.
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => report.problem(&path, format!("cannot remove: {}", crate::text::reason(&error))),
        }
    }
    Ok(())
}

/// Removes what is at a path beneath `base`; where nothing is excluded, a directory with what is in it.
fn remove(base: BorrowedFd<'_>, path: &Path, options: &CopyOptions) -> std::io::Result<()> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let folder = open_beneath(base, path.parent().unwrap_or_else(|| Path::new("")), FOLDER, Mode::empty())?;
    let before = meta_of(&rustix::fs::fstat(&folder)?);
    let there = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
    } else if options.excludes.is_empty() {
        // It follows no link at the end of a path, nor inside.
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        path.push(name);
        std::fs::remove_dir_all(path)?;
    } else {
        rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?;
    }
    if keeps_times(options) { keep_time(folder.as_fd(), &before) } else { Ok(()) }
}

/// Directories have the times of their sources, and not that of the removal.
fn keeps_times(options: &CopyOptions) -> bool {
    options.is_preserving || options.is_resumed
}

/// The paths that are not in `came`, in the order in which they are removed. Where nothing is excluded, without those that are
/// inside another one, which goes as a whole; else each for itself, and a directory behind what is in it.
fn too_much(
    paths: impl Iterator<Item = Vec<u8>>,
    came: &HashSet<Vec<u8>>,
    options: &CopyOptions,
) -> Vec<Vec<u8>> {
    let parent_came = |path: &[u8]| match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => came.contains(path.get(..at).unwrap_or_default()),
        None => true,
    };
    let others = paths.filter(|path| !came.contains(path));
    if options.excludes.is_empty() {
        return others.filter(|path| parent_came(path)).collect();
    }
    let mut others: Vec<_> = others.collect();
    others.reverse();
    others
}
