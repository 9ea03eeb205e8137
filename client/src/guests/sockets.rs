//! The Unix sockets that a process listens on, as the kernel shows them (`proc(5)`, /proc/net/unix).

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::process::Process;

/// `__SO_ACCEPTCON`: somebody listens.
const LISTENS: &[u8] = b"00010000";

/// A socket with a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Listening {
    /// The descriptor.
    pub number: u32,
    /// The path that it was bound to.
    pub path: Vec<u8>,
}

/// Those of a process, in the order of its descriptors. None where its descriptors are not for us to see.
pub fn listening(process: &Process) -> Vec<Listening> {
    let descriptors = process.descriptors();
    if descriptors.is_empty() {
        return Vec::new();
    }
    let table = process.file("net/unix").unwrap_or_default();
    let rows: Vec<(&[u8], &[u8])> = table.split(|&byte| byte == b'\n').filter_map(row).collect();
    let path = |link: &Path| {
        let inode = link.as_os_str().as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        rows.iter().find(|(known, _)| *known == inode).map(|(_, path)| path.to_vec())
    };
    let sockets = descriptors.iter();
    sockets.filter_map(|(number, link)| Some(Listening { number: *number, path: path(link)? })).collect()
}

/// Inode and path of a row, where it is of a socket that listens on a path. A name that begins with `@` is none.
fn row(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const FIELDS: usize = 7;
    let mut rest = line;
    let mut fields: [&[u8]; FIELDS] = [&[]; FIELDS];
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        (*field, rest) = rest.split_at(end);
    }
    let path = rest.strip_prefix(b" ").filter(|path| !path.is_empty() && !path.starts_with(b"@"))?;
    (fields[3] == LISTENS).then_some((fields[6], path))
}

/// The first of its sockets that we can name and that `is_wanted`.
pub fn first(process: &Process, is_wanted: impl Fn(&Listening) -> bool) -> Option<PathBuf> {
    listening(process).iter().filter(|socket| is_wanted(socket)).find_map(|socket| process.path(&socket.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_wanted_where_somebody_listens_on_a_path() {
        for (line, expected) in [
            ("Num       RefCount Protocol Flags    Type St Inode Path", None),
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a b",
                Some(("12345", "/run/a b")),
            ),
            ("0000000000000000: 00000002 00000000 00010000 0001 01   345 rel", Some(("345", "rel"))),
            ("0000000000000000: 00000003 00000000 00000000 0001 03 12346 /run/a", None),
            ("0000000000000000: 00000002 00000000 00010000 0001 01 12347 @abstract", None),
            ("0000000000000000: 00000002 00000000 00010000 0001 01 12348", None),
            ("", None),
        ] {
            let found = row(line.as_bytes());
            let expected = expected.map(|(inode, path)| (inode.as_bytes(), path.as_bytes()));
            assert_eq!(found, expected, "{line}");
        }
    }
}
