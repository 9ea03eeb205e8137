//! The agent's binary. Everything is in the library; here are the entry point and the panic handler, which only a
//! program may have.
//!
//! Only the static file is free of `std`. A plain `cargo build` of the workspace turns on rustix's `std` for the
//! client's sake, for all of its crates, and so links `std` here too; nothing but its panic handler is used then.
#![cfg_attr(target_feature = "crt-static", no_std)]
#![no_main]

vsock_shell_agent::entry_point!(vsock_shell_agent::startup::run);
