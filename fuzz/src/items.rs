//! Tree streams: read in pieces, and written as they were read.

use std::ffi::CString;

use vsock_shell_proto::items::{
    FileEnd, ITEM_MAX, Item, ItemError, ItemReader, Meta, Stream, Timestamp, VALUE_MAX, Want, content_header,
    encode_attribute, encode_end, encode_entry, encode_hole, encode_leave, encode_problem, encode_want,
    meta_flag,
};
use vsock_shell_proto::limits::TREE_DEPTH_MAX;

use crate::input::{Input, ways};
use crate::shown::hostile;

/// What a stream said, content put together.
type Told = (Vec<(String, Vec<u8>)>, Option<ItemError>, bool);

/// A stream of any bytes, or one that is mostly right.
pub fn items(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    let of = [Stream::Tree, Stream::List, Stream::Problems, Stream::Wants][usize::from(chosen & 3)];
    let stream = if chosen & 4 == 0 { input.rest().to_vec() } else { tree(&mut input) };
    let [whole, bytes, pieces] = ways(&stream, chosen >> 2).map(|piece| told(of, &stream, piece));
    assert_eq!(whole, bytes);
    assert_eq!(whole, pieces);
}

fn told(of: Stream, stream: &[u8], piece: usize) -> Told {
    let mut memory = vec![0; VALUE_MAX];
    let mut reader = ItemReader::new(of);
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    for mut rest in stream.chunks(piece) {
        while !rest.is_empty() {
            match reader.read(&mut memory, rest) {
                Ok((taken, item)) => {
                    assert!(taken > 0 && (item.is_some() || taken == rest.len()));
                    rest = &rest[taken..];
                    match item {
                        Some(Item::Content(content)) => match told.last_mut() {
                            Some((kind, bytes)) if kind.is_empty() => bytes.extend_from_slice(content),
                            _ => told.push((String::new(), content.to_vec())),
                        },
                        Some(item) => {
                            check(&item);
                            told.push((format!("{item:?}"), Vec::new()));
                        }
                        None => {}
                    }
                    assert!(reader.depth() <= TREE_DEPTH_MAX);
                }
                Err(error) => return (told, Some(error), false),
            }
        }
    }
    (told, None, reader.is_ended())
}

/// What was read is written as it was read.
fn check(item: &Item<'_, '_>) {
    let mut out = vec![0; ITEM_MAX];
    let (of, length) = match *item {
        Item::Hole(length) => (Stream::Tree, encode_hole(&mut out, length)),
        Item::Problem { errno, path, text, .. } => {
            (Stream::Problems, encode_problem(&mut out, errno, path.to_bytes(), text))
        }
        Item::Want(want) => (Stream::Wants, encode_want(&mut out, &want)),
        Item::Entry { meta, name, target } => {
            if !name.is_empty() {
                assert!(!name.to_bytes().contains(&b'/') && name != c"." && name != c"..");
            }
            // Only the first has no name.
            (
                Stream::Tree,
                if name.is_empty() { encode_entry(&mut out, &meta, b"", target.to_bytes()) } else { 0 },
            )
        }
        _ => return,
    };
    let mut memory = vec![0; VALUE_MAX];
    if length > 0 && !matches!(item, Item::Hole(_)) {
        let (taken, again) =
            ItemReader::new(of).read(&mut memory, &out[..length]).expect("it was read before");
        let again = again.expect("it is whole");
        match (again, *item) {
            // At the front of a stream no file ends.
            (Item::Problem { errno, path, text, .. }, Item::Problem { errno: e, path: p, text: t, .. }) => {
                assert_eq!((errno, path, text), (e, p, t));
            }
            (again, item) => assert_eq!(again, item),
        }
        assert_eq!(taken, length);
    }
}

/// A tree as a guest would send it, with mistakes.
pub(crate) fn tree(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut items = 0;
    while !input.is_empty() && items < 200 {
        out.extend(item(input, items == 0));
        items += 1;
    }
    out
}

/// An item that is mostly right.
fn item(input: &mut Input<'_>, is_first: bool) -> Vec<u8> {
    let mut out = vec![0; 16 * 1024];
    let choice = if is_first { 0 } else { input.byte() };
    let length = match choice {
        0..=79 => {
            let name = if is_first { Vec::new() } else { name(input) };
            let target = if choice % 3 == 0 { name_or_path(input) } else { Vec::new() };
            encode_entry(&mut out, &meta(input), &name, &target)
        }
        80..=119 => {
            let content = input.piece();
            return if content.is_empty() {
                Vec::new()
            } else {
                [&content_header(content.len())[..], content].concat()
            };
        }
        120..=139 => encode_hole(&mut out, input.long()),
        140..=179 => {
            let size = input.long();
            encode_end(
                &mut out,
                &FileEnd { digest: if choice & 1 == 0 { EMPTY_DIGEST } else { input.long() }, size },
            )
        }
        180..=214 => encode_leave(&mut out, &meta(input)),
        215..=224 => {
            let (name, value) = (name(input), input.piece());
            encode_attribute(&mut out, &name, |place| {
                place[..value.len()].copy_from_slice(value);
                Ok::<usize, ()>(value.len())
            })
            .unwrap_or(0)
        }
        225..=239 => {
            let path = name_or_path(input);
            encode_problem(&mut out, input.byte().into(), &path, &hostile(input.piece()))
        }
        240..=249 => {
            let path = CString::new(name_or_path(input)).unwrap_or_default();
            let want =
                Want { length: input.long(), digest: input.long(), flags: input.number(), path: &path };
            encode_want(&mut out, &want)
        }
        _ => return input.piece().to_vec(),
    };
    out.truncate(length);
    out
}

/// XXH3-64 of nothing.
const EMPTY_DIGEST: u64 = 0x2D06_8005_38D3_94C2;

fn meta(input: &mut Input<'_>) -> Meta {
    const KINDS: [u32; 8] =
        [0o100_000, 0o040_000, 0o040_000, 0o100_000, 0o120_000, 0o010_000, 0o140_000, 0o020_000];
    let choice = input.byte();
    let kind = KINDS[usize::from(choice & 7)];
    let is_open = matches!(kind, 0o100_000 | 0o040_000) && choice < 0xF0;
    let extra = if choice & 8 == 0 { 0 } else { u32::from(input.byte()) & 0xE };
    Meta {
        mode: kind | u32::from(input.short()) & 0o7777,
        flags: if is_open { meta_flag::OPEN } else { 0 } | extra,
        size: input.long(),
        modified: Timestamp {
            seconds: input.long() as i64,
            nanoseconds: if choice & 16 == 0 { 5 } else { u32::MAX },
        },
        owner: 0,
        group: 0,
        links: 1,
        device: 1,
        inode: input.byte().into(),
        blocks: 0,
        offset: if choice & 32 == 0 { 0 } else { input.long() },
    }
}

/// A name without a NUL, mostly short, so that some come twice.
fn name(input: &mut Input<'_>) -> Vec<u8> {
    const NAMES: [&[u8]; 12] =
        [b"a", b"b", b"c", b"a", b"d", b"e", b"..", b".", b"", b"a/b", b"\x1b]0;x\x07", b"\xff"];
    match input.byte() {
        choice @ 0..240 => NAMES[usize::from(choice) % NAMES.len()].to_vec(),
        _ => hostile(input.piece()).into_iter().filter(|&byte| byte != 0).collect(),
    }
}

fn name_or_path(input: &mut Input<'_>) -> Vec<u8> {
    const PATHS: [&[u8]; 8] =
        [b"a", b"..", b"../outside", b"/", b"a/b", b"../../outside", b"a/../../outside", b""];
    match input.byte() {
        choice @ 0..240 => PATHS[usize::from(choice) % PATHS.len()].to_vec(),
        _ => name(input),
    }
}
