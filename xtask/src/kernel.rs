//! Linux kernels to boot, and the folders of their modules.
//!
//! One that was named, else the newest of the machine's own in /boot, else Debian's for cloud guests, which is small and has
//! every virtio part as a module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::debian::{self, Repository};
use crate::{packages, workspace};

/// The first release of Debian whose kernels have CONFIG_MODULE_DECOMPRESS, and compressed modules.
const COMPRESSING_RELEASE: &str = "trixie";

/// A kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What is booted.
    pub image: PathBuf,
    /// What `uname -r` says in it.
    pub release: String,
    /// The folder with its `modules.dep`; none where there is no such folder.
    pub modules: Option<PathBuf>,
}

impl Kernel {
    /// The kernel at `given`, else one of this machine, else Debian's.
    ///
    /// # Errors
    /// It cannot be read or had, or does not say which release it is.
    pub fn find(arch: Arch, given: Option<&Path>) -> Result<Self> {
        if let Some(image) = given {
            return Self::at(image);
        }
        if arch == Arch::host()?
            && let Some(kernel) = newest_in(Path::new("/boot"))
        {
            return Ok(kernel);
        }
        debians(arch.into())
    }

    /// The kernel in this file.
    ///
    /// # Errors
    /// It cannot be read, or does not say which release it is.
    pub fn at(image: &Path) -> Result<Self> {
        let told = || format!("cannot read {}", image.display());
        // Absolute, for whoever runs elsewhere; and what a link called `vmlinuz` points to has a name that says more.
        let image = image.canonicalize().with_context(told)?;
        let bytes = fs::read(&image).with_context(told)?;
        let release = release_in_header(&bytes)
            .or_else(|| release_in_name(&image))
            .with_context(|| format!("{} does not say which release it is", image.display()))?;
        let modules = modules_of(&image, &release);
        if modules.is_none() {
            eprintln!("no modules.dep for {release} beside {}: an image gets no modules", image.display());
        }
        Ok(Self { image, release, modules })
    }
}

/// Linux/x86's boot protocol: "HdrS" at 0x202, and at 0x20e where, from 0x200 on, the version stands as text.
fn release_in_header(image: &[u8]) -> Option<String> {
    image.get(0x202..0x206).filter(|magic| magic == b"HdrS")?;
    let place = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(usize::from(place) + 0x200..)?;
    let end = text.iter().position(|&byte| byte == 0 || byte == b' ')?;
    String::from_utf8(text.get(..end)?.to_vec()).ok().filter(|release| !release.is_empty())
}

/// `vmlinuz-RELEASE`, or `/lib/modules/RELEASE/vmlinuz`.
fn release_in_name(image: &Path) -> Option<String> {
    let name = image.file_name()?.to_str()?;
    if let Some(release) =
        ["vmlinuz-", "vmlinux-", "Image-"].iter().find_map(|prefix| name.strip_prefix(prefix))
    {
        return Some(release.to_owned());
    }
    let folder = image.parent()?;
    let is_modules = folder.parent()?.file_name()? == "modules";
    folder.file_name()?.to_str().filter(|_| is_modules).map(str::to_owned)
}

/// Beside the kernel, as packages have it, or the machine's own.
fn modules_of(image: &Path, release: &str) -> Option<PathBuf> {
    let root = image.parent()?.parent();
    let beside = root.map(|root| root.join("lib/modules").join(release));
    let usr = root.map(|root| root.join("usr/lib/modules").join(release));
    let own = Path::new("/lib/modules").join(release);
    let places = beside.into_iter().chain(usr).chain([own]);
    places.into_iter().find(|folder| folder.join("modules.dep").is_file())
}

/// Newest by the numbers in its name.
fn newest_in(folder: &Path) -> Option<Kernel> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"))
    };
    let mut kernels: Vec<PathBuf> = names.filter(named).collect();
    kernels.sort_by_key(|path| numbers(&path.to_string_lossy()));
    kernels.iter().rev().find_map(|path| Kernel::at(path).ok().filter(|kernel| kernel.modules.is_some()))
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// A kernel whose modules are compressed and that decompresses them itself.
///
/// # Errors
/// It cannot be had.
pub fn with_compressed_modules(arch: Arch) -> Result<Kernel> {
    debians(Repository { arch, release: Some(COMPRESSING_RELEASE) })
}

/// The package that `linux-image-cloud-ARCH` stands for, unpacked, with its `modules.dep` made by `depmod`, which its
/// installation would have run.
fn debians(from: Repository) -> Result<Kernel> {
    let is_kernel = |name: &String| name.starts_with("linux-image-");
    let package = match debian::present(from).into_iter().rfind(is_kernel) {
        Some(package) => package,
        None => debian::depends(&format!("linux-image-cloud-{}", from.arch.debian()), from)?,
    };
    let folder = debian::unpacked(&package, from)?;
    let release = package.trim_start_matches("linux-image-");
    let image = folder.join("boot").join(format!("vmlinuz-{release}"));
    // Newer releases have no other than those in /usr.
    let usr = folder.join("usr");
    let base = if usr.join("lib/modules").is_dir() { usr } else { folder.clone() };
    if !base.join("lib/modules").join(release).join("modules.dep").is_file() {
        packages::require(packages::MODULES)?;
        let depmod = packages::program("depmod").context("no depmod")?;
        workspace::run(Command::new(depmod).arg("-b").arg(&base).arg(release))?;
    }
    Kernel::at(&image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_x86_kernel_says_its_release_in_its_header() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x311].copy_from_slice(b"6.1.0-9-x (me@x)\0");
        assert_eq!(release_in_header(&image).as_deref(), Some("6.1.0-9-x"));
        assert_eq!(release_in_header(&image[..0x305]), None);
        assert_eq!(release_in_header(&image[..0x204]), None);
    }

    #[test]
    fn other_kernels_say_it_in_their_names() {
        let release = |path: &str| release_in_name(Path::new(path));
        assert_eq!(release("/boot/vmlinuz-6.1.0-9-arm64").as_deref(), Some("6.1.0-9-arm64"));
        assert_eq!(release("/lib/modules/6.12.1/vmlinuz").as_deref(), Some("6.12.1"));
        assert_eq!(release("/tmp/bzImage"), None);
    }

    #[test]
    fn the_newest_kernel_is_the_one_with_the_larger_number() {
        assert!(numbers("vmlinuz-6.1.0-10-amd64") > numbers("vmlinuz-6.1.0-9-amd64"));
    }
}
