//! Static memory that is handed out to one at a time.
//!
//! There is no heap: a ring, a pool or an arena is a `static` of the module that owns it, and the one who takes it
//! has it for good. Initialise it with nothing but zero bytes, or the linker puts all of it into the file (a
//! `const` assertion cannot see that; `cargo xtask size` does).

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that exactly one caller can take for good, or lease for a while.
///
/// A forked process has its own copy of both the value and of whether it was taken.
pub struct Storage<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the one `&mut` that `take` gives away, or the one lease there is, by whatever
// thread has it.
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
        // SAFETY: `taken` was false, so that nobody has the value, and never becomes so again, because there is no lease.
        Some(unsafe { &mut *self.value.get() })
    }

    /// The value, as it was left, unless somebody has it.
    pub fn lease(&'static self) -> Option<Lease<T>> {
        (!self.is_taken()).then(|| Lease(self))
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

/// A value that comes back when this is dropped.
pub struct Lease<T: 'static>(&'static Storage<T>);

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a lease is made where `taken` was false, so that it alone has the value, and it is borrowed.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and it is borrowed for nobody else.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::Storage;

    #[test]
    fn a_lease_ends_when_it_is_dropped() {
        static PLACE: Storage<[u8; 4]> = Storage::new([0; 4]);
        let mut lease = PLACE.lease();
        if let Some(lease) = &mut lease {
            lease[1] = 7;
        }
        assert!(PLACE.lease().is_none() && PLACE.take().is_none());
        drop(lease);
        assert_eq!(PLACE.lease().map(|lease| *lease), Some([0, 7, 0, 0]));
        assert!(PLACE.take().is_some() && PLACE.lease().is_none());
    }

    #[test]
    fn storage_is_handed_out_once() {
        static PLACE: Storage<[u8; 4]> = Storage::new([0; 4]);
        let first = PLACE.take();
        assert!(first.is_some());
        assert!(PLACE.take().is_none());
    }
}
