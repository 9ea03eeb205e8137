//! `cargo xtask build`: the client and the static agent, side by side in `target/release/`, built as `dist` builds them.
//!
//! A plain `cargo build --release` writes there too: the same programs, but the agent dynamically linked and of another
//! profile. Ours are built in a folder of their own, since other flags would make cargo build everything anew, and are then
//! copied. Copying goes through a rename, so that who runs the former one keeps it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::{cross, packages, workspace};

/// What a file can do without that maps two segments, is known by its digest, and never unwinds: padding between code and
/// constants and before the data, pages that become read-only later, a build id. Jump tables take eight bytes for each of
/// their cases, and none of ours is in a hot loop. What stands in several places becomes a function (the outliner), and what
/// is hardly longer than a call of it does not; ends that are the same are shared. The kernel enters at our own start code (`agent/src/sys/start.rs`), so that
/// nobody needs libc's.
const SMALLER: [&str; 7] = [
    "-Clink-arg=-Wl,-e,vsock_shell_start",
    "-Clink-arg=-Wl,-z,noseparate-code,-z,norelro,-z,common-page-size=64,--no-eh-frame-hdr,--build-id=none",
    "-Cllvm-args=-min-jump-table-entries=40",
    "-Cllvm-args=-enable-machine-outliner=always",
    "-Cllvm-args=-inline-threshold=15",
    "-Cllvm-args=-tail-merge-size=1",
    "-Cllvm-args=-sink-common-insts=1",
];

/// Makes the linker leave the unwind tables out, its own start code's and libc's too; beside this file.
const NO_TABLES: &str = "xtask/src/no-tables.ld";

/// Flags for rustc beyond the profile and `SMALLER`, where musl-gcc links. `-Bstatic` comes before the last `-lc`, since
/// otherwise the file silently needs musl's loader.
const MUSL_GCC: [&str; 7] = [
    "-Clinker=musl-gcc",
    "-Clinker-features=-lld",
    "-Clink-arg=-nostartfiles",
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Clink-arg=-Wl,-Bstatic",
    "-Clink-arg=-lc",
];

/// `cargo xtask build`.
pub fn main() -> Result<()> {
    let linked = client()?;
    let (way, agent) = agent_for(Arch::host()?)?;
    println!("client  {}  ({linked})", workspace::client().display());
    println!("agent   {}  (static: {way})", agent.display());
    Ok(())
}

/// The folder below which what is shipped is built.
pub fn folder() -> PathBuf {
    workspace::target_dir().join("shipped")
}

/// Builds the client at `workspace::client()`; says how it is linked. Statically where the C library can be, because it
/// then starts in less than half the time, and runs on any distribution.
pub fn client() -> Result<&'static str> {
    let (linked, built) = client_into(&folder())?;
    put(&built, &workspace::client())?;
    Ok(linked)
}

/// Builds the client below `target_dir`; says how it is linked, and where it is.
pub fn client_into(target_dir: &Path) -> Result<(&'static str, PathBuf)> {
    let mut cargo = workspace::cargo();
    cargo.args(["rustc", "--release", "-p", "vsock-shell", "--bin", "vsock-shell", "--target-dir"]);
    cargo.arg(target_dir).args(same_paths()).arg("--");
    let linked = if has_static_libc() {
        cargo.arg("-Ctarget-feature=+crt-static");
        "static"
    } else {
        "dynamic: there is no libc.a"
    };
    workspace::run(&mut cargo)?;
    Ok((linked, target_dir.join("release/vsock-shell")))
}

fn has_static_libc() -> bool {
    let mut cc = Command::new("cc");
    cc.arg("-print-file-name=libc.a");
    // The name alone comes back where there is no such file.
    workspace::output(&mut cc).is_ok_and(|path| Path::new(&path).is_absolute())
}

/// Builds the static agent for an architecture; says how it was built, and where it is.
pub fn agent_for(arch: Arch) -> Result<(&'static str, PathBuf)> {
    let (way, built) = agent_into(arch, &folder(), &[])?;
    let place = workspace::agent_of(arch);
    put(&built, &place)?;
    Ok((way, place))
}

/// Puts a file in its place, so that who runs the former one keeps it.
fn put(built: &Path, place: &Path) -> Result<()> {
    let fresh = place.with_extension("new");
    fs::create_dir_all(place.parent().unwrap_or_else(|| Path::new("/")))?;
    fs::copy(built, &fresh)
        .with_context(|| format!("cannot copy {} to {}", built.display(), fresh.display()))?;
    fs::rename(&fresh, place).with_context(|| format!("cannot replace {}", place.display()))
}

/// The agent with its symbols kept, for whoever wants to know what is in it. It has a target folder of its own, so that the
/// shipped one is not built anew each time.
pub fn agent_with_symbols() -> Result<PathBuf> {
    let options = ["--config".to_owned(), "profile.agent.strip=false".to_owned()];
    let (_, built) = agent_into(Arch::host()?, &workspace::target_dir().join("with-symbols"), &options)?;
    let place = symbols_place();
    put(&built, &place)?;
    Ok(place)
}

/// Where [`agent_with_symbols`] leaves it, whichever way it was built.
pub fn symbols_place() -> PathBuf {
    workspace::target_dir().join("with-symbols/vsock-shell-agent")
}

/// Builds the static agent for an architecture below `target_dir`, with more options for cargo; says how it was built, and where
/// it is. For this machine's, without rustup's target for musl, the host target's `core` is linked against Debian's musl: the
/// agent uses neither std nor libc's structures. Either way ends in the same kind of file.
pub fn agent_into(arch: Arch, target_dir: &Path, options: &[String]) -> Result<(&'static str, PathBuf)> {
    let options = [&same_paths(), options].concat();
    if arch != Arch::host()? || has_rustup_target(arch.musl_target()) {
        return cross::agent(arch, &target_dir.join("cross"), &options);
    }
    packages::require(packages::BUILD)?;
    let mut cargo = workspace::cargo();
    cargo.args(["rustc", "-p", "vsock-shell-agent", "--bin", "vsock-shell-agent", "--profile", "agent"]);
    cargo.arg("--target-dir").arg(target_dir).args(options);
    workspace::run(cargo.arg("--").args(smaller()).args(MUSL_GCC))?;
    Ok(("the host's core against musl, by musl-gcc", target_dir.join("agent/vsock-shell-agent")))
}

/// Options for cargo, so that no path of this machine gets into a file.
pub fn same_paths() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let flags = [(workspace::root(), "/vsock-shell"), (home, "/cargo")]
        .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
    // Quoted as TOML has it; Rust's escapes of a path are TOML's too.
    vec!["--config".to_owned(), format!("build.rustflags={flags:?}")]
}

/// The flags that make the file smaller, for a linker behind gcc.
pub fn smaller() -> Vec<String> {
    let no_tables = format!("-Clink-arg=-Wl,-T,{}", workspace::root().join(NO_TABLES).display());
    SMALLER.into_iter().map(str::to_owned).chain([no_tables]).collect()
}

/// Whether a target of rustup's is installed.
pub fn has_rustup_target(target: &str) -> bool {
    target_libraries(target).is_ok_and(|folder| folder.is_dir())
}

/// Installs it, where rustup is there and can reach its server; what is there afterwards says whether it could.
pub fn add_rustup_target(target: &str) {
    if !has_rustup_target(target) && packages::program("rustup").is_some() {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(workspace::root()).args(["target", "add", target]);
        let _ = workspace::output(&mut rustup);
    }
}

/// The folder with the `libc.a` of rustup's target. Its start files are of no use: they have tables that we leave out.
pub fn rustups_musl(arch: Arch) -> Result<PathBuf> {
    Ok(target_libraries(arch.musl_target())?.join("self-contained"))
}

fn target_libraries(target: &str) -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace::root()).args(["--print", "target-libdir", "--target", target]);
    workspace::output(&mut rustc).map(PathBuf::from)
}
