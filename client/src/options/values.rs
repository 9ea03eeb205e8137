//! Owns the values of flags: a word becomes something meaningful, or one line of complaint that names the flag as it was spelled.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::args::{ArgsError, fail, shown};
use crate::invocation::Variable;
use crate::key::parse_id;

/// What `-u` and `-d` do, for [`once`].
pub(crate) const ONE_FILE: &str = "moves one file; use vsock-shell cp for several";

/// The last one counts.
pub(crate) fn set<T>(slot: &mut Option<T>, value: Result<T, ArgsError>) -> Result<(), ArgsError> {
    *slot = Some(value?);
    Ok(())
}

/// Each one counts.
pub(crate) fn push<T>(list: &mut Vec<T>, value: Result<T, ArgsError>) -> Result<(), ArgsError> {
    list.push(value?);
    Ok(())
}

pub(crate) fn id(name: &str, value: &OsStr) -> Result<[u8; 16], ArgsError> {
    match value.to_str().and_then(parse_id) {
        Some(id) => Ok(id),
        None => fail(format!("cannot use {name} `{}`: an id has 32 hexadecimal digits", shown(value))),
    }
}

/// Fills a slot that can be filled once; `what` says why.
pub(crate) fn once(
    slot: &mut Option<OsString>,
    name: &str,
    value: OsString,
    what: &str,
) -> Result<(), ArgsError> {
    if slot.is_some() {
        return fail(format!("{name} stands twice and {what}"));
    }
    *slot = Some(value);
    Ok(())
}

pub(crate) fn port(name: &str, value: &OsStr) -> Result<u32, ArgsError> {
    let digits = value.to_str().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(port) if port < u32::MAX => Ok(port),
        _ => fail(format!("cannot use {name} `{}`: a port is a number from 0 to 4294967294", shown(value))),
    }
}

/// A value that does not mean anything, and why.
pub(crate) fn unusable(name: &str, value: &OsStr, reason: &str) -> ArgsError {
    ArgsError(format!("cannot use {name} `{}`: {reason}", shown(value)))
}

/// How many of something, at least one.
pub(crate) fn count(name: &str, value: &OsStr) -> Result<usize, ArgsError> {
    let digits = value.to_str().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()).filter(|&count| count > 0) {
        Some(count) => Ok(count),
        None => Err(unusable(name, value, "give a number, at least 1")),
    }
}

pub(crate) fn not_empty(name: &str, value: OsString) -> Result<OsString, ArgsError> {
    if value.is_empty() {
        fail(format!("cannot use {name} with an empty value; name one or leave {name} out"))
    } else {
        Ok(value)
    }
}

/// A byte as it is, `^X` for a control character (`^?` for DEL, as stty has it), or `none`.
pub(crate) fn escape_character(name: &str, value: &OsStr) -> Result<Option<u8>, ArgsError> {
    match value.as_bytes() {
        b"none" => Ok(None),
        [byte] => Ok(Some(*byte)),
        b"^?" => Ok(Some(0x7f)),
        [b'^', letter @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Some(letter & 0x1f)),
        _ => fail(format!(
            "cannot use {name} `{}`: give one character, ^X for a control character, or none",
            shown(value)
        )),
    }
}

pub(crate) fn variable(flag: &str, word: &OsStr) -> Result<Variable, ArgsError> {
    let bytes = word.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
        None => (bytes, None),
    };
    if name.is_empty() {
        return fail(format!(
            "cannot use {flag} `{}`: the name is empty; write NAME or NAME=VALUE",
            shown(word)
        ));
    }
    Ok(Variable { name: OsStr::from_bytes(name).to_owned(), value })
}

/// Digits with at most one point; `f64` alone would also take `inf`, `1e9` and a sign.
pub(crate) fn seconds(name: &str, value: &OsStr) -> Result<Duration, ArgsError> {
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let parsed = digits.and_then(|digits| digits.parse().ok());
    match parsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(duration) => Ok(duration),
        None => fail(format!("cannot use {name} `{}`: give seconds, such as 30 or 0.5", shown(value))),
    }
}
