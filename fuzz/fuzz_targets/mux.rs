//! A side of a session whose peer says frames that are mostly right.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::session::mux);
