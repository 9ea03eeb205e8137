//! One line of text for people, put together without `core::fmt`, which would cost the binary more than the rest of
//! the logging.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::io::Errno;

use crate::sys::text::Text;

/// Bytes of a line; what is longer is cut.
pub const LINE_MAX: usize = 512;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A piece of a line.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// Text of ours.
    Text(Text),
    /// Bytes from elsewhere; everything but printable ASCII is escaped.
    Bytes(&'a [u8]),
    /// What another line holds, escaped already.
    Line(&'a Line),
    /// A number in decimal.
    Number(u64),
    /// A point and nine digits: a number of nanoseconds as a part of a second.
    Fraction(u64),
    /// A number in hexadecimal.
    Hexadecimal(u64),
    /// The text of an error of the system.
    Error(Errno),
}

/// The part that is this text.
pub const fn text(text: &'static CStr) -> Part<'static> {
    Part::Text(Text::new(text))
}

/// A line, or the beginning of one that was too long.
#[derive(Default)]
pub struct Line(ArrayVec<u8, LINE_MAX>);

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// The line of these parts.
    pub fn of(parts: &[Part<'_>]) -> Self {
        let mut line = Self::new();
        line.append(parts);
        line
    }

    /// Appends the parts.
    pub fn append(&mut self, parts: &[Part<'_>]) {
        for part in parts {
            match *part {
                Part::Text(text) => self.append_bytes(text.as_bytes()),
                Part::Bytes(bytes) => self.append_escaped(bytes),
                Part::Line(line) => self.append_bytes(line.as_bytes()),
                Part::Number(number) => self.append_number(number, 10),
                Part::Fraction(number) => {
                    let at = self.0.len();
                    self.append_number(1_000_000_000 + number, 10);
                    // In the place of the one.
                    if let Some(digit) = self.0.get_mut(at) {
                        *digit = b'.';
                    }
                }
                Part::Hexadecimal(number) => self.append_number(number, 16),
                Part::Error(errno) => self.append_error(errno),
            }
        }
    }

    /// Ends the line with a newline, in place of its last byte where it is full.
    pub fn end(&mut self) -> &[u8] {
        if self.0.is_full() {
            self.0.pop();
        }
        let _ = self.0.try_push(b'\n');
        &self.0
    }

    /// What the line holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline(never)]
    fn append_bytes(&mut self, bytes: &[u8]) {
        let room = self.0.remaining_capacity().min(bytes.len());
        let _ = self.0.try_extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    fn append_escaped(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if matches!(byte, b' '..=b'~') && byte != b'\\' {
                let _ = self.0.try_push(byte);
            } else {
                let escape = [b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
                let _ = self.0.try_extend_from_slice(&escape);
            }
        }
    }

    fn append_number(&mut self, mut number: u64, base: u64) {
        let mut digits = ArrayVec::<u8, 20>::new();
        loop {
            let _ = digits.try_push(DIGITS.get((number % base) as usize).copied().unwrap_or(b'?'));
            number /= base;
            if number == 0 {
                break;
            }
        }
        digits.reverse();
        let _ = self.0.try_extend_from_slice(&digits);
    }

    fn append_error(&mut self, errno: Errno) {
        match text_of(errno) {
            Some(text) => self.append_bytes(text),
            None => {
                self.append_bytes(b"error ");
                self.append_number(u64::from(errno.raw_os_error().unsigned_abs()), 10);
            }
        }
    }
}

/// The errors that somebody who starts the agent can do something about. The others are told as numbers: a table of all
/// would cost 4 KiB.
const ERRORS: [(Errno, &str); 17] = [
    (Errno::ACCESS, "permission denied"),
    (Errno::ADDRINUSE, "address already in use"),
    (Errno::AFNOSUPPORT, "address family not supported by this kernel"),
    (Errno::AGAIN, "no more processes or resources"),
    (Errno::BADF, "descriptor not open"),
    (Errno::CONNREFUSED, "connection refused"),
    (Errno::MFILE, "too many open files"),
    (Errno::NAMETOOLONG, "name too long"),
    (Errno::NFILE, "too many open files in the system"),
    (Errno::NODEV, "no such device"),
    (Errno::NOENT, "no such file or directory"),
    (Errno::NOMEM, "out of memory"),
    (Errno::NOTDIR, "not a directory"),
    (Errno::NOTSOCK, "not a socket"),
    (Errno::OPNOTSUPP, "not supported by this kernel"),
    (Errno::PERM, "operation not permitted"),
    (Errno::ROFS, "read-only file system"),
];

/// [`ERRORS`] as they stand in the file: for each its number, its text and a newline, in an eighth of the bytes that pointers
/// or a `match` would take.
static TEXTS: [u8; TEXTS_LEN] = joined();

const TEXTS_LEN: usize = {
    let (mut len, mut at) = (0, 0);
    while at < ERRORS.len() {
        len += ERRORS[at].1.len() + 2;
        at += 1;
    }
    len
};

const fn joined() -> [u8; TEXTS_LEN] {
    let mut joined = [0; TEXTS_LEN];
    let (mut len, mut at) = (0, 0);
    while at < ERRORS.len() {
        let (errno, text) = ERRORS[at];
        let number = errno.raw_os_error();
        assert!(number > 0 && number < 256 && number != b'\n' as i32);
        joined[len] = number as u8;
        let (_, place) = joined.split_at_mut(len + 1);
        place.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
        len += text.len() + 2;
        joined[len - 1] = b'\n';
        at += 1;
    }
    joined
}

/// The text of an error, where there is one.
fn text_of(errno: Errno) -> Option<&'static [u8]> {
    let mut entries = TEXTS.split(|&byte| byte == b'\n').filter_map(<[u8]>::split_first);
    entries.find(|(number, _)| i32::from(**number) == errno.raw_os_error()).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_one_line() {
        let mut line = Line::of(&[
            text(c"cannot open "),
            Part::Bytes(b"a\n\xff\\b c"),
            text(c": "),
            Part::Error(Errno::NOENT),
            text(c" "),
            Part::Number(0),
            text(c" "),
            Part::Number(u64::MAX),
            text(c" "),
            Part::Hexadecimal(0x40_1fe0),
        ]);
        let text =
            b"cannot open a\\x0a\\xff\\x5cb c: no such file or directory 0 18446744073709551615 401fe0";
        assert_eq!(line.as_bytes(), text);
        assert_eq!(line.end().last(), Some(&b'\n'));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends() {
        let mut line = Line::of(&[Part::Bytes(&[b'x'; 2 * LINE_MAX]), Part::Number(7), text(c"tail")]);
        assert_eq!(line.as_bytes().len(), LINE_MAX);
        assert_eq!(line.end().len(), LINE_MAX);
        assert_eq!(line.end().last(), Some(&b'\n'));
    }

    #[test]
    fn every_error_of_the_table_has_its_own_text() {
        for (errno, text) in ERRORS {
            assert_eq!(Line::of(&[Part::Error(errno)]).as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn an_error_without_a_text_is_told_by_number() {
        assert_eq!(Line::of(&[Part::Error(Errno::XDEV)]).as_bytes(), b"error 18");
    }
}
