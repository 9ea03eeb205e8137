//! Proofs of a key on a wire that changes what it likes.
#![cfg_attr(fuzzing, no_main)]

vsock_shell_fuzz::target!(vsock_shell_fuzz::proof::proof);
