//! The 64 bytes that begin a connection, and what both sides decide from them.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::preamble::preamble);
