//! What goes over the wire, as `-v` and `-vv` tell it.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::trace::trace);
