//! Owns how entries of a guest's directories are shown: `ls`, `ls -l`, `stat`. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::text::escape;

/// What is known of an entry: what lstat(2) tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name; hostile bytes.
    pub name: Vec<u8>,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u32,
    /// Names that it has.
    pub links: u32,
    /// User id.
    pub owner: u32,
    /// Group id.
    pub group: u32,
    /// Bytes.
    pub size: u64,
    /// What a device file stands for: major and minor number.
    pub device_number: (u32, u32),
    /// When its content last changed: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// Its number in its file system.
    pub inode: u64,
    /// The file system.
    pub device: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// What a symbolic link holds; hostile bytes.
    pub target: Option<Vec<u8>>,
}

/// The types of `st_mode`, inode(7): bits, the letter of `ls`, the word.
const TYPES: [(u32, char, &str); 7] = [
    (0o14_0000, 's', "socket"),
    (0o12_0000, 'l', "link"),
    (0o10_0000, '-', "file"),
    (0o06_0000, 'b', "block device"),
    (0o04_0000, 'd', "directory"),
    (0o02_0000, 'c', "character device"),
    (0o01_0000, 'p', "fifo"),
];

impl Entry {
    fn kind(&self) -> (char, &'static str) {
        let found = TYPES.iter().find(|(bits, ..)| self.mode & 0o17_0000 == *bits);
        found.map_or(('?', "unknown"), |&(_, letter, word)| (letter, word))
    }

    fn is_device(&self) -> bool {
        matches!(self.kind().0, 'b' | 'c')
    }

    /// Ten letters, as `ls -l` has them.
    #[must_use]
    pub fn mode_text(&self) -> String {
        let mut text = String::from(self.kind().0);
        for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
            let bits = self.mode >> shift;
            text.push(if bits & 4 != 0 { 'r' } else { '-' });
            text.push(if bits & 2 != 0 { 'w' } else { '-' });
            text.push(match (self.mode & special != 0, bits & 1 != 0) {
                (false, false) => '-',
                (false, true) => 'x',
                (true, false) => letter.to_ascii_uppercase(),
                (true, true) => letter,
            });
        }
        text
    }

    fn time(&self) -> Option<Timestamp> {
        Timestamp::new(self.modified.0, i32::try_from(self.modified.1).ok()?).ok()
    }

    /// The name, and what it leads to.
    fn name_text(&self) -> String {
        match &self.target {
            Some(target) => format!("{} -> {}", escape(&self.name), escape(target)),
            None => escape(&self.name).into_owned(),
        }
    }

    /// Lines `key: value`, for `stat`.
    #[must_use]
    pub fn describe(&self, zone: &TimeZone) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let mut line = |key: &str, value: &dyn std::fmt::Display| _ = writeln!(text, "{key}: {value}");
        line("name", &escape(&self.name));
        if let Some(target) = &self.target {
            line("target", &escape(target));
        }
        line("type", &self.kind().1);
        line("mode", &format_args!("{:04o} ({})", self.mode & 0o7777, self.mode_text()));
        line("owner", &self.owner);
        line("group", &self.group);
        if self.is_device() {
            line("number", &format_args!("{}, {}", self.device_number.0, self.device_number.1));
        } else {
            line("size", &self.size);
        }
        line("modified", &time_text(self.time(), zone, "%Y-%m-%d %H:%M:%S%.9f %:z"));
        line("links", &self.links);
        line("inode", &self.inode);
        line("device", &self.device);
        line("blocks", &self.blocks);
        text
    }

    /// One object. What is not UTF-8 in a name is escaped.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let (major, minor) = self.device_number;
        json!({
            "name": escape(&self.name),
            "target": self.target.as_deref().map(escape),
            "type": self.kind().1,
            "mode": self.mode & 0o7777,
            "links": self.links,
            "owner": self.owner,
            "group": self.group,
            "size": self.size,
            "major": self.is_device().then_some(major),
            "minor": self.is_device().then_some(minor),
            "modified": self.time().map(|time| time.to_string()),
            "modified_seconds": self.modified.0,
            "modified_nanoseconds": self.modified.1,
            "inode": self.inode,
            "device": self.device,
            "blocks": self.blocks,
        })
    }
}

fn time_text(time: Option<Timestamp>, zone: &TimeZone, form: &str) -> String {
    let time = time.map(|time| time.to_zoned_datetime(zone.clone()).strftime(form).to_string());
    time.unwrap_or_else(|| "-".to_owned())
}

/// In the order of the bytes of their names.
fn sorted(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted
}

/// One name in each line.
#[must_use]
pub fn short(entries: &[Entry]) -> String {
    sorted(entries).into_iter().map(|entry| format!("{}\n", escape(&entry.name))).collect()
}

/// What is known of each, in columns, and in the times of `zone`.
#[must_use]
pub fn long(entries: &[Entry], zone: &TimeZone) -> String {
    let rows: Vec<[String; 7]> = sorted(entries)
        .into_iter()
        .map(|entry| {
            let (major, minor) = entry.device_number;
            [
                entry.mode_text(),
                entry.links.to_string(),
                entry.owner.to_string(),
                entry.group.to_string(),
                if entry.is_device() { format!("{major}, {minor}") } else { entry.size.to_string() },
                time_text(entry.time(), zone, "%Y-%m-%d %H:%M:%S"),
                entry.name_text(),
            ]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [links, owner, group, size, time] = [1, 2, 3, 4, 5].map(width);
    rows.iter()
        .map(|row| {
            format!(
                "{} {:>links$} {:>owner$} {:>group$} {:>size$} {:<time$} {}\n",
                row[0], row[1], row[2], row[3], row[4], row[5], row[6]
            )
        })
        .collect()
}

/// All of them as objects.
#[must_use]
pub fn to_value(entries: &[Entry]) -> Value {
    Value::Array(sorted(entries).into_iter().map(Entry::to_value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |name: &[u8], mode| Entry {
            name: name.to_vec(),
            mode,
            links: 1,
            modified: (1_700_000_000, 5),
            ..Entry::default()
        };
        vec![
            Entry { owner: 1000, group: 100, size: 12345, ..entry(b"plain", 0o10_4755) },
            Entry { links: 12, size: 4096, ..entry(b"dir", 0o04_1777) },
            Entry { device_number: (8, 16), ..entry(b"B\x1b", 0o06_0660) },
            Entry { target: Some(b"a\xffb".to_vec()), ..entry("\u{202e}l".as_bytes(), 0o12_0777) },
        ]
    }

    #[test]
    fn names_are_sorted_by_their_bytes_and_escaped() {
        assert_eq!(short(&entries()), "B\\x1b\ndir\nplain\n\\u{202e}l\n");
        assert_eq!(short(&[]), "");
    }

    #[test]
    fn columns_are_right_aligned() {
        assert_eq!(
            long(&entries(), &TimeZone::UTC),
            "brw-rw----  1    0   0 8, 16 2023-11-14 22:13:20 B\\x1b\n\
             drwxrwxrwt 12    0   0  4096 2023-11-14 22:13:20 dir\n\
             -rwsr-xr-x  1 1000 100 12345 2023-11-14 22:13:20 plain\n\
             lrwxrwxrwx  1    0   0     0 2023-11-14 22:13:20 \\u{202e}l -> a\\xffb\n"
        );
    }

    #[test]
    fn modes_have_all_their_letters() {
        for (mode, text) in [
            (0o10_0000, "----------"),
            (0o14_7777, "srwsrwsrwt"),
            (0o02_7000, "c--S--S--T"),
            (0o01_0640, "prw-r-----"),
            (0o17_0111, "?--x--x--x"),
        ] {
            assert_eq!(Entry { mode, ..Entry::default() }.mode_text(), text);
        }
    }

    #[test]
    fn one_entry_is_described_in_lines_and_as_an_object() {
        let entry = &entries()[0];
        assert_eq!(
            entry.describe(&TimeZone::UTC),
            "name: plain\ntype: file\nmode: 4755 (-rwsr-xr-x)\nowner: 1000\ngroup: 100\nsize: 12345\n\
             modified: 2023-11-14 22:13:20.000000005 +00:00\nlinks: 1\ninode: 0\ndevice: 0\nblocks: 0\n"
        );
        let value = entry.to_value();
        assert_eq!((&value["mode"], &value["major"]), (&0o4755.into(), &Value::Null));
        assert_eq!(value["modified"], "2023-11-14T22:13:20.000000005Z");
        assert_eq!(to_value(&entries())[0]["minor"], 16);
        assert_eq!(to_value(&entries())[3]["target"], "a\\xffb");
    }

    #[test]
    fn a_time_that_is_none_is_a_dash() {
        for modified in [(0, 2_000_000_000), (i64::MAX, 0), (i64::MIN, 0), (0, u32::MAX)] {
            let entry = Entry { modified, ..Entry::default() };
            assert!(long(std::slice::from_ref(&entry), &TimeZone::UTC).contains(" - "));
            assert_eq!(entry.to_value()["modified"], Value::Null);
        }
    }
}
