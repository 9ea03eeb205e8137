//! The vsock-shell protocol core.
#![no_std]
#![forbid(unsafe_code)]
