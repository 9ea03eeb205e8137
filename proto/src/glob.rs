//! Patterns of names that are left out of a tree (`R-10.11`): both sides have to mean the same by them.

/// Patterns, each with its NUL, behind each other.
#[derive(Debug, Clone, Copy)]
pub struct Excludes<'p>(pub &'p [u8]);

impl Excludes<'_> {
    /// Whether one of them leaves out what is at `path`, from the first directory on.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        self.0.split(|&byte| byte == 0).filter(|pattern| !pattern.is_empty()).any(|pattern| {
            let (pattern, is_for_directories) = match pattern {
                [pattern @ .., b'/'] if !pattern.is_empty() => (pattern, true),
                pattern => (pattern, false),
            };
            let subject = if pattern.contains(&b'/') { path } else { name };
            (is_directory || !is_for_directories)
                && matches(pattern.strip_prefix(b"/").unwrap_or(pattern), subject)
        })
    }
}

/// A place to come back to: the pattern behind a star, and how much of the name that star takes next.
#[derive(Clone, Copy)]
struct Retry {
    pattern: usize,
    name: usize,
}

/// Whether a pattern matches a whole name or path. The work is at most the product of the two lengths: of several stars
/// only the last takes more. With `**` it is that many times more as the name is long: what follows one, up to the next, is
/// tried from each byte on.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let (mut star, mut stars): (Option<Retry>, Option<Retry>) = (None, None);
    loop {
        let rest = pattern.get(at..).unwrap_or_default();
        let byte = name.get(in_name).copied();
        let matched = match (rest, byte) {
            ([], None) => return true,
            ([b'*', b'*', more @ ..], _) => {
                // `a/**/b` also means `a/b`.
                let skip = if more.first() == Some(&b'/') && is_at_start(name, in_name) { 3 } else { 2 };
                stars = Some(Retry { pattern: at + 2, name: in_name });
                star = None;
                at += skip;
                continue;
            }
            ([b'*', ..], _) => {
                star = Some(Retry { pattern: at + 1, name: in_name });
                at += 1;
                continue;
            }
            ([b'?', ..], Some(byte)) if byte != b'/' => Some(1),
            ([b'[', set @ ..], Some(byte)) if byte != b'/' => match class(set, byte) {
                Some((true, length)) => Some(1 + length),
                Some((false, _)) => None,
                None => (byte == b'[').then_some(1),
            },
            ([b'\\', literal, ..], Some(byte)) => (*literal == byte).then_some(2),
            ([literal, ..], Some(byte)) => (*literal == byte).then_some(1),
            (_, None) | ([], Some(_)) => None,
        };
        match matched {
            Some(length) => {
                at += length;
                in_name += 1;
            }
            None => {
                let again = match (star, stars) {
                    (Some(retry), _) if name.get(retry.name).is_some_and(|&byte| byte != b'/') => &mut star,
                    (_, Some(retry)) if retry.name < name.len() => {
                        star = None;
                        &mut stars
                    }
                    _ => return false,
                };
                if let Some(retry) = again {
                    retry.name += 1;
                    (at, in_name) = (retry.pattern, retry.name);
                }
            }
        }
    }
}

/// A component begins there.
fn is_at_start(name: &[u8], at: usize) -> bool {
    at == 0 || name.get(at - 1) == Some(&b'/')
}

/// Whether a set takes a byte, and how long it is with its `]`; `None` where it has no end.
fn class(set: &[u8], byte: u8) -> Option<(bool, usize)> {
    let is_negative = matches!(set.first(), Some(b'!' | b'^'));
    let mut at = usize::from(is_negative);
    let first = at;
    let mut found = false;
    loop {
        let low = match *set.get(at)? {
            b']' if at > first => return Some((found != is_negative, at + 1)),
            b'\\' => {
                at += 1;
                *set.get(at)?
            }
            low => low,
        };
        at += 1;
        let high = match (set.get(at), set.get(at + 1)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                at += 2;
                high
            }
            _ => low,
        };
        found |= (low..=high).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for name in yes {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} takes {name}");
        }
        for name in no {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} leaves {name}");
        }
    }

    #[test]
    fn r_10_11_stars_and_marks() {
        check("*.o", &["a.o", ".o", "a.b.o"], &["a.oo", "a/b.o", "o"]);
        check("a*b*c", &["abc", "axxbyyc", "abbc"], &["ab", "a/bc", "abcd"]);
        check("?", &["a", "\u{7f}"], &["", "ab", "/"]);
        check("", &[""], &["a"]);
        check("*", &["", "abc"], &["a/b"]);
    }

    #[test]
    fn r_10_11_two_stars_cross_directories() {
        check("**", &["", "a", "a/b/c"], &[]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["az", "a/bz", "b/z"]);
        check("**/z", &["z", "a/z", "a/b/z"], &["az", "a/zz"]);
        check("a/**", &["a/", "a/b", "a/b/c"], &["a", "b/a"]);
        check("**/*.o/x", &["a.o/x", "q/r/a.o/x"], &["a.o/y/x"]);
    }

    #[test]
    fn r_10_11_sets() {
        check("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]);
        check("[!a-c]x", &["dx"], &["ax", "/x"]);
        check("[]x]", &["]", "x"], &["a"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[\\]]", &["]"], &["\\"]);
        check("[abc", &["[abc"], &["a"]);
    }

    #[test]
    fn r_10_11_a_backslash_takes_the_next_byte_as_it_is() {
        check("\\*", &["*"], &["a", ""]);
        check("a\\", &["a\\"], &["a"]);
    }

    #[test]
    fn r_10_11_patterns_are_of_names_or_of_paths() {
        let excludes = Excludes(b"*.o\0build/\0/top\0a/b\0");
        for (path, is_directory, is_out) in [
            ("x.o", false, true),
            ("d/x.o", false, true),
            ("build", true, true),
            ("d/build", true, true),
            ("build", false, false),
            ("top", false, true),
            ("d/top", false, false),
            ("a/b", false, true),
            ("d/a/b", false, false),
        ] {
            assert_eq!(excludes.matches(path.as_bytes(), is_directory), is_out, "{path}");
        }
    }

    #[test]
    fn hard_patterns_end() {
        let name = [b'a'; 4000];
        let pattern = b"*a".repeat(1000);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &name));
        assert!(!matches(b"**a**a**a**a**a**a**b", &name));
    }
}
