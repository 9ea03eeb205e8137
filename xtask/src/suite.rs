//! `cargo xtask test`: every test there is, and what they need.
//!
//! The tests of the real binaries find them by `VSOCK_SHELL_AGENT` and `VSOCK_SHELL_CLIENT`, absolute paths of the release
//! builds; those that boot guests know by `VSOCK_SHELL_VM` that all is there for it. With arguments only `cargo test
//! --workspace` runs, with these arguments, for the one test one is working on.

use std::env;
use std::ffi::OsString;
use std::num::NonZero;
use std::thread;

use anyhow::Result;

use crate::arch::Arch;
use crate::{build, dist, packages, portability, vm, workspace};

/// How many tests of a program run at once.
const THREADS: &str = "RUST_TEST_THREADS";

/// `cargo xtask test [ARG]…`.
pub fn main(arguments: &[OsString]) -> Result<()> {
    packages::require(packages::TEST)?;
    if is_ci() {
        packages::require(packages::SSHD)?;
    }
    let (_, has_guests) = workspace::at_once(build::client, || {
        build::agent_for(Arch::host()?)?;
        has_guests()
    })?;
    let mut tests = workspace::cargo();
    with_binaries(tests.args(["test", "--workspace"])).args(arguments);
    if has_guests {
        tests.env("VSOCK_SHELL_VM", "1");
    }
    // A third of the time of most tests is waiting. What measures has a program of its own.
    if env::var_os(THREADS).is_none() {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        tests.env(THREADS, (processors + processors.div_ceil(2)).to_string());
    }
    workspace::run(&mut tests)?;
    if !arguments.is_empty() {
        return Ok(());
    }
    // The simulator's seeded runs want an optimised core: ten thousand of them are then a matter of seconds.
    let mut simulation = workspace::cargo();
    simulation.args(["test", "--release", "-p", "vsock-shell-proto"]);
    workspace::run(simulation.args(workspace::QUICKLY_LINKED))?;
    replay_fuzzing()?;
    let prove_reproducible = || if has_guests { dist::prove_reproducible() } else { Ok(()) };
    workspace::at_once(prove_reproducible, portability::main)?;
    Ok(())
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
