//! Receiving a file (`PROTOCOL.md` §10): into a temporary name beside its destination, renamed when all of it has come
//! and its digest is right. Whatever goes wrong before leaves nothing behind.

use core::ffi::CStr;

use crate::digest::Digest;
use arrayvec::ArrayVec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{Errno, IoSlice};
use rustix::process::getpid;
use vsock_shell_proto::fields::{FLAG_DIRECTORY, FLAG_SYNC};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::items::{FileEnd, FileMeta, Item, ItemReader};

use super::identity::{Identity, Rights};
use super::tasks::Step;
use super::{Core, PIECES_MAX};
use crate::clock::now_us;
use crate::path::{self, PathBuffer};
use crate::sys::random;
use crate::sys::text::Text;

/// Bytes of a file's name, with its NUL (NAME_MAX of the kernel).
const NAME_MAX: usize = 256;
/// Bytes of a temporary name, with its NUL.
const TEMPORARY_LEN: usize = 24;
/// Other temporary names that are tried where one exists.
const TRIES: u32 = 16;

/// What a transfer failed in, and why.
#[derive(Clone, Copy)]
pub struct Failed {
    /// What was tried.
    pub what: Text,
    /// Why it failed.
    pub errno: Errno,
}

impl Failed {
    /// A failure to do `what`.
    pub const fn new(what: &'static CStr, errno: Errno) -> Self {
        Self { what: Text::new(what), errno }
    }

    /// The same, once it is known why.
    pub fn to(what: &'static CStr) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::new(what, errno)
    }
}

/// The stream breaks its rules, ends early, or brought something else than was sent.
const GARBLED: Failed = Failed::new(c"use what arrived", Errno::BADMSG);

/// Content that is written together.
type Gathered<'i> = ArrayVec<&'i [u8], PIECES_MAX>;

/// Where a file is to go.
pub struct Destination<'r> {
    /// Its path, or the folder that it goes into.
    pub path: &'r CStr,
    /// Its name in that folder.
    pub name: Option<&'r CStr>,
    /// [`FLAG_SYNC`], [`FLAG_DIRECTORY`].
    pub flags: u32,
}

/// A file on its way.
pub struct Put {
    channel: ChannelId,
    reader: ItemReader,
    folder: OwnedFd,
    name: ArrayVec<u8, NAME_MAX>,
    file: OwnedFd,
    /// The temporary name, while the file has it.
    temporary: Option<[u8; TEMPORARY_LEN]>,
    meta: Option<FileMeta>,
    size: u64,
    digest: Digest,
    sync: bool,
    /// With which the file gets its name.
    rights: Rights,
    end: Option<Result<(), Failed>>,
}

impl Put {
    /// Opens the destination's folder and a temporary file in it.
    ///
    /// # Errors
    /// What failed, before anything was received.
    #[inline(never)]
    pub fn begin(channel: ChannelId, to: &Destination<'_>, identity: Identity) -> Result<Self, Failed> {
        let (folder, name, file, temporary) = identity.rights.with(|| open(to, &identity.home))?;
        Ok(Self {
            channel,
            reader: ItemReader::new(),
            folder,
            name,
            file,
            temporary: Some(temporary),
            meta: None,
            size: 0,
            digest: Digest::new(),
            sync: to.flags & FLAG_SYNC != 0,
            end: None,
            rights: identity.rights,
        })
    }

    /// The transfer is over, well or not, and wants to be stepped to say so.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Takes bytes of the file stream: all of them. A file takes everything at once; content is gathered and written
    /// together.
    pub fn take(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> usize {
        let mut taken = 0;
        let mut gathered = Gathered::new_const();
        for mut piece in pieces {
            taken += piece.len();
            while self.end.is_none() && !piece.is_empty() {
                let read = self.reader.read(piece).map_err(|_| GARBLED);
                let handled = read.and_then(|(length, item)| {
                    piece = piece.get(length..).unwrap_or_default();
                    item.map_or(Ok(()), |item| self.handle(item, &mut gathered))
                });
                self.end = handled.err().map(Err).or(self.end);
            }
        }
        if self.end.is_none()
            && let Err(failed) = self.write(&mut gathered)
        {
            self.end = Some(Err(failed));
        }
        taken
    }

    fn handle<'i>(&mut self, item: Item<'i>, gathered: &mut Gathered<'i>) -> Result<(), Failed> {
        match item {
            Item::File(meta) => {
                self.meta = Some(meta);
                Ok(())
            }
            Item::Content(bytes) => {
                self.digest.update(bytes);
                self.size += bytes.len() as u64;
                if gathered.is_full() {
                    self.write(gathered)?;
                }
                let _ = gathered.try_push(bytes);
                Ok(())
            }
            Item::Hole(length) => {
                self.write(gathered)?;
                let size = self.size.checked_add(length).filter(|&size| i64::try_from(size).is_ok());
                self.size = size.ok_or(Failed::new(c"write", Errno::FBIG))?;
                let file = self.file.as_fd();
                rustix::fs::seek(file, rustix::fs::SeekFrom::Start(self.size))
                    .and_then(|_| rustix::fs::ftruncate(file, self.size))
                    .map_err(Failed::to(c"write"))
            }
            Item::End(end) => {
                self.write(gathered)?;
                self.finish(end)?;
                self.end = Some(Ok(()));
                Ok(())
            }
        }
    }

    /// Writes what was gathered.
    fn write(&mut self, gathered: &mut Gathered<'_>) -> Result<(), Failed> {
        while !gathered.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            for (slice, piece) in slices.iter_mut().zip(&*gathered) {
                *slice = IoSlice::new(piece);
            }
            let mut left = match rustix::io::writev(&self.file, &slices) {
                Ok(0) => return Err(Failed::new(c"write", Errno::NOSPC)),
                Ok(written) => written,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(Failed::new(c"write", errno)),
            };
            // What was not written stands at the front.
            gathered.retain(|piece| {
                let part = left.min(piece.len());
                left -= part;
                *piece = piece.get(part..).unwrap_or_default();
                !piece.is_empty()
            });
        }
        Ok(())
    }

    /// Checks what came, gives it its mode and time, and puts it in its place.
    fn finish(&mut self, end: FileEnd) -> Result<(), Failed> {
        if end.size != self.size || end.digest != self.digest.finish() {
            return Err(GARBLED);
        }
        let (file, folder) = (self.file.as_fd(), self.folder.as_fd());
        if let Some(meta) = self.meta {
            // The mode last: a file that is not writable can still be given its time.
            if let Some(modified) = meta.modified {
                let time = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanoseconds) };
                let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
                let times = Timestamps { last_access: omit, last_modification: time };
                rustix::fs::futimens(file, &times).map_err(Failed::to(c"set the time"))?;
            }
            let mode = Mode::from_raw_mode(meta.mode);
            rustix::fs::fchmod(file, mode).map_err(Failed::to(c"set the mode"))?;
        }
        if self.sync {
            rustix::fs::fsync(file).map_err(Failed::to(c"flush"))?;
        }
        if let Some(temporary) = &self.temporary {
            let rename = || rustix::fs::renameat(folder, c_str(temporary), folder, c_str(&self.name));
            self.rights.with(rename).map_err(Failed::to(c"rename"))?;
            self.temporary = None;
        }
        if self.sync {
            let folder = rustix::fs::openat(folder, c".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            folder.and_then(rustix::fs::fsync).map_err(Failed::to(c"flush the folder"))?;
        }
        Ok(())
    }

    /// Takes what waited, and tells the end.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        if self.end.is_none() && !core.parked(self.channel, Flow::Input).is_empty() {
            let taken = self.take(&mut core.parked_pieces(self.channel, Flow::Input));
            core.consume(self.channel, Flow::Input, taken);
            return Step::Progress;
        }
        if self.end.is_none() && core.is_drained(self.channel, Flow::Input) {
            self.end = Some(Err(GARBLED));
        }
        match self.end {
            None => Step::Idle,
            Some(Ok(())) => {
                core.exit(self.channel, Outcome::Exited(0), b"");
                Step::Done
            }
            Some(Err(failed)) => {
                exit_failed(core, self.channel, failed);
                Step::Done
            }
        }
    }
}

/// Ends a transfer that failed.
pub fn exit_failed(core: &mut Core, channel: ChannelId, failed: Failed) {
    let errno = failed.errno.raw_os_error().unsigned_abs();
    core.exit(channel, Outcome::Failed(errno), failed.what.as_bytes());
}

impl Drop for Put {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Where even this fails the file system is of no use any more.
            let _ = rustix::fs::unlinkat(&self.folder, c_str(&temporary), AtFlags::empty());
        }
    }
}

/// A folder, the name that the file gets in it, and a new file there under a temporary name.
type Opened = (OwnedFd, ArrayVec<u8, NAME_MAX>, OwnedFd, [u8; TEMPORARY_LEN]);

fn open(to: &Destination<'_>, home: &[u8]) -> Result<Opened, Failed> {
    const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let base = open_home(home)?;
    let path = to.path.to_bytes_with_nul();
    let must_be_folder = to.flags & FLAG_DIRECTORY != 0 || path.ends_with(b"/\0");
    let (folder, name) = match rustix::fs::openat(&base, to.path, FOLDER, Mode::empty()) {
        Ok(folder) => {
            let name =
                to.name.map(CStr::to_bytes_with_nul).ok_or(Errno::ISDIR).map_err(Failed::to(c"write"))?;
            (folder, name)
        }
        Err(errno) if must_be_folder => return Err(Failed::new(c"open the folder", errno)),
        Err(_) => {
            let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            let (parent, name) = path.split_at(at);
            let mut buffer = PathBuffer::new();
            let parent = buffer.join(&[if parent.is_empty() { b"." } else { parent }]);
            let folder = parent.and_then(|parent| rustix::fs::openat(&base, parent, FOLDER, Mode::empty()));
            (folder.map_err(Failed::to(c"open the folder"))?, name)
        }
    };
    if matches!(name, b"\0" | b".\0" | b"..\0") || path::has(name, b'/') {
        return Err(Failed::new(c"write", Errno::INVAL));
    }
    let name: ArrayVec<u8, NAME_MAX> =
        name.try_into().map_err(|_| Failed::new(c"create", Errno::NAMETOOLONG))?;
    // Neither a folder nor a device is to be replaced by a file.
    if let Ok(there) = rustix::fs::statat(&folder, c_str(&name), AtFlags::SYMLINK_NOFOLLOW) {
        match rustix::fs::FileType::from_raw_mode(there.st_mode) {
            rustix::fs::FileType::RegularFile | rustix::fs::FileType::Symlink => {}
            rustix::fs::FileType::Directory => return Err(Failed::new(c"write", Errno::ISDIR)),
            _ => return Err(Failed::new(c"replace what is no regular file", Errno::EXIST)),
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for attempt in 0..TRIES {
        let temporary = temporary_name(attempt);
        match rustix::fs::openat(&folder, c_str(&temporary), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((folder, name, file, temporary)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Failed::new(c"create", errno)),
        }
    }
    Err(Failed::new(c"create", Errno::EXIST))
}

/// What relative paths begin at: the home directory, or `/` where there is none.
pub fn open_home(home: &[u8]) -> Result<OwnedFd, Failed> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &CStr| rustix::fs::open(path, flags, Mode::empty());
    let opened = PathBuffer::new().join(&[home]).and_then(open);
    opened.or_else(|_| open(c"/")).map_err(Failed::to(c"open the home directory"))
}

/// A name that nobody else has, whatever the target's.
fn temporary_name(attempt: u32) -> [u8; TEMPORARY_LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // The kernel's random bytes are those of the listener; the time and the process make them differ.
    let own = u64::from(getpid().as_raw_pid().unsigned_abs()) << 32 | u64::from(attempt);
    let number =
        (random::seed() ^ now_us().rotate_left(20)).wrapping_add(own).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            >> 8;
    let mut name = *b".vsock-shell-xxxxxxxxxx\0";
    for (at, place) in name.iter_mut().skip(13).take(10).enumerate() {
        *place = DIGITS.get((number >> (at * 4)) as usize & 15).copied().unwrap_or(b'0');
    }
    name
}

/// A name that holds its NUL.
#[inline(never)]
fn c_str(name: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(name).unwrap_or_default()
}
