//! The vsock-shell protocol as a state machine without I/O: bytes, offsets and time in; bytes, events and timeouts
//! out. It knows no file descriptor, path, process or clock, allocates nothing, and panics on no input.
//!
//! `docs/PROTOCOL.md` is the specification; rules are named by their numbers (`R-4.6`). From the bottom up:
//! [`preamble`] begins a connection, [`link`] makes connections into one reliable stream each way, [`mux`] carries
//! channels in it, [`session`] is both together and what a driver holds. [`fields`], [`items`], [`glob`] and [`job`] are what
//! channels carry, [`serial`] wraps connections on transports that have none. Every limit is in [`limits`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

#[cfg(test)]
extern crate std as _;

pub mod ability;
mod channel;
pub mod code;
pub mod fields;
pub mod frame;
pub mod glob;
pub mod items;
pub mod job;
pub mod limits;
pub mod link;
pub mod mux;
mod pace;
mod pool;
pub mod preamble;
pub mod proof;
pub mod record;
mod ring;
pub mod serial;
pub mod session;
pub mod time;
mod wire;
