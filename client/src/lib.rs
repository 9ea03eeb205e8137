//! The host side of vsock-shell.
//!
//! Still being put together: the pieces below know nothing of the protocol.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod args;
pub mod dial;
pub mod escape;
pub mod help;
pub mod invocation;
pub mod json;
pub mod modes;
pub mod operand;
mod options;
pub mod progress;
pub mod signals;
pub mod stdio;
mod suggest;
pub mod target;
pub mod terminal;
pub mod text;
