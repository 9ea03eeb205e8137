//! `cargo xtask portability`: proves that proto needs no std and no heap, and that it is right on 32 bits.
//!
//! **Without std.** A sysroot is made that holds the toolchain's own `core` and nothing else; proto and the agent's library are
//! compiled against it. Whatever reaches for `std` or `alloc`, in them or in a crate they use, does not compile there; to show
//! that the proof can fail, a line that reaches for `alloc` is compiled first and has to be refused. No download, no nightly.
//!
//! **On 32 bits.** rustup's toolchain brings one target, so Debian's `rustc-web` builds std from Debian's `rust-web-src` for
//! `i686-unknown-linux-gnu` (its crates are vendored in the package), and proto's tests, the simulator among them, are *run*
//! there, natively where the kernel executes 32-bit programs. `RUSTC_BOOTSTRAP` only opens cargo's `-Zbuild-std`; the code under
//! test uses nothing unstable.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::scratch::Scratch;
use crate::{packages, workspace};

const NARROW: &str = "i686-unknown-linux-gnu";

/// `cargo xtask portability`.
pub fn main() -> Result<()> {
    without_std()?;
    on_32_bits()
}

/// Compiles proto and the agent's library where only `core` exists.
pub fn without_std() -> Result<()> {
    let host = host()?;
    let scratch = Scratch::new(&std::env::temp_dir(), "sysroot")?;
    let sysroot = scratch.path("sysroot");
    core_only(&host, &sysroot)?;
    prove_that_alloc_is_refused(&host, &sysroot, &scratch)?;
    let mut cargo = workspace::cargo();
    cargo.args(["check", "-p", "vsock-shell-proto", "-p", "vsock-shell-agent", "--lib", "--target", &host]);
    cargo.arg("--target-dir").arg(workspace::target_dir().join("core-only"));
    cargo.env("RUSTFLAGS", format!("--sysroot={}", sysroot.display()));
    workspace::run(&mut cargo)?;
    println!("proto and the agent compile with core alone: no std, no heap");
    Ok(())
}

/// Runs proto's tests as 32-bit programs.
pub fn on_32_bits() -> Result<()> {
    packages::require(&packages::narrow())?;
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo.current_dir(workspace::root()).stdin(Stdio::null());
    cargo.args(["test", "--release", "-p", "vsock-shell-proto", "--target", NARROW, "-Zbuild-std=std,test"]);
    // Doctests would be built by the other toolchain's rustdoc. Seeds are counted down: what is proved here is the width.
    cargo.args(["--lib", "--tests"]).env("VSOCK_SHELL_RUNS", "2000");
    // Tests unwind, and std is built once only when everything agrees about that.
    cargo.args(["--config", "profile.release.panic=\"unwind\""]).args(workspace::QUICKLY_LINKED);
    cargo.arg("--target-dir").arg(workspace::target_dir().join("narrow"));
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTFLAGS");
    workspace::run(&mut cargo).context("on 32 bits")?;
    println!("proto's tests pass on {NARROW}");
    Ok(())
}

fn host() -> Result<String> {
    let version = workspace::output(Command::new("rustc").current_dir(workspace::root()).arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("`rustc -vV` names no host")
}

/// Lays out a sysroot with `core` and what `core` itself is linked with, and no other crate.
fn core_only(host: &str, sysroot: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace::root()).args(["--print", "target-libdir"]);
    let whole = workspace::output(&mut rustc)?;
    let bare = sysroot.join("lib/rustlib").join(host).join("lib");
    fs::create_dir_all(&bare)?;
    for entry in fs::read_dir(&whole)? {
        let entry = entry?;
        let name = entry.file_name();
        let crate_name = name.to_string_lossy();
        if crate_name.starts_with("libcore-") || crate_name.starts_with("libcompiler_builtins-") {
            std::os::unix::fs::symlink(entry.path(), bare.join(&name))?;
        }
    }
    Ok(())
}

/// A check that cannot fail is worse than none.
fn prove_that_alloc_is_refused(host: &str, sysroot: &Path, scratch: &Scratch) -> Result<()> {
    for (source, accepted) in [("#![no_std]\n", true), ("#![no_std] extern crate alloc;\n", false)] {
        let file = scratch.path("probe.rs");
        fs::write(&file, source)?;
        let mut rustc = Command::new("rustc");
        rustc.current_dir(workspace::root()).stderr(Stdio::null());
        rustc.args(["--crate-type=lib", "--emit=metadata", "--edition=2024", "--target", host]);
        rustc.arg("--sysroot").arg(sysroot).arg("-o").arg(scratch.path("probe.rmeta")).arg(&file);
        if rustc.status()?.success() != accepted {
            bail!(
                "the sysroot that should hold only core {} `{}`",
                ["accepts", "refuses"][accepted as usize],
                source.trim()
            );
        }
    }
    Ok(())
}
