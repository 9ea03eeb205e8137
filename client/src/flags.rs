//! Owns the shape of the command line's tables: what a row of the flags and a row of the verbs holds, and how one is found.
//!
//! The rows are in `flags/table` and `flags/verbs`. The parser (`options`, `args`), its refusals and suggestions, what `help`
//! and `manual` print and what `completions` offers are made from them and have no list of their own. A new flag is one row; a new verb is a [`Use`], one row
//! and one arm of `args::parse`.

mod table;
mod verbs;

use std::ffi::OsString;

use crate::args::ArgsError;
use crate::options::Options;

pub(crate) use table::SECTIONS;
pub(crate) use verbs::{ADDRESSES, FS, Form, OwnFlag, SYNOPSES, SYSTEM, VERBS, Verb};

/// Flags that belong together, under a title of the help.
pub(crate) struct Section {
    pub title: &'static str,
    pub flags: &'static [Flag],
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Its letters, each of which stands for it.
    pub letters: &'static str,
    /// Where its letters mean it although another flag has them elsewhere.
    pub home: Option<Use>,
    /// Its word, without the dashes.
    pub long: Option<&'static str>,
    pub take: Take,
    /// What it is for, in a few words that stand behind it.
    pub help: &'static str,
    /// Sentences that the long texts have besides.
    pub more: &'static str,
    /// What it goes with.
    pub uses: Uses,
    /// The short help has it.
    pub is_everyday: bool,
}

/// What the value of a flag is called, and what is done when the flag is given. It is told how the flag was spelled.
#[derive(Debug)]
pub(crate) enum Take {
    Switch(fn(&mut Options)),
    Value(&'static str, fn(&mut Options, &str, OsString) -> Result<(), ArgsError>),
}

/// What a command line is about: what stands in the place of the target, or the flag that decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A shell or a command.
    Run,
    /// `-u` and `-d`.
    Transfer,
    /// `-W`.
    Pass,
    Copy,
    Wait,
    Info,
    PowerOff,
    Reboot,
    Halt,
    Jobs,
    Attach,
    Logs,
    Kill,
    Result,
    Fs,
    System,
    Each,
    Targets,
    SshConfig,
    Doctor,
    KeyGen,
    Completions,
    Manual,
}

impl Use {
    /// What messages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "a command",
            Self::Transfer => "-u and -d",
            Self::Pass => "-W",
            verb => VERBS.iter().find(|row| row.of == verb).map_or("", |row| row.name),
        }
    }
}

/// A set of uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uses(u32);

impl Uses {
    /// Those of the help and the version.
    pub(crate) const ALL: Self = Self(u32::MAX);

    pub(crate) const fn of(uses: &[Use]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < uses.len() {
            set |= 1 << uses[at] as u32;
            at += 1;
        }
        Self(set)
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn contains(self, one: Use) -> bool {
        self.0 & (1 << one as u32) != 0
    }
}

impl Flag {
    /// The name of its value, where it takes one.
    pub(crate) fn value(&self) -> Option<&'static str> {
        match self.take {
            Take::Switch(_) => None,
            Take::Value(name, _) => Some(name),
        }
    }

    /// Every way to write it, the letters first; with a use, those that mean it there.
    pub(crate) fn spellings(&'static self, there: Option<Use>) -> Vec<String> {
        let is_meant = |letter: &char| {
            there.is_none_or(|there| by_letter(*letter, there).is_some_and(|flag| std::ptr::eq(flag, self)))
        };
        let letters = self.letters.chars().filter(is_meant).map(|letter| format!("-{letter}"));
        letters.chain(self.long.map(|word| format!("--{word}"))).collect()
    }
}

/// Every flag, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Flag> {
    SECTIONS.iter().flat_map(|section| section.flags)
}

/// The flag that a letter means there. Behind `fs` and `sys` a letter that any of their verbs has means no other.
pub(crate) fn by_letter(letter: char, there: Use) -> Option<&'static Flag> {
    if matches!(there, Use::Fs | Use::System) && is_letter_of_a_form(letter) {
        return None;
    }
    let mut found = all().filter(|flag| flag.letters.contains(letter)).peekable();
    // One that is nowhere else is known before its verb, too.
    let first = found.peek().copied();
    let mut elsewhere = None;
    for flag in found {
        match flag.home {
            Some(home) if home == there => return Some(flag),
            None => elsewhere = Some(flag),
            Some(_) => {}
        }
    }
    elsewhere.or(first)
}

/// The flag of this word.
pub(crate) fn by_word(word: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.long == Some(word))
}

fn is_letter_of_a_form(letter: char) -> bool {
    FS.iter().chain(SYSTEM).flat_map(|form| form.flags).any(|flag| flag.letter == Some(letter))
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
