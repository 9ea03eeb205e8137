//! The ways to copy, and small trees to be copied.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::tree::listing;
use super::{Directory, Finished, Guest};

/// A way to copy: from here to the guest, or the other way round; or from the guest to another one.
pub struct Way<'g> {
    guest: &'g Guest,
    /// How a source is written.
    pub sources: fn(&Guest, &OsStr) -> OsString,
    /// How a destination is written.
    pub destinations: Box<dyn Fn(&OsStr) -> OsString + 'g>,
}

impl Way<'_> {
    /// Copies these sources to `to`.
    #[track_caller]
    pub fn cp(&self, options: &[&str], sources: &[&OsStr], to: &OsStr) -> Finished {
        let options = options.iter().map(OsString::from);
        let sources = sources.iter().map(|source| (self.sources)(self.guest, source));
        self.guest.cp(options.chain(sources).chain([(self.destinations)(to)]))
    }

    /// Both sides are guests.
    pub fn is_between_guests(&self) -> bool {
        let word = |path| OsStr::new(path).to_owned();
        (self.sources)(self.guest, OsStr::new("a")) != word("a")
            && (self.destinations)(OsStr::new("a")) != word("a")
    }
}

/// All of them. The names are the same for all, as all are on one machine.
pub fn ways<'g>(guest: &'g Guest, other: &'g Guest) -> [Way<'g>; 3] {
    let plain = |_: &Guest, path: &OsStr| path.to_owned();
    let remote = |guest: &Guest, path: &OsStr| guest.remote(path);
    [
        Way { guest, sources: plain, destinations: Box::new(|to| guest.remote(to)) },
        Way { guest, sources: remote, destinations: Box::new(OsStr::to_owned) },
        Way { guest, sources: remote, destinations: Box::new(|to| other.remote(to)) },
    ]
}

/// A path with something behind it that `Path` would take away.
pub fn with(path: &Path, end: &str) -> OsString {
    let mut word = path.as_os_str().to_owned();
    word.push(end);
    word
}

/// The paths in a tree, a directory with a slash at its end.
#[track_caller]
pub fn paths(root: &Path) -> Vec<String> {
    let listing = listing(root, false);
    let name = |path: &PathBuf, mode: u32| {
        let slash = if mode & 0o170_000 == 0o040_000 { "/" } else { "" };
        format!("{}{slash}", path.display())
    };
    listing.iter().skip(1).map(|(path, seen)| name(path, seen.mode)).collect()
}

/// A directory `a` with a file `f` and a directory `d` that has one too.
pub fn small_tree(directory: &Directory) -> PathBuf {
    let tree = directory.subdirectory("a");
    fs::create_dir(tree.join("d")).unwrap();
    fs::write(tree.join("d/g"), "g").unwrap();
    fs::write(tree.join("f"), "f").unwrap();
    tree
}
