//! Owns how full a file system is, and how that is shown: `df`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::text::escape;
use crate::verb::number;

/// What statfs(2) tells of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// What was asked about.
    pub path: OsString,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that nobody uses.
    pub blocks_free: u64,
    /// Blocks that everybody may use.
    pub blocks_available: u64,
    /// Inodes in all; 0 where they are not counted.
    pub inodes: u64,
    /// Inodes that nobody uses.
    pub inodes_free: u64,
    /// The number of its type, statfs(2).
    pub kind: u64,
}

impl Space {
    /// Reads the lines of an answer; what is missing is 0.
    pub(crate) fn parse(path: &OsStr, lines: &[u8]) -> Self {
        let number = |key| number(lines, key).unwrap_or(0);
        Self {
            path: path.to_owned(),
            block_size: number("block_size"),
            blocks: number("blocks"),
            blocks_free: number("blocks_free"),
            blocks_available: number("blocks_available"),
            inodes: number("inodes"),
            inodes_free: number("inodes_free"),
            kind: number("type"),
        }
    }

    fn kib(&self, blocks: u64) -> u64 {
        u64::try_from(u128::from(blocks) * u128::from(self.block_size) / 1024).unwrap_or(u64::MAX)
    }

    /// One object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "path": escape(self.path.as_bytes()),
            "block_size": self.block_size,
            "blocks": self.blocks,
            "blocks_free": self.blocks_free,
            "blocks_available": self.blocks_available,
            "inodes": self.inodes,
            "inodes_free": self.inodes_free,
            "type": self.kind,
        })
    }

    /// Lines for people, with a heading.
    #[must_use]
    pub fn table(spaces: &[Self]) -> String {
        let mut table = format!("{:>12} {:>12} {:>12} {:>4}  PATH\n", "KIB", "USED", "AVAILABLE", "USE%");
        for space in spaces {
            let used = space.blocks.saturating_sub(space.blocks_free);
            let usable = u128::from(used) + u128::from(space.blocks_available);
            let share = match usable {
                0 => "-".to_owned(),
                // Full is said only of what is full.
                _ => format!("{}%", (u128::from(used) * 100).div_ceil(usable)),
            };
            table.push_str(&format!(
                "{:>12} {:>12} {:>12} {share:>4}  {}\n",
                space.kib(space.blocks),
                space.kib(used),
                space.kib(space.blocks_available),
                escape(space.path.as_bytes())
            ));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] =
        b"block_size=4096\nblocks=1000\nblocks_free=400\nblocks_available=300\ninodes=9\ntype=61267\n";

    #[test]
    fn a_file_system_is_a_line_and_an_object() {
        let space = Space::parse(OsStr::new("/\x1b"), LINES);
        assert_eq!(
            Space::table(std::slice::from_ref(&space)),
            "         KIB         USED    AVAILABLE USE%  PATH\n        4000         2400         1200  67%  /\\x1b\n"
        );
        let value = space.to_value();
        assert_eq!((&value["blocks"], &value["type"]), (&1000.into(), &61267.into()));
    }

    #[test]
    fn numbers_of_any_size_and_none_are_shown() {
        let huge = format!("block_size={0}\nblocks={0}\nblocks_available={0}\n", u64::MAX);
        for lines in [huge.as_bytes(), b"", b"blocks=x\n\xff=1\n", b"blocks_free=5\n"] {
            let table = Space::table(&[Space::parse(OsStr::new("/"), lines)]);
            assert_eq!(table.lines().count(), 2, "{table}");
        }
    }
}
