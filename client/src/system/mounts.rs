//! Owns what /proc/self/mountinfo tells, proc_pid_mountinfo(5), and how it is shown. Pure.

use serde_json::{Value, json};

use crate::text::escape;

/// A mount. The byte strings are the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its number.
    pub id: u32,
    /// The number of the mount that it is on.
    pub parent: u32,
    /// What of the file system is seen.
    pub root: Vec<u8>,
    /// Where.
    pub target: Vec<u8>,
    /// Options of the mount, then those of the file system.
    pub options: [Vec<u8>; 2],
    /// The type of the file system.
    pub kind: Vec<u8>,
    /// What it was made from.
    pub source: Vec<u8>,
}

/// Reads the file; lines that are none are left out.
#[must_use]
pub fn parse(file: &[u8]) -> Vec<Mounted> {
    file.split(|&byte| byte == b'\n').filter_map(mounted).collect()
}

fn mounted(line: &[u8]) -> Option<Mounted> {
    // A source that is empty leaves two blanks: fields are not skipped.
    let mut fields = line.split(|&byte| byte == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let root = unescape(fields.nth(1)?);
    let target = unescape(fields.next()?);
    let own = unescape(fields.next()?);
    // Optional fields end with a dash.
    fields.find(|field| *field == b"-")?;
    let kind = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    Some(Mounted { id, parent, root, target, options: [own, unescape(fields.next()?)], kind, source })
}

/// Blanks, newlines and backslashes are written in octal, getmntent(3).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.split_first_chunk::<3>().filter(|(digits, _)| {
            byte == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) && digits[0] < b'4'
        });
        let (byte, tail) = digits.map_or((byte, tail), |(digits, tail)| {
            (digits.iter().fold(0, |number: u8, digit| number << 3 | (digit & 7)), tail)
        });
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

impl Mounted {
    /// Options of both, those that stand in both once.
    fn all_options(&self) -> String {
        let [own, shared] = &self.options;
        let is_new = |word: &&[u8]| !own.split(|&byte| byte == b',').any(|other| other == *word);
        let others = shared.split(|&byte| byte == b',').filter(is_new);
        let words: Vec<&[u8]> = std::iter::once(&own[..]).chain(others).collect();
        escape(&words.join(&b',')).into_owned()
    }
}

/// Lines for people, as mount(8) has them.
#[must_use]
pub fn table(mounts: &[Mounted]) -> String {
    let line = |mount: &Mounted| {
        let [source, target, kind] = [&mount.source, &mount.target, &mount.kind].map(|text| escape(text));
        format!("{source} on {target} type {kind} ({})\n", mount.all_options())
    };
    mounts.iter().map(line).collect()
}

/// All of them as objects.
#[must_use]
pub fn to_value(mounts: &[Mounted]) -> Value {
    let value = |mount: &Mounted| {
        json!({
            "id": mount.id,
            "parent": mount.parent,
            "source": escape(&mount.source),
            "root": escape(&mount.root),
            "target": escape(&mount.target),
            "type": escape(&mount.kind),
            "options": mount.all_options().split(',').collect::<Vec<_>>(),
        })
    };
    mounts.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"36 35 98:0 /mnt1 /mnt\\0402\\134 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
        37 36 0:5 / /x - short\nnonsense\n38 1 0:6 / /\\033[31m ro - tmpfs  rw\n";

    #[test]
    fn mounts_make_lines_and_objects() {
        let mounts = parse(FILE);
        assert_eq!(
            table(&mounts),
            "/dev/root on /mnt 2\\ type ext3 (rw,noatime,errors=continue)\n on /\\x1b[31m type tmpfs (ro,rw)\n"
        );
        let value = to_value(&mounts);
        assert_eq!((&value[0]["parent"], &value[0]["target"]), (&35.into(), &"/mnt 2\\".into()));
        assert_eq!(value[0]["options"][2], "errors=continue");
    }

    #[test]
    fn octal_is_three_digits_of_one_byte() {
        assert_eq!(unescape(b"a\\011b\\"), b"a\tb\\");
        assert_eq!(unescape(b"\\04\\408\\777\\0401"), b"\\04\\408\\777 1");
    }
}
