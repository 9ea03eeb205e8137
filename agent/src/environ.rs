//! The environment of a command: what a login gives, overridden by what the client sent (`R-9.5`).

use core::ffi::CStr;

use crate::account::Account;
use crate::arena::{Arena, Full};
use crate::command::Strings;
use crate::sys::pointers::Pointers;

/// Variables that a client may send. Equal names are found by comparing all, which for so many takes no more than a
/// moment; nobody has as many.
const SENT_MAX: usize = 8192;

/// What a login gives besides the account's.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Whose HOME, USER and LOGNAME these are.
    pub account: &'a Account,
    /// SHELL.
    pub shell: &'a [u8],
    /// PATH.
    pub path: &'a [u8],
    /// TERM.
    pub term: Option<&'a CStr>,
}

/// The name and the equals sign of a NAME=VALUE; `None` for what has no name.
fn name_of(entry: &CStr) -> Option<&[u8]> {
    let bytes = entry.to_bytes();
    let len = bytes.iter().position(|&byte| byte == b'=').filter(|&len| len > 0)?;
    bytes.get(..=len)
}

/// Builds the array for `execve`. Entries that have no name are left out; of equal names the last counts.
///
/// # Errors
/// The arena is full, or the client sent more than 8,192 variables.
pub fn build<'a>(arena: &mut Arena<'a>, login: Login<'_>, sent: Strings<'a>) -> Result<Pointers<'a>, Full> {
    let account = login.account;
    let term = login.term.map_or(&b""[..], CStr::to_bytes);
    let given: [(&[u8], &[u8]); 6] = [
        (b"HOME=", &account.home),
        (b"SHELL=", login.shell),
        (b"USER=", &account.name),
        (b"LOGNAME=", &account.name),
        (b"PATH=", login.path),
        (b"TERM=", term),
    ];
    let count = sent.clone().count();
    if count > SENT_MAX {
        return Err(Full);
    }
    let mut array = arena.pointers(given.len() + count)?;
    for (name, value) in given {
        if name != b"TERM=" || login.term.is_some() {
            array.push(arena.string(&[name, value])?);
        }
    }
    for entry in sent {
        if let Some(name) = name_of(entry)
            && !array.replace(entry, &|old| old.to_bytes().starts_with(name))
        {
            array.push(entry);
        }
    }
    Ok(array)
}

/// The value of `name`, which ends with the equals sign.
pub fn value<'a>(array: &Pointers<'a>, name: &[u8]) -> Option<&'a [u8]> {
    array.iter().find_map(|entry| entry.to_bytes().strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::fields;

    fn account() -> Account {
        Account {
            uid: 1000,
            gid: 1000,
            name: b"alice"[..].try_into().unwrap(),
            home: b"/home/alice"[..].try_into().unwrap(),
            shell: b"/bin/zsh"[..].try_into().unwrap(),
        }
    }

    /// The environment that the entries lead to.
    fn environment(term: Option<&CStr>, entries: &[&[u8]]) -> Vec<String> {
        let sent = fields(&entries.iter().map(|&entry| (3, entry)).collect::<Vec<_>>());
        let mut memory = [0; 4096];
        let (mut arena, account) = (Arena::new(&mut memory), account());
        let login = Login { account: &account, shell: b"/bin/sh", path: b"/bin", term };
        let array = build(&mut arena, login, Strings::new(&sent, 3)).unwrap();
        array.iter().map(|entry| entry.to_str().unwrap().to_owned()).collect()
    }

    const LOGIN: [&str; 5] =
        ["HOME=/home/alice", "SHELL=/bin/sh", "USER=alice", "LOGNAME=alice", "PATH=/bin"];

    #[test]
    fn a_login_gives_five_variables_and_the_client_the_terminal() {
        assert_eq!(environment(None, &[]), LOGIN);
        assert_eq!(environment(Some(c"xterm"), &[]).last().unwrap(), "TERM=xterm");
    }

    #[test]
    fn what_the_client_sent_wins_and_of_that_the_last() {
        let got = environment(Some(c"dumb"), &[b"PATH=/x\0", b"A=1\0", b"TERM=vt100\0", b"A=2\0", b"AB=3\0"]);
        let expected = ["HOME=/home/alice", "SHELL=/bin/sh", "USER=alice", "LOGNAME=alice"];
        assert_eq!(got[..4], expected);
        assert_eq!(got[4..], ["PATH=/x", "TERM=vt100", "A=2", "AB=3"]);
    }

    #[test]
    fn an_entry_without_a_name_is_left_out() {
        assert_eq!(environment(None, &[b"=x\0", b"novalue\0", b"\0"]), LOGIN);
        assert_eq!(environment(None, &[b"EMPTY=\0"])[5..], ["EMPTY="]);
    }

    #[test]
    fn an_environment_that_does_not_fit_is_an_error_at_every_size() {
        let (sent, account) = (fields(&[(3, b"A=1\0"), (3, b"B=2\0")]), account());
        let login = Login { account: &account, shell: b"/bin/sh", path: b"/bin", term: None };
        let mut fits = 0;
        for size in 0..256 {
            let mut memory = vec![0; size];
            fits += usize::from(build(&mut Arena::new(&mut memory), login, Strings::new(&sent, 3)).is_ok());
        }
        assert!(fits > 0 && fits < 128);
    }

    #[test]
    fn more_variables_than_anybody_has_are_too_many() {
        let account = account();
        let login = Login { account: &account, shell: b"", path: b"/bin", term: None };
        let build = |count| {
            let sent = fields(&vec![(3, &b"A=1\0"[..]); count]);
            let mut memory = vec![0; 1 << 20];
            build(&mut Arena::new(&mut memory), login, Strings::new(&sent, 3)).is_ok()
        };
        assert!(build(SENT_MAX) && !build(SENT_MAX + 1));
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let sent = fields(&[(3, b"PATHS=no\0"), (3, b"PATH=yes\0")]);
        let mut memory = [0; 1024];
        let mut arena = Arena::new(&mut memory);
        let login = Login { account: &account(), shell: b"", path: b"/bin", term: None };
        let array = build(&mut arena, login, Strings::new(&sent, 3)).unwrap();
        assert_eq!(value(&array, b"PATH="), Some(&b"yes"[..]));
        assert_eq!(value(&array, b"NONE="), None);
    }
}
