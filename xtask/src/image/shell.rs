//! A shell for the guest: busybox, one static program with a link for each of its applets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::tree::{Content, Tree};
use crate::arch::Arch;
use crate::{debian, packages, size, workspace};

const BUSYBOX: &str = "/bin/busybox";

/// Who root is; the agent reads it to find the shell.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

/// Puts busybox, its links and root's account into the tree.
///
/// # Errors
/// There is no static busybox and none can be had.
pub fn put(tree: &mut Tree, arch: Arch) -> Result<()> {
    packages::require(packages::SHELL)?;
    let own = packages::program("busybox").context("no busybox")?;
    let program = if arch == Arch::host()? { own.clone() } else { foreign(arch)? };
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(size::is_static(&bytes)?, "{} needs shared libraries", program.display());
    tree.put_program(BUSYBOX, bytes)?;
    // The other architecture's cannot be asked; Debian builds all of them alike.
    for applet in applets(&own)? {
        if applet != BUSYBOX {
            tree.put(&applet, 0o777, Content::Link(BUSYBOX.to_owned()))?;
        }
    }
    tree.put_text("/etc/passwd", PASSWD)?;
    tree.put_text("/etc/group", GROUP)
}

fn foreign(arch: Arch) -> Result<PathBuf> {
    let folder = debian::unpacked("busybox-static", arch)?;
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| folder.join(place));
    places.into_iter().find(|place| place.is_file()).context("Debian's busybox-static has no busybox")
}

/// Where each applet's link belongs.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let listed = workspace::output(Command::new(busybox).arg("--list-full"))?;
    Ok(listed
        .lines()
        .map(|line| format!("/{}", line.trim_start_matches('/')))
        .filter(|path| is_ours(path))
        .collect())
}

/// `/init` and the systems's own `linuxrc` at the root are not busybox's to be.
fn is_ours(path: &str) -> bool {
    path.trim_start_matches('/').contains('/')
}
