//! Owns how a name among the words becomes a target, and how what the configuration says of it comes beneath the flags.
//!
//! An option of an entry is read as a word of the command line, by the same table. Those that are about one agent are of that
//! target alone, since a copy may have two. The others come before all words of the command line, where the later one counts;
//! those that do not go with what is done are left out. Of several targets the first comes last, and so counts.

use std::ffi::{OsStr, OsString};

use super::{ArgsError, Words, fail, shown};
use crate::config::Setting;
use crate::flags::{Use, VERBS, by_word};
use crate::names::NamesError;
use crate::operand::Operand;
use crate::options::Options;
use crate::suggest::nearest;
use crate::target::{DEFAULT_PORT, Target, TargetError};

/// Options that are about one agent.
const OF_ONE: [&str; 5] = ["port", "user", "key", "expect-boot-id", "expect-machine-id"];

/// Why a word means no target.
pub(super) enum Unresolved {
    /// What it is not, and the near word.
    Word(String, Option<String>),
    /// Something else is wrong with the line.
    Line(ArgsError),
}

impl Unresolved {
    /// The line of complaint about this word.
    pub(super) fn complaint(self, word: &OsStr, advice: &str) -> ArgsError {
        match self {
            Self::Word(reason, near) => {
                let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
                ArgsError(format!("cannot use target `{}`: {reason}{hint}{advice}", shown(word)))
            }
            Self::Line(error) => error,
        }
    }
}

impl From<TargetError> for Unresolved {
    fn from(error: TargetError) -> Self {
        Self::Word(error.to_string(), None)
    }
}

impl From<ArgsError> for Unresolved {
    fn from(error: ArgsError) -> Self {
        Self::Line(error)
    }
}

impl<'n> Words<'n> {
    /// The same words, with what the configuration says of their targets beneath the flags. Behind `fs` and `sys` the target is
    /// not known yet.
    pub(super) fn over_configuration(self) -> Result<Self, ArgsError> {
        let of = self.whole_use();
        let operands = self.operands.iter().map(OsString::as_os_str);
        let options = match of {
            Use::Each | Use::Targets | Use::KeyGen | Use::Completions | Use::Manual => return Ok(self),
            Use::Fs | Use::System => return Ok(self),
            _ if self.options.listen.is_some() => return Ok(self),
            Use::Copy => self.beneath(of, operands.filter_map(Operand::target_word))?,
            _ => self.beneath(of, operands.take(1))?,
        };
        if options.is_empty() { Ok(self) } else { self.again(options) }
    }

    /// Reads all words again, over these options.
    pub(super) fn again(self, options: Options) -> Result<Self, ArgsError> {
        Self::read(self.all, self.names, options)
    }

    /// What the configuration says of these targets, where they are names, for all that is done.
    pub(super) fn beneath<'w>(
        &self,
        of: Use,
        targets: impl DoubleEndedIterator<Item = &'w OsStr>,
    ) -> Result<Options, ArgsError> {
        let mut options = Options::default();
        for word in targets.rev() {
            // What is no target is told when it is made one.
            if Target::parse(word, DEFAULT_PORT).err() != Some(TargetError::Name) {
                continue;
            }
            let Some(name) = Target::split_user(word).1.to_str() else { continue };
            let Ok(named) = self.names.find(name) else { continue };
            read_settings(&mut options, named.settings(), of, |name| !OF_ONE.contains(&name))?;
        }
        Ok(options)
    }

    /// The target that a word means, as the flags and the configuration complete it.
    pub(super) fn resolve(&self, word: &OsStr) -> Result<Target, Unresolved> {
        let port = self.options.port.unwrap_or(DEFAULT_PORT);
        let mut target = match Target::parse(word, port) {
            Err(TargetError::Name) => return self.resolve_name(word),
            parsed => parsed?,
        };
        self.options.complete(&mut target, &Options::default())?;
        Ok(target)
    }

    fn resolve_name(&self, word: &OsStr) -> Result<Target, Unresolved> {
        let (user, name) = Target::split_user(word);
        let Some(name) = name.to_str() else { return Err(TargetError::Name.into()) };
        let named = self.names.find(name).map_err(|error| {
            let near = if error == NamesError::Unknown { self.near(name) } else { None };
            Unresolved::Word(error.to_string(), near)
        })?;
        let mut own = Options::default();
        read_settings(&mut own, named.settings(), self.whole_use(), |name| OF_ONE.contains(&name))?;
        let port = self.options.port.or(own.port);
        let mut target = named.target(port.unwrap_or(DEFAULT_PORT))?;
        if let Some(port) = port {
            // Asked for, it counts more than what the address says.
            target.address = target.address.on_port(port)?;
        }
        own.user = own.user.or_else(|| target.user.take());
        target.user = user.map(OsStr::to_owned);
        self.options.complete(&mut target, &own)?;
        Ok(target)
    }

    /// The name or, in the place of one, the verb that may have been meant.
    fn near(&self, name: &str) -> Option<String> {
        let verbs = VERBS.iter().map(|verb| verb.name).filter(|_| self.verb.is_none());
        let names = self.names.all().unwrap_or_default();
        // A verb itself comes here only behind `--`, where it is meant to be none.
        nearest(name, names.into_iter().chain(verbs)).filter(|near| *near != name).map(str::to_owned)
    }
}

/// Reads those settings that are wanted and go with what is done.
fn read_settings(
    options: &mut Options,
    settings: &[Setting],
    of: Use,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), ArgsError> {
    for Setting { name, word, place } in settings {
        let is_of_use = by_word(name).is_some_and(|flag| flag.uses.contains(of));
        if !is_of_use || !is_wanted(name) {
            continue;
        }
        let mut parser = lexopt::Parser::from_args([word]);
        // A value that an option does not take is told when the next one is looked for.
        let read = options.read_next(&mut parser, of).and_then(|_| options.read_next(&mut parser, of));
        if let Err(error) = read {
            return fail(format!("{place}: {error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
