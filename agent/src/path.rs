//! Paths for system calls, put together from bytes.
//!
//! rustix takes bytes too, but then each kind of call gets code of its own that copies them and appends the NUL.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::io::Errno;

/// Bytes of a path, with its NUL: the kernel's PATH_MAX.
const PATH_MAX: usize = 4096;

/// Whether `byte` is in `text`. `contains` looks at sixteen bytes at once, with a function of 200 bytes.
#[expect(clippy::manual_contains, reason = "for strings of a few bytes, where size counts")]
pub fn has(text: &[u8], byte: u8) -> bool {
    text.iter().any(|&other| other == byte)
}

/// Room for one path.
pub struct PathBuffer(ArrayVec<u8, PATH_MAX>);

impl PathBuffer {
    /// Room in which nothing stands.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// The path that consists of `parts`; it ends at the first NUL in them.
    ///
    /// # Errors
    /// ENAMETOOLONG, as the kernel has it.
    pub fn join(&mut self, parts: &[&[u8]]) -> Result<&CStr, Errno> {
        self.0.clear();
        for part in parts {
            self.0.try_extend_from_slice(part).map_err(|_| Errno::NAMETOOLONG)?;
        }
        self.0.try_push(0).map_err(|_| Errno::NAMETOOLONG)?;
        CStr::from_bytes_until_nul(&self.0).map_err(|_| Errno::INVAL)
    }
}

impl Default for PathBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_one_path() {
        let mut path = PathBuffer::new();
        assert_eq!(path.join(&[b"/usr/bin", b"/", b"env"]), Ok(c"/usr/bin/env"));
        assert_eq!(path.join(&[b"x", b"", b"y"]), Ok(c"xy"));
        assert_eq!(path.join(&[]), Ok(c""));
    }

    #[test]
    fn a_path_has_room_for_its_nul() {
        let mut path = PathBuffer::new();
        assert!(path.join(&[&[b'x'; PATH_MAX - 1]]).is_ok());
        assert_eq!(path.join(&[&[b'x'; PATH_MAX - 1], b"y"]), Err(Errno::NAMETOOLONG));
    }
}
