//! Everything that is parsed without state.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vsock_shell_fuzz::parsers(data));
