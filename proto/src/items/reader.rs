//! Reads streams of items from pieces of any length, and keeps them to their grammar (`R-10.1`).
//!
//! ```text
//!            OPEN directory            OPEN file
//!   Between ───────────────> Between  ──────────> File
//!   (depth)  <───────────────(depth+1) <──────────
//!                 LEAVE                END, PROBLEM
//! ```

use core::ffi::CStr;

use super::{
    ATTRIBUTE, BYTES, CONTENT_MAX, END, ENTRY, FileEnd, HOLE, ITEM_HEADER_LEN, Item, ItemError, Kind, LEAVE,
    META_LEN, Meta, PROBLEM, PROBLEM_TEXT_MAX, VALUE_MAX, WANT, Want, meta_flag,
};
use crate::limits::{ATTRIBUTE_MAX, NAME_MAX, PATH_MAX, TREE_DEPTH_MAX};
use crate::wire::{array, put, u32_at, u64_at};

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// One entry.
    Tree,
    /// Entries, one for each want, or a problem instead.
    List,
    /// Problems alone: flow 1 of put.
    Problems,
    /// Wants: flow 0 of get.
    Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Value { kind: u8, length: usize },
    Content { left: usize },
}

/// Reads a stream from pieces of any length. What is not content it gathers in memory of [`VALUE_MAX`] bytes, the same
/// at each call.
#[derive(Debug, Clone)]
pub struct ItemReader {
    state: State,
    of: Stream,
    begun: bool,
    /// The content of a file stands here.
    in_file: bool,
    /// Directories that are open.
    depth: usize,
    /// Bytes of a header or a value, as far as they came.
    have: usize,
}

/// A length of this kind, here.
struct Bounds {
    least: usize,
    most: usize,
    is_in_order: bool,
}

impl ItemReader {
    /// A reader at the beginning of a stream.
    #[must_use]
    pub const fn new(of: Stream) -> Self {
        Self { state: State::Header, of, begun: false, in_file: false, depth: 0, have: 0 }
    }

    /// The stream is complete: it may end here.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let is_between = self.state == State::Header && self.have == 0 && !self.in_file && self.depth == 0;
        is_between && (self.begun || self.of != Stream::Tree)
    }

    /// The content of a file stands here.
    #[must_use]
    pub const fn is_in_file(&self) -> bool {
        self.in_file
    }

    /// Directories that are open.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Takes bytes from the front of `input`: how many, and the item that they complete. With no item, all of
    /// `input` was taken.
    ///
    /// # Errors
    /// [`ItemError`]; the reader is of no use then.
    pub fn read<'m, 'i>(
        &mut self,
        memory: &'m mut [u8],
        input: &'i [u8],
    ) -> Result<(usize, Option<Item<'m, 'i>>), ItemError> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok((taken, None));
            }
            match self.state {
                State::Header => {
                    taken += self.gather(memory, rest, ITEM_HEADER_LEN);
                    if self.have == ITEM_HEADER_LEN {
                        self.have = 0;
                        self.state = self.begin(array(memory, 0))?;
                    }
                }
                State::Value { kind, length } => {
                    taken += self.gather(memory, rest, length);
                    if self.have == length {
                        self.have = 0;
                        self.state = State::Header;
                        let value = memory.get(..length).ok_or(ItemError::Malformed)?;
                        return Ok((taken, Some(self.value(kind, value)?)));
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
    fn gather(&mut self, memory: &mut [u8], input: &[u8], length: usize) -> usize {
        let part = input.len().min(length.saturating_sub(self.have));
        put(memory, self.have, input.get(..part).unwrap_or_default());
        self.have += part;
        part
    }

    /// What follows a header.
    fn begin(&self, header: [u8; ITEM_HEADER_LEN]) -> Result<State, ItemError> {
        let [kind, a, b, c, zeros @ ..] = header;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let Bounds { least, most, is_in_order } = self.bounds(kind);
        if !is_in_order || zeros != [0; 4] || length < least || length > most {
            return Err(ItemError::Malformed);
        }
        Ok(if kind == BYTES { State::Content { left: length } } else { State::Value { kind, length } })
    }

    /// Where an item may stand, and how long it may be.
    fn bounds(&self, kind: u8) -> Bounds {
        let is_content = self.in_file;
        let begins = matches!(self.of, Stream::List) || (self.of == Stream::Tree && !self.begun);
        let (least, most, is_in_order) = match kind {
            ENTRY => (
                META_LEN + 2,
                META_LEN + NAME_MAX + 1 + PATH_MAX + 1,
                !is_content && (self.depth > 0 || begins),
            ),
            BYTES => (1, CONTENT_MAX, is_content),
            HOLE => (8, 8, is_content),
            END => (16, 16, is_content),
            LEAVE => (META_LEN, META_LEN, !is_content && self.depth > 0),
            ATTRIBUTE => (2, NAME_MAX + 1 + ATTRIBUTE_MAX, is_content || self.depth > 0),
            PROBLEM => (9, 8 + PATH_MAX + 1 + PROBLEM_TEXT_MAX, self.of != Stream::Wants),
            WANT => (25, 24 + PATH_MAX + 1, self.of == Stream::Wants),
            _ => (0, 0, false),
        };
        Bounds { least, most, is_in_order }
    }

    /// The item of a value, and what it makes of the stream.
    #[inline(never)]
    fn value<'m>(&mut self, kind: u8, value: &'m [u8]) -> Result<Item<'m, 'static>, ItemError> {
        Ok(match kind {
            ENTRY => return self.entry(value),
            HOLE => Item::Hole(u64_at(value, 0)),
            END => {
                self.in_file = false;
                Item::End(FileEnd { digest: u64_at(value, 0), size: u64_at(value, 8) })
            }
            LEAVE => {
                self.depth = self.depth.saturating_sub(1);
                Item::Leave(Meta::parse(value))
            }
            ATTRIBUTE => {
                let (name, value) = string(value)?;
                if name.is_empty() || name.count_bytes() > NAME_MAX {
                    return Err(ItemError::Malformed);
                }
                Item::Attribute { name, value }
            }
            PROBLEM => {
                let (path, text) = string(value.get(8..).unwrap_or_default())?;
                let ends_file = core::mem::take(&mut self.in_file);
                Item::Problem { errno: u32_at(value, 0), path, text, ends_file }
            }
            _ => {
                let (path, rest) = string(value.get(24..).unwrap_or_default())?;
                if !rest.is_empty() {
                    return Err(ItemError::Malformed);
                }
                let (length, digest) = (u64_at(value, 0), u64_at(value, 8));
                Item::Want(Want { length, digest, flags: u32_at(value, 16), path })
            }
        })
    }

    fn entry<'m>(&mut self, value: &'m [u8]) -> Result<Item<'m, 'static>, ItemError> {
        let meta = Meta::parse(value);
        let (name, rest) = string(value.get(META_LEN..).unwrap_or_default())?;
        let (target, rest) = string(rest)?;
        if !rest.is_empty() {
            return Err(ItemError::Malformed);
        }
        let is_name = if self.depth == 0 { name.is_empty() } else { is_name(name) };
        if !is_name {
            return Err(ItemError::Name);
        }
        self.begun = true;
        match (meta.has(meta_flag::OPEN), meta.kind()) {
            (false, _) => {}
            (true, Kind::File) => self.in_file = true,
            (true, Kind::Directory) if self.depth < TREE_DEPTH_MAX => self.depth += 1,
            (true, Kind::Directory) => return Err(ItemError::TooDeep),
            (true, _) => return Err(ItemError::Malformed),
        }
        Ok(Item::Entry { meta, name, target })
    }
}

/// What an entry in a directory may be called: one component of a path, that leads nowhere else.
fn is_name(name: &CStr) -> bool {
    let name = name.to_bytes();
    (1..=NAME_MAX).contains(&name.len()) && name != b"." && name != b".." && !name.contains(&b'/')
}

/// The string at the front of a value, and what is behind it.
fn string(value: &[u8]) -> Result<(&CStr, &[u8]), ItemError> {
    let string = CStr::from_bytes_until_nul(value).map_err(|_| ItemError::Malformed)?;
    Ok((string, value.get(string.count_bytes() + 1..).unwrap_or_default()))
}

const _: () = assert!(VALUE_MAX < 1 << 24, "a length has three bytes");
