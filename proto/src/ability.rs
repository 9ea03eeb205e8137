//! What an agent can have been started without (`PROTOCOL.md` ): bits of its HELLO, and the words of `--deny`.

/// Running programs.
pub const EXEC: u32 = 1 << 0;
/// The user's shell without a command.
pub const SHELL: u32 = 1 << 1;
/// Files to the guest.
pub const PUT: u32 = 1 << 2;
/// Files from the guest.
pub const GET: u32 = 1 << 3;
/// The verbs of fs that change something.
pub const FS_WRITE: u32 = 1 << 4;
/// Streams to addresses.
pub const CONNECT: u32 = 1 << 5;
/// Streams from addresses.
pub const LISTEN: u32 = 1 << 6;
/// The verbs of system, but for `info`.
pub const SYSTEM: u32 = 1 << 7;
/// Jobs.
pub const DETACH: u32 = 1 << 8;
/// The verbs of system that change something.
pub const SYSTEM_WRITE: u32 = 1 << 9;

/// The words, by their bits.
pub const NAMES: [&str; 10] =
    ["exec", "shell", "put", "get", "fs-write", "connect", "listen", "system", "detach", "system-write"];

/// Everything by which something in the guest could be changed.
pub const CHANGES: u32 = !(GET | SYSTEM) & ALL;
/// Everything that reaches beyond the directory that is served.
pub const BEYOND_FILES: u32 = !(PUT | GET | FS_WRITE) & ALL;

const ALL: u32 = (1 << NAMES.len()) - 1;

/// The bit of a word.
#[must_use]
pub fn find(name: &[u8]) -> Option<u32> {
    NAMES.iter().position(|known| known.as_bytes() == name).map(|at| 1 << at)
}

/// The words of these bits. Bits that have none are left out.
pub fn names(bits: u32) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().enumerate().filter(move |(at, _)| bits & 1 << at != 0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_word_has_its_bit() {
        for (at, name) in NAMES.iter().enumerate() {
            assert_eq!(find(name.as_bytes()), Some(1 << at));
        }
        assert_eq!(
            (find(b"fs-write"), find(b"system-write"), find(b"")),
            (Some(FS_WRITE), Some(SYSTEM_WRITE), None)
        );
        assert_eq!(names(EXEC | DETACH | 1 << 31).collect::<Vec<_>>(), ["exec", "detach"]);
        assert_eq!(names(!CHANGES).collect::<Vec<_>>(), ["get", "system"]);
        assert_eq!(names(!BEYOND_FILES).collect::<Vec<_>>(), ["put", "get", "fs-write"]);
    }
}
