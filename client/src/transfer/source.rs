//! Owns what is read on this side: one file, a stream, or a tree, entry by entry. Symbolic links are never followed, but
//! where the operand itself is one.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use vsock_shell_proto::glob::Excludes;
use vsock_shell_proto::items::{Kind, Meta, Timestamp, UNKNOWN, meta_flag};
use vsock_shell_proto::limits::TREE_DEPTH_MAX;

use super::metadata::meta_of;
use super::report::note;
use crate::error::Error;
use crate::stdio::Source;

/// The mode of what has none of its own.
const STREAM_MODE: u32 = 0o644;
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Where content comes from.
pub(super) enum Content {
    /// Reading it never waits for somebody.
    File(File),
    /// It may.
    Stream {
        /// The stream.
        source: Source,
        /// Reading it may get us somewhere.
        is_ready: bool,
    },
}

/// What comes next.
pub(super) enum Found {
    /// A file with content. For a block device or a stream, as much as there is.
    File { content: Content, meta: Meta },
    /// A directory, with what is in it: the walk is in it now.
    Directory { meta: Meta },
    /// A symbolic link, a FIFO, a device, or another name of a file, whose path stands as the target.
    Other { meta: Meta, target: Vec<u8> },
    /// The end of the innermost directory.
    End,
    /// Nothing is sent of it, for this reason.
    LeftOut(&'static str),
}

/// What could not be read: what was tried, and why it failed.
pub(super) type Problem = (&'static str, Errno);

/// A tree on this side.
pub(super) struct Tree {
    levels: Vec<Level>,
    /// Of the latest entry, from the first directory on.
    path: Vec<u8>,
    name: CString,
    preserves: bool,
    /// Patterns, each with its NUL.
    excludes: Vec<u8>,
    /// Paths of files that have more names than one.
    links: HashMap<(u64, u64), Vec<u8>>,
}

struct Level {
    folder: OwnedFd,
    names: Dir,
    path_len: usize,
}

/// What is sent.
pub(super) struct Origin {
    pub(super) first: Found,
    pub(super) tree: Tree,
    /// As messages call it.
    pub(super) name: String,
}

impl Origin {
    /// What is at `path`: with `is_recursive` a directory is sent as a whole, and a symbolic link as itself.
    pub(super) fn open(
        path: &Path,
        is_recursive: bool,
        preserves: bool,
        excludes: &[std::ffi::OsString],
    ) -> Result<Self, Error> {
        let failed = |what| Error::local(what, path);
        let excludes = joined(excludes);
        let mut tree = Tree {
            levels: Vec::new(),
            path: Vec::new(),
            name: CString::default(),
            preserves,
            excludes,
            links: HashMap::new(),
        };
        let follow = if is_recursive { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        let stat = rustix::fs::statat(rustix::fs::CWD, path, follow)
            .map_err(|errno| failed("open")(errno.into()))?;
        let first = match Kind::of_mode(stat.st_mode) {
            Kind::Directory if !is_recursive => {
                return Err(Error::IsDirectory);
            }
            Kind::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = rustix::fs::open(path, flags, Mode::empty());
                let folder = folder.map_err(|errno| failed("open")(errno.into()))?;
                tree.enter(folder).map_err(|(what, errno)| failed(what)(errno.into()))?
            }
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(rustix::fs::CWD, path, Vec::new());
                let target = target.map_err(|errno| failed("read")(errno.into()))?;
                Found::Other { meta: tree.meta_of(&stat), target: target.into_bytes() }
            }
            Kind::File => {
                let no_follow = if is_recursive { OFlags::NOFOLLOW } else { OFlags::empty() };
                let file = open_file(path, no_follow).map_err(|errno| failed("open")(errno.into()))?;
                let stat = rustix::fs::fstat(&file).map_err(|errno| failed("open")(errno.into()))?;
                Found::File { content: Content::File(file), meta: tree.file(&stat) }
            }
            _ => {
                let file = File::open(path).map_err(failed("open"))?;
                Self::special(file, &stat).map_err(failed("read"))?
            }
        };
        let name = crate::text::escape(path.as_os_str().as_bytes()).into_owned();
        Ok(Self { first, tree, name })
    }

    /// A file without a name.
    pub(super) fn file(file: File, size: u64) -> Self {
        let meta = Meta::file(STREAM_MODE, if size == 0 { UNKNOWN } else { size }, Timestamp::NONE);
        let first = Found::File { content: Content::File(file), meta };
        Self { first, tree: Tree::none(), name: "memory".to_owned() }
    }

    /// Standard input.
    pub(super) fn stdin() -> Result<Self, Error> {
        let source = Source::stdin().map_err(Error::local("use", "standard input"))?;
        let content = Content::Stream { source, is_ready: true };
        let first = Found::File { content, meta: Meta::file(STREAM_MODE, UNKNOWN, Timestamp::NONE) };
        Ok(Self { first, tree: Tree::none(), name: "standard input".to_owned() })
    }

    /// A device or a pipe, whose content is sent as a file's.
    fn special(file: File, stat: &Stat) -> std::io::Result<Found> {
        let meta = Meta::file(stat.st_mode, UNKNOWN, Timestamp::NONE);
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => Content::File(file),
            _ => Content::Stream { source: Source::new(file.as_fd())?, is_ready: true },
        };
        Ok(Found::File { content, meta })
    }

    /// Bytes that are expected, where that is known.
    pub(super) fn size(&self) -> Option<u64> {
        match &self.first {
            Found::File { meta, .. } => meta.expected(),
            _ => None,
        }
    }
}

/// Opens a regular file. What has come into its place meanwhile is not waited for, and refused.
///
/// # Errors
/// See `open(2)`; ESTALE of anything else.
pub(super) fn open_file(path: &Path, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        _ => Err(Errno::STALE),
    }
}

impl Tree {
    /// Nothing is in it.
    pub(super) fn none() -> Self {
        Self {
            levels: Vec::new(),
            path: Vec::new(),
            name: CString::default(),
            preserves: false,
            excludes: Vec::new(),
            links: HashMap::new(),
        }
    }

    /// All that is in an open directory.
    pub(super) fn of(folder: OwnedFd, excludes: &[std::ffi::OsString]) -> Result<Self, Problem> {
        let mut tree = Self { preserves: true, excludes: joined(excludes), ..Self::none() };
        tree.enter(folder)?;
        Ok(tree)
    }

    /// The path of the latest entry, from the first directory on.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last component of it; empty for the first entry.
    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    /// Directories that are open.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The innermost directory.
    pub(super) fn folder(&self) -> Option<BorrowedFd<'_>> {
        self.levels.last().map(|level| level.folder.as_fd())
    }

    /// Leaves the innermost directory: what is known of it now.
    pub(super) fn leave(&mut self) -> Option<Meta> {
        let level = self.levels.pop()?;
        self.path.truncate(level.path_len);
        rustix::fs::fstat(&level.folder).ok().map(|stat| self.meta_of(&stat))
    }

    /// What is next in the innermost directory, which is [`Self::path`] then.
    pub(super) fn next(&mut self) -> Result<Found, Problem> {
        let Some(level) = self.levels.last_mut() else { return Ok(Found::End) };
        self.path.truncate(level.path_len);
        let entry = loop {
            match level.names.read() {
                None => return Ok(Found::End),
                Some(Err(errno)) => return Err(("read", errno)),
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => break entry,
            }
        };
        self.name = entry.file_name().to_owned();
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(self.name.to_bytes());
        let mut kind = entry.file_type();
        let folder = level.folder.as_fd();
        let name = self.name.as_c_str();
        let opening = |errno| ("open", errno);
        let stat_at = || rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(opening);
        if kind == FileType::Unknown {
            kind = FileType::from_raw_mode(stat_at()?.st_mode);
        }
        if Excludes(&self.excludes).matches(&self.path, kind == FileType::Directory) {
            return Ok(Found::LeftOut(""));
        }
        let open = |flags| rustix::fs::openat(folder, name, READ | flags, Mode::empty()).map_err(opening);
        match kind {
            FileType::Directory => {
                let folder = open(OFlags::DIRECTORY)?;
                self.enter(folder)
            }
            FileType::RegularFile => {
                let file = open(OFlags::empty())?;
                let stat = rustix::fs::fstat(&file).map_err(opening)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(("open", Errno::STALE));
                }
                let meta = self.file(&stat);
                if meta.has(meta_flag::IDENTITY) {
                    let file = (meta.device, meta.inode);
                    if let Some(target) = self.links.get(&file) {
                        let meta = Meta { flags: (meta.flags | meta_flag::LINK) & !meta_flag::OPEN, ..meta };
                        return Ok(Found::Other { meta, target: target.clone() });
                    }
                    self.links.insert(file, self.path.clone());
                }
                Ok(Found::File { content: Content::File(File::from(file)), meta })
            }
            FileType::Symlink => {
                let stat = stat_at()?;
                let target =
                    rustix::fs::readlinkat(folder, name, Vec::new()).map_err(|errno| ("read", errno))?;
                Ok(Found::Other { meta: self.meta_of(&stat), target: target.into_bytes() })
            }
            FileType::Socket => Ok(Found::LeftOut(note::SOCKET)),
            FileType::CharacterDevice | FileType::BlockDevice if !self.preserves => {
                Ok(Found::LeftOut(note::DEVICE))
            }
            _ => {
                let stat = stat_at()?;
                Ok(Found::Other { meta: self.meta_of(&stat), target: Vec::new() })
            }
        }
    }

    /// Goes into a directory.
    fn enter(&mut self, folder: OwnedFd) -> Result<Found, Problem> {
        if self.levels.len() == TREE_DEPTH_MAX {
            return Err(("go deeper", Errno::NAMETOOLONG));
        }
        let stat = rustix::fs::fstat(&folder).map_err(|errno| ("open", errno))?;
        let names = Dir::read_from(&folder).map_err(|errno| ("read", errno))?;
        self.levels.push(Level { folder, names, path_len: self.path.len() });
        let mut meta = self.meta_of(&stat);
        meta.flags |= meta_flag::OPEN;
        Ok(Found::Directory { meta })
    }

    fn file(&self, stat: &Stat) -> Meta {
        let mut meta = self.meta_of(stat);
        meta.flags |= meta_flag::OPEN;
        if meta.size == 0 {
            // Files of /proc and /sys have content and say that they are empty.
            meta.size = UNKNOWN;
        }
        meta
    }

    fn meta_of(&self, stat: &Stat) -> Meta {
        let mut meta = meta_of(stat);
        if self.preserves {
            meta.flags = meta_flag::OWNER;
            if meta.links > 1 && meta.kind() == Kind::File {
                meta.flags |= meta_flag::IDENTITY;
            }
        }
        meta
    }
}

/// Patterns, each with its NUL.
fn joined(excludes: &[std::ffi::OsString]) -> Vec<u8> {
    excludes.iter().flat_map(|pattern| [pattern.as_bytes(), &[0]].concat()).collect()
}

/// The bytes of all regular files that a tree would send, as far as they can be counted.
pub(super) fn total(source: &Path, excludes: &[std::ffi::OsString]) -> u64 {
    let excludes = joined(excludes);
    let mut total = 0;
    let mut left = vec![(source.to_owned(), Vec::new())];
    while let Some((folder, path)) = left.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
            let path = [&path, slash, entry.file_name().as_bytes()].concat();
            let Ok(there) = entry.metadata() else { continue };
            if Excludes(&excludes).matches(&path, there.is_dir()) {
                continue;
            }
            if there.is_dir() {
                left.push((entry.path(), path));
            } else if there.is_file() {
                total += there.len();
            }
        }
    }
    total
}

/// The names of a file's attributes.
pub(super) fn attribute_names(file: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = vec![0; 65_536];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        // Many file systems have none.
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno),
    };
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    Ok(names.filter(|name| !name.is_empty()).filter_map(|name| CString::new(name).ok()).collect())
}

/// A name of the guest's, for a call here.
pub(super) fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("vsock-shell-source-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(open_file(&path, OFlags::empty()).err(), Some(Errno::STALE));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(open_file(&path, OFlags::NOFOLLOW).is_ok());
        std::fs::remove_file(path).unwrap();
    }
}
