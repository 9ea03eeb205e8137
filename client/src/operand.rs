//! Owns the spelling of what `cp`, `-u` and `-d` move: a file here, a file in a guest, or a standard stream.
//!
//! Pure, like `target`, and on bytes. An operand of `cp` is
//!
//! * `-`: standard input or standard output;
//! * `TARGET:PATH`: a file in a guest; the target ends at the first `:` and so is written with `%`, or is a number;
//! * anything else, and whatever begins with `/`, `./` or `../`: a local file. A local name with a colon is `./a:b`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::target::{Target, TargetError};

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A file in a guest.
    Remote {
        /// The guest.
        target: Target,
        /// Path in it; a relative one, also an empty one, starts in the user's home (`docs/PROTOCOL.md`, PATH).
        path: OsString,
    },
    /// A file on this side.
    Local(PathBuf),
    /// Standard input as a source, standard output as a destination.
    Stream,
}

impl Operand {
    /// Reads one operand of `cp`; `default_port` as in [`Target::parse`].
    ///
    /// # Errors
    /// The reason why what stands before the first colon is not a target.
    pub fn parse(word: &OsStr, default_port: u32) -> Result<Self, TargetError> {
        Self::parse_with(word, |before| {
            Target::parse(before, default_port).map_err(|error| match error {
                TargetError::Name if Target::is_scheme_alone(before) => TargetError::SchemeAlone,
                error => error,
            })
        })
    }

    /// The same, where `target` tells what the word before the first colon means.
    ///
    /// # Errors
    /// Its own.
    pub fn parse_with<E>(word: &OsStr, target: impl FnOnce(&OsStr) -> Result<Target, E>) -> Result<Self, E> {
        let bytes = word.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        let Some((before, path)) = split(bytes) else { return Ok(Self::Local(PathBuf::from(word))) };
        Ok(Self::Remote {
            target: target(OsStr::from_bytes(before))?,
            path: OsStr::from_bytes(path).to_owned(),
        })
    }

    /// The word for the target, where an operand is in a guest.
    #[must_use]
    pub fn target_word(word: &OsStr) -> Option<&OsStr> {
        split(word.as_bytes()).map(|(before, _)| OsStr::from_bytes(before))
    }

    /// A local file, or the standard stream for `-`: the local half of `-u` and `-d`.
    pub fn local(name: OsString) -> Self {
        if name == "-" { Self::Stream } else { Self::Local(PathBuf::from(name)) }
    }
}

/// What stands before the first colon and after it; nothing where the word is a local name.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let (before, path) = (&bytes[..colon], &bytes[colon + 1..]);
    if [b"/".as_slice(), b"./", b"../"].iter().any(|start| bytes.starts_with(start)) {
        return None;
    }
    // As in scp, a slash makes it a local name, unless it belongs to an address: `unix%/run/a.sock:/x`.
    let is_local = before.contains(&b'/') && !Target::is_with_scheme(OsStr::from_bytes(before));
    (!is_local).then_some((before, path))
}

/// Why the value of `-u` or `-d` is not a pair of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairError {
    /// No colon that is not escaped.
    NoColon,
    /// Nothing before the colon.
    EmptyFirst,
    /// Nothing after the colon.
    EmptySecond,
}

impl fmt::Display for PairError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoColon => "there is no `:` between the two names",
            Self::EmptyFirst => "the name before the `:` is empty",
            Self::EmptySecond => "the name after the `:` is empty",
        })
    }
}

impl std::error::Error for PairError {}

/// Splits the value of `-u` and `-d` at its first colon and takes the escapes out of both halves: `\:` is a colon and
/// `\\` a backslash; a backslash before anything else is itself.
///
/// # Errors
/// No colon, or nothing on one side of it.
pub fn split_pair(word: &OsStr) -> Result<(OsString, OsString), PairError> {
    let mut halves = [Vec::new(), Vec::new()];
    let mut half = 0;
    let mut bytes = word.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => halves[half].push(bytes.next_if(|next| matches!(next, b':' | b'\\')).unwrap_or(b'\\')),
            b':' if half == 0 => half = 1,
            other => halves[half].push(other),
        }
    }
    let [first, second] = halves;
    match (half, first.is_empty(), second.is_empty()) {
        (0, ..) => Err(PairError::NoColon),
        (_, true, _) => Err(PairError::EmptyFirst),
        (_, _, true) => Err(PairError::EmptySecond),
        _ => Ok((OsString::from_vec(first), OsString::from_vec(second))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Address, DEFAULT_PORT};

    #[track_caller]
    fn operand(word: &str) -> Operand {
        Operand::parse(OsStr::new(word), DEFAULT_PORT).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    #[track_caller]
    fn remote(word: &str) -> (Address, OsString) {
        match operand(word) {
            Operand::Remote { target, path } => (target.address, path),
            other => panic!("{word}: {other:?}"),
        }
    }

    fn local(path: &str) -> Operand {
        Operand::Local(path.into())
    }

    #[test]
    fn the_target_ends_at_the_first_colon() {
        let three = Address::Vsock { cid: 3, port: 5000 };
        assert_eq!(remote("3:/etc/fstab"), (three.clone(), "/etc/fstab".into()));
        assert_eq!(remote("vsock%3:/etc/fstab"), (three.clone(), "/etc/fstab".into()));
        assert_eq!(remote("vsock/3:a:b"), (three.clone(), "a:b".into()));
        assert_eq!(remote("3:"), (three, "".into()));
        assert_eq!(remote("unix%/run/a.sock:/tmp/x"), (Address::Unix("/run/a.sock".into()), "/tmp/x".into()));
        assert_eq!(remote("root@unix%/run/a.sock:x"), (Address::Unix("/run/a.sock".into()), "x".into()));
        assert_eq!(remote("mux%/run/v%22:x"), (Address::Mux { path: "/run/v".into(), port: 22 }, "x".into()));
    }

    #[test]
    fn a_word_without_a_colon_or_with_a_leading_slash_or_dot_is_local() {
        for word in ["a", "3", "vsock%3", "./a:b", "../a:b", "/a:b", "dir/a:b", "", ".hidden"] {
            assert_eq!(operand(word), local(word), "{word}");
        }
    }

    #[test]
    fn a_dash_is_a_stream_and_dot_slash_dash_is_a_file() {
        assert_eq!(operand("-"), Operand::Stream);
        assert_eq!(operand("./-"), local("./-"));
        assert_eq!(Operand::local("-".into()), Operand::Stream);
        assert_eq!(Operand::local("./-".into()), local("./-"));
    }

    #[test]
    fn what_stands_before_the_colon_must_be_a_target() {
        assert_eq!(Operand::parse(OsStr::new("guest:/a"), 1), Err(TargetError::Name));
        assert_eq!(Operand::parse(OsStr::new(":/a"), 1), Err(TargetError::Empty));
        for word in ["unix:/run/a.sock:/x", "root@mux:/run/v:5:/x", "vsock:3:/x"] {
            assert_eq!(Operand::parse(OsStr::new(word), 1), Err(TargetError::SchemeAlone), "{word}");
        }
    }

    #[test]
    fn names_need_not_be_text() {
        let word = OsStr::from_bytes(b"3:/\xff\xfe");
        match Operand::parse(word, 1) {
            Ok(Operand::Remote { path, .. }) => assert_eq!(path.as_bytes(), b"/\xff\xfe"),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn pair(word: &str) -> (String, String) {
        let (first, second) = split_pair(OsStr::new(word)).unwrap_or_else(|error| panic!("{word}: {error}"));
        (first.into_string().unwrap(), second.into_string().unwrap())
    }

    #[test]
    fn a_pair_splits_at_its_first_unescaped_colon() {
        assert_eq!(pair("a:b"), ("a".into(), "b".into()));
        assert_eq!(pair("a:b:c"), ("a".into(), "b:c".into()));
        assert_eq!(pair(r"a\:b:c\:d"), ("a:b".into(), "c:d".into()));
        assert_eq!(pair(r"a\\:b"), (r"a\".into(), "b".into()));
        assert_eq!(pair(r"a\n:b\"), (r"a\n".into(), r"b\".into()));
    }

    #[test]
    fn a_pair_needs_both_names() {
        assert_eq!(split_pair(OsStr::new(r"a\:b")), Err(PairError::NoColon));
        assert_eq!(split_pair(OsStr::new("")), Err(PairError::NoColon));
        assert_eq!(split_pair(OsStr::new(":b")), Err(PairError::EmptyFirst));
        assert_eq!(split_pair(OsStr::new("a:")), Err(PairError::EmptySecond));
    }
}
