//! Owns copies from guest to guest: the tree stream of one is poured into the other, item by item, so that the second one gets
//! no more than a guest is trusted with, and hard links by their paths.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;

use vsock_shell_proto::frame::ChannelKind;
use vsock_shell_proto::items::{
    ITEM_MAX, Item, ItemError, ItemReader, Kind, MODE_BITS, Meta, Stream, VALUE_MAX, content_header,
    encode_attribute, encode_end, encode_entry, encode_hole, encode_leave, encode_problem, meta_flag,
};

use super::links::Links;
use super::report::Report;
use super::trust;
use crate::command::Streams;
use crate::error::{Error, Failure};
use crate::invocation::CopyOptions;
use crate::run::{Input, Output, Run};
use crate::signals::{Caught, Signals};
use crate::stdio::{Sink, Source};
use crate::{client::Client, drive::drive};

/// The errno of a guest that finds nobody who reads what it sends.
const EPIPE: u32 = rustix::io::Errno::PIPE.raw_os_error().unsigned_abs();

/// What failed in a copy, by the operand that it is about.
pub(super) enum Failing {
    Source(Error),
    Destination(Error),
}

impl From<Error> for Failing {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

/// What goes between two guests.
struct Filter<'r> {
    report: &'r mut Report,
    options: &'r CopyOptions,
    /// The path of the latest entry, and the lengths of those of the directories that it is in.
    path: Vec<u8>,
    lengths: Vec<usize>,
    links: Links,
    item: Vec<u8>,
}

/// Pours what one guest sends into another; each end checks the digests itself.
pub(super) fn relay(
    (getting, get): (&mut Client, Vec<u8>),
    (putting, put): (&mut Client, Vec<u8>),
    options: &CopyOptions,
    signals: &mut Signals,
    report: &mut Report,
) -> Result<(), Failing> {
    let pipe = || std::io::pipe().map_err(Error::local("make", "a pipe"));
    let ((from_get, into_filter), (from_filter, into_put), (problems, tell)) = (pipe()?, pipe()?, pipe()?);
    let sink = Sink::new(into_filter.as_fd()).map_err(Error::local("use", "a pipe"))?;
    let source = Source::new(from_filter.as_fd()).map_err(Error::local("use", "a pipe"))?;
    let told = Sink::new(tell.as_fd()).map_err(Error::local("use", "a pipe"))?;
    drop((into_filter, from_filter, tell));
    // A signal ends both, however the guests behave.
    let mut signals_too = Signals::new(Caught::ENDS);
    let (got, was_put, filtered) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let streams =
                Streams { input: Input::nothing(), output: Output::sink(sink), error: Output::discard() };
            pour(getting, ChannelKind::Get, get, streams, &mut signals_too)
        });
        let listener = scope.spawn(|| read_problems(problems));
        let putter = scope.spawn(|| {
            let streams = Streams {
                input: Input::source(source),
                output: Output::sink(told),
                error: Output::discard(),
            };
            pour(putting, ChannelKind::Put, put, streams, signals)
        });
        let filtered = Filter {
            report,
            options,
            path: Vec::new(),
            lengths: Vec::new(),
            links: Links::new(),
            item: vec![0; ITEM_MAX],
        }
        .run(from_get, into_put);
        let was_put = putter.join().unwrap_or(Err(Error::Closed));
        for (errno, path, text) in listener.join().unwrap_or_default() {
            report.told(errno, &path, &text);
        }
        (other.join().unwrap_or(Err(Error::Closed)), was_put, filtered)
    });
    match (got, was_put, filtered) {
        (Err(error @ Error::Interrupted(_)), ..) => Err(Failing::Source(error)),
        (Ok(()), Ok(()), filtered) => filtered.map_err(Failing::Source),
        (_, _, Err(error @ (Error::Items(_) | Error::Garbled))) => Err(Failing::Source(error)),
        // Where one failed the other could not but fail too: the source found nobody who reads it any more.
        (Ok(()), Err(error), _) => Err(Failing::Destination(error)),
        (Err(Error::Failed(Failure { errno: EPIPE, .. })), Err(error), _) => Err(Failing::Destination(error)),
        (Err(error), ..) => Err(Failing::Source(error)),
    }
}

fn pour(
    client: &mut Client,
    kind: ChannelKind,
    request: Vec<u8>,
    streams: Streams,
    signals: &mut Signals,
) -> Result<(), Error> {
    let mut run = Run::new(&mut client.connection.core, kind, request, streams, Some(signals))?;
    let driven = drive(&mut client.connection, &mut run);
    run.finish(&mut client.connection.core, driven).map(drop)
}

/// What the second guest tells, to its end.
fn read_problems(mut from: PipeReader) -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    /// As many as are told; a guest may send any number.
    const TOLD_MAX: usize = 100_000;
    let mut reader = ItemReader::new(Stream::Problems);
    let (mut memory, mut piece) = (vec![0; VALUE_MAX], vec![0; 65_536]);
    let mut problems = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let mut rest = piece.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let Ok((taken, item)) = reader.read(&mut memory, rest) else { return problems };
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(Item::Problem { errno, path, text, .. }) = item
                && problems.len() < TOLD_MAX
            {
                problems.push((errno, path.to_bytes().to_vec(), text.to_vec()));
            }
        }
    }
    problems
}

impl Filter<'_> {
    /// Passes on what comes, as far as it may go; its end too. Somebody who reads no more has said why elsewhere.
    fn run(mut self, mut from: PipeReader, mut to: PipeWriter) -> Result<(), Error> {
        let mut reader = ItemReader::new(Stream::Tree);
        let (mut memory, mut piece) = (vec![0; VALUE_MAX], vec![0; 65_536]);
        let mut out = Vec::with_capacity(2 * 65_536);
        loop {
            let length = from.read(&mut piece).map_err(Error::local("read", "a pipe"))?;
            let mut rest = piece.get(..length).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            while !rest.is_empty() {
                let (taken, item) = reader.read(&mut memory, rest).map_err(Error::Items)?;
                rest = rest.get(taken..).unwrap_or_default();
                if let Some(Item::Entry { meta, name, .. }) = &item
                    && name.is_empty()
                    && !self.options.is_recursive
                    && meta.kind() != Kind::File
                {
                    // It was asked for the content of a file.
                    return Err(Error::Items(ItemError::Malformed));
                }
                if let Some(item) = item {
                    self.pass(item, reader.depth(), &mut out);
                }
            }
            if to.write_all(&out).is_err() {
                return Ok(());
            }
            out.clear();
        }
    }

    fn pass(&mut self, item: Item<'_, '_>, depth: usize, out: &mut Vec<u8>) {
        let length = match item {
            Item::Entry { meta, name, target } => {
                self.enter(name.to_bytes(), depth);
                if !trust::takes(&meta, self.options, self.report) {
                    return;
                }
                let mut meta = trust::metadata(&meta, self.options, self.report);
                let mut target = target.to_bytes();
                if meta.has(meta_flag::LINK) {
                    match self.links.find(&meta) {
                        Some(path) => target = path,
                        None => return self.report.failed(&self.path, "link", rustix::io::Errno::NOENT),
                    }
                } else {
                    self.links.remember(&meta, &self.path);
                }
                meta.offset = 0;
                encode_entry(&mut self.item, &meta, name.to_bytes(), target)
            }
            Item::Content(content) => {
                self.report.advance(content.len() as u64);
                out.extend_from_slice(&content_header(content.len()));
                out.extend_from_slice(content);
                return;
            }
            Item::Hole(length) => encode_hole(&mut self.item, length),
            Item::End(end) => {
                self.report.file();
                encode_end(&mut self.item, &end)
            }
            Item::Leave(meta) => {
                self.lengths.truncate(depth);
                self.report.directory();
                // Whatever it says, it is what was left.
                let meta = Meta { mode: 0o040_000 | (meta.mode & MODE_BITS), ..meta };
                let meta = trust::metadata(&meta, self.options, self.report);
                encode_leave(&mut self.item, &meta)
            }
            Item::Attribute { name, value } => {
                if !trust::takes_attribute(name, self.options, self.report) {
                    return;
                }
                let copy = |place: &mut [u8]| match place.get_mut(..value.len()) {
                    Some(place) => {
                        place.copy_from_slice(value);
                        Ok(value.len())
                    }
                    None => Err(()),
                };
                encode_attribute(&mut self.item, name.to_bytes(), copy).unwrap_or(0)
            }
            Item::Problem { errno, path, text, ends_file } => {
                self.report.told(errno, path.to_bytes(), text);
                if !ends_file {
                    return;
                }
                encode_problem(&mut self.item, errno, path.to_bytes(), text)
            }
            Item::Want(_) => return,
        };
        out.extend_from_slice(self.item.get(..length).unwrap_or_default());
    }

    fn enter(&mut self, name: &[u8], depth: usize) {
        let is_directory = depth > self.lengths.len();
        self.path.truncate(self.lengths.last().copied().unwrap_or(0));
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        if is_directory {
            self.lengths.push(self.path.len());
        }
    }
}
