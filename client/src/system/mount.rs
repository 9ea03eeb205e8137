//! Owns the options of a mount: words separated by commas, as mount(8) has them, into flags and data of mount(2). Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// MS_RDONLY and its like, mount(2).
mod flags {
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 1 << 1;
    pub const NODEV: u64 = 1 << 2;
    pub const NOEXEC: u64 = 1 << 3;
    pub const SYNCHRONOUS: u64 = 1 << 4;
    pub const REMOUNT: u64 = 1 << 5;
    pub const MANDLOCK: u64 = 1 << 6;
    pub const DIRSYNC: u64 = 1 << 7;
    pub const NOSYMFOLLOW: u64 = 1 << 8;
    pub const NOATIME: u64 = 1 << 10;
    pub const NODIRATIME: u64 = 1 << 11;
    pub const BIND: u64 = 1 << 12;
    pub const MOVE: u64 = 1 << 13;
    pub const REC: u64 = 1 << 14;
    pub const SILENT: u64 = 1 << 15;
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
    pub const RELATIME: u64 = 1 << 21;
    pub const STRICTATIME: u64 = 1 << 24;
    pub const LAZYTIME: u64 = 1 << 25;
}

use flags::*;

/// Words that set flags.
const SET: [(&str, u64); 30] = [
    ("ro", RDONLY),
    ("nosuid", NOSUID),
    ("nodev", NODEV),
    ("noexec", NOEXEC),
    ("sync", SYNCHRONOUS),
    ("remount", REMOUNT),
    ("mand", MANDLOCK),
    ("dirsync", DIRSYNC),
    ("nosymfollow", NOSYMFOLLOW),
    ("noatime", NOATIME),
    ("nodiratime", NODIRATIME),
    ("bind", BIND),
    ("rbind", BIND | REC),
    ("move", MOVE),
    ("silent", SILENT),
    ("unbindable", UNBINDABLE),
    ("runbindable", UNBINDABLE | REC),
    ("private", PRIVATE),
    ("rprivate", PRIVATE | REC),
    ("slave", SLAVE),
    ("rslave", SLAVE | REC),
    ("shared", SHARED),
    ("rshared", SHARED | REC),
    ("relatime", RELATIME),
    ("strictatime", STRICTATIME),
    ("lazytime", LAZYTIME),
    // What says nothing to the kernel.
    ("defaults", 0),
    ("auto", 0),
    ("noauto", 0),
    ("nofail", 0),
];

/// Words that take flags back.
const CLEAR: [(&str, u64); 13] = [
    ("rw", RDONLY),
    ("suid", NOSUID),
    ("dev", NODEV),
    ("exec", NOEXEC),
    ("async", SYNCHRONOUS),
    ("nomand", MANDLOCK),
    ("symfollow", NOSYMFOLLOW),
    ("atime", NOATIME),
    ("diratime", NODIRATIME),
    ("loud", SILENT),
    ("norelatime", RELATIME),
    ("nostrictatime", STRICTATIME),
    ("nolazytime", LAZYTIME),
];

/// What needs no type of file system.
const UNTYPED: u64 = REMOUNT | BIND | MOVE | UNBINDABLE | PRIVATE | SLAVE | SHARED;

/// How something is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// The type of the file system.
    pub kind: Option<OsString>,
    /// Flags of mount(2).
    pub flags: u64,
    /// What is left for the file system itself.
    pub data: Vec<u8>,
}

impl Mount {
    /// Reads the options; several lists are one.
    pub fn parse<'a>(kind: Option<OsString>, lists: impl IntoIterator<Item = &'a OsStr>) -> Self {
        let mut mount = Self { kind, ..Self::default() };
        for list in lists {
            list.as_bytes()
                .split(|&byte| byte == b',')
                .filter(|word| !word.is_empty())
                .for_each(|word| mount.take(word));
        }
        mount
    }

    fn take(&mut self, word: &[u8]) {
        let find = |table: &[(&str, u64)]| {
            table.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, flags)| *flags)
        };
        if let Some(flags) = find(&SET) {
            self.flags |= flags;
        } else if let Some(flags) = find(&CLEAR) {
            self.flags &= !flags;
        } else if !word.starts_with(b"x-") {
            if !self.data.is_empty() {
                self.data.push(b',');
            }
            self.data.extend_from_slice(word);
        }
    }

    /// It says neither what kind of file system it is nor that there is one already.
    #[must_use]
    pub fn lacks_kind(&self) -> bool {
        self.kind.is_none() && self.flags & UNTYPED == 0
    }

    /// The flags of each call: a bind takes no others, so that they are set afterwards, as mount(8) does.
    pub(crate) fn steps(&self) -> impl Iterator<Item = u64> + use<> {
        let is_bind = self.flags & BIND != 0 && self.flags & REMOUNT == 0;
        let others = self.flags & !(BIND | REC | SILENT);
        let later = (is_bind && others != 0).then_some(others | REMOUNT | BIND);
        let first = if is_bind { self.flags & (BIND | REC | SILENT) } else { self.flags };
        [Some(first), later].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Mount {
        Mount::parse(None, [OsStr::new(list)])
    }

    #[test]
    fn words_are_flags_and_what_is_left_is_data() {
        let mount = parse("ro,noexec,size=1m,,mode=700,x-systemd.automount,defaults");
        assert_eq!((mount.flags, &mount.data[..]), (RDONLY | NOEXEC, &b"size=1m,mode=700"[..]));
        assert_eq!(parse("ro,nosuid,rw").flags, NOSUID);
        assert_eq!(Mount::parse(None, ["ro", "a", "b"].map(OsStr::new)).data, b"a,b");
        assert_eq!(parse(""), Mount::default());
    }

    #[test]
    fn a_bind_with_other_flags_is_two_steps() {
        let steps = |list| parse(list).steps().collect::<Vec<_>>();
        assert_eq!(steps("bind"), [BIND]);
        assert_eq!(steps("rbind,ro"), [BIND | REC, BIND | REMOUNT | RDONLY]);
        assert_eq!(steps("remount,bind,ro"), [REMOUNT | BIND | RDONLY]);
        assert_eq!(steps("ro"), [RDONLY]);
        assert_eq!(steps("rprivate"), [PRIVATE | REC]);
    }

    #[test]
    fn only_a_new_file_system_needs_a_type() {
        assert!(parse("ro").lacks_kind() && parse("").lacks_kind());
        assert!(["bind", "remount,ro", "move", "rshared"].iter().all(|list| !parse(list).lacks_kind()));
        assert!(!Mount::parse(Some("tmpfs".into()), []).lacks_kind());
    }

    #[test]
    fn no_word_stands_in_both_tables() {
        assert!(SET.iter().all(|(word, _)| CLEAR.iter().all(|(other, _)| word != other)));
    }
}
