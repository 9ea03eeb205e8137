use std::vec::Vec;

use super::*;
use crate::limits::TREE_DEPTH_MAX;

const TIME: Timestamp = Timestamp { seconds: -1, nanoseconds: 999_999_999 };
const FILE: Meta = Meta::file(0o4755, 13, TIME);

fn with(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = std::vec![0; ITEM_MAX];
    let length = write(&mut out);
    assert!(length >= ITEM_HEADER_LEN);
    out.truncate(length);
    out
}

fn entry(meta: &Meta, name: &str, target: &str) -> Vec<u8> {
    with(|out| encode_entry(out, meta, name.as_bytes(), target.as_bytes()))
}

fn of_mode(mode: u32, flags: u32) -> Meta {
    Meta { mode, flags, ..FILE }
}

fn directory(name: &str) -> Vec<u8> {
    entry(&of_mode(0o040_755, meta_flag::OPEN), name, "")
}

fn leave() -> Vec<u8> {
    with(|out| encode_leave(out, &of_mode(0o040_755, 0)))
}

fn content(bytes: &[u8]) -> Vec<u8> {
    [&content_header(bytes.len())[..], bytes].concat()
}

fn end() -> Vec<u8> {
    with(|out| encode_end(out, &FileEnd { digest: 0x1122, size: 13 }))
}

fn problem() -> Vec<u8> {
    with(|out| encode_problem(out, 5, b"a/b", b"read"))
}

fn file(name: &str) -> Vec<u8> {
    let hole = with(|out| encode_hole(out, 4));
    [entry(&FILE, name, ""), content(b"hello"), hole, content(b"tail"), end()].concat()
}

fn attribute_of(out: &mut [u8], name: &[u8], value: &[u8]) -> usize {
    let copy = |place: &mut [u8]| {
        place.get_mut(..value.len()).ok_or(())?.copy_from_slice(value);
        Ok::<_, ()>(value.len())
    };
    encode_attribute(out, name, copy).unwrap_or(0)
}

fn attribute() -> Vec<u8> {
    with(|out| attribute_of(out, b"user.a", b"\0value"))
}

/// A tree with one of each.
fn tree() -> Vec<u8> {
    let symlink = entry(&of_mode(0o120_777, 0), "link", "../x");
    [directory(""), attribute(), file("file"), symlink, directory("inner"), problem(), leave(), leave()]
        .concat()
}

/// Reads `input` in pieces of `piece` bytes: what it says, contents joined.
fn read(of: Stream, input: &[u8], piece: usize) -> Result<(Vec<Vec<u8>>, bool), ItemError> {
    let mut reader = ItemReader::new(of);
    let mut memory = std::vec![0; VALUE_MAX];
    let mut said: Vec<Vec<u8>> = Vec::new();
    let mut in_content = false;
    for mut piece in input.chunks(piece) {
        while !piece.is_empty() {
            let (taken, item) = reader.read(&mut memory, piece)?;
            piece = &piece[taken..];
            let Some(item) = item else {
                assert!(piece.is_empty());
                continue;
            };
            match item {
                Item::Content(bytes) if in_content => said.last_mut().unwrap().extend_from_slice(bytes),
                Item::Content(bytes) => said.push(bytes.to_vec()),
                other => said.push(std::format!("{other:?}").into_bytes()),
            }
            in_content = matches!(item, Item::Content(_));
        }
    }
    Ok((said, reader.is_ended()))
}

#[track_caller]
fn check_error(of: Stream, parts: &[&[u8]], error: ItemError) {
    for piece in [1, 7, 1 << 20] {
        assert_eq!(read(of, &parts.concat(), piece).err(), Some(error));
    }
}

#[test]
fn r_10_1_a_stream_is_the_same_in_pieces_of_any_length() {
    for (of, stream) in [(Stream::Tree, tree()), (Stream::List, [file(""), problem(), tree()].concat())] {
        let whole = read(of, &stream, stream.len()).unwrap();
        assert!(whole.1);
        for piece in 1..stream.len() {
            assert_eq!(read(of, &stream, piece).unwrap(), whole);
        }
    }
}

#[test]
fn r_10_1_a_stream_ends_where_its_entry_does() {
    let stream = tree();
    for cut in 0..stream.len() {
        assert!(!read(Stream::Tree, &stream[..cut], 64).unwrap().1, "{cut}");
    }
    check_error(Stream::Tree, &[&stream, &file("x")], ItemError::Malformed);
    check_error(Stream::Tree, &[&file(""), &content(b"x")], ItemError::Malformed);
}

#[test]
fn r_10_1_items_out_of_order_are_malformed() {
    let (open, file) = (directory(""), file(""));
    let cases: [&[&[u8]]; 9] = [
        &[&content(b"x")],
        &[&end()],
        &[&leave()],
        &[&attribute()],
        &[&open, &content(b"x")],
        &[&open, &end()],
        &[&entry(&FILE, "", ""), &leave()],
        &[&entry(&FILE, "", ""), &entry(&FILE, "b", "")],
        &[&file, &file],
    ];
    for case in cases {
        check_error(Stream::Tree, case, ItemError::Malformed);
    }
    check_error(Stream::Problems, &[&file], ItemError::Malformed);
    check_error(Stream::Wants, &[&problem()], ItemError::Malformed);
}

#[test]
fn r_10_1_wrong_lengths_and_zeros_are_malformed() {
    let open = entry(&FILE, "", "");
    for bad in [
        header(BYTES, 0),
        header(BYTES, CONTENT_MAX + 1),
        header(HOLE, 7),
        header(END, 17),
        header(ATTRIBUTE, NAME_MAX + ATTRIBUTE_MAX + 2),
        header(9, 8),
        header(0, 0),
    ] {
        check_error(Stream::Tree, &[&open, &bad], ItemError::Malformed);
    }
    let mut bad = content_header(4);
    bad[5] = 1;
    check_error(Stream::Tree, &[&open, &bad], ItemError::Malformed);
    let pipe = of_mode(0o010_644, meta_flag::OPEN);
    check_error(Stream::Tree, &[&entry(&pipe, "", "")], ItemError::Malformed);
}

#[test]
fn r_10_1_a_name_leads_nowhere_else() {
    for name in ["", ".", "..", "/", "a/b", "/etc", "../x", &"n".repeat(NAME_MAX + 1)] {
        check_error(Stream::Tree, &[&directory(""), &file(name)], ItemError::Name);
    }
    check_error(Stream::Tree, &[&file("name")], ItemError::Name);
    for name in ["...", "a\n", "\u{1b}[2J", &"n".repeat(NAME_MAX)] {
        assert!(read(Stream::Tree, &[directory(""), file(name), leave()].concat(), 9).unwrap().1);
    }
}

#[test]
fn r_10_1_a_tree_is_no_deeper_than_it_may_be() {
    let mut deep = directory("");
    deep.extend(directory("d").repeat(TREE_DEPTH_MAX - 1));
    assert!(read(Stream::Tree, &[&deep[..], &leave().repeat(TREE_DEPTH_MAX)].concat(), 999).unwrap().1);
    check_error(Stream::Tree, &[&deep, &directory("d")], ItemError::TooDeep);
}

#[test]
fn r_10_9_a_problem_ends_a_file() {
    let stream = [directory(""), entry(&FILE, "a", ""), content(b"x"), problem(), file("b"), leave()];
    let (said, is_ended) = read(Stream::Tree, &stream.concat(), 5).unwrap();
    assert!(is_ended);
    assert!(String::from_utf8_lossy(&said[3]).contains("ends_file: true"));
    assert!(read(Stream::Tree, &[entry(&FILE, "", ""), problem()].concat(), 64).unwrap().1);
}

#[test]
fn r_10_12_wants_come_one_behind_the_other() {
    let want = Want { length: UNKNOWN, digest: 7, flags: 0x4020, path: c"a/b" };
    let one = with(|out| encode_want(out, &want));
    let (said, is_ended) = read(Stream::Wants, &one.repeat(3), 11).unwrap();
    assert_eq!((said.len(), is_ended), (3, true));
    assert_eq!(said[2], std::format!("{:?}", Item::Want(want)).into_bytes());
}

#[test]
fn an_attribute_of_the_largest_size_passes() {
    let value = std::vec![7; ATTRIBUTE_MAX];
    let name = "n".repeat(NAME_MAX);
    let long = with(|out| attribute_of(out, name.as_bytes(), &value));
    assert_eq!(long.len(), ITEM_MAX);
    assert!(read(Stream::Tree, &[entry(&FILE, "", ""), long, end()].concat(), 4096).unwrap().1);
    assert_eq!(attribute_of(&mut [0; 64], name.as_bytes(), &value), 0);
}

#[test]
fn metadata_comes_back() {
    let meta = Meta {
        mode: 0o060_640,
        flags: meta_flag::OWNER | meta_flag::IDENTITY,
        size: 8 | 1 << 32,
        modified: TIME,
        owner: 1000,
        group: 100,
        links: 3,
        device: 0xFE01,
        inode: 12,
        blocks: 64,
        offset: 5,
    };
    assert_eq!(Meta::parse(&meta.encode()), meta);
    assert_eq!((meta.kind(), meta.expected()), (Kind::Device, None));
    assert!(TIME.is_known() && !Timestamp::NONE.is_known());
}
