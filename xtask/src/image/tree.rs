//! The files of a guest, before they become an archive: names in order, each with what is behind it.
//!
//! Everything belongs to root. Who adds a file gets the directories above it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Permissions of a directory that nobody asked for.
const USUAL: u32 = 0o755;

/// What is behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to this path.
    Link(String),
    /// A character device.
    Character {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// A name's permissions and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The lower twelve bits of `st_mode`.
    pub permissions: u32,
    /// What it is.
    pub content: Content,
}

/// Entries by their path without the leading slash. In this order a directory comes before what is in it, as the kernel
/// needs it.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// All entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Puts `content` at `path`, in the place of what was there. The directories above it come into being.
    ///
    /// # Errors
    /// The path goes through `..` or through something that is no directory.
    pub fn put(&mut self, path: &str, permissions: u32, content: Content) -> Result<()> {
        let path = normal(path)?;
        ensure!(!path.is_empty(), "the root of the guest is no place for a file");
        for (slash, _) in path.match_indices('/') {
            let above = path.get(..slash).unwrap_or_default().to_owned();
            let entry =
                self.0.entry(above).or_insert(Entry { permissions: USUAL, content: Content::Directory });
            ensure!(
                entry.content == Content::Directory,
                "/{path} lies behind something that is no directory"
            );
        }
        if let Content::Link(target) = &content {
            self.move_to(&path, target)?;
        }
        let is_directory = content == Content::Directory;
        let before = self.0.insert(path.clone(), Entry { permissions, content });
        let lost = before.is_some_and(|before| before.content == Content::Directory) && !is_directory;
        ensure!(!lost, "/{path} is a directory already");
        Ok(())
    }

    /// Moves a directory to where a link in its place leads, as `lib` of a root whose programs are all in `usr`.
    fn move_to(&mut self, path: &str, target: &str) -> Result<()> {
        if self.0.get(path).is_none_or(|entry| entry.content != Content::Directory) {
            return Ok(());
        }
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let place = if target.starts_with('/') { target.to_owned() } else { format!("{above}/{target}") };
        let below = format!("{path}/");
        let moved: Vec<String> = self.0.keys().filter(|name| name.starts_with(&below)).cloned().collect();
        let directory = self.0.remove(path);
        let moved = moved.into_iter().filter_map(|name| self.0.remove_entry(&name)).collect::<Vec<_>>();
        for (name, entry) in directory.map(|entry| (path.to_owned(), entry)).into_iter().chain(moved) {
            let rest = name.strip_prefix(path).unwrap_or_default();
            self.put(&format!("{place}{rest}"), entry.permissions, entry.content)?;
        }
        Ok(())
    }

    /// An executable file.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn put_program(&mut self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.put(path, 0o755, Content::File(bytes))
    }

    /// A text that everybody may read.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn put_text(&mut self, path: &str, text: &str) -> Result<()> {
        self.put(path, 0o644, Content::File(text.as_bytes().to_vec()))
    }

    /// What is at `source` on this machine, with all that is below it. The operand itself may be a link to it; links below
    /// stay links.
    ///
    /// # Errors
    /// It cannot be read, is a socket or a named pipe, or its name is not UTF-8.
    pub fn put_from(&mut self, source: &Path, path: &str) -> Result<()> {
        let followed =
            fs::canonicalize(source).with_context(|| format!("cannot find {}", source.display()))?;
        self.put_copy(&followed, path)
    }

    fn put_copy(&mut self, source: &Path, path: &str) -> Result<()> {
        let told = || format!("cannot read {}", source.display());
        let found = source.symlink_metadata().with_context(told)?;
        let kind = found.file_type();
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let content = if kind.is_dir() {
            Content::Directory
        } else if kind.is_file() {
            Content::File(fs::read(source).with_context(told)?)
        } else if kind.is_symlink() {
            let link = fs::read_link(source).with_context(told)?;
            Content::Link(link.to_str().context("a link that is not UTF-8").with_context(told)?.to_owned())
        } else if kind.is_char_device() {
            Content::Character { major, minor }
        } else if kind.is_block_device() {
            Content::Block { major, minor }
        } else {
            bail!("{} is a socket or a named pipe", source.display());
        };
        if !(kind.is_dir() && normal(path)?.is_empty()) {
            self.put(path, found.mode() & 0o7777, content)?;
        }
        if kind.is_dir() {
            for entry in fs::read_dir(source).with_context(told)? {
                let entry = entry.with_context(told)?;
                let name = entry.file_name();
                let name = name.to_str().with_context(|| format!("{name:?} is not UTF-8"))?;
                self.put_copy(&entry.path(), &format!("{path}/{name}"))?;
            }
        }
        Ok(())
    }
}

/// Without slashes at either end, without `.` and empty steps.
fn normal(path: &str) -> Result<String> {
    let steps: Vec<&str> = path.split('/').filter(|step| !matches!(*step, "" | ".")).collect();
    ensure!(!steps.contains(&".."), "a path in the guest cannot go through `..`: {path}");
    ensure!(!path.contains('\0'), "a path cannot hold a null byte");
    Ok(steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn names(tree: &Tree) -> Vec<&str> {
        tree.entries().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_file_brings_the_directories_above_it_which_come_first() {
        let mut tree = Tree::default();
        tree.put_text("/etc-x", "").unwrap();
        tree.put_text("//etc/./a/b", "x").unwrap();
        assert_eq!(names(&tree), ["etc", "etc-x", "etc/a", "etc/a/b"]);
    }

    #[test]
    fn no_path_leaves_the_tree_or_goes_through_a_file() {
        let mut tree = Tree::default();
        tree.put_text("a", "").unwrap();
        tree.put("d/e", 0o755, Content::Directory).unwrap();
        for wrong in ["../a", "a/../b", "a/b", "", "/", "d", "nul\0"] {
            assert!(tree.put_text(wrong, "").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_folder_is_added_with_its_permissions_and_its_links() {
        let scratch = Scratch::new(&std::env::temp_dir(), "tree").unwrap();
        let folder = scratch.path("folder");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/file"), "text").unwrap();
        std::os::unix::fs::symlink("sub/file", folder.join("link")).unwrap();
        let mut tree = Tree::default();
        tree.put_from(&folder, "opt/x/").unwrap();
        assert_eq!(names(&tree), ["opt", "opt/x", "opt/x/link", "opt/x/sub", "opt/x/sub/file"]);
        let content = |path| &tree.0[path].content;
        assert_eq!(content("opt/x/link"), &Content::Link("sub/file".to_owned()));
        assert_eq!(content("opt/x/sub/file"), &Content::File(b"text".to_vec()));

        let mut root = Tree::default();
        root.put_from(&folder, "/").unwrap();
        assert_eq!(names(&root), ["link", "sub", "sub/file"]);
    }

    #[test]
    fn what_was_put_below_a_name_follows_a_link_in_its_place() {
        let mut tree = Tree::default();
        tree.put_text("lib/modules/list", "").unwrap();
        tree.put("usr", 0o700, Content::Directory).unwrap();
        tree.put("lib", 0o777, Content::Link("usr/lib".to_owned())).unwrap();
        tree.put_text("usr/lib/other", "").unwrap();
        let moved = ["lib", "usr", "usr/lib", "usr/lib/modules", "usr/lib/modules/list", "usr/lib/other"];
        assert_eq!(names(&tree), moved);
        assert!(tree.put("usr", 0o777, Content::Link("/usr/bin".to_owned())).is_err());
    }
}
