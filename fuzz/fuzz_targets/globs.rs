//! Patterns of names that are left out.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::globs::globs);
