//! Bytes of a guest on their way to a terminal.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::shown::shown);
