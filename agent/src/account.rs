//! Who a command runs as: /etc/passwd and /etc/group, read in a stream without a library.
//!
//! Both files are the guest's and may hold anything. A line that is longer than the buffer, has too few fields, or a
//! number that is none is skipped, as if it were not there; so is a name, directory or shell that is too long to be
//! one. There are no other sources of users (no NSS): a rescue system has none, and a static binary cannot load them.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::path;

/// Bytes that the line buffer should have: the longest group with its members that is understood.
pub const LINE_MAX: usize = 32 * 1024;
/// Supplementary groups of an account; further ones are left out. NGROUPS_MAX is 65,536, and nobody has them.
pub const GROUPS_MAX: usize = 128;
const NAME_MAX: usize = 255;
/// Bytes of a home directory's or a shell's path; accounts with longer ones are not found.
pub const PATH_MAX: usize = 1023;

/// A user, as a login finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Name; a number for a user that has none.
    pub name: ArrayVec<u8, NAME_MAX>,
    /// Home directory; `/` where there is none.
    pub home: ArrayVec<u8, PATH_MAX>,
    /// The shell of /etc/passwd; empty where there is none.
    pub shell: ArrayVec<u8, PATH_MAX>,
}

/// What an account is looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// By name.
    Name(&'a [u8]),
    /// By number.
    Number(u32),
}

/// A decimal number and nothing else; `None` where it does not fit.
pub fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// A user or group id; the highest number means "leave as it is" to the kernel and is none.
fn id(text: &[u8]) -> Option<u32> {
    decimal(text).filter(|&id| id != u32::MAX)
}

impl Account {
    /// The account `user`: a name, or where no such name exists, a number. A number that /etc/passwd does not know
    /// is a user with that group, no home and no shell, as in a container.
    pub fn of_user(user: &[u8], buffer: &mut [u8]) -> Option<Self> {
        let number = id(user);
        Self::find(Wanted::Name(user), buffer)
            .or_else(|| Self::find(Wanted::Number(number?), buffer))
            .or_else(|| Some(Self::nameless(number?, number?)))
    }

    /// The account that this process runs as.
    pub fn own(uid: Uid, gid: Gid, buffer: &mut [u8]) -> Self {
        Self::find(Wanted::Number(uid.as_raw()), buffer)
            .unwrap_or_else(|| Self::nameless(uid.as_raw(), gid.as_raw()))
    }

    /// Becomes it, with its groups, where this process is root. `buffer` is for reading /etc/group.
    ///
    /// # Errors
    /// It may not.
    pub fn take_on(&self, buffer: &mut [u8]) -> Result<(), Errno> {
        let groups = self.groups(buffer);
        let (uid, gid) = (Uid::from_raw_unchecked(self.uid), Gid::from_raw_unchecked(self.gid));
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)
    }

    fn find(wanted: Wanted<'_>, buffer: &mut [u8]) -> Option<Self> {
        let file = open(c"/etc/passwd").ok()?;
        find_account(&mut Lines::new(buffer), &mut |room| rustix::io::read(&file, room), wanted)
    }

    fn nameless(uid: u32, gid: u32) -> Self {
        let mut name = ArrayVec::new();
        if uid == 0 {
            let _ = name.try_extend_from_slice(b"root");
        } else {
            let text = crate::line::Line::of(&[crate::line::Part::Number(u64::from(uid))]);
            let _ = name.try_extend_from_slice(text.as_bytes());
        }
        let mut home = ArrayVec::new();
        home.push(b'/');
        Self { uid, gid, name, home, shell: ArrayVec::new() }
    }

    #[inline(never)]
    fn parse(line: &[u8], wanted: Wanted<'_>) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let is_wanted = match wanted {
            Wanted::Name(wanted) => wanted == name,
            Wanted::Number(wanted) => wanted == uid,
        };
        let gid = id(fields.next().filter(|_| is_wanted)?)?;
        let home = fields.nth(1)?;
        let shell = fields.next()?;
        let is_string = |text: &[u8]| !path::has(text, 0);
        if !(is_string(name) && is_string(home) && is_string(shell)) {
            return None;
        }
        Some(Self {
            uid,
            gid,
            name: name.try_into().ok()?,
            home: if home.is_empty() { b"/"[..].try_into().ok()? } else { home.try_into().ok()? },
            shell: shell.try_into().ok()?,
        })
    }

    /// The groups of this account: the primary one, then those of /etc/group that name it as a member.
    pub fn groups(&self, buffer: &mut [u8]) -> ArrayVec<Gid, GROUPS_MAX> {
        let mut groups = ArrayVec::new();
        groups.push(Gid::from_raw_unchecked(self.gid));
        if let Ok(file) = open(c"/etc/group") {
            let read = &mut |room: &mut [u8]| rustix::io::read(&file, room);
            add_groups(&mut Lines::new(buffer), read, &self.name, &mut groups);
        }
        groups
    }
}

fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// Reads into the bytes that it is given: how many, 0 at the end.
pub type Read<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>;

/// The first account in lines of /etc/passwd that is wanted.
pub fn find_account(lines: &mut Lines<'_>, read: Read<'_>, wanted: Wanted<'_>) -> Option<Account> {
    loop {
        if let Some(account) = Account::parse(lines.next(read)?, wanted) {
            return Some(account);
        }
    }
}

/// Adds the groups in lines of /etc/group that have `user` as a member, as far as there is room.
pub fn add_groups(
    lines: &mut Lines<'_>,
    read: Read<'_>,
    user: &[u8],
    groups: &mut ArrayVec<Gid, GROUPS_MAX>,
) {
    while let Some(line) = lines.next(read) {
        if let Some(gid) = group_with(line, user).map(Gid::from_raw_unchecked)
            && !groups.contains(&gid)
            && groups.try_push(gid).is_err()
        {
            return;
        }
    }
}

/// The id of the group that `line` describes, if `user` is a member.
fn group_with(line: &[u8], user: &[u8]) -> Option<u32> {
    let mut fields = line.split(|&byte| byte == b':');
    let gid = id(fields.nth(2)?)?;
    let mut members = fields.next()?.split(|&byte| byte == b',');
    members.any(|member| member == user).then_some(gid)
}

/// Cuts a stream into lines, in a buffer that bounds their length.
pub struct Lines<'b> {
    buffer: &'b mut [u8],
    /// What was read and not given yet.
    start: usize,
    end: usize,
    /// The rest of a line that was too long is still to come.
    skips: bool,
    /// The stream has ended.
    ended: bool,
}

impl<'b> Lines<'b> {
    /// Lines of at most as many bytes as `buffer` has.
    #[inline(never)]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, start: 0, end: 0, skips: false, ended: false }
    }

    /// The next line without its newline; the last one may have none. Longer lines are skipped. An error of `read`
    /// ends the stream.
    pub fn next(&mut self, read: Read<'_>) -> Option<&[u8]> {
        loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(len) = held.iter().position(|&byte| byte == b'\n') {
                let line = self.start..self.start + len;
                self.start = line.end + 1;
                if !core::mem::take(&mut self.skips) {
                    return self.buffer.get(line);
                }
            } else if self.ended {
                let line = self.start..self.end;
                self.start = self.end;
                return self.buffer.get(line).filter(|line| !line.is_empty() && !self.skips);
            } else {
                self.fill(read);
            }
        }
    }

    fn fill(&mut self, read: Read<'_>) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.skips = true;
            self.end = 0;
        }
        match self.buffer.get_mut(self.end..).map(read) {
            Some(Ok(count @ 1..)) => self.end = (self.end + count).min(self.buffer.len()),
            Some(Err(Errno::INTR)) => {}
            _ => self.ended = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        short:x:1\n\
        :x:7:7::/:/\n\
        # a comment\n\
        \n\
        huge:x:99999999999:1::/:/bin/sh\n\
        any:x:4294967295:1::/:/bin/sh\n\
        alice:x:1000:1001:Alice,,,:/home/alice:/bin/zsh\n\
        alice:x:1:1::/second:/bin/sh\n\
        nul:x:5:5::/a\0b:/bin/sh\n\
        bare:x:8:9:::\n\
        last:x:11:12::/last:/bin/last";

    /// Reads `bytes` in pieces of `step`.
    fn source(bytes: &[u8], step: usize) -> impl FnMut(&mut [u8]) -> Result<usize, Errno> {
        let mut rest = bytes;
        move |room| {
            let (piece, tail) = rest.split_at(step.min(room.len()).min(rest.len()));
            room[..piece.len()].copy_from_slice(piece);
            rest = tail;
            Ok(piece.len())
        }
    }

    fn find(wanted: Wanted<'_>, step: usize) -> Option<Account> {
        let mut buffer = [0; 64];
        find_account(&mut Lines::new(&mut buffer), &mut source(PASSWD, step), wanted)
    }

    fn lines(bytes: &[u8], step: usize, max: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; max];
        let mut lines = Lines::new(&mut buffer);
        let mut read = source(bytes, step);
        core::iter::from_fn(|| lines.next(&mut read).map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        for step in [1, 2, 3, 7, 100] {
            assert_eq!(lines(b"one\n\nthree", step, 16), [&b"one"[..], b"", b"three"], "pieces of {step}");
            assert_eq!(lines(b"one\ntwo\n", step, 16), [b"one", b"two"]);
            assert_eq!(lines(b"", step, 16), [b""; 0]);
        }
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_skipped_and_no_other() {
        for step in [1, 3, 4, 5, 100] {
            assert_eq!(lines(b"a\n0123456789\nb\n", step, 4), [b"a", b"b"], "pieces of {step}");
            assert_eq!(lines(b"a\n0123456789", step, 4), [b"a"]);
            assert_eq!(
                lines(b"abc\nabcd\nab\n", step, 4),
                [&b"abc"[..], b"ab"],
                "a line needs room for its end"
            );
        }
    }

    #[test]
    fn without_a_buffer_there_are_no_lines() {
        assert_eq!(lines(b"a\nb\n", 1, 0), [b""; 0]);
    }

    #[test]
    fn an_error_ends_the_stream() {
        let mut buffer = [0; 16];
        assert_eq!(Lines::new(&mut buffer).next(&mut |_| Err(Errno::IO)), None);
    }

    #[test]
    fn an_account_is_found_by_name_and_by_number() {
        for step in [1, 5, 1000] {
            let alice = find(Wanted::Name(b"alice"), step).unwrap();
            assert_eq!((alice.uid, alice.gid), (1000, 1001));
            assert_eq!((&alice.home[..], &alice.shell[..]), (&b"/home/alice"[..], &b"/bin/zsh"[..]));
            assert_eq!(&find(Wanted::Number(0), step).unwrap().name[..], b"root");
            assert_eq!(&find(Wanted::Number(11), step).unwrap().shell[..], b"/bin/last");
        }
    }

    #[test]
    fn a_malformed_line_is_no_account() {
        for name in ["short", "", "huge", "any", "nul", "# a comment", "root:x"] {
            assert_eq!(find(Wanted::Name(name.as_bytes()), 100), None, "{name}");
        }
    }

    #[test]
    fn an_account_without_home_lives_in_the_root_and_may_have_no_shell() {
        let bare = find(Wanted::Name(b"bare"), 100).unwrap();
        assert_eq!((&bare.home[..], &bare.shell[..]), (&b"/"[..], &b""[..]));
    }

    #[test]
    fn groups_are_those_that_name_the_user_once_each() {
        let file = b"root:x:0:\nwheel:x:10:bob,alice\naudio:x:11:alice\nx:x:12:alicee,ali\nbad:x:-1:alice\n\
            again:x:10:alice\ncut:x:13";
        for step in [1, 9, 1000] {
            let mut buffer = [0; 64];
            let mut groups: ArrayVec<Gid, GROUPS_MAX> = [Gid::from_raw(1001)].into_iter().collect();
            add_groups(&mut Lines::new(&mut buffer), &mut source(file, step), b"alice", &mut groups);
            assert_eq!(groups.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>(), [1001, 10, 11]);
        }
    }

    #[test]
    fn more_groups_than_there_is_room_for_are_left_out() {
        let file: Vec<u8> = (0..1000).flat_map(|n| format!("g{n}:x:{n}:u\n").into_bytes()).collect();
        let (mut buffer, mut groups) = ([0; 64], ArrayVec::new());
        add_groups(&mut Lines::new(&mut buffer), &mut source(&file, 4096), b"u", &mut groups);
        assert_eq!(groups.len(), GROUPS_MAX);
    }

    #[test]
    fn only_decimal_digits_are_a_number() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        for text in ["", "+1", "-1", " 1", "1 ", "0x1", "4294967296", "99999999999999999999"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_nobody_has_is_a_user_too() {
        let mut buffer = [0; 4096];
        let account = Account::of_user(b"3999999999", &mut buffer).unwrap();
        assert_eq!(
            (account.uid, account.gid, &account.name[..]),
            (3_999_999_999, 3_999_999_999, &b"3999999999"[..])
        );
        assert_eq!(Account::of_user(b"no such user", &mut buffer), None);
        assert_eq!(Account::of_user(b"4294967295", &mut buffer), None);
        assert_eq!(Account::of_user(b"", &mut buffer), None);
    }
}
