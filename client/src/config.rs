//! Owns the configuration: which files it is in, and which entry a name means.
//!
//! ```toml
//! [targets.box]
//! address = "unix:/run/box.sock"    # as on the command line; without one, the guest of that name that runs
//! user = "root"                     # any long option: a string, a number, true, or a list of them
//! env = { LANG = "C", TZ = "UTC" }  # NAME=VALUE of each
//!
//! [targets."ci-*"]
//! address = "mux:/run/vms/{name}.sock"
//! ```
//!
//! `$XDG_CONFIG_HOME/vsock-shell/config.toml` (or `~/.config/…`) stands over `/etc/vsock-shell/config.toml`: an entry of the
//! first is there instead of the one that has the same name in the second. `VSOCK_SHELL_CONFIG` names another file in the place
//! of both. For a name its own entry counts, else the first pattern that matches, in the order of the files; one entry alone.
//!
//! What is in an entry are words of the command line, which `args` reads as it reads those: the keys are checked here, the
//! values there. `config/file.rs` reads a file.

mod file;

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::name;
use crate::text::{escape, reason};

/// Names another file in the place of both.
pub const VARIABLE: &str = "VSOCK_SHELL_CONFIG";

/// The file for everybody.
const SYSTEM: &str = "/etc/vsock-shell/config.toml";

/// The same in a directory of configurations.
const BENEATH: &str = "vsock-shell/config.toml";

/// What may stand in a file.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    /// The long options, without the hyphens.
    pub options: &'a [&'a str],
    /// The verbs, which cannot be names.
    pub verbs: &'a [&'a str],
}

/// Where the configuration is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The files, the first of which stands over the others.
    files: Vec<PathBuf>,
    /// Whether it is an error where one is not there.
    must_exist: bool,
    /// What `~/` at the beginning of a path is.
    home: Option<PathBuf>,
}

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Those of the first file first, each in its order; a name stands here once.
    entries: Vec<Entry>,
}

/// What is said of a name or a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name or the pattern.
    pub name: String,
    /// How to reach it, as it is written; `None`: it is the guest of that name that runs.
    pub address: Option<String>,
    /// Its options, as words of the command line, in the order of the file.
    pub options: Vec<Setting>,
    /// Where it begins, as `FILE:LINE`, safe for a terminal.
    pub place: String,
}

/// One option of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The option, without the hyphens.
    pub name: String,
    /// The word that it is on the command line: `--reconnect=30`, `--quiet`.
    pub word: OsString,
    /// Where it is, as `FILE:LINE`, safe for a terminal.
    pub place: String,
}

/// Why there is no configuration. One line that names the file, where it is known the line, and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Places {
    /// Where an environment, of which `variable` tells, has it.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        if let Some(file) = path(VARIABLE) {
            return Self { files: vec![file], must_exist: true, home };
        }
        // A relative one means nothing, as the specification of these directories has it.
        let own = path("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
        let own = own.or_else(|| home.as_ref().map(|home| home.join(".config")));
        let files = own.map(|folder| folder.join(BENEATH)).into_iter().chain([SYSTEM.into()]);
        Self { files: files.collect(), must_exist: false, home }
    }
}

impl Config {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read, or is not as it should be.
    pub fn load(places: &Places, vocabulary: Vocabulary<'_>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for file in &places.files {
            let text = match std::fs::read(file) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound && !places.must_exist => continue,
                Err(error) => return Err(unreadable(file, &reason(&error))),
            };
            let Ok(text) = str::from_utf8(&text) else { return Err(unreadable(file, "it is not UTF-8")) };
            config.add(Self::read_text(file, text, places.home.as_deref(), vocabulary)?);
        }
        Ok(config)
    }

    /// What this text says, which was read of `file`; `~/` at the beginning of a path is `home`.
    ///
    /// # Errors
    /// It is not as it should be.
    pub fn read_text(
        file: &Path,
        text: &str,
        home: Option<&Path>,
        vocabulary: Vocabulary<'_>,
    ) -> Result<Self, ConfigError> {
        Ok(Self { entries: file::read(file, text, home, vocabulary)? })
    }

    /// Adds the entries of a file that stands below those that were read before.
    fn add(&mut self, below: Self) {
        let known = self.entries.len();
        for entry in below.entries {
            if !self.entries[..known].iter().any(|above| above.name == entry.name) {
                self.entries.push(entry);
            }
        }
    }

    /// The entry that counts for a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let own = self.entries.iter().find(|entry| entry.name == name);
        own.or_else(|| {
            self.entries.iter().find(|entry| entry.is_pattern() && name::matches(&entry.name, name))
        })
    }

    /// All entries, in their order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Entry {
    /// It is for several names.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        name::is_pattern(&self.name)
    }

    /// How to reach the guest of this name: `{name}` in an address stands for it.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<String> {
        self.address.as_ref().map(|address| address.replace("{name}", name))
    }
}

fn unreadable(file: &Path, why: &str) -> ConfigError {
    ConfigError(format!("cannot read {}: {why}", shown(file)))
}

fn shown(file: &Path) -> String {
    escape(file.as_os_str().as_bytes()).into_owned()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
