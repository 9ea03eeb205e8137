//! Two sides of a session over a wire that is cut, and sometimes changes a bit.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::wire::wire);
