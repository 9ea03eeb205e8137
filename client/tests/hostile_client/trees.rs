//! Trees that break the rules of their streams (`PROTOCOL.md` §10): what the agent does not keep, and what it says of that.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vsock_shell_proto::items::{Meta, Timestamp, Want, encode_want, meta_flag};

use crate::guest::stream::{
    FILE, LINK, bytes, composed, end, entry, file, folder, hole, leave, link, meta, problem,
};
use crate::guest::wire::{Heard, field, frame, kind};
use crate::guest::{Guest, names, until};
use crate::{GET, PUT, asking, greeted, serves, string};

const ENOENT: u32 = 2;
const EEXIST: u32 = 17;
const EXDEV: u32 = 18;
const EISDIR: u32 = 21;
const EINVAL: u32 = 22;
const ENODATA: u32 = 61;
const EBADMSG: u32 = 74;

const RESUME: u32 = 1 << 8;
const MEMORY: u32 = 1 << 10;
const LIST: u32 = 1 << 7;

/// What came of a put: the errnos that were told on flow 1, and those of the end; nothing where that was in order.
#[derive(Debug, PartialEq)]
struct Came {
    told: Vec<u32>,
    failed: Option<u32>,
}

/// Speaks a stream on a channel of its own, in a session of its own, as its credit allows.
#[track_caller]
fn spoken(guest: &Guest, kind: u8, request: &[u8], stream: &[u8]) -> (Vec<u8>, Option<u32>) {
    let mut wire = greeted(guest);
    wire.say(&[asking(0, kind, request)]);
    let (mut sent, mut limit, mut said) = (0, 4096, Vec::new());
    let mut is_finished = false;
    loop {
        let part = (limit - sent).min(stream.len() - sent).min(60_000);
        if part > 0 {
            wire.say(&[frame(kind::DATA, 0, 0, &stream[sent..sent + part])]);
            sent += part;
        } else if sent == stream.len() && !is_finished {
            wire.say(&[frame(kind::FINISH, 0, 0, b"")]);
            is_finished = true;
        }
        if part > 0 {
            continue;
        }
        match wire.hear() {
            Heard::Frame(frame) => match (frame.kind, frame.flow) {
                (kind::CREDIT, 0) => limit = frame.number(0) as usize,
                (kind::DATA, 1) => said.extend(frame.payload),
                (kind::STOP, 0) => limit = sent,
                (kind::EXIT, _) if frame.payload[0] == 0 => return (said, None),
                (kind::EXIT | kind::REFUSED, _) => return (said, Some(frame.number(4))),
                _ => {}
            },
            Heard::End => panic!("closed"),
            Heard::Record(..) => {}
        }
    }
}

/// Puts a stream to this path.
#[track_caller]
fn put(guest: &Guest, to: &Path, flags: u32, stream: &[Vec<u8>]) -> Came {
    let path = string(0x10, to.as_os_str().as_encoded_bytes());
    let request = [path, field(0x12, &flags.to_le_bytes())].concat();
    let (said, failed) = spoken(guest, PUT, &request, &stream.concat());
    let (mut told, mut rest) = (Vec::new(), &said[..]);
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([header[1], header[2], header[3], 0]) as usize;
        told.push(u32::from_le_bytes(after[..4].try_into().unwrap()));
        rest = &after[length..];
    }
    Came { told, failed }
}

/// A guest, and where things are put.
fn scene() -> (Guest, PathBuf) {
    let guest = Guest::start();
    let to = guest.directory.subdirectory("there").join("to");
    (guest, to)
}

/// A file that is open, and not complete.
fn begun(name: &[u8], meta: &Meta) -> Vec<u8> {
    entry(&Meta { flags: meta.flags | meta_flag::OPEN, ..*meta }, name, b"")
}

#[test]
fn streams_that_break_their_rules_are_garbled_and_leave_nothing_incomplete() {
    let (guest, to) = scene();
    let open = |mode| begun(b"x", &meta(mode, 0));
    let deep = std::iter::once(folder(b"")).chain((0..128).map(|_| folder(b"d"))).collect();
    for (case, stream) in [
        ("R-10.1: content without a file", vec![folder(b""), bytes(b"x")]),
        ("R-10.1: an end without a file", vec![folder(b""), end(b"", 0)]),
        ("R-10.1: an entry in a file", vec![folder(b""), open(FILE), file(b"y", b"y")]),
        ("R-10.1: an open FIFO", vec![folder(b""), open(0o010_644)]),
        ("R-10.1: an open link", vec![folder(b""), open(LINK)]),
        ("R-10.1: an unknown item", vec![folder(b""), vec![99, 1, 0, 0, 0, 0, 0, 0, 0]]),
        ("R-10.1: zeros that are none", vec![folder(b""), vec![4, 16, 0, 0, 1, 0, 0, 0]]),
        ("R-10.1: content of nothing", vec![folder(b""), open(FILE), bytes(b"")]),
        ("R-10.1: a name that leads up", vec![folder(b""), file(b"..", b"x")]),
        ("R-10.1: a name that leads elsewhere", vec![folder(b""), file(b"a/b", b"x")]),
        ("R-10.1: an entry without a name", vec![folder(b""), file(b"", b"x")]),
        ("R-10.1: a first entry with a name", vec![file(b"name", b"x")]),
        ("R-10.1: directories inside each other, too deep", deep),
        ("R-10.1: a stream that ends too early", vec![folder(b""), open(FILE), bytes(b"x")]),
        (
            "R-10.3: one file that is not what its digest says",
            vec![begun(b"", &meta(FILE, 0)), bytes(b"x"), end(b"y", 1)],
        ),
        (
            "R-10.2: one file that is longer than it says",
            vec![begun(b"", &meta(FILE, 0)), bytes(b"xy"), end(b"xy", 1)],
        ),
        (
            "R-10.2: one file that is shorter than it says",
            vec![begun(b"", &meta(FILE, 0)), hole(9), end(b"", 10)],
        ),
    ] {
        let came = put(&guest, &to, 0, &stream);
        assert_eq!(came.failed, Some(EBADMSG), "{case}");
        assert!(came.told.is_empty(), "{case}: {came:?}");
        // What is not complete is gone with the channel, right behind its end.
        until(case, || !to.is_dir() || names(&to).iter().all(|name| name == "d"));
        until(case, || names(to.parent().unwrap()).iter().all(|name| name == "to"));
        assert!(!to.is_file(), "{case}");
        _ = fs::remove_dir_all(&to);
    }
    serves(&guest);
}

#[test]
fn entries_that_break_a_rule_are_told_and_the_rest_is_made() {
    let (guest, to) = scene();
    let at = |offset| Meta { offset, size: 9, ..meta(FILE, 0) };
    let socket = entry(&meta(0o140_666, 0), b"x", b"");
    let linked = |target: &[u8]| entry(&meta(FILE, meta_flag::LINK), b"x", target);
    let kept = || vec![folder(b"x"), leave()];
    let over = |mut first: Vec<Vec<u8>>, more: Vec<Vec<u8>>| {
        first.extend(more);
        first
    };
    for (case, flags, stream, errno) in [
        (
            "R-10.2: content from an offset that nothing has",
            0,
            vec![begun(b"x", &at(5)), bytes(b"x"), end(b"x", 6)],
            ENODATA,
        ),
        (
            "R-10.3: a file that is not what its digest says",
            0,
            vec![begun(b"x", &meta(FILE, 0)), bytes(b"x"), end(b"y", 1)],
            EBADMSG,
        ),
        ("R-10.4: a file in the place of a directory", 0, over(kept(), vec![file(b"x", b"x")]), EISDIR),
        (
            "R-10.4: a link in the place of a directory",
            0,
            over(kept(), vec![link(b"x", Path::new("/"))]),
            EISDIR,
        ),
        ("R-10.4: metadata of a file that is not there", 0, vec![entry(&meta(FILE, 0), b"x", b"")], ENOENT),
        ("R-10.7: another name of what never came", 0, vec![linked(b"never")], ENOENT),
        ("R-10.7: another name of what is outside", 0, vec![linked(b"../../kept")], EXDEV),
        ("R-10.8: a socket", 0, vec![socket], EINVAL),
        (
            "R-10.10: an offset without RESUME",
            0,
            vec![begun(b"x", &at(1)), bytes(b"x"), end(b"x", 2)],
            ENODATA,
        ),
        (
            "R-10.10: an offset where nothing was kept",
            RESUME,
            vec![begun(b"x", &at(5)), bytes(b"x"), end(b"x", 6)],
            ENODATA,
        ),
    ] {
        let stream = [vec![folder(b"")], stream, vec![file(b"z", b"z"), leave()]].concat();
        let came = put(&guest, &to, flags, &stream);
        assert_eq!(came, Came { told: vec![errno], failed: None }, "{case}");
        assert_eq!(fs::read(to.join("z")).unwrap(), b"z", "{case}");
        assert!(!to.join("x").is_file(), "{case}");
        fs::remove_dir_all(&to).unwrap();
    }
    serves(&guest);
}

#[test]
fn r_10_4_what_is_there_and_is_no_file_is_not_replaced_by_one() {
    let (guest, to) = scene();
    let fifo = || entry(&meta(0o010_644, 0), b"x", b"");
    let in_order = Came { told: vec![], failed: None };
    assert_eq!(put(&guest, &to, 0, &[folder(b""), fifo(), leave()]), in_order);
    for other in [file(b"x", b"x"), link(b"x", Path::new("/")), folder(b"x")] {
        let is_folder = other == folder(b"x");
        let more = if is_folder { leave() } else { vec![] };
        let came = put(&guest, &to, 0, &[folder(b""), other, more, leave()]);
        assert_eq!((came.told.len(), came.failed), (1, None));
        assert!(is_folder || came.told == [EEXIST], "{came:?}");
    }
    use std::os::unix::fs::FileTypeExt as _;
    assert!(fs::symlink_metadata(to.join("x")).unwrap().file_type().is_fifo());
    // By its like it is.
    assert_eq!(put(&guest, &to, 0, &[folder(b""), fifo(), leave()]), in_order);
}

#[test]
fn r_10_5_a_link_that_came_is_not_entered() {
    let (guest, to) = scene();
    let outside = guest.directory.subdirectory("outside");
    let stream = [folder(b""), link(b"l", &outside), folder(b"l"), file(b"evil", b"x"), leave(), leave()];
    let came = put(&guest, &to, 0, &stream);
    assert_eq!((came.told.len(), came.failed), (1, None));
    assert!(names(&outside).is_empty());
    assert_eq!(fs::read_link(to.join("l")).unwrap(), outside);
}

#[test]
fn r_10_6_more_nanoseconds_than_a_second_has_are_no_time() {
    let (guest, to) = scene();
    for nanoseconds in [1_000_000_000, u32::MAX] {
        let modified = Timestamp { seconds: 1, nanoseconds };
        let stream = [begun(b"", &Meta { modified, ..meta(FILE, 0) }), end(b"", 0)];
        assert_eq!(put(&guest, &to, 0, &stream), Came { told: vec![], failed: None });
        assert!(fs::metadata(&to).unwrap().mtime() > 1_000_000_000);
    }
}

#[test]
fn r_10_9_a_problem_before_the_end_of_a_file_discards_it() {
    let (guest, to) = scene();
    let stream = [
        folder(b""),
        begun(b"x", &meta(FILE, 0)),
        bytes(b"half"),
        problem(5, b"x\x1B[2J", b"\xFF read"),
        file(b"z", b"z"),
        leave(),
    ];
    put(&guest, &to, 0, &stream);
    assert_eq!(names(&to), ["z"]);
}

#[test]
fn r_9_15_a_program_is_one_file() {
    let guest = Guest::start();
    for stream in [vec![folder(b""), leave()], vec![link(b"", Path::new("/bin/true"))]] {
        let request = field(0x12, &MEMORY.to_le_bytes());
        let (_, failed) = spoken(&guest, PUT, &request, &stream.concat());
        assert!(failed.is_some_and(|errno| errno != 0), "{failed:?}");
    }
    serves(&guest);
}

#[test]
fn r_10_12_wants_that_are_none_garble_their_stream() {
    let guest = Guest::start();
    let folder = guest.directory.subdirectory("folder");
    fs::write(folder.join("f"), "content").unwrap();
    let path = string(0x10, folder.as_os_str().as_encoded_bytes());
    let request = [path, field(0x12, &LIST.to_le_bytes())].concat();
    let want = |flags, path| composed(|out| encode_want(out, &Want { length: 0, digest: 0, flags, path }));
    let good = want(0, c"f");
    let mut without_nul = good.clone();
    *without_nul.last_mut().unwrap() = b'x';
    for (what, stream) in [
        ("flags that there are not", want(1 << 31, c"f")),
        ("an item of another stream", file(b"", b"x")),
        ("a path without its end", without_nul),
        ("half of one", good[..good.len() - 1].to_vec()),
    ] {
        let (said, failed) = spoken(&guest, GET, &request, &[&good[..], &stream].concat());
        assert_eq!(failed, Some(EBADMSG), "{what}");
        assert!(said.len() < 1000, "{what}");
    }
    // What is not there is told, and what is behind it is sent.
    let (said, failed) =
        spoken(&guest, GET, &request, &[want(0, c"none"), want(0, c"../log"), good].concat());
    assert_eq!(failed, None);
    assert!(said.windows(7).any(|window| window == b"content"));
}
