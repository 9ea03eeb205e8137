//! Owns what the Tab key of a shell completes: the scripts for the shells, and what could stand in the place of a word.
//!
//! A script knows no flag and no verb. It hands on the words up to the cursor (`vsock-shell completions -- WORD...`, the last
//! of which may be empty), and shows what comes back, an [`Answer`]. So what is offered is what this very client understands,
//! and is looked up in its tables: `completions/place` finds out where in the command line the last word stands,
//! `completions/kind` what can stand there.

mod kind;
mod place;

use std::ffi::OsString;
use std::fmt;

use crate::names::Names;
use crate::target::DEFAULT_PORT;
use place::Place;

/// A shell that there is a script for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash 4.3 or later.
    Bash,
    /// zsh 5.
    Zsh,
    /// fish 3.
    Fish,
}

/// The names of the shells.
pub(crate) const SHELLS: &[&str] = &["bash", "zsh", "fish"];

impl Shell {
    /// The shell of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// What the shell has to read.
    #[must_use]
    pub const fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("completions/script.bash"),
            Self::Zsh => include_str!("completions/script.zsh"),
            Self::Fish => include_str!("completions/script.fish"),
        }
    }
}

/// A name that is a target, and what is known of it.
type Named = (String, String);

/// What could stand in the place of a word. [`fmt::Display`] writes it for the scripts, a line for each thing:
///
/// ```text
/// =WORD TAB ABOUT    this word
/// +WORD TAB ABOUT    a word that begins so, and goes on without a blank
/// /START             a word that begins so, with the name of a file behind it
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    words: Vec<Word>,
    /// What stands before the name of a file.
    files: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    about: String,
    is_whole: bool,
}

/// What could stand in the place of the last of `words`, which are those behind the program's name. `names` are looked for
/// only where one could stand, and no guest is asked.
#[must_use]
pub fn answer(words: &[OsString], names: &Names) -> Answer {
    answer_with(words, || {
        // Where the configuration cannot be used, guests still have names; the line itself will tell what is wrong.
        let guests = || names.guests().iter().map(|guest| guest.name.as_str()).collect();
        let all: Vec<&str> = names.all().unwrap_or_else(|_| guests());
        all.into_iter().map(|name| (name.to_owned(), address(names, name))).collect()
    })
}

fn address(names: &Names, name: &str) -> String {
    let target = names.find(name).ok().and_then(|named| named.target(DEFAULT_PORT).ok());
    target.map(|target| target.address.to_string()).unwrap_or_default()
}

fn answer_with(words: &[OsString], names: impl FnOnce() -> Vec<Named>) -> Answer {
    let mut answer = Answer::default();
    let Some((last, before)) = words.split_last() else { return answer };
    // What is not text, or would be another line of the answer, is nothing that could be completed.
    if let Some(last) = last.to_str().filter(|word| !word.contains(char::is_control)) {
        Place::behind(before).complete(last, Box::new(names), &mut answer);
    }
    answer
}

impl Answer {
    fn word(&mut self, text: impl Into<String>, about: &str) {
        self.push(text.into(), about, true);
    }

    fn open(&mut self, text: impl Into<String>, about: &str) {
        self.push(text.into(), about, false);
    }

    fn push(&mut self, text: String, about: &str, is_whole: bool) {
        self.words.push(Word { text, about: about.to_owned(), is_whole });
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in &self.words {
            let mark = if word.is_whole { '=' } else { '+' };
            writeln!(out, "{mark}{}\t{}", word.text, word.about)?;
        }
        self.files.iter().try_for_each(|start| writeln!(out, "/{start}"))
    }
}

#[cfg(test)]
#[path = "completions_tests.rs"]
mod tests;
