//! Receiving files and trees (`PROTOCOL.md` §10): items in, each entry made where it belongs. What cannot be made is told on
//! flow 1 and left out, with what is in it; only what is wrong with the first entry, or with the stream, ends the transfer.

mod place;

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::items::{Item, ItemReader, Kind, Meta, Stream, encode_problem, meta_flag};

use super::Core;
use super::base::{Base, beneath, name as single_name};
use super::identity::Rights;
use super::landing::{Gathered, Landing, Made, Mark, Names, SET_ID, Spot, dress, keep_time, make, unmark};
use super::tasks::Step;
use super::transfer::{Failed, GARBLED, Leased, Memory, Pending, exit_failed};
use super::walk::{Levels, Name, c_str};
use place::Place;
pub use place::{Destination, FLAGS};

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A transfer on its way.
pub struct Put {
    channel: ChannelId,
    rights: Rights,
    reader: ItemReader,
    memory: Leased,
    /// A problem that is being told; nothing is taken meanwhile.
    pending: Pending,
    /// Nobody listens to problems any more.
    is_stopped: bool,
    receiver: Receiver,
    end: Option<Result<(), Failed>>,
    /// There is no connection, and what is kept is left to others.
    is_away: bool,
}

/// What is made of the items.
struct Receiver {
    place: Place,
    flags: u32,
    /// A digest of what the copy calls its source.
    source: u64,
    landing: Option<Landing>,
    /// The name of what landing is, or of the entry before.
    name: Name,
    /// Directories inside each other that are left out.
    left_out: usize,
    names: Names,
    /// Something is missing in what was made.
    has_failed: bool,
    /// Nobody gets rights beyond the directory that is served.
    is_confined: bool,
}

impl Put {
    /// Opens where the first entry goes.
    ///
    /// # Errors
    /// What failed, before anything was received.
    #[inline(never)]
    pub fn begin(
        channel: ChannelId,
        to: &Destination<'_>,
        base: &Base,
        rights: Rights,
    ) -> Result<Self, Failed> {
        let memory = Memory::lease()?;
        let place = rights.with(|| place::find(to, base))?;
        let receiver = Receiver {
            place,
            flags: to.flags,
            source: to.source(),
            landing: None,
            name: Name::new_const(),
            left_out: 0,
            names: Names::new(),
            has_failed: false,
            is_confined: base.is_confined(),
        };
        let reader = ItemReader::new(Stream::Tree);
        let pending = Pending::default();
        Ok(Self {
            channel,
            rights,
            reader,
            memory,
            pending,
            is_stopped: false,
            receiver,
            end: None,
            is_away: false,
        })
    }

    /// It is over, well or not, or has something to tell, and wants to be stepped.
    pub fn has_news(&self) -> bool {
        self.end.is_some() || !self.pending.is_empty()
    }

    /// It brings a program.
    pub fn is_program(&self) -> bool {
        matches!(self.receiver.place, Place::Memory)
    }

    /// The program that it brought. What is none, and not complete, is discarded with us.
    pub fn into_program(mut self) -> Option<OwnedFd> {
        let is_program = self.is_program() && matches!(self.end, Some(Ok(())));
        let landing = if is_program { self.receiver.landing.take() } else { None };
        landing.map(Landing::into_file)
    }

    /// Takes bytes of the stream: how many. A file takes everything at once; content is gathered and written together.
    pub fn take(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> usize {
        let rights = core::mem::replace(&mut self.rights, Rights::OWN);
        let taken = rights.with(|| self.take_pieces(pieces));
        self.rights = rights;
        taken
    }

    fn take_pieces(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> usize {
        let mut taken = 0;
        let mut gathered = Gathered::new_const();
        for mut piece in pieces {
            while !piece.is_empty() && self.pending.is_empty() {
                if self.end.is_some() {
                    taken += piece.len();
                    break;
                }
                let Memory { item, walk, .. } = &mut *self.memory;
                let levels = &mut walk.levels;
                let (length, item) = match self.reader.read(item, piece) {
                    Ok(read) => read,
                    Err(_) => {
                        self.end = Some(Err(GARBLED));
                        continue;
                    }
                };
                piece = piece.get(length..).unwrap_or_default();
                taken += length;
                let Some(item) = item else { break };
                let is_first = levels.depth() == 0;
                let in_file = self.reader.is_in_file();
                let handled = self.receiver.handle(item, in_file, levels, &mut gathered);
                if let Err(failed) = handled {
                    self.fail(failed, is_first);
                }
                if self.end.is_none() && self.reader.is_ended() {
                    self.end = Some(self.receiver.finish());
                }
            }
        }
        let levels = &self.memory.walk.levels;
        if let Err(failed) = self.receiver.write(levels, &mut gathered) {
            let is_first = levels.depth() == 0;
            self.fail(failed, is_first);
        }
        taken
    }

    /// What fails with the first entry ends the transfer, and what is inside is told.
    fn fail(&mut self, failed: Failed, is_first: bool) {
        self.receiver.has_failed = true;
        if is_first {
            self.end = Some(Err(failed));
        } else if !self.is_stopped {
            let Memory { aside, walk, .. } = &mut *self.memory;
            let text = failed.what.as_bytes();
            self.pending.set(encode_problem(aside, failed.number(), walk.levels.path(), text));
        }
    }

    /// The connection is lost, and somebody else may go on with what is kept; or it is there again.
    pub fn set_connected(&mut self, is_connected: bool) {
        self.is_away = !is_connected;
        let folder = self.receiver.place.folder(&self.memory.walk.levels);
        let (Some(landing), Some(folder)) = (&self.receiver.landing, folder) else { return };
        if !self.rights.with(|| landing.hold(folder, is_connected)) && is_connected {
            // Not a byte more goes to what another copy may have completed.
            self.receiver.landing = None;
            self.end = Some(Err(Failed::new(c"go on", Errno::BUSY)));
        }
    }

    /// The client takes no more of what is told.
    pub fn stop(&mut self) {
        self.is_stopped = true;
        self.pending = Pending::default();
    }

    /// Takes what waited, and tells what there is to tell.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        if self.is_away {
            return Step::Idle;
        }
        if !self.pending.is_empty() {
            return self.pending.send(core, self.channel, &self.memory.aside);
        }
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

impl Drop for Put {
    fn drop(&mut self) {
        self.receiver.discard(&self.memory.walk.levels);
    }
}

impl Receiver {
    /// Makes what an item says.
    #[inline(never)]
    fn handle<'i>(
        &mut self,
        item: Item<'_, 'i>,
        in_file: bool,
        levels: &mut Levels,
        gathered: &mut Gathered<'i>,
    ) -> Result<(), Failed> {
        if let Item::Content(bytes) = item {
            let Some(landing) = &mut self.landing else { return Ok(()) };
            landing.add(bytes);
            if gathered.is_full() {
                self.write(levels, gathered)?;
            }
            let _ = gathered.try_push(bytes);
            return Ok(());
        }
        self.write(levels, gathered)?;
        match item {
            Item::Entry { meta, name, target } => {
                let is_inside = meta.kind() == Kind::Directory && meta.has(meta_flag::OPEN);
                if self.left_out > 0 {
                    self.left_out += usize::from(is_inside);
                    return Ok(());
                }
                let made = self.entry(&self.permitted(&meta), name, target, levels);
                self.left_out = usize::from(made.is_err() && is_inside);
                made
            }
            Item::Leave(_) if self.left_out > 0 => {
                self.left_out -= 1;
                Ok(())
            }
            Item::Leave(meta) => {
                match levels.leave() {
                    Some((folder, is_new)) if self.dresses(is_new, &meta, levels) => {
                        dress(folder.as_fd(), &self.permitted(&meta))?;
                    }
                    Some((folder, _)) if self.flags & flag::RESUME != 0 => keep_time(folder.as_fd(), &meta),
                    _ => {}
                }
                if let (Place::In(folder, name) | Place::OnlyDirectory(folder, name, _), 0, false) =
                    (&self.place, levels.depth(), self.has_failed)
                {
                    unmark(folder.as_fd(), name);
                }
                Ok(())
            }
            Item::Attribute { .. } if self.left_out > 0 => Ok(()),
            Item::Attribute { name, value } => {
                let subject = match &self.landing {
                    Some(landing) => Some(landing.owned()),
                    None => levels.top().filter(|_| !in_file),
                };
                let flags = rustix::fs::XattrFlags::empty();
                let set =
                    subject.map_or(Ok(()), |subject| rustix::fs::fsetxattr(subject, name, value, flags));
                set.map_err(Failed::to(c"set an attribute"))
            }
            Item::Hole(length) => match &mut self.landing {
                Some(landing) => landing.skip(length).inspect_err(|_| self.discard(levels)),
                None => Ok(()),
            },
            Item::End(end) => {
                let Some(landing) = &mut self.landing else { return Ok(()) };
                let folder = self.place.folder(levels);
                let name = c_str(&self.name);
                let finished = landing.finish(folder, name, end);
                if finished.is_err() {
                    self.discard(levels);
                } else if !matches!(self.place, Place::Memory) {
                    self.landing = None;
                }
                finished
            }
            // Its sender tells it to the person.
            Item::Problem { ends_file, .. } => {
                self.has_failed = true;
                if ends_file {
                    self.discard(levels);
                }
                Ok(())
            }
            Item::Content(_) | Item::Want(_) => Ok(()),
        }
    }

    /// Makes an entry.
    #[inline(never)]
    fn entry(&mut self, meta: &Meta, name: &CStr, target: &CStr, levels: &mut Levels) -> Result<(), Failed> {
        let is_directory = meta.kind() == Kind::Directory;
        if levels.depth() == 0 {
            match &self.place {
                Place::In(_, name) => self.name.clone_from(name),
                Place::OnlyDirectory(_, name, _) if is_directory => self.name.clone_from(name),
                Place::OnlyDirectory(_, _, errno) => return Err(Failed::new(c"open the folder", *errno)),
                Place::Itself(folder) if is_directory => {
                    let flags = FOLDER | OFlags::RDONLY;
                    let opened = rustix::fs::openat(folder, c".", flags, Mode::empty());
                    let opened = opened.map_err(Failed::to(c"open the folder"))?;
                    return self.enter(opened, false, meta, levels);
                }
                Place::Itself(_) => return Err(Failed::new(c"write", Errno::ISDIR)),
                Place::There(_) | Place::Memory
                    if meta.kind() != Kind::File || !meta.has(meta_flag::OPEN) =>
                {
                    return Err(Failed::new(c"write", Errno::INVAL));
                }
                Place::There(_) | Place::Memory if meta.offset > 0 => {
                    return Err(Failed::new(c"go on", Errno::NODATA));
                }
                Place::There(file) => {
                    let file = rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(Failed::to(c"write"))?;
                    self.landing = Some(Landing::of(file, *meta));
                    return Ok(());
                }
                Place::Memory => {
                    self.landing = Some(Landing::memory(*meta)?);
                    return Ok(());
                }
            }
        } else {
            levels.name(name.to_bytes()).map_err(Failed::to(c"create"))?;
            self.name = single_name(name.to_bytes()).map_err(Failed::to(c"create"))?;
        }
        let folder = self.place.folder(levels).ok_or(GARBLED)?;
        let name = c_str(&self.name);
        let spot = &mut Spot { folder, name, is_empty: levels.is_new(), names: &mut self.names };
        match meta.kind() {
            Kind::Directory => {
                let mode = Mode::from_raw_mode(meta.mode & 0o777 | 0o700);
                let is_new = match rustix::fs::mkdirat(folder, name, mode) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(Failed::new(c"create", errno)),
                };
                let flags = FOLDER | OFlags::RDONLY | OFlags::NOFOLLOW;
                let opened = rustix::fs::openat(folder, name, flags, Mode::empty());
                let opened = opened.map_err(Failed::to(c"enter"))?;
                if is_new
                    && levels.depth() == 0
                    && self.flags & flag::RESUME != 0
                    && let Some(mark) = Mark::of(folder, name, self.source)
                {
                    mark.set(folder, &self.name);
                }
                self.enter(opened, is_new, meta, levels)
            }
            Kind::File if meta.has(meta_flag::OPEN) => {
                let is_kept = self.flags & flag::RESUME != 0;
                self.landing = Some(Landing::create(spot, *meta, is_kept)?);
                Ok(())
            }
            Kind::File if meta.has(meta_flag::LINK) => {
                let first = levels.first().ok_or(Failed::new(c"link", Errno::NOENT))?;
                let target = target.to_bytes();
                let at = target.iter().rposition(|&byte| byte == b'/');
                let (parent, last) = at.map_or((&b"."[..], target), |at| {
                    (target.get(..at).unwrap_or_default(), target.get(at + 1..).unwrap_or_default())
                });
                let mut buffer = crate::path::PathBuffer::new();
                let of =
                    buffer.join(&[parent]).and_then(|parent| beneath(first, parent, OFlags::PATH | FOLDER));
                let of = of.map_err(Failed::to(c"link"))?;
                let last = single_name(last).map_err(Failed::to(c"link"))?;
                make(spot, meta, &Made::Link { folder: of.as_fd(), name: c_str(&last) })
            }
            Kind::File => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(Failed::to(c"open"))?;
                let stat = rustix::fs::fstat(&file).map_err(Failed::to(c"open"))?;
                if Kind::of_mode(stat.st_mode) != Kind::File {
                    return Err(Failed::new(c"open", Errno::INVAL));
                }
                // Somebody else's is not given rights, and what has other names neither.
                let is_owned = stat.st_uid == meta.owner || !meta.has(meta_flag::OWNER);
                if !is_owned && geteuid().is_root() && (stat.st_uid != 0 || stat.st_nlink > 1) {
                    return Err(Failed::new(c"give away", Errno::PERM));
                }
                dress(file.as_fd(), meta)
            }
            Kind::Device if self.is_confined => Err(Failed::new(c"create", Errno::PERM)),
            Kind::Symlink => make(spot, meta, &Made::Symlink(target)),
            Kind::Fifo | Kind::Device => make(spot, meta, &Made::Node),
            Kind::Other => Err(Failed::new(c"create", Errno::INVAL)),
        }
    }

    /// What the peer may give.
    fn permitted(&self, meta: &Meta) -> Meta {
        let taken = if self.is_confined { SET_ID } else { 0 };
        Meta { mode: meta.mode & !taken, ..*meta }
    }

    /// A directory that was there stays as it is, unless metadata are what it is about. `levels` are those around it.
    fn dresses(&self, is_new: bool, meta: &Meta, levels: &Levels) -> bool {
        let is_destination = levels.depth() == 0 && matches!(self.place, Place::Itself(_));
        is_new || meta.has(meta_flag::OWNER) || (self.flags & flag::RESUME != 0 && !is_destination)
    }

    /// Goes into a directory, or is done with it.
    fn enter(&self, folder: OwnedFd, is_new: bool, meta: &Meta, levels: &mut Levels) -> Result<(), Failed> {
        if meta.has(meta_flag::OPEN) {
            levels.enter(folder, is_new).map_err(Failed::to(c"go deeper"))
        } else if self.dresses(is_new, meta, levels) {
            dress(folder.as_fd(), meta)
        } else {
            Ok(())
        }
    }

    /// Writes what was gathered; what cannot be written is discarded.
    fn write(&mut self, levels: &Levels, gathered: &mut Gathered<'_>) -> Result<(), Failed> {
        let Some(landing) = self.landing.as_mut().filter(|_| !gathered.is_empty()) else { return Ok(()) };
        landing.write(gathered).inspect_err(|_| {
            gathered.clear();
            self.discard(levels);
        })
    }

    fn discard(&mut self, levels: &Levels) {
        if let (Some(landing), Some(folder)) = (self.landing.take(), self.place.folder(levels)) {
            landing.discard(folder);
        }
    }

    /// Everything is in its place.
    fn finish(&self) -> Result<(), Failed> {
        if self.flags & flag::SYNC == 0 {
            return Ok(());
        }
        let failed = Failed::to(c"flush");
        match &self.place {
            Place::In(folder, _) | Place::Itself(folder) | Place::OnlyDirectory(folder, ..) => {
                let flags = FOLDER | OFlags::RDONLY;
                let folder = rustix::fs::openat(folder, c".", flags, Mode::empty());
                folder.and_then(rustix::fs::syncfs).map_err(failed)
            }
            Place::There(file) => match rustix::fs::fsync(file) {
                // There is nothing to flush, as in /proc.
                Err(Errno::INVAL) => Ok(()),
                flushed => flushed.map_err(failed),
            },
            Place::Memory => Ok(()),
        }
    }
}
