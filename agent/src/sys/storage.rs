//! Static memory that is handed out once.
//!
//! There is no heap: a ring, a pool or an arena is a `static` of the module that owns it, and the one who takes it
//! has it for good. Initialise it with nothing but zero bytes, or the linker puts all of it into the file (a
//! `const` assertion cannot see that; `cargo xtask size` does).

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that exactly one caller can take.
///
/// A forked process has its own copy of both the value and of whether it was taken.
pub struct Storage<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the one `&mut` that `take` gives away, to whatever thread calls it.
unsafe impl<T: Send> Sync for Storage<T> {}

impl<T> Storage<T> {
    /// Storage that holds `value`.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, the first time; nothing after that.
    #[expect(clippy::mut_from_ref, reason = "the flag makes the reference the only one")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.is_taken() {
            return None;
        }
        // SAFETY: `taken` was false and never becomes so again, so that no other reference exists.
        Some(unsafe { &mut *self.value.get() })
    }

    /// Whether somebody has taken it before. The agent's file runs one thread, which can look first and write then: on some
    /// architectures doing both at once takes a kilobyte, for processors that can do it better.
    #[cfg(target_feature = "crt-static")]
    fn is_taken(&self) -> bool {
        let before = self.taken.load(Ordering::Relaxed);
        self.taken.store(true, Ordering::Relaxed);
        before
    }

    /// The same where there may be other threads: in tests, and where somebody else is linked too.
    #[cfg(not(target_feature = "crt-static"))]
    fn is_taken(&self) -> bool {
        self.taken.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::Storage;

    #[test]
    fn storage_is_handed_out_once() {
        static PLACE: Storage<[u8; 4]> = Storage::new([0; 4]);
        let first = PLACE.take();
        assert!(first.is_some());
        assert!(PLACE.take().is_none());
    }
}
