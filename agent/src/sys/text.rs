//! Texts of ours, known by their addresses alone.
//!
//! A `&str` is two words, so that an error with one and an errno is returned through memory, and told from success there.
//! With one word it is returned in registers.

use core::ffi::{CStr, c_char};
use core::ptr::NonNull;

/// A text that is in the program for good.
#[derive(Clone, Copy)]
pub struct Text(NonNull<c_char>);

// SAFETY: it points to bytes that nobody changes and nobody frees.
unsafe impl Send for Text {}

impl Text {
    /// This text.
    #[inline]
    pub const fn new(text: &'static CStr) -> Self {
        // SAFETY: a reference is not null.
        Self(unsafe { NonNull::new_unchecked(text.as_ptr().cast_mut()) })
    }

    /// Its bytes, without the NUL.
    pub fn as_bytes(self) -> &'static [u8] {
        // SAFETY: it is the address of a `&'static CStr`, as `new` is the only way to one.
        unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_bytes()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl core::fmt::Debug for Text {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_text_is_one_word_and_has_its_bytes() {
        assert_eq!(size_of::<Option<Text>>(), size_of::<usize>());
        assert_eq!(Text::new(c"open the folder").as_bytes(), b"open the folder");
    }
}
