//! Serial records and ports.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::serial::serial);
