//! Owns what is made of the entries that a guest sends: each where it belongs beneath the destination, dressed with as much of
//! its metadata as a guest is trusted with.
//!
//! The guest names single components only (the reader of items sees to that); a directory is entered by its descriptor and
//! never through a link, so that nothing it has sent before leads anywhere else.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr, OsString};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use vsock_shell_proto::items::{ItemError, Kind, MODE_BITS, Meta, Timestamp, meta_flag};

use super::beneath::{FOLDER, open_beneath};
use super::destination::Place;
use super::landing::{Begun, Folder, Landing, can_replace, fresh_name, mark, unmark};
use super::links::Links;
use super::metadata::{SET_ID, dress, dress_name, keep_time};
use super::report::Report;
use super::source::os;
use super::trust;
use crate::error::Error;
use crate::invocation::CopyOptions;

/// Times that a link is tried to a name that others replace meanwhile.
const LINK_TRIES: u32 = 8;
/// Bytes of paths that are kept of what came.
const CAME_MAX: usize = 64 << 20;

/// What is made.
pub(super) struct Planting<'o> {
    place: Place,
    options: &'o CopyOptions,
    /// What the guest calls it.
    source: Option<OsString>,
    /// What was offered of the entry that comes.
    begun: Option<Begun>,
    levels: Vec<Level>,
    /// Of the latest entry, from the first directory on.
    path: Vec<u8>,
    landing: Option<Landing>,
    meta: Option<Meta>,
    /// As much of it as a guest is trusted with, of the file that is being received.
    trusted: Meta,
    /// Directories inside each other that are left out.
    left_out: usize,
    /// The entry is there as it should be.
    is_same: bool,
    /// Where files of more names than one are.
    links: Links,
    /// What came, where everything else is to be removed.
    came: Option<HashSet<Vec<u8>>>,
    came_bytes: usize,
}

struct Level {
    folder: Rc<Folder>,
    path_len: usize,
    /// It was there before, and stays as it is.
    is_kept: bool,
}

/// Where an entry goes.
struct Spot {
    folder: Rc<Folder>,
    name: OsString,
}

impl<'o> Planting<'o> {
    /// The guest calls its source by this name, where it has one.
    pub(super) fn new(place: Place, source: Option<&OsStr>, options: &'o CopyOptions) -> Self {
        Self {
            place,
            options,
            source: source.map(OsStr::to_owned),
            begun: None,
            levels: Vec::new(),
            path: Vec::new(),
            landing: None,
            meta: None,
            trusted: Meta::file(0, 0, Timestamp::NONE),
            left_out: 0,
            is_same: false,
            links: Links::new(),
            came: options.deletes.then(HashSet::new),
            came_bytes: 0,
        }
    }

    /// The path of the latest entry, from the first directory on.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Nothing is inside a directory yet, or any more.
    pub(super) fn is_outside(&self) -> bool {
        self.levels.is_empty()
    }

    /// Where content goes; none where it is left out.
    pub(super) fn landing(&mut self) -> Option<&mut Landing> {
        self.landing.as_mut()
    }

    /// What was said of the file that is being received.
    pub(super) fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    /// What came, from the first directory on.
    pub(super) fn into_came(self) -> (Place, Option<HashSet<Vec<u8>>>) {
        (self.place, self.came)
    }

    /// Makes an entry, or begins with it.
    pub(super) fn entry(
        &mut self,
        meta: &Meta,
        name: &CStr,
        target: &CStr,
        report: &mut Report,
    ) -> Result<(), Error> {
        self.is_same = false;
        self.begin(meta, name, target, report)
    }

    /// The same for a file of which something was offered.
    pub(super) fn entry_begun(
        &mut self,
        meta: &Meta,
        name: &CStr,
        target: &CStr,
        begun: Option<Begun>,
        report: &mut Report,
    ) -> Result<(), Error> {
        self.begun = begun;
        let made = self.entry(meta, name, target, report);
        self.begun = None;
        made
    }

    /// The same for a regular file that is there as it should be.
    pub(super) fn entry_same(&mut self, meta: &Meta, name: &CStr, report: &mut Report) -> Result<(), Error> {
        self.is_same = true;
        let meta = Meta { flags: meta.flags & !meta_flag::OPEN, ..*meta };
        self.begin(&meta, name, c"", report)
    }

    fn begin(&mut self, meta: &Meta, name: &CStr, target: &CStr, report: &mut Report) -> Result<(), Error> {
        let is_inside = meta.kind() == Kind::Directory && meta.has(meta_flag::OPEN);
        self.meta = Some(*meta);
        if self.left_out > 0 {
            self.left_out += usize::from(is_inside);
            return Ok(());
        }
        let made = self.make(meta, name, target, report);
        self.left_out = usize::from(made.is_err() && is_inside);
        made
    }

    fn make(&mut self, meta: &Meta, name: &CStr, target: &CStr, report: &mut Report) -> Result<(), Error> {
        if let Some(level) = self.levels.last() {
            self.path.truncate(level.path_len);
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            if let Some(came) = &mut self.came {
                self.came_bytes += self.path.len();
                if self.came_bytes > CAME_MAX {
                    return Err(Error::TooMuch);
                }
                came.insert(self.path.clone());
            }
        }
        if self.levels.is_empty() && !self.options.is_recursive && meta.kind() != Kind::File {
            // It was asked for the content of a file, and not for a link that leads on, say.
            return Err(Error::Items(ItemError::Malformed));
        }
        let goes_on = self.options.is_resumed && !matches!(self.place, Place::There(_));
        if meta.offset > 0 && !self.is_same && !goes_on {
            // It would go on with what nobody has offered.
            return Err(Error::Garbled);
        }
        let Some(spot) = self.spot(meta, name)? else { return self.make_itself(meta, report) };
        match meta.kind() {
            Kind::Directory => self.directory(&spot, meta, report),
            Kind::File if meta.has(meta_flag::OPEN) => self.file(&spot, meta, report),
            Kind::File if meta.has(meta_flag::LINK) => self.link(&spot, meta, report),
            Kind::File if self.is_same => self.same(&spot, meta, report),
            Kind::Symlink => self.node(&spot, meta, Some(target), report),
            Kind::Device if !trust::takes(meta, self.options, report) => Ok(()),
            Kind::Fifo | Kind::Device => self.node(&spot, meta, None, report),
            Kind::File | Kind::Other => Err(Error::Garbled),
        }
    }

    /// Where an entry goes: into the innermost directory, or, the first one, where the person wants it. `None` where it is what
    /// is there.
    fn spot(&self, meta: &Meta, name: &CStr) -> Result<Option<Spot>, Error> {
        if let Some(level) = self.levels.last() {
            return Ok(Some(Spot { folder: Rc::clone(&level.folder), name: os(name).to_owned() }));
        }
        match &self.place {
            Place::In(folder, name) => Ok(Some(Spot { folder: Rc::clone(folder), name: name.clone() })),
            Place::OnlyDirectory(folder, name, errno) => {
                if meta.kind() != Kind::Directory {
                    return Err(Error::local("write", folder.path_of(name))((*errno).into()));
                }
                Ok(Some(Spot { folder: Rc::clone(folder), name: name.clone() }))
            }
            Place::Itself(_) | Place::There(_) => Ok(None),
        }
    }

    /// The first entry is something that is there.
    fn make_itself(&mut self, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        match (&mut self.place, meta.kind()) {
            (Place::Itself(folder), Kind::Directory) => {
                let path = folder.path.clone();
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let opened = open_beneath(folder.fd.as_fd(), Path::new(""), flags, Mode::empty());
                let fd = opened.map_err(|errno| Error::local("open", &path)(errno.into()))?;
                self.enter(Folder { fd, path, is_new: false }, meta, report)
            }
            (Place::Itself(folder), _) => Err(Error::local("write", &folder.path)(Errno::ISDIR.into())),
            (Place::There(landing), Kind::File) if meta.has(meta_flag::OPEN) => {
                self.landing = landing.take();
                Ok(())
            }
            (_, Kind::Directory) => Err(Error::Local {
                what: "write a directory to",
                on: "what is none".to_owned(),
                error: Errno::NOTDIR.into(),
            }),
            _ => Err(Error::Garbled),
        }
    }

    fn directory(&mut self, spot: &Spot, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        let path = spot.folder.path_of(&spot.name);
        let failed = |what| {
            let path = &path;
            move |errno: Errno| Error::local(what, path)(errno.into())
        };
        let mode = Mode::from_raw_mode(meta.mode & 0o777 | 0o700);
        let is_new = match rustix::fs::mkdirat(&spot.folder.fd, &spot.name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(failed("create")(errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = spot.folder.open(&spot.name, flags).map_err(failed("enter"))?;
        if is_new && self.levels.is_empty() && self.options.is_resumed {
            mark(&spot.folder, &spot.name, fd.as_fd(), self.source.as_deref());
        }
        self.enter(Folder { fd, path, is_new }, meta, report)
    }

    /// Goes into a directory. One that was there stays as it is, unless metadata are what it is about.
    fn enter(&mut self, folder: Folder, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        if let Some(came) = self.came.as_mut().filter(|_| self.levels.is_empty()) {
            // The first directory itself: what it has not is removed, also where it has nothing.
            came.insert(Vec::new());
        }
        let is_destination = self.levels.is_empty() && matches!(self.place, Place::Itself(_));
        let is_dressed =
            folder.is_new || self.options.is_preserving || (self.options.is_resumed && !is_destination);
        let is_kept = !is_dressed;
        self.levels.push(Level { folder: Rc::new(folder), path_len: self.path.len(), is_kept });
        if meta.has(meta_flag::OPEN) { Ok(()) } else { self.leave(meta, report) }
    }

    /// Leaves the innermost directory.
    pub(super) fn leave(&mut self, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        if self.left_out > 0 {
            self.left_out -= 1;
            return Ok(());
        }
        let Some(level) = self.levels.pop() else { return Err(Error::Garbled) };
        self.path.truncate(level.path_len);
        report.directory();
        if let (Place::In(folder, name) | Place::OnlyDirectory(folder, name, _), true, true) =
            (&self.place, self.levels.is_empty(), report.is_operand_fine())
        {
            unmark(folder, name);
        }
        if level.is_kept {
            if self.options.is_resumed {
                // It is as the source was then; where that cannot be, it is as it is.
                _ = keep_time(level.folder.fd.as_fd(), meta);
            }
            return Ok(());
        }
        let meta = trust::metadata(meta, self.options, report);
        let path = &level.folder.path;
        dress(level.folder.fd.as_fd(), &meta).map_err(|(what, errno)| Error::About {
            what,
            on: shown(path),
            errno,
        })
    }

    /// A file is there as it should be, and only gets its metadata.
    fn same(&mut self, spot: &Spot, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        let path = spot.folder.path_of(&spot.name);
        let meta = &trust::metadata(meta, self.options, report);
        let file = spot.folder.open(&spot.name, OFlags::RDONLY | OFlags::NONBLOCK);
        let file = file.map_err(|errno| Error::local("open", &path)(errno.into()))?;
        // Somebody else's is not given rights, and what has other names neither.
        let stat = rustix::fs::fstat(&file).map_err(|errno| Error::local("open", &path)(errno.into()))?;
        let is_owned = stat.st_uid == meta.owner || !meta.has(meta_flag::OWNER);
        if !is_owned && geteuid().is_root() && (stat.st_uid != 0 || stat.st_nlink > 1) {
            return Err(Error::local("give away", &path)(Errno::PERM.into()));
        }
        report.unchanged(meta.expected().unwrap_or(0));
        self.links.remember(meta, &self.path);
        dress(file.as_fd(), meta).map_err(|(what, errno)| Error::About { what, on: shown(&path), errno })
    }

    fn file(&mut self, spot: &Spot, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        self.trusted = trust::metadata(meta, self.options, report);
        let begun = match self.begun {
            _ if meta.offset == 0 => None,
            Some(begun) if begun.length == meta.offset => Some(begun),
            _ => return Err(Error::Garbled),
        };
        let is_kept = self.options.is_resumed;
        self.landing = Some(Landing::file(&spot.folder, &spot.name, is_kept, begun.as_ref())?);
        self.links.remember(meta, &self.path);
        Ok(())
    }

    /// The file is complete.
    pub(super) fn end(&mut self, report: &mut Report) -> Result<(), Error> {
        if let (Some(_), Some(mut landing)) = (self.meta.take(), self.landing.take()) {
            landing.finish(&self.trusted)?;
            report.file();
            // A stream has still to take what it was given.
            self.landing = Some(landing).filter(Landing::is_stream);
        }
        Ok(())
    }

    /// The stream that content goes to, and whether it is waited for.
    pub(super) fn sink(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.landing.as_ref().and_then(|landing| Some((landing.sink()?, landing.is_blocked())))
    }

    /// What has come of the file is of no use.
    pub(super) fn discard(&mut self) {
        self.landing = None;
    }

    /// Another name of a file that came before.
    fn link(&mut self, spot: &Spot, meta: &Meta, report: &mut Report) -> Result<(), Error> {
        let path = spot.folder.path_of(&spot.name);
        let failed = |errno: Errno| Error::local("link", &path)(errno.into());
        let first = self.levels.first().ok_or(Error::Garbled)?;
        let target = self.links.find(meta).ok_or_else(|| failed(Errno::NOENT))?;
        let target = Path::new(OsStr::from_bytes(target));
        let (parent, name) =
            (target.parent().unwrap_or_else(|| Path::new("")), target.file_name().ok_or(Error::Garbled)?);
        let of = open_beneath(first.folder.fd.as_fd(), parent, FOLDER, Mode::empty()).map_err(failed)?;
        can_replace(&spot.folder, &spot.name, Kind::File).map_err(failed)?;
        let temporary = fresh_name();
        // What had the name a moment ago may have lost it, and then another has it.
        (1..LINK_TRIES)
            .map(|_| rustix::fs::linkat(&of, name, &spot.folder.fd, &temporary, AtFlags::empty()))
            .find(|linked| *linked != Err(Errno::NOENT))
            .unwrap_or(Err(Errno::NOENT))
            .map_err(failed)?;
        let renamed = rustix::fs::renameat(&spot.folder.fd, &temporary, &spot.folder.fd, &spot.name);
        // Renaming one name of a file to another does nothing, `rename(2)`.
        _ = rustix::fs::unlinkat(&spot.folder.fd, &temporary, AtFlags::empty());
        renamed.map_err(failed)?;
        report.other();
        Ok(())
    }

    /// A symbolic link, a FIFO or a device.
    fn node(
        &mut self,
        spot: &Spot,
        meta: &Meta,
        target: Option<&CStr>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let meta = trust::metadata(meta, self.options, report);
        let path = spot.folder.path_of(&spot.name);
        let failed = |errno: Errno| Error::local("create", &path)(errno.into());
        can_replace(&spot.folder, &spot.name, meta.kind()).map_err(failed)?;
        let temporary = fresh_name();
        let folder = spot.folder.fd.as_fd();
        match target {
            Some(target) => rustix::fs::symlinkat(target, folder, &temporary),
            None => {
                let kind = FileType::from_raw_mode(meta.mode);
                let mode = Mode::from_raw_mode(meta.mode & MODE_BITS & !SET_ID);
                let device = if meta.kind() == Kind::Device {
                    rustix::fs::makedev(meta.size as u32, (meta.size >> 32) as u32)
                } else {
                    0
                };
                // Its mode is set as it is made, because the name could be another thing afterwards.
                let mask = rustix::process::umask(Mode::empty());
                let made = rustix::fs::mknodat(folder, &temporary, kind, mode, device);
                rustix::process::umask(mask);
                made
            }
        }
        .map_err(failed)?;
        // It is there, whatever else cannot be: it is kept, and that is told.
        let dressed = dress_name(folder, &temporary, &meta).map_err(|(what, errno)| Error::About {
            what,
            on: shown(&path),
            errno,
        });
        if let Err(errno) = rustix::fs::renameat(folder, &temporary, folder, &spot.name) {
            _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
            return Err(failed(errno));
        }
        report.other();
        dressed
    }

    /// Sets an extended attribute of the file that is being received, or of the innermost directory.
    pub(super) fn attribute(
        &mut self,
        name: &CStr,
        value: &[u8],
        in_file: bool,
        report: &mut Report,
    ) -> Result<(), Error> {
        if self.left_out > 0 || !trust::takes_attribute(name, self.options, report) {
            return Ok(());
        }
        let subject = match (&self.landing, in_file) {
            (Some(landing), _) => landing.owned(&self.trusted),
            (None, true) => None,
            (None, false) => self.levels.last().map(|level| level.folder.fd.as_fd()),
        };
        match subject.map(|subject| rustix::fs::fsetxattr(subject, name, value, XattrFlags::empty())) {
            Some(Err(errno)) => {
                let on = String::from_utf8_lossy(&self.path).into_owned();
                Err(Error::About { what: "set an attribute", on, errno })
            }
            _ => Ok(()),
        }
    }

    /// Flushes the file system, once.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let Some(folder) = self.place.folder() else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = open_beneath(folder.fd.as_fd(), Path::new(""), flags, Mode::empty());
        opened.and_then(rustix::fs::syncfs).map_err(|errno| Error::local("flush", &folder.path)(errno.into()))
    }

    /// Writes content of the file that is being received.
    pub(super) fn write(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), Error> {
        self.landing.as_mut().map_or(Ok(()), |landing| landing.write(pieces))
    }
}

fn shown(path: &Path) -> String {
    crate::text::escape(path.as_os_str().as_bytes()).into_owned()
}
