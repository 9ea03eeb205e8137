//! Owns where a downloaded file lands: a temporary name beside its destination until it is complete, something that
//! is there already and is no regular file, or standard output.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vsock_shell_proto::items::{FileMeta, Timestamp};

use super::beside;
use crate::error::Error;
use crate::stdio::Sink;

/// Mode bits that are taken from a guest: it gives nobody here its rights.
const TRUSTED_MODE: u32 = 0o777;

/// How messages call it.
const OUTPUT: &str = "standard output";

/// What holes are made of where they cannot stay holes.
static ZEROS: [u8; 4096] = [0; 4096];
/// Bounds what one flush does, so that a signal is heard between two.
const FLUSH_ROUNDS: usize = 64;

/// Where a file lands.
pub(super) struct Landing(To);

enum To {
    /// A new file under a temporary name, and the name that it gets.
    File { file: File, temporary: Temporary, path: PathBuf, is_synced: bool },
    /// A block device that is there.
    There { file: File, path: PathBuf },
    /// Standard output, or a pipe or a device that is there; what it has not taken, and how many zeros follow that.
    Stream { sink: Sink, name: OsString, is_ready: bool, waiting: Vec<u8>, zeros: u64 },
}

/// A file that is removed unless it is renamed.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // Where even this fails the file system is of no use any more.
            _ = fs::remove_file(path);
        }
    }
}

impl Landing {
    /// Lands at `path`, or, where that is a directory, in it under `name`. A symbolic link at the end is followed.
    pub(super) fn file(path: &Path, name: Option<&OsStr>, is_synced: bool) -> Result<Self, Error> {
        let mut path = path.to_owned();
        if path.is_dir() {
            path.push(name.ok_or_else(|| Error::local("write", &path)(rustix::io::Errno::ISDIR.into()))?);
        } else if path.as_os_str().is_empty() || path.as_os_str().as_bytes().ends_with(b"/") {
            let errno = if path.exists() { rustix::io::Errno::NOTDIR } else { rustix::io::Errno::NOENT };
            return Err(Error::local("write", &path)(errno.into()));
        }
        if let Some(there) = Self::there(&path)? {
            return Ok(there);
        }
        path = followed(path);
        let mut draw = [0; 8];
        loop {
            _ = rustix::rand::getrandom(&mut draw[..], rustix::rand::GetRandomFlags::empty());
            let name = OsString::from(format!(".vsock-shell-{:016x}", u64::from_ne_bytes(draw)));
            let temporary = beside(&path).join(name);
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
                Ok(file) => {
                    return Ok(Self(To::File {
                        file,
                        temporary: Temporary(Some(temporary)),
                        path,
                        is_synced,
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::local("create", &path)(error)),
            }
        }
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
            To::File { file, path, .. } | To::There { file, path } => {
                while !pieces.is_empty() {
                    match file.write_vectored(pieces) {
                        Ok(0) => return Err(Error::local("write", &*path)(io::ErrorKind::WriteZero.into())),
                        Ok(written) => IoSlice::advance_slices(&mut pieces, written),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(Error::local("write", &*path)(error)),
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
            To::File { file, path, .. } => {
                let seek = io::Seek::seek(file, io::SeekFrom::Start(end)).and_then(|_| file.set_len(end));
                seek.map_err(Error::local("write", &*path))
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

    /// The file is complete: it gets its mode, its time and its name.
    pub(super) fn finish(&mut self, meta: FileMeta) -> Result<(), Error> {
        let To::File { file, temporary, path, is_synced } = &mut self.0 else { return Ok(()) };
        let failed = |what| Error::local(what, &*path);
        if let Some(time) = meta.modified.and_then(system_time) {
            file.set_modified(time).map_err(failed("set the time of"))?;
        }
        let mode = Permissions::from_mode(meta.mode & TRUSTED_MODE);
        file.set_permissions(mode).map_err(failed("set the mode of"))?;
        if *is_synced {
            file.sync_all().map_err(failed("flush"))?;
        }
        if let Some(name) = &temporary.0 {
            fs::rename(name, &*path).map_err(failed("rename to"))?;
            temporary.0 = None;
        }
        if *is_synced {
            File::open(beside(path))
                .and_then(|folder| folder.sync_all())
                .map_err(failed("flush the folder of"))?;
        }
        Ok(())
    }
}

/// Where symbolic links at its end lead, also when nothing is there yet. Links that lead around in circles stay.
fn followed(path: PathBuf) -> PathBuf {
    /// As the kernel has it, `path_resolution(7)`.
    const LINKS_MAX: usize = 40;
    if let Ok(real) = fs::canonicalize(&path) {
        return real;
    }
    let mut end = path.clone();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&end) {
            Ok(link) => end = beside(&end).join(link),
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

fn system_time(time: Timestamp) -> Option<SystemTime> {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole =
        if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole?.checked_add(Duration::from_nanos(time.nanoseconds.into()))
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
