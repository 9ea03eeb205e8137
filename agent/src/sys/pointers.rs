//! The null-terminated arrays of strings that `execve(2)` wants, in memory that a caller lends.

use core::ffi::{CStr, c_char};
use core::ptr::null;

/// An array of at most as many strings as were asked for, and a null pointer behind the last.
pub struct Pointers<'a> {
    slots: &'a mut [*const c_char],
    len: usize,
    strings: core::marker::PhantomData<&'a CStr>,
}

impl<'a> Pointers<'a> {
    /// Takes room for `capacity` strings from the end of `memory`, or nothing where it is too small.
    pub fn carve(memory: &mut &'a mut [u8], capacity: usize) -> Option<Self> {
        let bytes = capacity.checked_add(1)?.checked_mul(size_of::<*const c_char>())?;
        // One pointer more than needed, to find an aligned place.
        let from = memory.len().checked_sub(bytes.checked_add(size_of::<*const c_char>())?)?;
        let (rest, end) = core::mem::take(memory).split_at_mut_checked(from)?;
        *memory = rest;
        // SAFETY: every pattern of bits is a value of a raw pointer, and no pointer has padding.
        let (_, slots, _) = unsafe { end.align_to_mut::<*const c_char>() };
        let slots = slots.get_mut(..=capacity)?;
        slots.fill(null());
        Some(Self { slots, len: 0, strings: core::marker::PhantomData })
    }

    /// Appends `string`; false where the array is full.
    pub fn push(&mut self, string: &'a CStr) -> bool {
        let last = self.slots.len() - 1;
        match self.slots.get_mut(..last).and_then(|slots| slots.get_mut(self.len)) {
            Some(slot) => {
                *slot = string.as_ptr();
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// Replaces the first string for which `is_same` holds by `string`; false where there is none.
    pub fn replace(&mut self, string: &'a CStr, is_same: &dyn Fn(&CStr) -> bool) -> bool {
        for slot in self.slots.iter_mut().take(self.len) {
            // SAFETY: the first `len` pointers came from `&'a CStr`.
            if is_same(unsafe { CStr::from_ptr(*slot) }) {
                *slot = string.as_ptr();
                return true;
            }
        }
        false
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> {
        // SAFETY: the first `len` pointers came from `&'a CStr`.
        self.slots.iter().take(self.len).map(|&slot| unsafe { CStr::from_ptr(slot) })
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.slots.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::Pointers;

    #[test]
    fn an_array_holds_what_was_asked_for_at_any_alignment() {
        for shift in 0..9 {
            let mut memory = [0xFF_u8; 64];
            let mut rest = &mut memory[..64 - shift];
            let mut array = Pointers::carve(&mut rest, 2).unwrap();
            assert!(array.push(c"a") && array.push(c"b=1"));
            assert!(!array.push(c"c"), "full");
            assert!(array.replace(c"b=2", &|old| old.to_bytes().starts_with(b"b=")));
            assert!(array.iter().eq([c"a", c"b=2"]));
            assert!(array.slots[2].is_null());
            assert!(rest.len() >= 64 - 32 - 16);
        }
    }

    #[test]
    fn too_little_memory_is_no_array() {
        let mut memory = [0_u8; 31];
        assert!(Pointers::carve(&mut &mut memory[..], 2).is_none());
        assert!(Pointers::carve(&mut &mut memory[..], usize::MAX).is_none());
    }
}
