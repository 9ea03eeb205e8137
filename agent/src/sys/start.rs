//! Where the process begins and where a bug ends it.
//!
//! libc's start code calls the `main` that [`entry_point!`](crate::entry_point) defines in the binary. It is a
//! macro because a second panic handler, or a second `main`, must not come along when a test links the library.

use core::ffi::{CStr, c_char, c_int};
use core::panic::PanicInfo;

use super::ffi;
use crate::line::Part;
use crate::log;

/// The arguments and the environment of this process.
#[derive(Clone, Copy)]
pub struct Start {
    arguments: Vector,
    environment: Vector,
}

impl Start {
    /// Takes over what libc gave to `main`.
    ///
    /// # Safety
    /// Both point to arrays of pointers to strings that end with a null pointer and never change.
    pub unsafe fn new(arguments: *const *const c_char, environment: *const *const c_char) -> Self {
        Self { arguments: Vector(arguments), environment: Vector(environment) }
    }

    /// The arguments, the program's name first.
    pub fn arguments(&self) -> Vector {
        self.arguments
    }

    /// The value of the environment's variable `name`.
    pub fn variable(&self, name: &[u8]) -> Option<&'static [u8]> {
        let named = |entry: &'static CStr| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"=");
        self.environment.into_iter().find_map(named)
    }
}

/// Strings that live as long as the process.
#[derive(Clone, Copy)]
pub struct Vector(*const *const c_char);

impl Iterator for Vector {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: `Start::new` was promised an array that ends with a null pointer, and we stop there.
        let string = unsafe { *self.0 };
        if string.is_null() {
            return None;
        }
        // SAFETY: the element was not the last one, so there is a next one; it points to a string for good.
        unsafe {
            self.0 = self.0.add(1);
            Some(CStr::from_ptr(string))
        }
    }
}

/// Ends the process after a bug: one line that says where, then SIGABRT.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    log::error(&[Part::Text("bug at "), Part::Text(file), Part::Text(":"), Part::Number(u64::from(line))]);
    // SAFETY: abort has no conditions.
    unsafe { ffi::abort() }
}

/// Ends the process with `status`, without running anything at exit.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit has no conditions.
    unsafe { ffi::_exit(c_int::from(status as u8)) }
}

/// Defines `main`, and where there is no `std`, the panic handler and the symbol that the precompiled `core` wants in
/// unoptimised builds.
#[macro_export]
macro_rules! entry_point {
    ($run:path) => {
        /// Called by libc's start code.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _count: core::ffi::c_int,
            arguments: *const *const core::ffi::c_char,
            environment: *const *const core::ffi::c_char,
        ) -> core::ffi::c_int {
            // SAFETY: libc's start code passes null-terminated arrays that live as long as the process.
            $run(unsafe { $crate::sys::start::Start::new(arguments, environment) })
        }

        #[cfg(target_feature = "crt-static")]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::sys::start::panicked(info)
        }

        /// Named by the unwind tables of the precompiled `core`, never called: we abort.
        #[cfg(target_feature = "crt-static")]
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}
    };
}
