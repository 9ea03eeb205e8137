//! The host side of vsock-shell.
//!
//! Still being put together: the pieces below know nothing of the protocol.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod args;
pub mod escape;
mod help;
pub mod invocation;
pub mod operand;
mod options;
mod suggest;
pub mod target;
pub mod text;
