//! The items of a tree as a guest or a client sends them, composed by hand (`PROTOCOL.md` §10).

use std::hash::Hasher as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use twox_hash::XxHash3_64;
use vsock_shell_proto::items::{
    FileEnd, ITEM_MAX, Meta, Timestamp, UNKNOWN, content_header, encode_end, encode_entry, encode_hole,
    encode_leave, encode_problem, meta_flag,
};

/// A mode of a regular file.
pub const FILE: u32 = 0o100_644;
/// A mode of a directory.
pub const FOLDER: u32 = 0o040_755;
/// The mode of a symbolic link.
pub const LINK: u32 = 0o120_777;

/// An item that an encoder composes.
pub fn composed(compose: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut item = vec![0; ITEM_MAX];
    let length = compose(&mut item);
    assert!(length > 0, "the item does not fit");
    item.truncate(length);
    item
}

/// Metadata of what has no owner and no time.
pub fn meta(mode: u32, flags: u32) -> Meta {
    Meta { mode, flags, size: UNKNOWN, ..Meta::file(0, 0, Timestamp::NONE) }
}

/// An entry.
pub fn entry(meta: &Meta, name: &[u8], target: &[u8]) -> Vec<u8> {
    composed(|out| encode_entry(out, meta, name, target))
}

/// An open directory.
pub fn folder(name: &[u8]) -> Vec<u8> {
    entry(&meta(FOLDER, meta_flag::OPEN), name, b"")
}

/// The end of an open directory.
pub fn leave() -> Vec<u8> {
    composed(|out| encode_leave(out, &meta(FOLDER, 0)))
}

/// A symbolic link.
pub fn link(name: &[u8], target: &Path) -> Vec<u8> {
    entry(&meta(LINK, 0), name, target.as_os_str().as_bytes())
}

/// Content.
pub fn bytes(content: &[u8]) -> Vec<u8> {
    [&content_header(content.len())[..], content].concat()
}

/// So many zeros.
pub fn hole(length: u64) -> Vec<u8> {
    composed(|out| encode_hole(out, length))
}

/// The end of a file with this content, of so many bytes.
pub fn end(content: &[u8], size: u64) -> Vec<u8> {
    let mut digest = XxHash3_64::new();
    digest.write(content);
    composed(|out| encode_end(out, &FileEnd { digest: digest.finish(), size }))
}

/// A whole file.
pub fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    let meta = Meta { size: content.len() as u64, ..meta(FILE, meta_flag::OPEN) };
    [entry(&meta, name, b""), bytes(content), end(content, content.len() as u64)].concat()
}

/// What went wrong with something; errno 0 where the text is all.
pub fn problem(errno: u32, path: &[u8], text: &[u8]) -> Vec<u8> {
    composed(|out| encode_problem(out, errno, path, text))
}
