//! `cargo xtask image`: an initramfs with the agent as `/init`.
//!
//! `options` reads what is wanted, `modules` finds the kernel's part, `shell` brings busybox, `tree` holds the files and
//! `archive` turns them into bytes. Nothing here needs root: devices are entries of the archive.

mod archive;
mod modules;
mod options;
mod shell;
mod tree;

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use vsock_shell_proto::proof::Key;

pub use self::archive::Format;
use self::tree::{Content, Tree};
use crate::arch::Arch;
use crate::kernel::Kernel;
use crate::{build, size};

/// Where the agent lies when something else is `/init`.
pub const AGENT_BESIDE_INIT: &str = "/sbin/vsock-shell-agent";

/// Directories that somebody will mount on or write to, with their permissions.
const DIRECTORIES: [(&str, u32); 9] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Devices that have to be there before devtmpfs is: the kernel opens the console for `/init`.
const DEVICES: [(&str, u32, u32, u32); 2] = [("dev/console", 0o600, 5, 1), ("dev/null", 0o666, 1, 3)];

/// A file or folder of this machine, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Where it is here.
    pub source: PathBuf,
    /// Its path in the guest.
    pub place: String,
}

/// What goes into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The guest's architecture.
    pub arch: Arch,
    /// A kernel, a folder of modules, or the release of a kernel in /lib/modules; without it there are no modules.
    pub modules: Option<PathBuf>,
    /// What the user adds, in order.
    pub additions: Vec<Addition>,
    /// With busybox.
    pub shell: bool,
    /// What is `/init` in the agent's place; the agent is then at [`AGENT_BESIDE_INIT`].
    pub init: Option<PathBuf>,
    /// The file with the key that clients have to have, at `/etc/vsock-shell.key`.
    pub key: Option<PathBuf>,
}

/// Where process 1 looks for a key.
const KEY: &str = "etc/vsock-shell.key";

impl Recipe {
    /// The agent alone.
    pub fn new(arch: Arch) -> Self {
        Self { arch, modules: None, additions: Vec::new(), shell: false, init: None, key: None }
    }

    /// The image's bytes, around this agent.
    ///
    /// # Errors
    /// Something that goes into it cannot be had.
    pub fn pack(&self, agent: &Path, format: Format) -> Result<Vec<u8>> {
        archive::pack(&self.tree(agent)?, format, archive::time_stamp()?)
    }

    fn tree(&self, agent: &Path) -> Result<Tree> {
        let mut tree = Tree::default();
        for (path, permissions) in DIRECTORIES {
            tree.put(path, permissions, Content::Directory)?;
        }
        for (path, permissions, major, minor) in DEVICES {
            tree.put(path, permissions, Content::Character { major, minor })?;
        }
        let program = fs::read(agent).with_context(|| format!("no agent at {}", agent.display()))?;
        ensure!(size::is_static(&program)?, "{} needs shared libraries", agent.display());
        match &self.init {
            None => tree.put_program("init", program)?,
            Some(init) => {
                let bytes = fs::read(init).with_context(|| format!("cannot read {}", init.display()))?;
                tree.put_program("init", bytes)?;
                tree.put_program(AGENT_BESIDE_INIT, program)?;
            }
        }
        if let Some(wanted) = &self.modules {
            modules::put(&mut tree, &modules_folder(wanted)?)?;
        }
        if self.shell {
            shell::put(&mut tree, self.arch)?;
        }
        if let Some(path) = &self.key {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(Key::parse(&text).is_some(), "there is no key in {}", path.display());
            tree.put(KEY, 0o400, Content::File(text))?;
        }
        for addition in &self.additions {
            tree.put_from(&addition.source, &addition.place)?;
        }
        Ok(tree)
    }
}

/// `cargo xtask image`.
pub fn main(arguments: Vec<OsString>) -> Result<()> {
    let options = options::parse(arguments)?;
    let (_, agent) = build::agent_for(options.recipe.arch)?;
    let image = options.recipe.pack(&agent, options.format)?;
    let output = &options.output;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).to_owned();
    if options.recipe.key.is_some() {
        // Who can read it has the key.
        _ = fs::remove_file(output);
        file.mode(0o600);
    }
    file.open(output)
        .and_then(|mut file| file.write_all(&image))
        .with_context(|| format!("cannot write {}", output.display()))?;
    println!("image   {}  ({} bytes, agent for {})", output.display(), image.len(), options.recipe.arch);
    Ok(())
}

/// From what was named to the folder with `modules.dep`.
fn modules_folder(wanted: &Path) -> Result<PathBuf> {
    if wanted.is_dir() {
        return Ok(wanted.canonicalize()?);
    }
    if wanted.is_file() {
        let kernel = Kernel::at(wanted)?;
        return kernel.modules.with_context(|| format!("no modules of {} were found", kernel.release));
    }
    let own = Path::new("/lib/modules").join(wanted);
    ensure!(own.is_dir(), "{} is no kernel, no folder, and no release in /lib/modules", wanted.display());
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// The smallest thing that passes for a static program: an ELF header without segments.
    fn fake_agent(scratch: &Scratch) -> PathBuf {
        let mut header = vec![0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[16..20].copy_from_slice(&[2, 0, 62, 0]);
        header[20] = 1;
        header[52] = 64;
        let path = scratch.path("agent");
        fs::write(&path, header).unwrap();
        path
    }

    fn names(recipe: &Recipe, agent: &Path) -> Vec<String> {
        recipe.tree(agent).unwrap().entries().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn the_agent_is_init_unless_something_else_is() {
        let scratch = Scratch::new(&std::env::temp_dir(), "image").unwrap();
        let agent = fake_agent(&scratch);
        let mut recipe = Recipe::new(Arch::X86_64);
        let alone = names(&recipe, &agent);
        for path in ["dev/console", "dev/null", "init", "proc", "sys", "tmp"] {
            assert!(alone.iter().any(|name| name == path), "{path}: {alone:?}");
        }
        assert!(!alone.iter().any(|name| name.starts_with("sbin")), "{alone:?}");
        recipe.init = Some(agent.clone());
        assert!(names(&recipe, &agent).contains(&AGENT_BESIDE_INIT[1..].to_owned()));
    }

    #[test]
    fn a_program_that_needs_libraries_is_no_agent() {
        let ourselves = std::env::current_exe().unwrap();
        let error = Recipe::new(Arch::X86_64).pack(&ourselves, Format::Cpio).unwrap_err();
        assert!(error.to_string().contains("shared libraries"), "{error}");
    }

    #[test]
    fn two_images_of_one_recipe_are_the_same_bytes() {
        let scratch = Scratch::new(&std::env::temp_dir(), "image").unwrap();
        let agent = fake_agent(&scratch);
        let recipe = Recipe {
            additions: vec![Addition { source: agent.clone(), place: "opt/x".to_owned() }],
            ..Recipe::new(Arch::X86_64)
        };
        let pack = || recipe.pack(&agent, Format::Zstd).unwrap();
        assert_eq!(pack(), pack());
    }
}
