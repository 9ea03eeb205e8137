//! `cargo xtask test`: every test there is, and what they need.
//!
//! The tests of the real binaries find them by `VSOCK_SHELL_AGENT` and `VSOCK_SHELL_CLIENT`, absolute paths of the release
//! builds. With arguments only `cargo test --workspace` runs, with these arguments, for the one test one is working on.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, packages, portability, workspace};

/// `cargo xtask test [ARG]…`.
pub fn main(arguments: &[OsString]) -> Result<()> {
    packages::require(packages::TEST)?;
    build::main()?;
    workspace::run(with_binaries(workspace::cargo().args(["test", "--workspace"])).args(arguments))?;
    if !arguments.is_empty() {
        return Ok(());
    }
    // The simulator's seeded runs want an optimised core: ten thousand of them are then a matter of seconds.
    workspace::run(workspace::cargo().args(["test", "--release", "-p", "vsock-shell-proto"]))?;
    portability::main()
}

fn with_binaries(cargo: &mut std::process::Command) -> &mut std::process::Command {
    cargo.env("VSOCK_SHELL_AGENT", workspace::agent()).env("VSOCK_SHELL_CLIENT", workspace::client())
}
