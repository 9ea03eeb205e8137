//! File streams (`PROTOCOL.md` §10): what put and get carry. Headers of items, read and written; content passes
//! by untouched.

use crate::limits::FRAME_PAYLOAD_MAX;
use crate::wire::{array, put, u32_at, u64_at};

/// Bytes before the value of an item.
pub const ITEM_HEADER_LEN: usize = 8;
/// The most content in a BYTES item: an item fills a frame at the most.
pub const CONTENT_MAX: usize = FRAME_PAYLOAD_MAX - ITEM_HEADER_LEN;
/// Bytes of the value of FILE.
pub const FILE_LEN: usize = 32;

/// The permission bits of a mode that a stream carries.
pub const MODE_BITS: u32 = 0o7777;

const FILE: u8 = 1;
const BYTES: u8 = 2;
const HOLE: u8 = 3;
const END: u8 = 4;

/// What begins a file stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits ([`MODE_BITS`]).
    pub mode: u32,
    /// Bytes that the sender expects to send, where it knows.
    pub size: Option<u64>,
    /// Modification time, where there is one.
    pub modified: Option<Timestamp>,
}

/// A time since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What ends a file stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEnd {
    /// XXH3-64 of all content in order (`R-10.3`).
    pub digest: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
}

/// An item, as its receiver sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'i> {
    /// The file begins.
    File(FileMeta),
    /// Content: a piece of a BYTES item, of whatever length came.
    Content(&'i [u8]),
    /// That many bytes of zero.
    Hole(u64),
    /// The file is complete.
    End(FileEnd),
}

/// An item of an unknown type, of a wrong length, or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The 8 bytes that begin a BYTES item of `length` bytes.
#[must_use]
pub const fn content_header(length: usize) -> [u8; ITEM_HEADER_LEN] {
    header(BYTES, length)
}

const fn header(kind: u8, length: usize) -> [u8; ITEM_HEADER_LEN] {
    let [a, b, c, _] = (length as u32).to_le_bytes();
    [kind, a, b, c, 0, 0, 0, 0]
}

impl FileMeta {
    /// The whole FILE item.
    #[must_use]
    pub fn encode(&self) -> [u8; ITEM_HEADER_LEN + FILE_LEN] {
        let mut item = [0; ITEM_HEADER_LEN + FILE_LEN];
        put(&mut item, 0, &header(FILE, FILE_LEN));
        put(&mut item, 8, &(self.mode & MODE_BITS).to_le_bytes());
        put(&mut item, 16, &self.size.unwrap_or(u64::MAX).to_le_bytes());
        let none = Timestamp { seconds: 0, nanoseconds: u32::MAX };
        let modified = self.modified.unwrap_or(none);
        put(&mut item, 24, &modified.seconds.to_le_bytes());
        put(&mut item, 32, &modified.nanoseconds.to_le_bytes());
        item
    }

    fn parse(value: &[u8]) -> Self {
        let nanoseconds = u32_at(value, 24);
        let seconds = i64::from_le_bytes(array(value, 16));
        Self {
            mode: u32_at(value, 0) & MODE_BITS,
            size: Some(u64_at(value, 8)).filter(|&size| size != u64::MAX),
            modified: (nanoseconds < 1_000_000_000).then_some(Timestamp { seconds, nanoseconds }),
        }
    }
}

impl FileEnd {
    /// The whole END item.
    #[must_use]
    pub fn encode(&self) -> [u8; ITEM_HEADER_LEN + 16] {
        let mut item = [0; ITEM_HEADER_LEN + 16];
        put(&mut item, 0, &header(END, 16));
        put(&mut item, 8, &self.digest.to_le_bytes());
        put(&mut item, 16, &self.size.to_le_bytes());
        item
    }
}

/// The whole HOLE item for `length` bytes.
#[must_use]
pub fn encode_hole(length: u64) -> [u8; ITEM_HEADER_LEN + 8] {
    let mut item = [0; ITEM_HEADER_LEN + 8];
    put(&mut item, 0, &header(HOLE, 8));
    put(&mut item, 8, &length.to_le_bytes());
    item
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Value { kind: u8, length: usize },
    Content { left: usize },
}

/// Reads a file stream (`R-10.1`) from pieces of any length.
#[derive(Debug, Clone)]
pub struct ItemReader {
    state: State,
    begun: bool,
    ended: bool,
    /// A header or a value, as far as it came.
    partial: [u8; FILE_LEN],
    have: usize,
}

impl Default for ItemReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ItemReader {
    /// A reader at the beginning of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Header, begun: false, ended: false, partial: [0; FILE_LEN], have: 0 }
    }

    /// The stream is complete: END was read.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes bytes from the front of `input`: how many, and the item that they complete. With no item, all of
    /// `input` was taken.
    ///
    /// # Errors
    /// [`Malformed`] items; the reader is of no use then.
    pub fn read<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Option<Item<'i>>), Malformed> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok((taken, None));
            }
            match self.state {
                State::Header => {
                    taken += self.gather(rest, ITEM_HEADER_LEN);
                    if self.have == ITEM_HEADER_LEN {
                        self.have = 0;
                        self.state = self.begin()?;
                    }
                }
                State::Value { kind, length } => {
                    taken += self.gather(rest, length);
                    if self.have == length {
                        self.have = 0;
                        self.state = State::Header;
                        return Ok((taken, Some(self.value(kind))));
                    }
                }
                State::Content { left } => {
                    let part = rest.get(..left).unwrap_or(rest);
                    let left = left - part.len();
                    self.state = if left == 0 { State::Header } else { State::Content { left } };
                    return Ok((taken + part.len(), Some(Item::Content(part))));
                }
            }
        }
    }

    #[inline(never)]
    fn gather(&mut self, input: &[u8], length: usize) -> usize {
        let part = input.len().min(length.saturating_sub(self.have));
        put(&mut self.partial, self.have, input.get(..part).unwrap_or_default());
        self.have += part;
        part
    }

    /// What follows the header in `partial`.
    fn begin(&mut self) -> Result<State, Malformed> {
        let [kind, a, b, c, zeros @ ..] = array::<ITEM_HEADER_LEN>(&self.partial, 0);
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let in_order = !self.ended && self.begun != (kind == FILE);
        if !in_order || zeros != [0; 4] {
            return Err(Malformed);
        }
        match (kind, length) {
            (FILE, FILE_LEN) => {
                self.begun = true;
                Ok(State::Value { kind, length })
            }
            (BYTES, 1..=CONTENT_MAX) => Ok(State::Content { left: length }),
            (HOLE, 8) | (END, 16) => Ok(State::Value { kind, length }),
            _ => Err(Malformed),
        }
    }

    fn value(&mut self, kind: u8) -> Item<'static> {
        match kind {
            FILE => Item::File(FileMeta::parse(&self.partial)),
            HOLE => Item::Hole(u64_at(&self.partial, 0)),
            _ => {
                self.ended = true;
                Item::End(FileEnd { digest: u64_at(&self.partial, 0), size: u64_at(&self.partial, 8) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: FileMeta = FileMeta {
        mode: 0o4755,
        size: Some(9),
        modified: Some(Timestamp { seconds: -1, nanoseconds: 999_999_999 }),
    };

    fn stream() -> Vec<u8> {
        let end = FileEnd { digest: 0x1122, size: 13 };
        [
            &META.encode()[..],
            &content_header(5),
            b"hello",
            &encode_hole(4),
            &content_header(4),
            b"tail",
            &end.encode(),
        ]
        .concat()
    }

    /// Reads `input` in pieces of `piece` bytes; content is joined.
    fn read(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let mut reader = ItemReader::new();
        let (mut content, mut others) = (Vec::new(), 0);
        for mut piece in input.chunks(piece) {
            while !piece.is_empty() {
                let (taken, item) = reader.read(piece)?;
                piece = &piece[taken..];
                match item {
                    Some(Item::Content(bytes)) => content.extend_from_slice(bytes),
                    Some(Item::File(meta)) => assert_eq!(meta, META),
                    Some(Item::Hole(length)) => content.resize(content.len() + length as usize, 0),
                    Some(Item::End(end)) => assert_eq!(end.size, content.len() as u64),
                    None => assert!(piece.is_empty()),
                }
                others += usize::from(!matches!(item, Some(Item::Content(_)) | None));
            }
        }
        Ok((content, others, reader.is_ended()))
    }

    #[test]
    fn r_10_1_a_stream_is_the_same_in_pieces_of_any_length() {
        let stream = stream();
        for piece in 1..=stream.len() {
            assert_eq!(read(&stream, piece), Ok((b"hello\0\0\0\0tail".to_vec(), 3, true)));
        }
    }

    #[test]
    fn r_10_1_items_out_of_order_are_malformed() {
        let stream = stream();
        let file = ITEM_HEADER_LEN + FILE_LEN;
        assert_eq!(read(&stream[file..], 64), Err(Malformed), "no FILE");
        assert_eq!(read(&[&stream[..file], &stream[..file]].concat(), 64), Err(Malformed), "two FILE");
        assert_eq!(read(&[&stream[..], &content_header(1), b"x"].concat(), 64), Err(Malformed), "after END");
    }

    #[test]
    fn r_10_1_wrong_lengths_and_zeros_are_malformed() {
        for bad in
            [header(BYTES, 0), header(BYTES, CONTENT_MAX + 1), header(HOLE, 7), header(END, 17), header(9, 8)]
        {
            assert_eq!(read(&[&META.encode()[..], &bad].concat(), 64), Err(Malformed), "{bad:?}");
        }
        let mut bad = content_header(4);
        bad[5] = 1;
        assert_eq!(read(&[&META.encode()[..], &bad].concat(), 64), Err(Malformed));
    }

    #[test]
    fn r_10_6_a_time_that_is_none_is_none() {
        let meta = FileMeta { mode: 0o644, size: None, modified: None };
        let mut reader = ItemReader::new();
        assert_eq!(reader.read(&meta.encode()).map(|(_, item)| item), Ok(Some(Item::File(meta))));
    }
}
