//! `cargo xtask dist [TARGET]…`: what is given to people, in `target/dist/`: the static agent for the architectures that guests
//! are tested on, and for every other target of rustc's that is named; the client for this machine; the manual pages and
//! what shells complete words with; and `SHA256SUMS`.
//!
//! The same source and compilers give the same bytes wherever the source lies: paths of this machine are replaced in what the
//! compilers see.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::arch::Arch;
use crate::{build, cross, manual, size, workspace};

/// The list of digests, in the form that `sha256sum -c` reads.
const SUMS: &str = "SHA256SUMS";

/// `cargo xtask dist`.
///
/// # Errors
/// Something cannot be built.
pub fn main(targets: &[OsString]) -> Result<()> {
    let targets: Vec<&str> = targets
        .iter()
        .map(|target| target.to_str().context("a target has a plain name"))
        .collect::<Result<_>>()?;
    let folder = workspace::target_dir().join("dist");
    for line in make(&folder, &build::folder(), &targets)? {
        println!("{line}");
    }
    print!("{}", fs::read_to_string(folder.join(SUMS))?);
    Ok(())
}

/// Builds everything twice, in different folders, and compares the bytes.
///
/// # Errors
/// Something cannot be built, or differs.
pub fn prove_reproducible() -> Result<()> {
    let target = workspace::target_dir();
    let (first, second) = (target.join("dist"), target.join("dist-again"));
    make(&first, &build::folder(), &[])?;
    make(&second, &target.join("dist-again-build"), &[])?;
    for name in
        fs::read_to_string(first.join(SUMS))?.lines().filter_map(|line| line.split_whitespace().nth(1))
    {
        ensure!(fs::read(first.join(name))? == fs::read(second.join(name))?, "two builds of {name} differ");
    }
    println!("two builds of what is shipped are the same bytes");
    Ok(())
}

/// Builds below `target_dir`, for `targets` as well, and puts everything into `folder`, which is emptied before; a line for each file says how it was
/// built.
///
/// # Errors
/// Something cannot be built, or an agent is not what may be shipped.
pub fn make(folder: &Path, target_dir: &Path, targets: &[&str]) -> Result<Vec<String>> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let mut shipped = Shipped { folder, sums: String::new(), lines: Vec::new() };
    for arch in Arch::ALL {
        build::add_rustup_target(arch.musl_target());
        let (way, built) = build::agent_into(arch, target_dir, &[])?;
        let faults = size::faults(&fs::read(&built)?)?;
        ensure!(faults.is_empty(), "{arch}: {}", faults.join("; "));
        shipped.copy(&format!("vsock-shell-agent-{arch}"), way, &built)?;
    }
    for target in targets {
        let (way, built) = cross::agent_of(target, &target_dir.join("cross"), &build::same_paths())?;
        ensure!(size::is_static(&fs::read(&built)?)?, "{target}: the agent is not static");
        shipped.copy(&format!("vsock-shell-agent-{target}"), way, &built)?;
    }
    let (linked, built) = build::client_into(target_dir)?;
    shipped.copy(&format!("vsock-shell-{}", Arch::host()?), linked, &built)?;
    for (name, text) in texts(&built)? {
        fs::write(folder.join(name), text)?;
        shipped.list(name, "text")?;
    }
    fs::write(folder.join(SUMS), shipped.sums)?;
    Ok(shipped.lines)
}

/// What is in the folder so far.
struct Shipped<'f> {
    folder: &'f Path,
    sums: String,
    lines: Vec<String>,
}

impl Shipped<'_> {
    fn copy(&mut self, name: &str, way: &str, built: &Path) -> Result<()> {
        fs::copy(built, self.folder.join(name))
            .with_context(|| format!("cannot copy {}", built.display()))?;
        self.list(name, way)
    }

    fn list(&mut self, name: &str, way: &str) -> Result<()> {
        let file = self.folder.join(name);
        writeln!(self.sums, "{}  {name}", sha256(&fs::read(&file)?))?;
        self.lines.push(format!("{}  ({way})", file.display()));
        Ok(())
    }
}

/// The manual pages, and what shells read to complete words: under the names that they are installed with.
fn texts(client: &Path) -> Result<Vec<(&'static str, String)>> {
    let print = |words: &[&str]| workspace::output(Command::new(client).args(words)).map(|text| text + "\n");
    let help = vsock_shell_agent::args::HELP.to_str()?;
    Ok(vec![
        ("vsock-shell.1", print(&["manual"])?),
        ("vsock-shell-agent.8", manual::agent_page(help)?),
        ("vsock-shell.bash", print(&["completions", "bash"])?),
        ("_vsock-shell", print(&["completions", "zsh"])?),
        ("vsock-shell.fish", print(&["completions", "fish"])?),
    ])
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), of_nothing);
    }
}
