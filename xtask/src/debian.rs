//! Files out of Debian's packages, of any architecture, without installing anything.
//!
//! apt gets lists and a cache of its own below `target/debian/`, so that neither root nor `dpkg --add-architecture` is needed
//! and the machine's own lists stay as they are. What was unpacked once is used from then on.

use std::fs;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::{packages, workspace};

/// The folder with the content of `package`, downloaded if it is not there yet.
///
/// # Errors
/// It cannot be had: no network, no apt, no such package.
pub fn unpacked(package: &str, arch: Arch) -> Result<PathBuf> {
    let folder = folder(arch).join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    let fetching = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fetching);
    fs::create_dir_all(&fetching)?;
    update(arch)?;
    workspace::run(
        apt("apt-get", arch).args(["download", "-qq", package]).current_dir(&fetching).stdout(stderr()),
    )
    .with_context(|| format!("Debian's {package} for {arch}"))?;
    let archive = the_deb(&fetching)?;
    workspace::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(fetching.join("content")))?;
    fs::rename(fetching.join("content"), &folder)?;
    fs::remove_dir_all(&fetching)?;
    Ok(folder)
}

/// The names of the packages that were unpacked before.
pub fn present(arch: Arch) -> Vec<String> {
    let entries = fs::read_dir(folder(arch)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The first package that `package`, one of Debian's empty ones, depends on.
///
/// # Errors
/// It is not in Debian's lists, or they cannot be had.
pub fn depends(package: &str, arch: Arch) -> Result<String> {
    update(arch)?;
    let listed = workspace::output(apt("apt-cache", arch).args(["depends", package]))?;
    let first = listed.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    first.map(str::to_owned).with_context(|| format!("Debian's {package} depends on nothing"))
}

fn folder(arch: Arch) -> PathBuf {
    workspace::target_dir().join("debian").join(arch.debian())
}

fn lists(arch: Arch) -> PathBuf {
    folder(arch).with_extension("lists")
}

/// Fetches the lists of what there is. A source that cannot be read does not matter: the download decides.
fn update(arch: Arch) -> Result<()> {
    if packages::program("apt-get").is_none() || packages::program("dpkg-deb").is_none() {
        bail!("only Debian's apt and dpkg can fetch that");
    }
    fs::create_dir_all(lists(arch).join("partial"))?;
    fs::create_dir_all(lists(arch).join("archives/partial"))?;
    let _ = workspace::run(apt("apt-get", arch).args(["update", "-qq"]).stdout(stderr()));
    Ok(())
}

/// apt for one architecture alone, with the machine's sources, and nothing of the machine's state.
fn apt(program: &str, arch: Arch) -> Command {
    let mut command = Command::new(program);
    let lists = lists(arch);
    let options = [
        format!("APT::Architecture={}", arch.debian()),
        format!("APT::Architectures={}", arch.debian()),
        format!("Dir::State::Lists={}", lists.display()),
        format!("Dir::Cache={}", lists.display()),
        "Dir::State::Status=/dev/null".to_owned(),
        // Root would give the download to a user who may not enter our folders.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ];
    for option in options {
        command.arg("-o").arg(option);
    }
    command.stdin(Stdio::null());
    command
}

fn the_deb(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let found = entries.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    found.context("apt-get left no package behind")
}
