//! Patterns of names that are left out of a tree, against the plainest of matchers.

use std::ffi::CStr;

use vsock_shell_proto::glob::{Excludes, matches};

use crate::input::Input;

/// A pattern and a path, and a list of patterns.
pub fn globs(data: &[u8]) {
    let mut input = Input::new(data);
    let is_spelled = input.once_in(2);
    let [pattern, path] = [(); 2].map(|()| input.piece().to_vec());
    // Few letters, so that they often match.
    let spell = |bytes: Vec<u8>, letters: &[u8]| -> Vec<u8> {
        if !is_spelled {
            return bytes;
        }
        bytes.iter().map(|&byte| letters[usize::from(byte) % letters.len()]).collect()
    };
    let (pattern, path) = (&spell(pattern, b"ab/*?*[]-!\\/")[..], &spell(path, b"ab/ab-")[..]);
    _ = matches(pattern, path);
    let patterns = input.rest();
    for is_directory in [false, true] {
        _ = Excludes(patterns).matches(path, is_directory);
    }
    // What takes exponential time is kept short.
    if pattern.len() <= 12 && path.len() <= 12 && is_path(path) {
        assert_eq!(matches(pattern, path), plainly(pattern, path, true), "{pattern:?} {path:?}");
    }
    if let Ok(pattern) = CStr::from_bytes_until_nul(patterns)
        && !pattern.is_empty()
    {
        let one = Excludes(pattern.to_bytes_with_nul());
        // What leaves out a file leaves out a directory of that name.
        assert!(!one.matches(path, false) || one.matches(path, true));
    }
}

fn is_path(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').all(|name| !name.is_empty())
}

/// `R-10.11`, by trying everything.
fn plainly(pattern: &[u8], name: &[u8], is_at_start: bool) -> bool {
    let starts = |rest: &[u8]| rest.len() < name.len() && name[name.len() - rest.len() - 1] == b'/';
    match (pattern, name) {
        ([], []) => true,
        ([b'*', b'*', more @ ..], _) => {
            let none = more.strip_prefix(b"/").filter(|_| is_at_start);
            none.is_some_and(|more| plainly(more, name, true))
                || (0..=name.len()).any(|at| {
                    let rest = &name[at..];
                    plainly(more, rest, if at == 0 { is_at_start } else { starts(rest) })
                })
        }
        ([b'*', more @ ..], _) => {
            let end = name.iter().position(|&byte| byte == b'/').unwrap_or(name.len());
            (0..=end).any(|at| plainly(more, &name[at..], at == 0 && is_at_start))
        }
        ([b'?', more @ ..], [byte, rest @ ..]) => *byte != b'/' && plainly(more, rest, false),
        ([b'[', more @ ..], [byte, rest @ ..]) => match Set::read(more) {
            Some(set) => *byte != b'/' && set.has(*byte) && plainly(&more[set.length..], rest, false),
            None => *byte == b'[' && plainly(more, rest, false),
        },
        ([b'\\', literal, more @ ..], [byte, rest @ ..]) | ([literal, more @ ..], [byte, rest @ ..]) => {
            literal == byte && plainly(more, rest, *byte == b'/')
        }
        _ => false,
    }
}

/// What stands behind an opening bracket.
struct Set {
    ranges: Vec<(u8, u8)>,
    is_negative: bool,
    /// Its bytes, with the closing bracket.
    length: usize,
}

impl Set {
    fn read(text: &[u8]) -> Option<Self> {
        let is_negative = matches!(text.first(), Some(b'!' | b'^'));
        let mut at = usize::from(is_negative);
        let mut ranges = Vec::new();
        loop {
            let mut low = *text.get(at)?;
            if low == b']' && !ranges.is_empty() {
                return Some(Self { ranges, is_negative, length: at + 1 });
            }
            if low == b'\\' {
                at += 1;
                low = *text.get(at)?;
            }
            at += 1;
            let mut high = low;
            if text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|&high| high != b']') {
                at += 1;
                high = text[at];
                at += 1;
            }
            ranges.push((low, high));
        }
    }

    fn has(&self, byte: u8) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&byte)) != self.is_negative
    }
}
