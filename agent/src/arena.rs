//! The memory in which a child puts together what `execve` wants: strings from the front, arrays of pointers from
//! the back. Where they meet, the arguments are too long.

use core::ffi::CStr;

use crate::sys::pointers::Pointers;

/// Strings and pointers have met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What is still free.
pub struct Arena<'a>(&'a mut [u8]);

impl<'a> Arena<'a> {
    /// An arena in `memory`, whatever it holds.
    pub fn new(memory: &'a mut [u8]) -> Self {
        Self(memory)
    }

    /// The string that consists of `parts`; it ends at the first NUL in them.
    ///
    /// # Errors
    /// There is not room enough.
    pub fn string(&mut self, parts: &[&[u8]]) -> Result<&'a CStr, Full> {
        let len = parts.iter().fold(1_usize, |len, part| len.saturating_add(part.len()));
        let (place, rest) = core::mem::take(&mut self.0).split_at_mut_checked(len).ok_or(Full)?;
        self.0 = rest;
        let mut free = &mut *place;
        for part in parts {
            let (here, behind) = core::mem::take(&mut free).split_at_mut_checked(part.len()).ok_or(Full)?;
            here.copy_from_slice(part);
            free = behind;
        }
        free.fill(0);
        CStr::from_bytes_until_nul(place).map_err(|_| Full)
    }

    /// An array for `capacity` strings.
    ///
    /// # Errors
    /// There is not room enough.
    pub fn pointers(&mut self, capacity: usize) -> Result<Pointers<'a>, Full> {
        Pointers::carve(&mut self.0, capacity).ok_or(Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_pointers_share_the_memory_until_they_meet() {
        let mut memory = [0xFF; 64];
        let mut arena = Arena::new(&mut memory);
        let first = arena.string(&[b"A=", b"", b"1"]).unwrap();
        let mut array = arena.pointers(2).unwrap();
        assert!(array.push(first));
        let second = arena.string(&[]).unwrap();
        assert!(array.push(second));
        assert!(array.iter().eq([c"A=1", c""]));
        assert_eq!(arena.string(&[&[b'x'; 64]]).err(), Some(Full));
    }
}
