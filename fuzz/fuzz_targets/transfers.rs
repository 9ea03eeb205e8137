//! A client's copies from and to an agent that says anything.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::transfers::transfers);
