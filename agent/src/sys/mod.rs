//! The only place with `unsafe`: what rustix does not have, made safe for the rest of the crate.
//!
//! rustix makes its system calls itself, so libc is left with starting the process, `fork`, `execve` and signal
//! dispositions. Only functions whose arguments have the same layout in musl and glibc are declared here: the
//! static file links with either, whatever target triple rustc thinks it compiles for.

pub mod descriptor;
mod ffi;
pub mod identity;
pub mod network;
pub mod pointers;
pub mod process;
pub mod random;
pub mod signal;
pub mod socket;
pub mod start;
pub mod storage;
pub mod terminal;
