//! The client's side of a session.
#![no_main]

use vsock_shell_proto::mux::Side;

libfuzzer_sys::fuzz_target!(|data: &[u8]| vsock_shell_fuzz::session(Side::Client, data));
