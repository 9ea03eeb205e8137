//! What to run: an exec request, read in place (`PROTOCOL.md` §9). It borrows from the buffer that the request
//! arrived in; each string of the wire carries its NUL, so that none is copied on the way to `execve`.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fd::BorrowedFd;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{Field, Fields, tag};
use vsock_shell_proto::frame::WindowSize;

/// A command to start.
#[derive(Clone)]
pub struct ExecRequest<'a> {
    /// What to run.
    pub program: Program<'a>,
    /// NAME=VALUE; of equal names the last counts.
    pub environment: Strings<'a>,
    /// A terminal of this size, instead of three pipes.
    pub terminal: Option<WindowSize>,
    /// Modes of the terminal, RFC 4254 section 8; empty where none were sent.
    pub modes: &'a [u8],
    /// TERM.
    pub term: Option<&'a CStr>,
    /// Where to start; a relative one starts in the home directory.
    pub directory: Option<&'a CStr>,
    /// It is a job from the beginning; flags ([`DETACH_HOLD`](vsock_shell_proto::fields::DETACH_HOLD)).
    pub detach: Option<u32>,
    /// Name or number of the user to run as.
    pub user: Option<&'a CStr>,
    /// The number of what a put has brought into memory, which is executed with the arguments.
    pub number: Option<u32>,
    /// That file, once it was found.
    pub file: Option<BorrowedFd<'a>>,
}

/// What to run.
#[derive(Clone)]
pub enum Program<'a> {
    /// The user's shell as a login shell.
    Login,
    /// A command line for the user's shell.
    Shell(&'a CStr),
    /// A program and its arguments, as they are. At least one string.
    Arguments(Strings<'a>),
}

/// The strings of one tag among the fields of a request, in their order.
#[derive(Clone)]
pub struct Strings<'a> {
    fields: Fields<'a>,
    tag: u8,
}

impl<'a> Strings<'a> {
    /// The strings of `tag` in a request. What is not a string is left out.
    #[must_use]
    pub const fn new(request: &'a [u8], tag: u8) -> Self {
        Self { fields: Fields::new(request), tag }
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        loop {
            let field = self.fields.next()?.ok()?;
            if field.tag == self.tag
                && let Ok(string) = field.string()
            {
                return Some(string);
            }
        }
    }
}

impl<'a> ExecRequest<'a> {
    /// Reads a request for exec.
    ///
    /// # Errors
    /// UNSUPPORTED or MALFORMED, by `R-9.1` and `R-9.3`.
    pub fn parse(request: &'a [u8]) -> Result<Self, RefusalCode> {
        let mut parsed = Self {
            program: Program::Login,
            environment: Strings::new(request, tag::ENV),
            terminal: None,
            modes: b"",
            term: None,
            directory: None,
            detach: None,
            user: None,
            number: None,
            file: None,
        };
        let mut seen = 0_u32;
        for field in Fields::new(request) {
            let Ok(field) = &field else { return Err(RefusalCode::Malformed) };
            let repeats = matches!(field.tag, tag::ARG | tag::ENV);
            let bit = 1_u32.checked_shl(u32::from(field.tag)).unwrap_or(0);
            if seen & bit != 0 && !repeats {
                return Err(RefusalCode::Malformed);
            }
            seen |= bit;
            parsed.take(field, request)?;
        }
        let has = |tag: u8| seen & (1 << tag) != 0;
        if (has(tag::ARG) && has(tag::SHELL)) || (has(tag::PROGRAM) && !has(tag::ARG)) {
            return Err(RefusalCode::Malformed);
        }
        Ok(parsed)
    }

    /// Its words, as far as there is room.
    pub fn describe<const N: usize>(&self, words: &mut ArrayVec<u8, N>) {
        let mut append = |word: &CStr| {
            let room = words.remaining_capacity();
            let bytes = word.to_bytes();
            let _ = words.try_extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            let _ = words.try_push(b' ');
        };
        match &self.program {
            Program::Login => append(c"-"),
            Program::Shell(line) => append(line),
            Program::Arguments(arguments) => arguments.clone().for_each(append),
        }
        words.pop();
    }

    fn take(&mut self, field: &Field<'a>, request: &'a [u8]) -> Result<(), RefusalCode> {
        let string = || field.string().map_err(malformed);
        match field.tag {
            tag::ARG => {
                string()?;
                self.program = Program::Arguments(Strings::new(request, tag::ARG));
            }
            tag::SHELL => self.program = Program::Shell(string()?),
            tag::ENV => {
                // A name of at least one byte.
                let equals = string()?.to_bytes().iter().position(|&byte| byte == b'=');
                equals.filter(|&at| at > 0).ok_or(RefusalCode::Malformed)?;
            }
            tag::CWD => self.directory = Some(string()?),
            tag::USER => self.user = Some(string()?),
            tag::PROGRAM => self.number = Some(field.number().map_err(malformed)?),
            tag::PTY if field.value.len() == 8 => self.terminal = Some(WindowSize::parse(field.value)),
            tag::PTY => return Err(RefusalCode::Malformed),
            tag::DETACH => self.detach = Some(field.number().map_err(malformed)?),
            tag::TERM => self.term = Some(string()?),
            tag::MODES => self.modes = field.value,
            _ if field.is_optional() => {}
            _ => return Err(RefusalCode::Unsupported),
        }
        Ok(())
    }
}

fn malformed<E>(_: E) -> RefusalCode {
    RefusalCode::Malformed
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The fields of these tags and values.
    pub(crate) fn fields(list: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in list {
            bytes.push(*tag);
            bytes.extend(&(value.len() as u32).to_le_bytes()[..3]);
            bytes.extend(*value);
        }
        bytes
    }

    fn refusal(list: &[(u8, &[u8])]) -> Option<RefusalCode> {
        ExecRequest::parse(&fields(list)).err()
    }

    #[test]
    fn strings_of_a_tag_come_in_order() {
        let bytes = fields(&[(1, b"ls\0"), (3, b"A=1\0"), (1, b"\0"), (0x81, b"no\0"), (1, b"-l\0")]);
        assert!(Strings::new(&bytes, 1).eq([c"ls", c"", c"-l"]));
        assert!(Strings::new(&bytes, 3).eq([c"A=1"]));
        assert!(Strings::new(&bytes, 2).next().is_none());
    }

    #[test]
    fn what_is_no_string_or_no_field_is_never_given() {
        let bytes = fields(&[(1, b"no end"), (1, b""), (1, b"two\0nul\0"), (1, b"good\0")]);
        assert!(Strings::new(&bytes, 1).eq([c"good"]));
        for cut in 0..bytes.len() {
            assert!(Strings::new(&bytes[..cut], 1).next().is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn r_9_3_arguments_or_a_line_or_neither() {
        let program = |list: &[(u8, &[u8])]| match ExecRequest::parse(&fields(list)).unwrap().program {
            Program::Login => "login".to_owned(),
            Program::Shell(line) => line.to_str().unwrap().to_owned(),
            Program::Arguments(arguments) => {
                arguments.map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join("|")
            }
        };
        assert_eq!(program(&[]), "login");
        assert_eq!(program(&[(tag::SHELL, b"a b\0")]), "a b");
        assert_eq!(program(&[(tag::ARG, b"a\0"), (tag::CWD, b"/\0"), (tag::ARG, b"\0")]), "a|");
        assert_eq!(refusal(&[(tag::ARG, b"a\0"), (tag::SHELL, b"a\0")]), Some(RefusalCode::Malformed));
    }

    #[test]
    fn r_9_1_unknown_fields_are_skipped_only_if_optional() {
        assert_eq!(refusal(&[(0x7F, b"x")]), Some(RefusalCode::Unsupported));
        assert_eq!(refusal(&[(tag::PATH, b"/\0")]), Some(RefusalCode::Unsupported));
        assert_eq!(refusal(&[(0xFF, b"x"), (0xFF, b""), (0x81, b"x")]), None);
    }

    #[test]
    fn r_9_1_what_stands_twice_or_has_a_wrong_value_is_malformed() {
        for tag in [tag::SHELL, tag::CWD, tag::USER, tag::TERM] {
            assert_eq!(refusal(&[(tag, b"x\0")]), None);
            assert_eq!(refusal(&[(tag, b"x\0"), (tag, b"x\0")]), Some(RefusalCode::Malformed));
            assert_eq!(refusal(&[(tag, b"x")]), Some(RefusalCode::Malformed));
        }
        for size in [0, 7, 9] {
            assert_eq!(refusal(&[(tag::PTY, &[0; 9][..size])]), Some(RefusalCode::Malformed));
        }
        assert_eq!(refusal(&[(tag::ENV, b"=x\0")]), Some(RefusalCode::Malformed));
        assert_eq!(refusal(&[(tag::ENV, b"x\0")]), Some(RefusalCode::Malformed));
        assert_eq!(refusal(&[(tag::ENV, b"x=\0"), (tag::ENV, b"x=\0")]), None);
        let bytes = fields(&[(tag::CWD, b"/tmp\0")]);
        for cut in 1..bytes.len() {
            assert_eq!(ExecRequest::parse(&bytes[..cut]).err(), Some(RefusalCode::Malformed));
        }
    }

    #[test]
    fn a_terminal_has_rows_and_columns() {
        let bytes = fields(&[(tag::PTY, &[24, 0, 0x2C, 1, 3, 0, 4, 0]), (tag::MODES, &[0])]);
        let request = ExecRequest::parse(&bytes).unwrap();
        let size = request.terminal.unwrap();
        assert_eq!((size.rows, size.columns, size.width, size.height), (24, 300, 3, 4));
        assert_eq!(request.modes, [0]);
    }
}
