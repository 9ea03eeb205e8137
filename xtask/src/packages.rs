//! What Debian has to provide for a chore, and how it gets here.
//!
//! A package is asked for by the file that proves it, not by dpkg, so that a program from anywhere else will do. What is
//! missing is installed when we are root; otherwise the one line that does it is the error.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::workspace;

/// A Debian package and what shows that it is there: a program's name, or a file by its whole path.
#[derive(Clone, Debug)]
pub struct Package {
    name: Cow<'static, str>,
    proof: Cow<'static, str>,
}

/// A package that is known by a program.
const fn package(name: &'static str, proof: &'static str) -> Package {
    Package { name: Cow::Borrowed(name), proof: Cow::Borrowed(proof) }
}

/// Links the agent against musl.
pub const BUILD: &[Package] = &[package("musl-tools", "musl-gcc")];

/// What the tests of the real binaries drive them with.
pub const TEST: &[Package] = &[
    package("tmux", "tmux"),
    package("socat", "socat"),
    package("strace", "strace"),
    package("busybox-static", "busybox"),
    package("gdb", "gdb"),
    package("gdbserver", "gdbserver"),
    package("curl", "curl"),
    package("dnsmasq-base", "dnsmasq"),
    package("iproute2", "ip"),
    package("openssh-client", "ssh"),
    package("zsh", "zsh"),
    package("fish", "fish"),
    package("man-db", "man"),
    package("mandoc", "mandoc"),
    package("rsync", "rsync"),
    package("git", "git"),
    package("openssh-sftp-server", "/usr/lib/openssh/sftp-server"),
];

/// The sshd that ssh reaches through the client. Not among those of every test run: its package starts a service on TCP port
/// 22, which is not ours to decide, but on a machine of CI.
pub const SSHD: &[Package] = &[package("openssh-server", "sshd")];

/// A shell for images.
pub const SHELL: &[Package] = &[package("busybox-static", "busybox")];

/// Makes the `modules.dep` of a kernel that was unpacked and not installed.
pub const MODULES: &[Package] = &[package("kmod", "depmod")];

/// Boots guests of an architecture.
pub fn machines(arch: Arch) -> &'static [Package] {
    const X86_64: &[Package] = &[package("qemu-system-x86", "qemu-system-x86_64")];
    const AARCH64: &[Package] = &[package("qemu-system-arm", "qemu-system-aarch64")];
    match arch {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
    }
}

/// Builds the agent for another architecture: a compiler with the source of `core`, and a linker that knows them all.
pub const CROSS: &[Package] = &[
    package("rustc-web", "/usr/bin/rustc"),
    package("cargo-web", "/usr/bin/cargo"),
    package("rust-web-src", "/usr/lib/rustlib/src/rust/library/Cargo.lock"),
    package("lld", "ld.lld"),
];

/// What the bench compares with. `openssh-server` is not among them, as with [`SSHD`].
pub const PEERS: &[Package] = &[
    package("socat", "socat"),
    package("openssh-client", "ssh"),
    package("dropbear-bin", "dropbear"),
    package("rsync", "rsync"),
];

/// A compiler with the source of its standard library, for a target that rustup did not bring, and what links 32-bit
/// programs. Not `gcc-multilib`, which conflicts with every cross compiler.
pub fn narrow() -> Vec<Package> {
    let gcc = workspace::output(Command::new("gcc").arg("-dumpversion")).unwrap_or_else(|_| "12".to_owned());
    let major = gcc.split('.').next().unwrap_or(&gcc);
    vec![
        package("rustc-web", "/usr/bin/rustc"),
        package("cargo-web", "/usr/bin/cargo"),
        package("rust-web-src", "/usr/lib/rustlib/src/rust/library/Cargo.lock"),
        package("libc6-dev-i386", "/usr/lib32/crt1.o"),
        Package {
            name: format!("lib32gcc-{major}-dev").into(),
            proof: format!("/usr/lib/gcc/x86_64-linux-gnu/{major}/32/libgcc.a").into(),
        },
    ]
}

/// `cargo xtask packages`: everything at once, for an image that is to be used without root later.
pub fn main() -> Result<()> {
    let all: Vec<Package> =
        [BUILD, TEST, PEERS, MODULES, CROSS, &Arch::ALL.map(machines).concat(), &narrow()].concat();
    require(&all)
}

/// Returns when everything in `packages` is there.
pub fn require(packages: &[Package]) -> Result<()> {
    // dpkg serves one at a time, and fails the others.
    static DPKG: Mutex<()> = Mutex::new(());
    let _turn = DPKG.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if program("apt-get").is_none() {
        bail!("install what provides these, which Debian calls {}", missing.join(", "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("run first: {}", install_line(&missing));
    }
    eprintln!("installing {}", missing.join(", "));
    // One source that cannot be read must not keep what the others provide from being installed: the install decides.
    let _ = workspace::run(apt_get().args(["update", "-qq"]));
    workspace::run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing))
}

/// As `require`, but what cannot be had is only said.
pub fn wish(packages: &[Package]) {
    if let Err(error) = require(packages) {
        eprintln!("without it: {error:#}");
    }
}

/// A tool of a pinned version, which cargo installs once, with more options for it.
pub fn tool(name: &str, version: &str, options: &[&str]) -> Result<PathBuf> {
    let place = tool_place(name);
    if !place.is_file() {
        let mut cargo = workspace::cargo();
        cargo.args(["install", name, "--version", version, "--locked", "--root"]).arg(tools()).args(options);
        // Ours may be set for the agent or for the tests, and a tool is neither.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
        workspace::run(&mut cargo).with_context(|| format!("{name} cannot be installed"))?;
    }
    Ok(place)
}

/// Where [`tool`] installs it.
pub fn tool_place(name: &str) -> PathBuf {
    tools().join("bin").join(name)
}

fn tools() -> PathBuf {
    workspace::target_dir().join("tools")
}

/// A program by name: in PATH, or where the system's own are, which a user's PATH often leaves out.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    places.map(|place| place.join(name)).find(|file| is_file(file))
}

fn is_file(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file())
}

fn missing(packages: &[Package]) -> Vec<String> {
    let mut names = Vec::new();
    for package in packages {
        let proof = &*package.proof;
        let found = if proof.starts_with('/') { is_file(Path::new(proof)) } else { program(proof).is_some() };
        if !found && !names.contains(&package.name.to_string()) {
            names.push(package.name.to_string());
        }
    }
    names
}

fn install_line(names: &[String]) -> String {
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", names.join(" "))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(std::io::stderr());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_and_a_missing_file_are_named_once() {
        let wanted = [package("a", "no-such-program"), package("a", "/no/such/file"), package("b", "sh")];
        assert_eq!(missing(&wanted), ["a"]);
    }
}
