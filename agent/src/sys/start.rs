//! Where the process begins and where a bug ends it.
//!
//! libc's start code calls the `main` that [`entry_point!`](crate::entry_point) defines in the binary. It is a
//! macro because a second panic handler, or a second `main`, must not come along when a test links the library.

use core::ffi::{CStr, c_char, c_int};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use super::ffi;
use crate::line::{Line, Part};
use crate::log;

/// Addresses in the line that tells of a bug.
const ADDRESSES_TOLD: usize = 8;
/// The exit status that goes with SIGABRT.
const FAILED_BY_BUG: i32 = 134;

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

    /// Becomes the program `path` with the arguments and the environment of this one; the name is its own. Returns only when
    /// that failed.
    pub fn execute(&self, path: &'static CStr) -> Errno {
        if self.arguments().next().is_some() {
            // SAFETY: the kernel put the array on the stack of this process, where it may be written to, and it has a first
            // element. Nobody looks at it between this and the call.
            unsafe { self.arguments.0.cast_mut().write(path.as_ptr()) };
        }
        // SAFETY: both are arrays of strings that end with a null pointer, as `Start::new` was promised.
        unsafe { ffi::execve(path.as_ptr(), self.arguments.0, self.environment.0) };
        ffi::last_error()
    }

    /// Puts `@` at the beginning of the program's name as `ps` shows it: systemd spares processes with such a name when it
    /// leaves an initramfs.
    pub fn mark_name(&self) {
        if let Some(name) = self.arguments().next().filter(|name| !name.is_empty()) {
            // SAFETY: the kernel put the string on the stack of this process, where it may be written to, and its first byte
            // is not its NUL. Nobody keeps what it was: the arguments behind it are all that is parsed.
            unsafe { name.as_ptr().cast_mut().cast::<u8>().write(b'@') };
        }
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

/// Ends the process after a bug: one line with the last addresses in the code, by which a build with symbols tells where
/// it was and who called it (`addr2line -fi`), then SIGABRT.
///
/// The compiler's own message and place would be plainer. The names of the files, the texts and `core::fmt` cost 5 KiB.
pub fn panicked() -> ! {
    let mut line = Line::of(&[Part::Text("bug, reached by")]);
    for address in code_addresses().take(ADDRESSES_TOLD) {
        line.append(&[Part::Text(" "), Part::Hexadecimal(address as u64)]);
    }
    log::error(&[Part::Line(&line)]);
    let _ = kill_process(getpid(), Signal::ABORT);
    // Only process 1 is still here, whose end would be the kernel's.
    if getpid().is_init() {
        crate::init::reap_forever();
    }
    exit(FAILED_BY_BUG)
}

/// What stands on the stack and is an address in the code: the places to which the functions that run now return, the
/// latest first, and perhaps a few that are left from former calls.
fn code_addresses() -> impl Iterator<Item = usize> {
    /// Enough for the frame of our caller, and less than that of `main` takes, which is above them all.
    const WORDS: usize = 256;
    let code = (&raw const ffi::__executable_start).addr()..(&raw const ffi::etext).addr();
    let here = 0_usize;
    let stack = (&raw const here).expose_provenance();
    let word = move |number| {
        let place = core::ptr::with_exposed_provenance::<usize>(stack + number * size_of::<usize>());
        // SAFETY: so many words above this frame are on the stack; they are read as they are, whoever they belong to.
        unsafe { place.read_volatile() }
    };
    (1..WORDS).map(word).filter(move |word| code.contains(word))
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
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::sys::start::panicked()
        }

        /// Named by the unwind tables of the precompiled `core`, never called: we abort.
        #[cfg(target_feature = "crt-static")]
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}
    };
}
