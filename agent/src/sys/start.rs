//! Where the process begins and where a bug ends it.
//!
//! The kernel enters the static file at the `vsock_shell_start` that [`entry_point!`](crate::entry_point) defines
//! in the binary, where the architecture has one and the linker is told so; else libc's start code calls the `main`
//! that it defines too. It is a macro because a second panic handler, or a second `main`, must not come along when a
//! test links the library.
//!
//! Own start code has less to do than libc's: no threads, no `errno`, no functions at exit, nothing to relocate.

use core::ffi::{CStr, c_char};

use linux_raw_sys::general::__NR_exit_group;
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use super::call::call;
use super::process::execve_raw;
use super::random;
use crate::line::{Line, Part, text};
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
    /// Takes over what the kernel put on the stack of a new process, from the arguments on.
    ///
    /// # Safety
    /// Both point to arrays of pointers to strings that end with a null pointer and never change. Behind that of the
    /// environment stands the auxiliary vector, as the kernel puts it there (`getauxval(3)`).
    pub unsafe fn new(arguments: *const *const c_char, environment: *const *const c_char) -> Self {
        let mut end = Vector(environment);
        while end.next().is_some() {}
        // SAFETY: `next` stays at the null pointer that ends the environment, and behind it stands the vector.
        random::keep(unsafe { random_bytes(end.0.add(1).cast()) });
        Self { arguments: Vector(arguments), environment: Vector(environment) }
    }

    /// The same from the address where the stack begins: the number of arguments, and what [`Self::new`] wants.
    ///
    /// # Safety
    /// It is the stack pointer that the kernel gave to the process.
    pub unsafe fn from_stack(stack: *const usize) -> Self {
        // SAFETY: the caller's promise; the arguments end with a null pointer.
        unsafe {
            let arguments = stack.add(1).cast();
            Self::new(arguments, stack.add(2 + *stack).cast())
        }
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
        unsafe { execve_raw(path, self.arguments.0, self.environment.0) }
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

/// The first eight bytes at AT_RANDOM, or 0.
///
/// # Safety
/// `entry` points to an auxiliary vector: pairs of a type and a value, the last of type 0.
unsafe fn random_bytes(mut entry: *const [usize; 2]) -> u64 {
    const AT_RANDOM: usize = 25;
    loop {
        // SAFETY: the entry before was not the last.
        match unsafe { *entry } {
            [0, _] => return 0,
            // SAFETY: the kernel put 16 bytes there, at the bottom of the stack, where nothing moves them.
            [AT_RANDOM, address] => unsafe {
                return core::ptr::with_exposed_provenance::<u64>(address).read_unaligned();
            },
            // SAFETY: this was not the last.
            _ => entry = unsafe { entry.add(1) },
        }
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
    let mut line = Line::of(&[text(c"bug, reached by")]);
    for address in code_addresses().take(ADDRESSES_TOLD) {
        line.append(&[text(c" "), Part::Hexadecimal(address as u64)]);
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
    unsafe extern "C" {
        /// Where the code begins and ends, by the linker.
        static __executable_start: u8;
        static etext: u8;
    }
    let code = (&raw const __executable_start).addr()..(&raw const etext).addr();
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
    loop {
        // SAFETY: it has no conditions, and does not return.
        let _ = unsafe { call(__NR_exit_group, usize::from(status as u8), 0, 0, 0) };
    }
}

/// Defines the two entries, and where there is no `std`, the panic handler and the symbol that the precompiled `core` wants in
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

        /// Called by nobody: the kernel begins here, with the arguments on the stack.
        #[cfg(all(target_feature = "crt-static", any(target_arch = "x86_64", target_arch = "aarch64")))]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn vsock_shell_start() -> ! {
            /// # Safety
            /// Called with the stack pointer that the kernel gave to the process.
            unsafe extern "C" fn begin(stack: *const usize) -> ! {
                // SAFETY: the caller's promise.
                let start = unsafe { $crate::sys::start::Start::from_stack(stack) };
                $crate::sys::start::exit($run(start))
            }
            // The stack pointer is aligned to 16 bytes on both. A frame pointer of 0 ends the chain of callers.
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!("xor ebp, ebp", "mov rdi, rsp", "call {}", sym begin);
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {}", sym begin);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::tests::in_child;

    /// A stack as the kernel puts it there, for good: the number of arguments, these, the environment, the auxiliary vector.
    fn stack(arguments: &[&CStr], environment: &[&CStr], auxiliary: &[[usize; 2]]) -> *const usize {
        let place =
            |text: &CStr| Vec::leak(text.to_bytes_with_nul().to_vec()).as_mut_ptr().expose_provenance();
        let mut words = vec![arguments.len()];
        for list in [arguments, environment] {
            words.extend(list.iter().map(|&text| place(text)));
            words.push(0);
        }
        words.extend(auxiliary.iter().flatten());
        Vec::leak(words).as_mut_ptr()
    }

    #[test]
    fn a_stack_has_arguments_environment_and_random_bytes_or_none() {
        // SAFETY: it is made as the kernel makes it, and is never freed.
        let empty = unsafe { Start::from_stack(stack(&[], &[], &[[0, 0]])) };
        empty.mark_name();
        assert!(empty.arguments().next().is_none() && empty.variable(b"A").is_none());
        assert_eq!(random::seed(), 0);
        let random = Box::leak(Box::new(7_u64.to_ne_bytes()));
        let auxiliary = [[6, 4096], [25, random.as_ptr().expose_provenance()], [0, 0]];
        let at = stack(&[c"agent", c"-v"], &[c"AB=1", c"A=2", c"PATH="], &auxiliary);
        // SAFETY: as above.
        let start = unsafe { Start::from_stack(at) };
        assert!(start.arguments().eq([c"agent", c"-v"]));
        assert_eq!(start.variable(b"A"), Some(&b"2"[..]));
        assert_eq!((start.variable(b"PATH"), start.variable(b"B")), (Some(&b""[..]), None));
        assert_eq!(random::seed(), 7);
        start.mark_name();
        assert_eq!(start.arguments().next(), Some(c"@gent"));
        assert_eq!(start.execute(c"/no/such/program"), Errno::NOENT);
        assert_eq!(start.arguments().next(), Some(c"/no/such/program"));
    }

    #[test]
    fn a_process_exits_with_its_status() {
        assert_eq!(in_child(|| exit(3)), Ok(3));
    }
}
