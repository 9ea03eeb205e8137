//! Owns where one downloaded file lands: a temporary name in its directory until it is complete, something that is there
//! already and is no regular file, or standard output.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use twox_hash::XxHash3_64;
use vsock_shell_proto::items::{Kind, Meta};

use super::beneath::open_beneath;
use super::destination::parent_of;
use super::metadata::{dress, own};
use crate::error::Error;
use crate::stdio::Sink;

/// How messages call it.
const OUTPUT: &str = "standard output";

/// The mode of what is not complete.
const OWN: Mode = Mode::RUSR.union(Mode::WUSR);

/// What holes are made of where they cannot stay holes.
static ZEROS: [u8; 4096] = [0; 4096];
/// Bounds what one flush does, so that a signal is heard between two.
const FLUSH_ROUNDS: usize = 64;

/// Where a file lands.
pub(super) struct Landing(To);

enum To {
    /// A new file under a temporary name, and the name that it gets.
    File { file: File, temporary: Temporary, folder: Rc<Folder>, name: OsString },
    /// A block device that is there.
    There { file: File, path: PathBuf },
    /// Standard output, or a pipe or a device that is there; what it has not taken, and how many zeros follow that.
    Stream { sink: Sink, name: OsString, is_ready: bool, waiting: Vec<u8>, zeros: u64 },
}

/// A directory of this side, and how messages call it.
pub(super) struct Folder {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    /// It was made just now, and holds nothing but what was made in it.
    pub(super) is_new: bool,
}

impl Folder {
    /// Messages call what is in it by this path.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        if self.path == Path::new(".") { PathBuf::from(name) } else { self.path.join(name) }
    }

    /// Opens what has this name in it, and nothing else.
    pub(super) fn open(&self, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_beneath(self.fd.as_fd(), Path::new(name), flags | OFlags::NOFOLLOW, Mode::empty())
    }
}

/// A file that is removed unless it is renamed, or kept.
struct Temporary {
    folder: Rc<Folder>,
    name: OsString,
    is_over: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_over {
            // Where even this fails the file system is of no use any more.
            _ = rustix::fs::unlinkat(&self.folder.fd, &self.name, AtFlags::empty());
        }
    }
}

/// A name that nothing has: drawn once, and counted up.
pub(super) fn fresh_name() -> OsString {
    static FIRST: LazyLock<u64> = LazyLock::new(|| {
        let mut draw = [0; 8];
        _ = rustix::rand::getrandom(&mut draw[..], rustix::rand::GetRandomFlags::empty());
        u64::from_ne_bytes(draw)
    });
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = FIRST.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
    OsString::from(format!(".vsock-shell-{number:016x}"))
}

/// The name of what is kept of a file with this name until it is complete.
pub(super) fn partial_name(name: &OsStr) -> OsString {
    let mut digest = XxHash3_64::new();
    digest.write(name.as_bytes());
    OsString::from(format!(".vsock-shell-{:016x}.part", digest.finish()))
}

/// What marks a directory as one that is not complete: which one that is, and what is copied to it. The next copy of that with
/// `--resume` goes on in it.
pub(super) fn mark_of(inode: u64, source: Option<&OsStr>) -> [u8; 16] {
    let mut digest = XxHash3_64::new();
    digest.write(source.unwrap_or_default().as_bytes());
    (u128::from(inode) | u128::from(digest.finish()) << 64).to_le_bytes()
}

/// Marks a directory, which has this name.
pub(super) fn mark(folder: &Folder, name: &OsStr, directory: BorrowedFd<'_>, source: Option<&OsStr>) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let made = open_beneath(folder.fd.as_fd(), Path::new(&partial_name(name)), flags, OWN);
    // Where that cannot be the next copy goes beside it.
    if let (Ok(file), Ok(there)) = (made, rustix::fs::fstat(directory)) {
        _ = File::from(file).write_all(&mark_of(there.st_ino, source));
    }
}

/// It is complete.
pub(super) fn unmark(folder: &Folder, name: &OsStr) {
    _ = rustix::fs::unlinkat(&folder.fd, partial_name(name), AtFlags::empty());
}

/// It was marked, by us, for this source.
pub(super) fn is_marked(path: &Path, source: Option<&OsStr>) -> bool {
    let Some(name) = path.file_name() else { return false };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mark = rustix::fs::open(parent_of(path).join(partial_name(name)), flags, Mode::empty());
    let (Ok(mark), Ok(there)) = (mark, rustix::fs::lstat(path)) else { return false };
    let mut found = Vec::new();
    rustix::fs::fstat(&mark).is_ok_and(|stat| is_ours(&stat))
        && File::from(mark).take(17).read_to_end(&mut found).is_ok()
        && found == mark_of(there.st_ino, source)
}

/// What has the name of what is kept was made by us, for nobody else to read, and has no other name.
pub(super) fn is_ours(stat: &Stat) -> bool {
    let user = rustix::process::geteuid().as_raw();
    stat.st_mode & 0o170_077 == 0o100_000 && stat.st_nlink == 1 && stat.st_uid == user
}

/// Neither a directory nor a device is to be replaced by something else.
pub(super) fn can_replace(folder: &Folder, name: &OsStr, by: Kind) -> Result<(), Errno> {
    if folder.is_new {
        return Ok(());
    }
    let Ok(there) = rustix::fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    match Kind::of_mode(there.st_mode) {
        Kind::File | Kind::Symlink => Ok(()),
        Kind::Directory => Err(Errno::ISDIR),
        kind if kind == by => Ok(()),
        _ => Err(Errno::EXIST),
    }
}

impl Landing {
    /// Lands in a directory under this name. With `is_kept`, what comes is kept where it does not become complete, and goes on
    /// where it stopped, with what had `begun`.
    pub(super) fn file(
        folder: &Rc<Folder>,
        name: &OsStr,
        is_kept: bool,
        begun: Option<&Begun>,
    ) -> Result<Self, Error> {
        let path = folder.path_of(name);
        can_replace(folder, name, Kind::File).map_err(|errno| Error::local("write", &path)(errno.into()))?;
        let failed = |errno: Errno| Error::local("create", &path)(errno.into());
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let create = |name: &OsStr| open_beneath(folder.fd.as_fd(), Path::new(name), create, OWN);
        let partial = partial_name(name);
        let kept = if is_kept { open_partial(folder, &partial, begun).map_err(failed)? } else { None };
        let is_kept = kept.is_some();
        let (file, temporary) = match kept {
            Some(file) => (file, partial),
            None => loop {
                let temporary = fresh_name();
                match create(&temporary) {
                    Err(Errno::EXIST) => {}
                    created => break (created.map_err(failed)?, temporary),
                }
            },
        };
        let temporary = Temporary { folder: Rc::clone(folder), name: temporary, is_over: is_kept };
        let (folder, name) = (Rc::clone(folder), name.to_owned());
        Ok(Self(To::File { file: File::from(file), temporary, folder, name }))
    }

    /// What is there is no use to anybody: it is removed, although it would be kept.
    pub(super) fn reject(&mut self) {
        if let To::File { temporary, .. } = &mut self.0 {
            temporary.is_over = false;
        }
    }

    /// The file, where it is one, with its owner: giving a file away takes the capabilities that are among its attributes.
    pub(super) fn owned(&self, meta: &Meta) -> Option<BorrowedFd<'_>> {
        let To::File { file, .. } = &self.0 else { return None };
        // Whether that could be is told at the end.
        _ = own(file.as_fd(), meta);
        Some(file.as_fd())
    }

    /// Lands on a pipe or a device, where one is at `path`. Waits, as opening a pipe does, until somebody reads it.
    pub(super) fn there(path: &Path) -> Result<Option<Self>, Error> {
        let Ok(kind) = fs::metadata(path).map(|there| there.file_type()) else { return Ok(None) };
        if kind.is_dir() || (kind.is_file() && !is_descriptor(path)) {
            return Ok(None);
        }
        let file = OpenOptions::new().write(true).open(path).map_err(Error::local("open", path))?;
        if kind.is_block_device() {
            return Ok(Some(Self(To::There { file, path: path.to_owned() })));
        }
        let sink = Sink::new(file.as_fd()).map_err(Error::local("use", path))?;
        Ok(Some(Self::on(sink, path.as_os_str())))
    }

    /// Lands on standard output.
    pub(super) fn stream() -> Result<Self, Error> {
        let sink = Sink::stdout().map_err(Error::local("use", OUTPUT))?;
        Ok(Self::on(sink, OsStr::new(OUTPUT)))
    }

    fn on(sink: Sink, name: &OsStr) -> Self {
        Self(To::Stream { sink, name: name.to_owned(), is_ready: true, waiting: Vec::new(), zeros: 0 })
    }

    /// Takes content, all of it. Afterwards [`Self::is_blocked`] may hold.
    pub(super) fn write(&mut self, mut pieces: &mut [IoSlice<'_>]) -> Result<(), Error> {
        match &mut self.0 {
            To::File { file, .. } | To::There { file, .. } => {
                while !pieces.is_empty() {
                    match file.write_vectored(pieces) {
                        Ok(0) => return Err(self.failed("write", io::ErrorKind::WriteZero.into())),
                        Ok(written) => IoSlice::advance_slices(&mut pieces, written),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(self.failed("write", error)),
                    }
                }
                Ok(())
            }
            To::Stream { waiting, .. } => {
                pieces.iter().for_each(|piece| waiting.extend_from_slice(piece));
                self.flush().map(drop)
            }
        }
    }

    /// Takes a hole of `length` bytes that ends at `end`.
    pub(super) fn skip(&mut self, length: u64, end: u64) -> Result<(), Error> {
        match &mut self.0 {
            To::File { file, .. } => {
                let sought = io::Seek::seek(file, io::SeekFrom::Start(end)).and_then(|_| file.set_len(end));
                sought.map_err(|error| self.failed("write", error))
            }
            // What has no holes gets zeros. The guest can announce more than anybody wants: they are made as they go.
            To::Stream { zeros, .. } => {
                *zeros = zeros.saturating_add(length);
                self.flush().map(drop)
            }
            To::There { .. } => {
                let mut left = length;
                while left > 0 {
                    let part = left.min(ZEROS.len() as u64);
                    self.write(&mut [IoSlice::new(ZEROS.get(..part as usize).unwrap_or(&ZEROS))])?;
                    left -= part;
                }
                Ok(())
            }
        }
    }

    /// Writes some of what waits; whether anything was written.
    pub(super) fn flush(&mut self) -> Result<bool, Error> {
        let To::Stream { sink, name, is_ready, waiting, zeros } = &mut self.0 else { return Ok(false) };
        let mut moved = false;
        for _ in 0..FLUSH_ROUNDS {
            if waiting.is_empty() {
                let part = (*zeros).min(ZEROS.len() as u64);
                *zeros -= part;
                waiting.resize(part as usize, 0);
            }
            if !*is_ready || waiting.is_empty() {
                break;
            }
            match sink.write(waiting) {
                Ok(taken) => {
                    waiting.drain(..taken);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && name == OUTPUT => {
                    return Err(Error::NoReader);
                }
                Err(error) => return Err(Error::local("write to", &*name)(error)),
            }
        }
        Ok(moved)
    }

    /// Something waits for a stream to take it.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(&self.0, To::Stream { waiting, zeros, .. } if !waiting.is_empty() || *zeros > 0)
    }

    /// It takes what it gets when it wants to.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.0, To::Stream { .. })
    }

    /// What to wait for while it is blocked.
    pub(super) fn sink(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            To::Stream { sink, .. } => Some(sink.as_fd()),
            _ => None,
        }
    }

    pub(super) fn set_ready(&mut self) {
        if let To::Stream { is_ready, .. } = &mut self.0 {
            *is_ready = true;
        }
    }

    /// The file is complete: it gets its metadata and its name.
    pub(super) fn finish(&mut self, meta: &Meta) -> Result<(), Error> {
        let To::File { file, temporary, folder, name } = &mut self.0 else { return Ok(()) };
        let path = folder.path_of(name);
        // Only a name that others work out too may have become another file's.
        let is_kept = temporary.is_over;
        if is_kept && !has_name(folder, &temporary.name, file.as_fd()) {
            return Err(Error::local("complete", &path)(Errno::BUSY.into()));
        }
        // The content is there, whatever else cannot be: it is kept, and that is told.
        let dressed = dress(file.as_fd(), meta).map_err(|(what, errno)| {
            let on = crate::text::escape(path.as_os_str().as_bytes()).into_owned();
            Error::About { what, on, errno }
        });
        rustix::fs::renameat(&folder.fd, &temporary.name, &folder.fd, &*name)
            .map_err(|errno| Error::local("rename to", &path)(errno.into()))?;
        temporary.is_over = true;
        dressed
    }

    fn failed(&self, what: &'static str, error: io::Error) -> Error {
        let path = match &self.0 {
            To::File { folder, name, .. } => folder.path_of(name),
            To::There { path, .. } => path.clone(),
            To::Stream { name, .. } => PathBuf::from(name),
        };
        Error::local(what, path)(error)
    }
}

/// Opens what was kept, cut to the offset, or a new file where nothing was; none where another copy writes it, and nothing is
/// lost by going elsewhere.
fn open_partial(folder: &Folder, name: &OsStr, begun: Option<&Begun>) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let open = |more, mode| open_beneath(folder.fd.as_fd(), Path::new(name), flags | more, mode);
    let hold = |file: &OwnedFd| {
        rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
    };
    let Some(begun) = begun else {
        let there = open(OFlags::empty(), Mode::empty());
        match &there {
            Err(Errno::NOENT) => {}
            Err(Errno::ACCESS) => return Ok(None),
            Ok(there) if !hold(there) || !has_name(folder, name, there.as_fd()) => return Ok(None),
            // What somebody may have opened before does not get the content. While we hold it nobody else takes its name away.
            _ => _ = rustix::fs::unlinkat(&folder.fd, name, AtFlags::empty()),
        }
        return match open(OFlags::CREATE | OFlags::EXCL, OWN) {
            Ok(file) if hold(&file) && has_name(folder, name, file.as_fd()) => Ok(Some(file)),
            Ok(_) | Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        };
    };
    let file = open(OFlags::empty(), Mode::empty())?;
    if !hold(&file) || !has_name(folder, name, file.as_fd()) {
        return Err(Errno::BUSY);
    }
    // What was offered of it, and nothing that came there since.
    let stat = rustix::fs::fstat(&file)?;
    if !is_ours(&stat) || Begun::of(&stat) != *begun {
        return Err(Errno::NODATA);
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(begun.length))?;
    Ok(Some(file))
}

/// What is here of a file, as it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) length: u64,
    device: u64,
    inode: u64,
}

impl Begun {
    pub(super) fn of(stat: &Stat) -> Self {
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        Self { length, device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Another copy goes on with it, or will have.
pub(super) fn is_held(file: BorrowedFd<'_>) -> bool {
    let is_held = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    _ = rustix::fs::flock(file, FlockOperation::NonBlockingUnlock);
    is_held
}

/// The file has this name.
fn has_name(folder: &Folder, name: &OsStr, file: BorrowedFd<'_>) -> bool {
    let named = rustix::fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW);
    let open = rustix::fs::fstat(file);
    matches!((named, open), (Ok(named), Ok(open)) if (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino))
}

/// Where symbolic links at its end lead, also when nothing is there yet. Links that lead around in circles stay.
pub(super) fn followed(path: PathBuf) -> PathBuf {
    /// As the kernel has it, `path_resolution(7)`.
    const LINKS_MAX: usize = 40;
    if let Ok(real) = fs::canonicalize(&path) {
        return real;
    }
    let mut end = path.clone();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&end) {
            Ok(link) => end = parent_of(&end).join(link),
            Err(_) => return end,
        }
    }
    path
}

/// A name of an open descriptor. A file behind it is somebody's output: it is written, and not replaced.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name))
        || ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_hole_that_a_stream_cannot_hold_is_made_as_it_is_read() {
        let (mut read, write) = io::pipe().unwrap();
        let mut landing = Landing::on(Sink::new(write.as_fd()).unwrap(), OsStr::new("a pipe"));
        drop(write);
        landing.write(&mut [IoSlice::new(b"before")]).unwrap();
        landing.skip(1 << 62, 6 + (1 << 62)).unwrap();
        assert!(landing.is_blocked());
        let To::Stream { waiting, .. } = &landing.0 else { panic!("a pipe is a stream") };
        assert!(waiting.len() <= ZEROS.len());
        let mut bytes = [1; 100];
        read.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..6], *b"before");
        assert_eq!(bytes[6..], [0; 94]);
    }

    #[test]
    fn zeros_stand_before_what_follows_them() {
        let (mut read, write) = io::pipe().unwrap();
        let mut landing = Landing::on(Sink::new(write.as_fd()).unwrap(), OsStr::new("a pipe"));
        drop(write);
        landing.skip(5000, 5000).unwrap();
        assert!(!landing.is_blocked());
        landing.write(&mut [IoSlice::new(b"after")]).unwrap();
        drop(landing);
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [&[0; 5000][..], b"after"].concat());
    }
}
