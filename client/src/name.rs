//! Owns what the name of a guest may look like, and what a pattern of names matches. Pure.
//!
//! A name is made of ASCII letters, digits, `.`, `_` and `-`, does not begin with `-`, and cannot be taken for anything else
//! that stands in the place of a target: it is no number, no first word of an address and no verb. So it needs no quotes in a
//! shell, and may be put into a path or a command.

use std::fmt;

use vsock_shell_proto::glob;

use crate::target::SCHEMES;

/// Why a word cannot be a name. [`fmt::Display`] is a reason, to follow the word and a colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing.
    Empty,
    /// A number, which is a context id.
    Number,
    /// The first word of an address.
    Scheme,
    /// A verb, which wins over names.
    Verb,
    /// A character that no name has, or a `-` at its beginning.
    Character,
}

impl fmt::Display for NameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "a name cannot be empty",
            Self::Number => "a number is a context id, and no name",
            Self::Scheme => "it begins an address, and cannot be a name",
            Self::Verb => "it is a verb, which wins over names",
            Self::Character => {
                "a name has letters, digits, `.`, `_` and `-`, and begins with none of the last; `*` and `?` make a pattern"
            }
        })
    }
}

/// Whether `word` may name a guest where these verbs are known.
///
/// # Errors
/// Why not.
pub fn check(word: &str, verbs: &[&str]) -> Result<(), NameError> {
    if word.is_empty() {
        return Err(NameError::Empty);
    }
    if word.starts_with('-') || !word.bytes().all(is_letter) {
        return Err(NameError::Character);
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NameError::Number);
    }
    if SCHEMES.contains(&word) {
        return Err(NameError::Scheme);
    }
    if verbs.contains(&word) {
        return Err(NameError::Verb);
    }
    Ok(())
}

/// The same for a pattern, which has at least one of `*`, `?` and `[`.
///
/// # Errors
/// [`NameError::Character`].
pub fn check_pattern(word: &str) -> Result<(), NameError> {
    let is_fine = |byte| is_letter(byte) || matches!(byte, b'*' | b'?' | b'[' | b']' | b'!');
    if word.starts_with('-') || !word.bytes().all(is_fine) { Err(NameError::Character) } else { Ok(()) }
}

/// Whether it is meant for several names: `*` is any letters, `?` is one, `[a-c]` and `[!a-c]` one of a set.
#[must_use]
pub fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a pattern, or a name, which is itself, matches this name.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    glob::matches(pattern.as_bytes(), name.as_bytes())
}

/// A name made from what somebody else calls a guest: each character that no name has becomes a `_`. `None` where nothing of
/// it can be a name.
#[must_use]
pub fn from_foreign(text: &[u8], verbs: &[&str]) -> Option<String> {
    /// Longer names are cut, since a process may have a very long one.
    const LONGEST: usize = 64;
    let text = String::from_utf8_lossy(text);
    let letters = text.chars().take(LONGEST).map(|letter| match u8::try_from(letter) {
        Ok(byte) if is_letter(byte) => letter,
        _ => '_',
    });
    let mut name: String = letters.collect();
    if name.starts_with('-') {
        name.replace_range(..1, "_");
    }
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphanumeric());
    (has_letter && check(&name, verbs).is_ok()).then_some(name)
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBS: [&str; 2] = ["cp", "targets"];

    #[test]
    fn a_name_cannot_be_taken_for_anything_else() {
        for name in ["box", "web-1", "a.b_c", "3a", "_", "COPY", ".x"] {
            assert_eq!(check(name, &VERBS), Ok(()), "{name}");
        }
        for (word, error) in [
            ("", NameError::Empty),
            ("3", NameError::Number),
            ("vsock", NameError::Scheme),
            ("exec", NameError::Scheme),
            ("cp", NameError::Verb),
            ("-x", NameError::Character),
            ("a:b", NameError::Character),
            ("a/b", NameError::Character),
            ("vsock%3", NameError::Character),
            ("a@b", NameError::Character),
            ("a b", NameError::Character),
            ("a;b", NameError::Character),
            ("ci-*", NameError::Character),
            ("bücher", NameError::Character),
        ] {
            assert_eq!(check(word, &VERBS), Err(error), "{word}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, is_match) in [
            ("ci-*", "ci-1", true),
            ("ci-*", "ci-", true),
            ("ci-*", "xci-1", false),
            ("*", "anything", true),
            ("web-?", "web-1", true),
            ("web-?", "web-10", false),
            ("web-[0-3]", "web-2", true),
            ("web-[!0-3]", "web-2", false),
            ("box", "box", true),
            ("box", "boxes", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
        assert!(is_pattern("a*") && is_pattern("?") && is_pattern("[ab]") && !is_pattern("ab"));
        assert_eq!((check_pattern("ci-*"), check_pattern("a/*")), (Ok(()), Err(NameError::Character)));
    }

    #[test]
    fn what_others_call_a_guest_becomes_a_name_or_nothing() {
        for (text, name) in [
            (b"box".as_slice(), Some("box")),
            (b"my guest:1/2", Some("my_guest_1_2")),
            (b"-rf", Some("_rf")),
            (b"\x1b[31mred\xff", Some("__31mred_")),
            (b"17", None),
            (b"cp", None),
            (b"unix", None),
            (b"", None),
            ("世界".as_bytes(), None),
        ] {
            assert_eq!(from_foreign(text, &VERBS).as_deref(), name, "{text:?}");
        }
        assert_eq!(from_foreign(&[b'x'; 500], &VERBS).map(|name| name.len()), Some(64));
    }
}
