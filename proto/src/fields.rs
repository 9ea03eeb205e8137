//! Requests (`PROTOCOL.md` §9): sequences of fields, read in place and written one by one.
//!
//! The agent reads a request where it lies ([`Fields`]); string values come with their NUL, so that they can be
//! handed to system calls as they are. The client writes one with [`header`] and the value behind it.

use core::ffi::CStr;

/// Bytes before the value of a field.
pub const FIELD_HEADER_LEN: usize = 4;
/// The longest value of a field, in bytes.
pub const FIELD_MAX: usize = 0xFF_FFFF;

/// Tags of fields (`PROTOCOL.md` §9).
pub mod tag {
    /// A string, repeated: program and arguments.
    pub const ARG: u8 = 0x01;
    /// A string: command line for the user's shell.
    pub const SHELL: u8 = 0x02;
    /// A string NAME=VALUE, repeated.
    pub const ENV: u8 = 0x03;
    /// A string: where to start.
    pub const CWD: u8 = 0x04;
    /// A string: name or number of the user.
    pub const USER: u8 = 0x05;
    /// The size of the terminal, 8 bytes ([`WindowSize`](crate::frame::WindowSize)).
    pub const PTY: u8 = 0x06;
    /// A string: the type of the terminal.
    pub const TERM: u8 = 0x07;
    /// Terminal modes as in RFC 4254 section 8.
    pub const MODES: u8 = 0x08;
    /// A u32 of flags ([`super::DETACH_HOLD`]): the command is a job from the beginning.
    pub const DETACH: u8 = 0x09;
    /// A u32: the program that a put with [`super::flag::MEMORY`] has brought.
    pub const PROGRAM: u8 = 0x0A;
    /// A string: a path in the guest.
    pub const PATH: u8 = 0x10;
    /// A string: the last component to use where PATH is a directory.
    pub const NAME: u8 = 0x11;
    /// A u32 of flags ([`super::flag`]).
    pub const FLAGS: u8 = 0x12;
    /// A string, repeated: a pattern of names that are left out.
    pub const EXCLUDE: u8 = 0x13;
    /// A u64, repeated: the numbers that a verb takes.
    pub const VALUE: u8 = 0x14;
    /// A string: what to do.
    pub const VERB: u8 = 0x18;
    /// What to do with which job, 12 bytes ([`JobRequest`](crate::job::JobRequest)).
    pub const JOB: u8 = 0x20;
    /// A string: the name or address of a host.
    pub const HOST: u8 = 0x28;
    /// A u32: a port.
    pub const PORT: u8 = 0x29;
    /// A u32: the context id of a machine, of vsock.
    pub const CID: u8 = 0x2A;
    /// A u32: the channel of kind listen to which somebody has come.
    pub const LISTENER: u8 = 0x2B;
    /// Set in tags that a receiver which does not know them skips.
    pub const OPTIONAL: u8 = 0x80;
}

/// Bits of FLAGS (`PROTOCOL.md` §9).
pub mod flag {
    /// Flush the file system before success is told.
    pub const SYNC: u32 = 1 << 0;
    /// PATH must be a directory.
    pub const DIRECTORY: u32 = 1 << 1;
    /// End the machine at once, asking nobody.
    pub const FORCE: u32 = 1 << 2;
    /// A directory with what is in it.
    pub const TREE: u32 = 1 << 3;
    /// With owners, extended attributes, device nodes and hard links.
    pub const PRESERVE: u32 = 1 << 4;
    /// Entries without content.
    pub const META: u32 = 1 << 5;
    /// With [`META`]: the digest of all bytes of regular files.
    pub const DIGEST: u32 = 1 << 6;
    /// What is sent is named on flow 0.
    pub const LIST: u32 = 1 << 7;
    /// What has come of a file that does not become complete is kept.
    pub const RESUME: u32 = 1 << 8;
    /// The content is written into the file that PATH names.
    pub const IN_PLACE: u32 = 1 << 9;
    /// The content is a program that an exec of the same session executes.
    pub const MEMORY: u32 = 1 << 10;
    /// What is still to come follows.
    pub const FOLLOW: u32 = 1 << 11;
    /// With [`TREE`]: directories inside the first one are not entered.
    pub const SHALLOW: u32 = 1 << 12;
    /// A symbolic link at the end of PATH is meant itself.
    pub const NO_FOLLOW: u32 = 1 << 13;
    /// In a want: what [`RESUME`] has kept is meant.
    pub const PARTIAL: u32 = 1 << 14;
    /// What is removed leaves the directory that it was in its time.
    pub const KEEP_TIME: u32 = 1 << 15;
    /// A socket gets a directory of its own, for nobody else to enter.
    pub const PRIVATE: u32 = 1 << 16;
}

/// A job whose output fills what is kept of it waits until somebody has read, instead of losing the oldest.
pub const DETACH_HOLD: u32 = 1;

/// A request that breaks a rule of section 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// One field of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'r> {
    /// What it is ([`tag`]).
    pub tag: u8,
    /// Its value.
    pub value: &'r [u8],
}

impl<'r> Field<'r> {
    /// The value as a string (`R-9.2`).
    ///
    /// # Errors
    /// [`Malformed`] unless it ends with its only NUL.
    pub fn string(&self) -> Result<&'r CStr, Malformed> {
        // In terms of the one search for a NUL that the agent has anyway.
        let string = CStr::from_bytes_until_nul(self.value).map_err(|_| Malformed)?;
        if string.count_bytes() + 1 == self.value.len() { Ok(string) } else { Err(Malformed) }
    }

    /// The value as a number.
    ///
    /// # Errors
    /// [`Malformed`] unless it has 4 bytes.
    pub fn number(&self) -> Result<u32, Malformed> {
        self.value.try_into().map(u32::from_le_bytes).map_err(|_| Malformed)
    }

    /// The value as a long number.
    ///
    /// # Errors
    /// [`Malformed`] unless it has 8 bytes.
    pub fn long(&self) -> Result<u64, Malformed> {
        self.value.try_into().map(u64::from_le_bytes).map_err(|_| Malformed)
    }

    /// A receiver that does not know the tag skips the field.
    #[must_use]
    pub const fn is_optional(&self) -> bool {
        self.tag & tag::OPTIONAL != 0
    }
}

/// The fields of a request, in order. Ends after the first that does not fit.
#[derive(Debug, Clone)]
pub struct Fields<'r> {
    rest: &'r [u8],
}

impl<'r> Fields<'r> {
    /// The fields of `request`.
    #[must_use]
    pub const fn new(request: &'r [u8]) -> Self {
        Self { rest: request }
    }
}

impl<'r> Iterator for Fields<'r> {
    type Item = Result<Field<'r>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.rest.split_first_chunk::<FIELD_HEADER_LEN>().and_then(|(&[tag, a, b, c], rest)| {
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            rest.split_at_checked(length).map(|(value, rest)| (Field { tag, value }, rest))
        });
        match field {
            Some((field, rest)) => {
                self.rest = rest;
                Some(Ok(field))
            }
            None => {
                self.rest = &[];
                Some(Err(Malformed))
            }
        }
    }
}

/// What stands before a value of `length` bytes; `None` where it is too long.
#[must_use]
pub const fn header(tag: u8, length: usize) -> Option<[u8; FIELD_HEADER_LEN]> {
    if length > FIELD_MAX {
        return None;
    }
    let [a, b, c, _] = (length as u32).to_le_bytes();
    Some([tag, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(u8, &[u8])]) -> Vec<u8> {
        fields
            .iter()
            .flat_map(|(tag, value)| [&header(*tag, value.len()).unwrap(), *value].concat())
            .collect()
    }

    #[test]
    fn fields_come_back_in_order() {
        let bytes = request(&[(tag::ARG, b"ls\0"), (tag::ARG, b"\0"), (tag::FLAGS, &[1, 0, 0, 0])]);
        let fields: Vec<_> = Fields::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(fields[0].string(), Ok(c"ls"));
        assert_eq!(fields[1].string(), Ok(c""));
        assert_eq!(fields[2].number(), Ok(1));
    }

    #[test]
    fn r_9_1_a_field_that_does_not_fit_is_malformed_and_the_last() {
        let bytes = request(&[(tag::ARG, b"ls\0")]);
        for cut in 1..bytes.len() {
            let fields: Vec<_> = Fields::new(&bytes[..cut]).collect();
            assert_eq!(fields, [Err(Malformed)]);
        }
    }

    #[test]
    fn r_9_2_a_string_ends_with_its_only_nul() {
        for bad in [&b""[..], b"x", b"\0x\0", b"\0\0"] {
            assert_eq!(Field { tag: tag::ARG, value: bad }.string(), Err(Malformed));
        }
    }
}
