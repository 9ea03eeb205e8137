//! Owns what `--resume` and `--checksum` need to know: what is on the other side already, asked for all files
//! together and not one by one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::items::{Kind, Meta, UNKNOWN, meta_flag};

use super::beneath::open_beneath;
use super::destination::Place;
use super::digest::digest;
use super::fetch::Answer;
use super::landing::{Begun, is_held, is_ours, mark_of, partial_name};
use super::metadata::meta_of;
use super::others::End;
use super::receive::Scene;
use super::report::{Report, note};
use super::source::{Content, Found, Origin, open_file};
use super::wants::Wanted;
use crate::client::Client;
use crate::error::{Error, Failure};
use crate::invocation::CopyOptions;
use crate::signals::{Signals, interrupted};

const ENOENT: u32 = rustix::io::Errno::NOENT.raw_os_error().unsigned_abs();

/// What the guest has of a file.
pub(super) enum Known {
    /// All of it.
    Same,
    /// Its beginning.
    Begun { length: u64, digest: u64, device: u64, inode: u64 },
}

/// What the guest has of the files that are sent, by their paths from the first directory on.
#[derive(Default)]
pub(super) struct Plan(HashMap<Vec<u8>, Known>);

impl Plan {
    pub(super) fn known(&self, path: &[u8]) -> Option<&Known> {
        self.0.get(path)
    }
}

/// A file here that may be there too.
struct Candidate {
    path: Vec<u8>,
    meta: Meta,
}

/// Joins a guest's directory and a path in it.
pub(crate) fn join(base: &OsStr, path: &[u8]) -> OsString {
    let mut joined = base.as_bytes().to_vec();
    if !path.is_empty() {
        if !joined.is_empty() && !joined.ends_with(b"/") {
            joined.push(b'/');
        }
        joined.extend_from_slice(path);
    }
    OsString::from_vec(joined)
}

fn want(path: &OsStr, flags: u32, length: u64, digest: u64) -> Result<Wanted, Error> {
    let path = CString::new(super::guest_path(path).as_bytes()).map_err(|_| Error::Nul)?;
    Ok(Wanted { path, flags, length, digest })
}

impl Client {
    /// What is at a path of the guest's; `None` where nothing is.
    pub(crate) fn stat(
        &mut self,
        path: &OsStr,
        signals: Option<&mut Signals>,
    ) -> Result<Option<Meta>, Error> {
        match self.fetch(path, flag::META, &[], signals) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
                Answer::Entry(entry) => Some(entry.meta),
                _ => None,
            })),
            Err(Error::Refused(refusal)) if refusal.errno == ENOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where an upload ends up: in a directory of that name under its own, or under that name.
    pub(super) fn end_of(
        &mut self,
        path: &OsStr,
        name: Option<&OsStr>,
        is_resumed: bool,
        signals: &mut Signals,
    ) -> Result<End, Error> {
        let there = self.stat(path, Some(signals))?;
        let directory = there.filter(|meta| meta.kind() == Kind::Directory);
        if let Some(directory) = directory.filter(|_| is_resumed) {
            // A copy before of the same has not completed it.
            let mark = mark_of(directory.inode, name);
            let mut ask = |flags| {
                let wanted = vec![want(path, flags | flag::PARTIAL, 0, 0)?];
                self.fetch_list(OsStr::new("."), 0, wanted, Some(signals))
            };
            let is_mark = |answer: &Answer| matches!(answer, Answer::Entry(entry) if entry.meta.size == 16);
            if ask(flag::META)?.iter().any(is_mark)
                && ask(0)?
                    .iter()
                    .any(|answer| matches!(answer, Answer::Entry(entry) if entry.content == mark))
            {
                return Ok(End { path: path.to_owned(), name: None });
            }
        }
        let is_directory = directory.is_some();
        let name = name.filter(|_| is_directory).map(OsStr::to_owned);
        Ok(End { path: path.to_owned(), name })
    }

    /// Asks what the guest has of what is to be sent to `base`.
    pub(super) fn plan(
        &mut self,
        source: &Path,
        base: &OsStr,
        options: &CopyOptions,
        signals: &mut Signals,
    ) -> Result<Plan, Error> {
        let candidates = candidates(source, options)?;
        let mut wanted = Vec::with_capacity(candidates.len());
        for Candidate { path, meta } in &candidates {
            let there = join(base, path);
            let digest = if options.is_checked { flag::DIGEST } else { 0 };
            let size = meta.expected().unwrap_or(0);
            wanted.push(want(&there, flag::META | flag::NO_FOLLOW | digest, size, 0)?);
            if options.is_resumed {
                wanted.push(want(&there, flag::META | flag::PARTIAL | flag::DIGEST, UNKNOWN, 0)?);
            }
        }
        let mut answers =
            self.fetch_list(OsStr::new("."), 0, wanted, Some(signals))?.into_iter().filter(is_answer);
        let mut plan = Plan::default();
        for Candidate { path, meta } in candidates {
            let there = answers.next();
            let partial = if options.is_resumed { answers.next() } else { None };
            let size = meta.expected().unwrap_or(0);
            let known = match (there, partial) {
                (Some(Answer::Entry(there)), _)
                    if options.is_resumed
                        && there.meta.kind() == Kind::File
                        && there.meta.size == size
                        && there.meta.modified == meta.modified =>
                {
                    Some(Known::Same)
                }
                (Some(Answer::Entry(there)), _)
                    if options.is_checked
                        && there.meta.size == size
                        && there.meta.kind() == Kind::File
                        && there.end.is_some_and(|end| is_same(source, &path, end.digest)) =>
                {
                    Some(Known::Same)
                }
                (_, Some(Answer::Entry(partial))) => {
                    partial.end.filter(|end| end.size > 0 && end.size <= size).map(|end| Known::Begun {
                        length: end.size,
                        digest: end.digest,
                        device: partial.meta.device,
                        inode: partial.meta.inode,
                    })
                }
                _ => None,
            };
            interrupted()?;
            if let Some(known) = known {
                plan.0.insert(path, known);
            }
        }
        Ok(plan)
    }

    /// What a download needs: what is to be asked for, and what is made of it.
    pub(super) fn scenes(
        &mut self,
        path: &OsStr,
        place: &Place,
        flags: u32,
        options: &CopyOptions,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(Vec<Wanted>, VecDeque<Scene>), Error> {
        let listed = self.fetch(path, flags | flag::META, &options.excludes, Some(signals))?;
        let mut scenes = VecDeque::with_capacity(listed.len());
        let mut wanted = Vec::new();
        let mut links = HashSet::new();
        let mut total = 0_u64;
        for answer in listed {
            match answer {
                Answer::Leave(meta) => scenes.push_back(Scene::Leave(meta)),
                Answer::Attribute(name, value) => scenes.push_back(Scene::Attribute { name, value }),
                Answer::Problem(path, Failure { errno, text }) => report.told(errno, &path, &text),
                Answer::Entry(entry) => {
                    let mut meta = entry.meta;
                    let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                    let name = CString::new(name).map_err(|_| Error::Garbled)?;
                    let target = CString::new(entry.target).map_err(|_| Error::Garbled)?;
                    match meta.kind() {
                        Kind::File => {}
                        Kind::Other => {
                            report.note(note::SOCKET);
                            continue;
                        }
                        Kind::Device if !options.is_preserving => {
                            report.note(note::DEVICE);
                            continue;
                        }
                        _ => {
                            scenes.push_back(Scene::Entry { meta, name, target });
                            continue;
                        }
                    }
                    if meta.has(meta_flag::IDENTITY) && !links.insert((meta.device, meta.inode)) {
                        meta.flags |= meta_flag::LINK;
                        scenes.push_back(Scene::Entry { meta, name, target });
                        continue;
                    }
                    total = total.saturating_add(meta.expected().unwrap_or(0));
                    let here = here(place, &entry.path, &meta, options);
                    interrupted()?;
                    match here {
                        Some(Here::Same) => scenes.push_back(Scene::Same { meta, name }),
                        here => {
                            let (length, digest, begun) = match here {
                                Some(Here::Whole(digest)) => (meta.size, digest, None),
                                Some(Here::Begun(digest, begun)) => (begun.length, digest, Some(begun)),
                                _ => (0, 0, None),
                            };
                            let is_whole = length > 0 && begun.is_none();
                            let no_follow = if entry.path.is_empty() { 0 } else { flag::NO_FOLLOW };
                            wanted.push(want(&join(path, &entry.path), no_follow, length, digest)?);
                            scenes.push_back(Scene::Answer { path: entry.path, name, is_whole, begun });
                        }
                    }
                }
            }
        }
        report.progress().set_size(total);
        Ok((wanted, scenes))
    }
}

/// It answers a want, and tells not only something besides.
fn is_answer(answer: &Answer) -> bool {
    match answer {
        Answer::Entry(_) => true,
        Answer::Problem(_, failure) => failure.errno != 0,
        Answer::Attribute(..) | Answer::Leave(_) => false,
    }
}

/// All regular files that would be sent.
fn candidates(source: &Path, options: &CopyOptions) -> Result<Vec<Candidate>, Error> {
    let origin = Origin::open(source, options.is_recursive, options.is_preserving, &options.excludes)?;
    let mut tree = origin.tree;
    let mut candidates = Vec::new();
    let mut found = Ok(origin.first);
    loop {
        match found {
            Ok(Found::File { content: Content::File(_), meta }) if meta.expected().is_some() => {
                candidates.push(Candidate { path: tree.path().to_vec(), meta });
            }
            Ok(Found::End) => drop(tree.leave()),
            // What cannot be read is told when it is sent.
            _ => {}
        }
        if tree.depth() == 0 {
            return Ok(candidates);
        }
        interrupted()?;
        found = tree.next();
    }
}

fn is_same(source: &Path, path: &[u8], there: u64) -> bool {
    let path = if path.is_empty() { source.to_owned() } else { source.join(OsStr::from_bytes(path)) };
    open_file(&path, OFlags::empty()).is_ok_and(|file| digest(file).is_ok_and(|(_, here)| here == there))
}

/// What is here of a file that is to come.
enum Here {
    Same,
    Whole(u64),
    Begun(u64, Begun),
}

fn here(place: &Place, path: &[u8], meta: &Meta, options: &CopyOptions) -> Option<Here> {
    let (folder, mut at) = match place {
        Place::In(folder, name) | Place::OnlyDirectory(folder, name, _) => (folder, PathBuf::from(name)),
        Place::Itself(folder) => (folder, PathBuf::new()),
        Place::There(_) => return None,
    };
    if !path.is_empty() {
        at.push(OsStr::from_bytes(path));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let open = |path: &Path| {
        let file = open_beneath(folder.fd.as_fd(), path, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        (Kind::of_mode(stat.st_mode) == Kind::File).then_some((File::from(file), stat))
    };
    let there = open(&at).map(|(file, stat)| (file, meta_of(&stat)));
    if let Some((file, there)) = there.filter(|(_, there)| there.size == meta.size) {
        if options.is_resumed && there.modified == meta.modified {
            return Some(Here::Same);
        }
        if options.is_checked && meta.size > 0 {
            return digest(file).ok().map(|(_, digest)| Here::Whole(digest));
        }
    }
    if !options.is_resumed {
        return None;
    }
    let partial = at.with_file_name(partial_name(at.file_name()?));
    let (partial, stat) = open(&partial).filter(|(file, stat)| is_ours(stat) && !is_held(file.as_fd()))?;
    let begun = Begun::of(&stat);
    let (length, digest) = digest(partial).ok()?;
    let fits = length > 0 && length <= meta.size && length == begun.length;
    fits.then_some(Here::Begun(digest, begun))
}
