//! Owns digests of files on this side: XXH3-64, holes being zeros. A large file takes long: signals are looked for meanwhile.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read as _};

use twox_hash::XxHash3_64;

use crate::error::Error;
use crate::signals::interrupted;

/// The length and the digest of a file from here on.
///
/// # Errors
/// It cannot be read, or [`Error::Interrupted`].
pub(super) fn digest(mut file: File) -> Result<(u64, u64), Error> {
    let mut digest = XxHash3_64::new();
    let mut piece = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        interrupted()?;
        match file.read(&mut piece) {
            Ok(0) => return Ok((length, digest.finish())),
            Ok(taken) => {
                digest.write(piece.get(..taken).unwrap_or_default());
                length += taken as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::local("read", "a file")(error)),
        }
    }
}

/// The first `length` bytes of a file have this digest.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn is_prefix(mut file: &File, length: u64, digest: u64) -> Result<bool, Error> {
    let mut own = XxHash3_64::new();
    let mut left = length;
    let mut piece = vec![0; 128 * 1024];
    while left > 0 {
        interrupted()?;
        let part = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(piece.get_mut(..part).unwrap_or_default()) {
            Ok(0) => return Ok(false),
            Ok(taken) => {
                own.write(piece.get(..taken).unwrap_or_default());
                left -= taken as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(false),
        }
    }
    Ok(own.finish() == digest)
}
