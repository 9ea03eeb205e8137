//! Owns how requests are written (`docs/PROTOCOL.md` §9): fields behind each other.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use vsock_shell_proto::fields::header;

use crate::error::Error;

/// A request that is being written.
#[derive(Debug, Default)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Appends a field of bytes.
    pub(crate) fn bytes(&mut self, tag: u8, value: &[u8]) -> Result<(), Error> {
        self.bytes.extend_from_slice(&header(tag, value.len()).ok_or(Error::TooLong)?);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Appends a field of a string made of `parts`.
    pub(crate) fn string(&mut self, tag: u8, parts: &[&OsStr]) -> Result<(), Error> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>() + 1;
        self.bytes.extend_from_slice(&header(tag, length).ok_or(Error::TooLong)?);
        for part in parts {
            if part.as_bytes().contains(&0) {
                return Err(Error::Nul);
            }
            self.bytes.extend_from_slice(part.as_bytes());
        }
        self.bytes.push(0);
        Ok(())
    }

    /// The whole request.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
