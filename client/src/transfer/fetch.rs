//! Owns reading files and metadata of a guest into memory: lists of what is wanted, answered one after the other.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;

use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{flag, tag};
use vsock_shell_proto::frame::ChannelKind;
use vsock_shell_proto::items::{FileEnd, Item, ItemReader, Meta, Stream};

use super::reading::{Collect, Question, Read};
use super::wants::{Wanted, Wants};
use super::{guest_path, home_path};
use crate::client::Client;
use crate::error::{Error, Failure};
use crate::request::Request;
use crate::signals::Signals;

/// An entry of a guest, as it came.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What is known of it.
    pub meta: Meta,
    /// Where it is, from the first directory on; empty for the first entry. Hostile bytes.
    pub path: Vec<u8>,
    /// Where a symbolic link leads. Hostile bytes.
    pub target: Vec<u8>,
    /// Its content, where that was asked for.
    pub content: Vec<u8>,
    /// Its digest and size, where those were asked for or content came.
    pub end: Option<FileEnd>,
}

/// What an answer consists of.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An entry, or one inside it.
    Entry(Fetched),
    /// An extended attribute of the directory that was entered last, where those were asked for.
    Attribute(CString, Vec<u8>),
    /// The directory that was entered last is complete.
    Leave(Meta),
    /// What is wanted cannot be had, or something in it: by its path, and why.
    Problem(Vec<u8>, Failure),
}

/// Bytes that are kept of all answers together: a guest could send without end.
const KEPT_MAX: usize = 256 << 20;

#[derive(Default)]
struct Answers {
    path: Vec<u8>,
    lengths: Vec<usize>,
    answers: Vec<Answer>,
    kept: usize,
}

impl Client {
    /// Reads what is at `path`, with bits of [`flag`]: a tree with [`flag::TREE`], metadata alone with [`flag::META`].
    ///
    /// # Errors
    /// The guest refused or failed, the connection was lost, or a signal arrived.
    pub fn fetch(
        &mut self,
        path: &OsStr,
        flags: u32,
        excludes: &[std::ffi::OsString],
        signals: Option<&mut Signals>,
    ) -> Result<Vec<Answer>, Error> {
        let request = self.get_request(path, flags, excludes)?;
        self.run_fetch(ChannelKind::Get, request, None, Stream::Tree, signals)
    }

    /// Reads all that is wanted, from `path` on. Answers come in the order of the wants.
    ///
    /// # Errors
    /// As for [`Self::fetch`].
    pub(crate) fn fetch_list(
        &mut self,
        path: &OsStr,
        flags: u32,
        wanted: Vec<Wanted>,
        signals: Option<&mut Signals>,
    ) -> Result<Vec<Answer>, Error> {
        let request = self.get_request(path, flags | flag::LIST, &[])?;
        self.run_fetch(ChannelKind::Get, request, Some(Wants::new(wanted)), Stream::List, signals)
    }

    /// The contents of the files of these names in one directory, or why there is none.
    ///
    /// # Errors
    /// As for [`Self::fetch`].
    pub(crate) fn fetch_contents(
        &mut self,
        folder: &OsStr,
        names: &[CString],
    ) -> Result<Vec<Result<Vec<u8>, Failure>>, Error> {
        let wanted = names.iter().map(|name| Wanted { path: name.clone(), ..Wanted::default() }).collect();
        let answers = self.fetch_list(folder, 0, wanted, None)?;
        let content = |answer| match answer {
            Answer::Entry(entry) => Some(Ok(entry.content)),
            Answer::Problem(_, failure) if failure.errno != 0 => Some(Err(failure)),
            Answer::Problem(..) | Answer::Attribute(..) | Answer::Leave(_) => None,
        };
        Ok(answers.into_iter().filter_map(content).collect())
    }

    /// Removes what is at `path`, with what is in it: what in it could not be, by its path from there on.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be removed at all; as for [`Self::fetch`].
    pub fn remove_tree(
        &mut self,
        path: &OsStr,
        signals: Option<&mut Signals>,
    ) -> Result<Vec<(Vec<u8>, Failure)>, Error> {
        self.remove_inside(path, None, flag::TREE, signals)
    }

    /// The same; or of what is at a path inside, through no link. `flags` are bits of [`flag`].
    pub(super) fn remove_inside(
        &mut self,
        path: &OsStr,
        inside: Option<&OsStr>,
        flags: u32,
        signals: Option<&mut Signals>,
    ) -> Result<Vec<(Vec<u8>, Failure)>, Error> {
        let mut request = Request::default();
        request.string(tag::VERB, &[OsStr::new("remove")])?;
        // Nobody means to remove the home directory by an empty path.
        request.string(tag::PATH, &[if inside.is_some() { guest_path(path) } else { home_path(path) }])?;
        if let Some(inside) = inside {
            request.string(tag::ARG, &[inside])?;
        }
        request.bytes(tag::FLAGS, &flags.to_le_bytes())?;
        self.name_user(&mut request)?;
        let request = request.into_bytes();
        let told = match self.run_fetch(ChannelKind::Fs, request, None, Stream::Problems, signals) {
            Err(Error::Refused(refusal)) if refusal.code == RefusalCode::System => {
                let text = [b"remove ", inside.unwrap_or(path).as_bytes()].concat();
                return Err(Failure { errno: refusal.errno, text }.into());
            }
            told => told?,
        };
        let problem = |answer| match answer {
            Answer::Problem(path, failure) => Some((path, failure)),
            _ => None,
        };
        Ok(told.into_iter().filter_map(problem).collect())
    }

    fn run_fetch(
        &mut self,
        kind: ChannelKind,
        request: Vec<u8>,
        wants: Option<Wants>,
        of: Stream,
        signals: Option<&mut Signals>,
    ) -> Result<Vec<Answer>, Error> {
        let question = Question { kind, request, wants, of, deadline: None };
        let mut collected = Answers::default();
        match self.read_items(question, &mut collected, signals)? {
            Read::Whole => Ok(collected.answers),
            Read::Failed(error) => Err(error),
        }
    }

    pub(super) fn get_request(
        &self,
        path: &OsStr,
        flags: u32,
        excludes: &[std::ffi::OsString],
    ) -> Result<Vec<u8>, Error> {
        let mut request = Request::default();
        request.string(tag::PATH, &[guest_path(path)])?;
        request.bytes(tag::FLAGS, &flags.to_le_bytes())?;
        for pattern in excludes {
            request.string(tag::EXCLUDE, &[pattern])?;
        }
        self.name_user(&mut request)?;
        Ok(request.into_bytes())
    }
}

impl Answers {
    fn keep(&mut self, answer: Answer, length: usize) -> Result<(), Error> {
        self.kept += size_of::<Answer>() + length;
        if self.kept > KEPT_MAX {
            return Err(Error::TooMuch);
        }
        self.answers.push(answer);
        Ok(())
    }

    fn latest(&mut self) -> Option<&mut Fetched> {
        match self.answers.last_mut() {
            Some(Answer::Entry(entry)) => Some(entry),
            _ => None,
        }
    }
}

impl Collect for Answers {
    fn item(&mut self, item: Item<'_, '_>, reader: &ItemReader) -> Result<(), Error> {
        match item {
            Item::Entry { meta, name, target } => {
                self.path.truncate(self.lengths.last().copied().unwrap_or(0));
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name.to_bytes());
                if reader.depth() > self.lengths.len() {
                    self.lengths.push(self.path.len());
                }
                let entry = Fetched {
                    meta,
                    path: self.path.clone(),
                    target: target.to_bytes().to_vec(),
                    content: Vec::new(),
                    end: None,
                };
                let length = entry.path.len() + entry.target.len();
                self.keep(Answer::Entry(entry), length)
            }
            Item::Content(content) => {
                self.kept += content.len();
                if self.kept > KEPT_MAX {
                    return Err(Error::TooMuch);
                }
                if let Some(entry) = self.latest() {
                    entry.content.extend_from_slice(content);
                }
                Ok(())
            }
            Item::Hole(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.kept = self.kept.saturating_add(length);
                if self.kept > KEPT_MAX {
                    return Err(Error::TooMuch);
                }
                if let Some(entry) = self.latest() {
                    entry.content.resize(entry.content.len() + length, 0);
                }
                Ok(())
            }
            Item::End(end) => {
                if let Some(entry) = self.latest() {
                    entry.end = Some(end);
                }
                Ok(())
            }
            Item::Leave(meta) => {
                self.lengths.pop();
                self.path.truncate(self.lengths.last().copied().unwrap_or(0));
                self.keep(Answer::Leave(meta), 0)
            }
            Item::Attribute { name, value } => {
                if reader.is_in_file() {
                    return Ok(());
                }
                self.keep(
                    Answer::Attribute(name.to_owned(), value.to_vec()),
                    name.count_bytes() + value.len(),
                )
            }
            Item::Problem { errno, path, text, ends_file } => {
                if ends_file {
                    self.answers.pop();
                }
                let failure = Failure { errno, text: text.to_vec() };
                self.keep(Answer::Problem(path.to_bytes().to_vec(), failure), path.count_bytes() + text.len())
            }
            Item::Want(_) => Err(Error::Garbled),
        }
    }
}
