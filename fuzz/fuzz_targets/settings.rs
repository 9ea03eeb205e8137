//! The kernel's command line, and the file of process 1.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::settings::settings);
