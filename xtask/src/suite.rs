//! `cargo xtask test`: every test there is, and what they need.
//!
//! The tests of the real binaries find them by `VSOCK_SHELL_AGENT` and `VSOCK_SHELL_CLIENT`, absolute paths of the release
//! builds; those that boot guests know by `VSOCK_SHELL_VM` that all is there for it. With arguments only `cargo test
//! --workspace` runs, with these arguments, for the one test one is working on.

use std::env;
use std::ffi::OsString;

use anyhow::Result;

use crate::{build, dist, packages, portability, vm, workspace};

/// `cargo xtask test [ARG]…`.
pub fn main(arguments: &[OsString]) -> Result<()> {
    packages::require(packages::TEST)?;
    if is_ci() {
        packages::require(packages::SSHD)?;
    }
    build::main()?;
    let mut tests = workspace::cargo();
    with_binaries(tests.args(["test", "--workspace"])).args(arguments);
    let has_guests = has_guests()?;
    if has_guests {
        tests.env("VSOCK_SHELL_VM", "1");
    }
    workspace::run(&mut tests)?;
    if !arguments.is_empty() {
        return Ok(());
    }
    // The simulator's seeded runs want an optimised core: ten thousand of them are then a matter of seconds.
    workspace::run(workspace::cargo().args(["test", "--release", "-p", "vsock-shell-proto"]))?;
    replay_fuzzing()?;
    if has_guests {
        dist::prove_reproducible()?;
    }
    portability::main()
}

/// Whether guests of every architecture can be built for and booted. Where a machine of CI cannot, that is a failure: nobody would notice the gap.
fn has_guests() -> Result<bool> {
    match vm::prepare() {
        Ok(()) => Ok(true),
        Err(error) if is_ci() => Err(error.context("no virtual machines, and CI=true")),
        Err(error) => {
            eprintln!("SKIPPED: all that needs virtual machines or another architecture: {error:#}");
            Ok(false)
        }
    }
}

/// This is a machine of CI, where what is left out would be noticed by nobody.
fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// What fuzzing has found before: the crate of its targets is a workspace of its own.
fn replay_fuzzing() -> Result<()> {
    let mut tests = workspace::cargo();
    tests.args(["test", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]);
    workspace::run(tests.arg(workspace::target_dir()))
}

fn with_binaries(cargo: &mut std::process::Command) -> &mut std::process::Command {
    cargo.env("VSOCK_SHELL_AGENT", workspace::agent()).env("VSOCK_SHELL_CLIENT", workspace::client())
}
