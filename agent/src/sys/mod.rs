//! The only place with `unsafe`: what rustix does not have, made safe for the rest of the crate.
//!
//! rustix makes its system calls itself, and so does `call`: libc is left with `memcpy` and the like, and where
//! [`start`] has no start code of its own, with starting the process.

mod call;
#[cfg(test)]
mod canary;
pub mod clock;
pub mod descriptor;
pub mod directory;
pub mod groups;
#[cfg(all(target_feature = "crt-static", target_arch = "aarch64"))]
mod memory;
pub mod network;
pub mod pass;
pub mod pointers;
pub mod process;
pub mod random;
pub mod signal;
pub mod socket;
pub mod start;
pub mod storage;
pub mod stripes;
pub mod terminal;
pub mod text;
