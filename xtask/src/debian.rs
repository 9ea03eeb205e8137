//! Files out of Debian's packages, of any architecture, without installing anything.
//!
//! apt gets lists and a cache of its own below `target/debian/`, so that neither root nor `dpkg --add-architecture` is needed
//! and the machine's own lists stay as they are. What was unpacked once is used from then on.

use std::fs;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::{packages, workspace};

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repository {
    /// For which machines.
    pub arch: Arch,
    /// A release of Debian by its name, from the mirror that the machine uses; without one, whatever the machine's sources are.
    pub release: Option<&'static str>,
}

impl From<Arch> for Repository {
    fn from(arch: Arch) -> Self {
        Self { arch, release: None }
    }
}

impl Repository {
    /// The folder of what was unpacked.
    fn folder(self) -> PathBuf {
        let release = self.release.map_or_else(String::new, |release| format!("-{release}"));
        workspace::target_dir().join("debian").join(format!("{}{release}", self.arch.debian()))
    }

    /// Where apt keeps its lists and its cache.
    fn state(self) -> PathBuf {
        self.folder().with_extension("apt")
    }
}

/// The end of the name of a folder that is being filled.
const UNFINISHED: &str = ".new";

/// The sources of one release, in the folder of apt's state, and who signs them.
const SOURCES: &str = "sources.list";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// For which repositories this process has fetched the lists. Held while apt runs, which wants its folders for itself.
static UPDATED: Mutex<Vec<Repository>> = Mutex::new(Vec::new());

/// The folder with the content of `package`, downloaded if it is not there yet.
///
/// # Errors
/// It cannot be had: no network, no apt, no such package.
pub fn unpacked(package: &str, from: impl Into<Repository>) -> Result<PathBuf> {
    let from = from.into();
    let folder = from.folder().join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    let mut updated = UPDATED.lock().unwrap_or_else(PoisonError::into_inner);
    // Somebody else may have fetched it while we waited.
    if folder.is_dir() {
        return Ok(folder);
    }
    let fetching = folder.with_file_name(format!("{package}{UNFINISHED}"));
    let _ = fs::remove_dir_all(&fetching);
    fs::create_dir_all(&fetching)?;
    update(from, &mut updated)?;
    workspace::run(
        apt("apt-get", from).args(["download", "-qq", package]).current_dir(&fetching).stdout(stderr()),
    )
    .with_context(|| format!("Debian's {package} for {}", from.arch))?;
    let archive = the_deb(&fetching)?;
    workspace::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(fetching.join("content")))?;
    fs::rename(fetching.join("content"), &folder)?;
    fs::remove_dir_all(&fetching)?;
    Ok(folder)
}

/// A root folder with these packages and all that they depend on: unpacked and not set up, which is enough to run their
/// programs in. `name` is what it is kept under.
///
/// # Errors
/// One of them cannot be had.
pub fn root(name: &str, packages: &[&str], from: impl Into<Repository>) -> Result<PathBuf> {
    let from = from.into();
    let root = from.folder().with_extension(name);
    let mut updated = UPDATED.lock().unwrap_or_else(PoisonError::into_inner);
    if root.is_dir() {
        return Ok(root);
    }
    update(from, &mut updated)?;
    let fetching = root.with_extension(format!("{name}{UNFINISHED}"));
    let _ = fs::remove_dir_all(&fetching);
    let (content, archives) = (fetching.join("content"), fetching.join("archives"));
    fs::create_dir_all(archives.join("partial"))?;
    let mut install = apt("apt-get", from);
    install.arg("-o").arg(format!("Dir::Cache::Archives={}", archives.display()));
    install.args(["install", "-y", "-qq", "--no-install-recommends", "--download-only"]).args(packages);
    workspace::run(install.stdout(stderr())).with_context(|| format!("Debian's packages for {name}"))?;
    // As Debian's installer leaves it: programs and libraries are below usr alone.
    for place in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(content.join("usr").join(place))?;
        std::os::unix::fs::symlink(format!("usr/{place}"), content.join(place))?;
    }
    let unpack = "for deb in \"$1\"/*.deb; do \
        dpkg-deb --fsys-tarfile \"$deb\" | tar -x --keep-directory-symlink -C \"$2\" || exit 1; done";
    workspace::run(Command::new("sh").args(["-c", unpack, "sh"]).args([&archives, &content]))?;
    fs::rename(&content, &root)?;
    fs::remove_dir_all(&fetching)?;
    Ok(root)
}

/// The names of the packages that were unpacked before.
pub fn present(from: Repository) -> Vec<String> {
    let entries = fs::read_dir(from.folder()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.ends_with(UNFINISHED));
    names.sort();
    names
}

/// The first package that `package`, one of Debian's empty ones, depends on.
///
/// # Errors
/// It is not in Debian's lists, or they cannot be had.
pub fn depends(package: &str, from: Repository) -> Result<String> {
    let mut updated = UPDATED.lock().unwrap_or_else(PoisonError::into_inner);
    update(from, &mut updated)?;
    let listed = workspace::output(apt("apt-cache", from).args(["depends", package]))?;
    let first = listed.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    first.map(str::to_owned).with_context(|| format!("Debian's {package} depends on nothing"))
}

/// Fetches the lists of what there is. A source that cannot be read does not matter: the download decides.
fn update(from: Repository, updated: &mut Vec<Repository>) -> Result<()> {
    if updated.contains(&from) {
        return Ok(());
    }
    if packages::program("apt-get").is_none() || packages::program("dpkg-deb").is_none() {
        bail!("only Debian's apt and dpkg can fetch that");
    }
    let state = from.state();
    fs::create_dir_all(state.join("lists/partial"))?;
    fs::create_dir_all(state.join("cache/archives/partial"))?;
    if let Some(release) = from.release {
        let mirror = mirror().context("no mirror of Debian among apt's sources")?;
        fs::write(state.join(SOURCES), format!("deb [signed-by={KEYS}] {mirror} {release} main\n"))?;
    }
    let _ = workspace::run(apt("apt-get", from).args(["update", "-qq"]).stdout(stderr()));
    updated.push(from);
    Ok(())
}

/// The mirror of Debian that the machine uses.
fn mirror() -> Option<String> {
    let format = "$(LABEL) $(REPO_URI) $(COMPONENT)";
    let listed =
        workspace::output(Command::new("apt-get").args(["indextargets", "--format", format])).ok()?;
    listed.lines().find_map(|line| {
        let mut words = line.split(' ');
        (words.next() == Some("Debian")).then(|| words.next().map(str::to_owned))?
    })
}

/// apt for one architecture alone, with the machine's sources or those of one release, and nothing of the machine's state.
fn apt(program: &str, from: Repository) -> Command {
    let mut command = Command::new(program);
    let (state, arch) = (from.state(), from.arch.debian());
    if from.release.is_some() {
        command.args(["-o", &format!("Dir::Etc::SourceList={}", state.join(SOURCES).display())]);
        command.args(["-o", "Dir::Etc::SourceParts=/dev/null"]);
    }
    let options = [
        format!("APT::Architecture={arch}"),
        format!("APT::Architectures={arch}"),
        format!("Dir::State::Lists={}/lists", state.display()),
        format!("Dir::Cache={}/cache", state.display()),
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
