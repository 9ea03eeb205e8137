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
        let told = listener.join().unwrap_or_default();
        for (errno, path, text) in told.kept {
            report.told(errno, &path, &text);
        }
        report.more_problems(told.more);
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

/// What the second guest tells.
#[derive(Default)]
struct Told {
    kept: Vec<(u32, Vec<u8>, Vec<u8>)>,
    kept_bytes: usize,
    /// Problems that were not kept.
    more: u64,
}

impl Told {
    /// A guest may send any number, of any length.
    fn add(&mut self, errno: u32, path: &[u8], text: &[u8]) {
        const KEPT_MAX: usize = 8 << 20;
        let bytes = self.kept_bytes + size_of::<(u32, Vec<u8>, Vec<u8>)>() + path.len() + text.len();
        if bytes > KEPT_MAX {
            self.more += 1;
            return;
        }
        self.kept_bytes = bytes;
        self.kept.push((errno, path.to_vec(), text.to_vec()));
    }
}

/// What the second guest tells, to its end.
fn read_problems(mut from: PipeReader) -> Told {
    let mut reader = ItemReader::new(Stream::Problems);
    let (mut memory, mut piece) = (vec![0; VALUE_MAX], vec![0; 65_536]);
    let mut told = Told::default();
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let mut rest = piece.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let Ok((taken, item)) = reader.read(&mut memory, rest) else { return told };
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(Item::Problem { errno, path, text, .. }) = item {
                told.add(errno, path.to_bytes(), text);
            }
        }
    }
    told
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
                if !meta.has(meta_flag::OPEN) {
                    self.report.other();
                }
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
                // That something is missing concerns the other guest too.
                if !ends_file && errno == 0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_problems_is_bounded_and_the_rest_counted() {
        const COUNT: u64 = 10_000;
        let (read, mut write) = std::io::pipe().unwrap();
        let listener = std::thread::spawn(|| read_problems(read));
        let mut item = vec![0; ITEM_MAX];
        for _ in 0..COUNT {
            let length = encode_problem(&mut item, 5, &[b'p'; 4000], b"write");
            write.write_all(&item[..length]).unwrap();
        }
        drop(write);
        let told = listener.join().unwrap();
        assert!(
            (8 << 20) / 4100 < told.kept.len() && told.kept.len() < (8 << 20) / 4000,
            "{}",
            told.kept.len()
        );
        assert_eq!(told.kept.len() as u64 + told.more, COUNT);
    }
}
