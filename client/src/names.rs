//! Owns what a name means as a target: an entry of the configuration, else a guest that runs on this host.
//!
//! Both are looked for when the first name is: a command line with addresses alone reads no file and no process.

use std::cell::OnceCell;
use std::fmt;
use std::path::Path;

use crate::config::{Config, ConfigError, Entry, Places, Setting, Vocabulary};
use crate::flags;
use crate::guests::{self, Guest};
use crate::name;
use crate::target::{Target, TargetError};

/// The names that are known here.
pub struct Names {
    load: Box<dyn Fn() -> Result<Config, ConfigError>>,
    search: Box<dyn Fn() -> Vec<Guest>>,
    config: OnceCell<Result<Config, ConfigError>>,
    guests: OnceCell<Vec<Guest>>,
}

/// What a name means.
#[derive(Clone, Copy, Debug)]
pub struct Named<'n> {
    /// As it is written.
    pub name: &'n str,
    /// What the configuration says of it.
    pub entry: Option<&'n Entry>,
    /// The guest that it is; `None` where the entry has an address.
    pub guest: Option<&'n Guest>,
}

/// Why a word means nothing as a name. [`fmt::Display`] is a reason, to follow the word and a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamesError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// Nothing has this name.
    Unknown,
    /// The configuration leaves it to the guest of this name, and none runs. Where it says so.
    NotRunning(String),
}

impl fmt::Display for NamesError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(out),
            Self::Unknown => TargetError::Name.fmt(out),
            Self::NotRunning(place) => {
                write!(out, "no guest of this name runs here, and {place} gives it no address")
            }
        }
    }
}

impl Names {
    /// Those of this host, for the user that we are.
    #[must_use]
    pub fn here() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self::new(
            || with_vocabulary(|words| Config::load(&Places::new(|name| std::env::var_os(name)), words)),
            move || with_vocabulary(|words| guests::find(Path::new(guests::PROC), user, words.verbs)),
        )
    }

    /// Those that `load` and `search` find, each of which is asked once, and only where it is needed.
    pub fn new(
        load: impl Fn() -> Result<Config, ConfigError> + 'static,
        search: impl Fn() -> Vec<Guest> + 'static,
    ) -> Self {
        Self {
            load: Box::new(load),
            search: Box::new(search),
            config: OnceCell::new(),
            guests: OnceCell::new(),
        }
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|| Ok(Config::default()), Vec::new)
    }

    /// What the files say.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn config(&self) -> Result<&Config, NamesError> {
        self.config.get_or_init(&self.load).as_ref().map_err(|error| NamesError::Config(error.clone()))
    }

    /// The guests that run here.
    pub fn guests(&self) -> &[Guest] {
        self.guests.get_or_init(&self.search)
    }

    /// What a name means.
    ///
    /// # Errors
    /// Nothing, or the configuration cannot be used.
    pub fn find<'n>(&'n self, name: &'n str) -> Result<Named<'n>, NamesError> {
        if with_vocabulary(|words| name::check(name, words.verbs)).is_err() {
            return Err(NamesError::Unknown);
        }
        let entry = self.config()?.find(name);
        if entry.is_some_and(|entry| entry.address.is_some()) {
            return Ok(Named { name, entry, guest: None });
        }
        match (self.guests().iter().find(|guest| guest.name == name), entry) {
            (Some(guest), entry) => Ok(Named { name, entry, guest: Some(guest) }),
            (None, Some(entry)) => Err(NamesError::NotRunning(entry.place.clone())),
            (None, None) => Err(NamesError::Unknown),
        }
    }

    /// Every name: those of the configuration in its order, without its patterns, then those of guests that it does not have.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn all(&self) -> Result<Vec<&str>, NamesError> {
        let entries = self.config()?.entries().iter().filter(|entry| !entry.is_pattern());
        let mut names: Vec<&str> = entries.map(|entry| entry.name.as_str()).collect();
        let known = names.len();
        for guest in self.guests() {
            if !names[..known].contains(&guest.name.as_str()) {
                names.push(&guest.name);
            }
        }
        Ok(names)
    }

    /// Those that a pattern matches, in their order.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn matching(&self, pattern: &str) -> Result<Vec<&str>, NamesError> {
        let names = self.all()?;
        Ok(names.into_iter().filter(|name| name::matches(pattern, name)).collect())
    }
}

impl<'n> Named<'n> {
    /// Whom to reach; `port` is used where no address names one.
    ///
    /// # Errors
    /// The address of the entry is none with this name in it: it may become too long.
    pub fn target(&self, port: u32) -> Result<Target, TargetError> {
        match (self.entry.and_then(|entry| entry.address_of(self.name)), self.guest) {
            (Some(address), _) => Target::parse(address.as_ref(), port),
            (None, Some(guest)) => {
                Ok(Target { user: None, address: guest.address.on_port(port)?, credentials: None })
            }
            (None, None) => Err(TargetError::Name),
        }
    }

    /// Its options.
    #[must_use]
    pub fn settings(&self) -> &'n [Setting] {
        self.entry.map_or(&[], |entry| &entry.options)
    }
}

/// Gives `use_it` what may stand in a configuration.
pub fn with_vocabulary<T>(use_it: impl FnOnce(Vocabulary<'_>) -> T) -> T {
    let options: Vec<&str> = flags::all().filter_map(|flag| flag.long).collect();
    let verbs: Vec<&str> = flags::VERBS.iter().map(|verb| verb.name).collect();
    use_it(Vocabulary { options: &options, verbs: &verbs })
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
