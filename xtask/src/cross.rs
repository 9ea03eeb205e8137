//! The static agent linked by lld: for an architecture that is not this machine's, or with rustup's target.
//!
//! rustup's target where somebody installed it; it brings musl and its start files. Otherwise Debian's compiler builds `core`
//! from Debian's source for it, and lld links that with the architecture's musl, unpacked from its package. The agent uses
//! nothing unstable: `RUSTC_BOOTSTRAP` only opens cargo's `-Zbuild-std`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::arch::Arch;
use crate::{build, debian, packages, workspace};

/// How it was built, and the file. `options` go to cargo.
pub fn agent(arch: Arch, target_dir: &Path, options: &[String]) -> Result<(&'static str, PathBuf)> {
    let way = if build::has_rustup_target(arch.musl_target()) {
        with_rustup(arch, target_dir, options)?;
        "rustup's target, linked by rust-lld"
    } else {
        with_build_std(arch, target_dir, options)?;
        "Debian's rustc with -Zbuild-std=core, lld and musl-dev"
    };
    Ok((way, target_dir.join(arch.musl_target()).join("agent/vsock-shell-agent")))
}

fn with_rustup(arch: Arch, target_dir: &Path, options: &[String]) -> Result<()> {
    let mut cargo = workspace::cargo();
    add_package(&mut cargo, arch.musl_target(), target_dir, options);
    cargo.args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld", "-Clink-self-contained=no"]);
    cargo.args(common_flags(arch)).arg(format!("-Clink-arg=-L{}", build::rustups_musl(arch)?.display()));
    workspace::run(cargo.arg("-Clink-arg=-lc"))
}

fn with_build_std(arch: Arch, target_dir: &Path, options: &[String]) -> Result<()> {
    packages::require(packages::CROSS)?;
    let musl = debian::unpacked("musl-dev", arch)?.join(format!("usr/lib/{arch}-linux-musl"));
    let linker = packages::program("ld.lld").unwrap_or_else(|| "ld.lld".into());
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo.current_dir(workspace::root()).stdin(Stdio::null());
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    let options = [&["-Zbuild-std=core".to_owned()], options].concat();
    add_package(&mut cargo, arch.musl_target(), target_dir, &options);
    cargo.arg(format!("-Clinker={}", linker.display()));
    // The start files are named by hand: without a compiler driver nobody else would.
    cargo.args(["-Clinker-flavor=ld.lld", "-Clink-self-contained=no"]).args(common_flags(arch));
    cargo.arg(format!("-Clink-arg=-L{}", musl.display()));
    for file in ["crt1.o", "crti.o"] {
        cargo.arg(format!("-Clink-arg={}", musl.join(file).display()));
    }
    cargo.arg("-Clink-arg=-lc").arg(format!("-Clink-arg={}", musl.join("crtn.o").display()));
    workspace::run(&mut cargo)
}

/// How it was built for a target of rustup's with musl that we do not know, and the file. libc's start code is in it.
pub fn agent_of(target: &str, target_dir: &Path, options: &[String]) -> Result<(&'static str, PathBuf)> {
    build::add_rustup_target(target);
    ensure!(
        build::has_rustup_target(target),
        "there is no core for {target}; try `rustup target add {target}`, and see `rustc --print target-list`"
    );
    let mut cargo = workspace::cargo();
    add_package(&mut cargo, target, target_dir, options);
    cargo.args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"]);
    workspace::run(cargo.args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]))?;
    Ok(("rustup's target, linked by rust-lld", target_dir.join(target).join("agent/vsock-shell-agent")))
}

/// The words up to rustc's own flags.
fn add_package(cargo: &mut Command, target: &str, target_dir: &Path, options: &[String]) {
    cargo.args(["rustc", "-p", "vsock-shell-agent", "--bin", "vsock-shell-agent", "--profile", "agent"]);
    cargo.args(["--target", target, "--target-dir"]).arg(target_dir).args(options).arg("--");
}

/// For lld, called by itself: what `build` gives to a linker behind gcc, the kind of file, and what only lld can do, functions
/// and texts that are the same once.
fn common_flags(arch: Arch) -> Vec<String> {
    let own = [
        "-Ctarget-feature=+crt-static",
        "-Crelocation-model=static",
        "-Clink-arg=--icf=all",
        "-Clink-arg=-O2",
    ];
    let mut flags: Vec<String> = own.map(str::to_owned).to_vec();
    if arch == Arch::Aarch64 {
        // Functions of what stands in several functions; elsewhere that makes the file larger.
        flags.push("-Cllvm-args=-machine-outliner-reruns=3".to_owned());
    }
    for flag in build::smaller() {
        match flag.strip_prefix("-Clink-arg=-Wl,") {
            Some(words) => flags.extend(words.split(',').map(|word| format!("-Clink-arg={word}"))),
            None => flags.push(flag),
        }
    }
    flags
}
