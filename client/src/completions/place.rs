//! Owns where in a command line its last word stands: what the words before it make of it.
//!
//! It follows `args`, but takes what is wrong as it comes: who still types has not made a mistake yet.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::Answer;
use super::kind::{Kind, Names};
use crate::args::is_signal;
use crate::flags::{self, Flag, Form, OwnFlag, Use, VERBS, Verb};

/// Where a word stands.
#[derive(Debug, Default)]
pub(super) struct Place {
    verb: Option<&'static Verb>,
    /// The verb behind `fs` or `sys`.
    form: Option<&'static Form>,
    /// The plain words so far, but for the verb.
    count: usize,
    /// `--listen` stands for the target.
    is_listening: bool,
    /// A `--` was there.
    are_options_over: bool,
    /// The words are those of a command in the guest.
    is_command: bool,
    /// The last word was a flag, and this is what its value is called.
    awaited: Option<&'static str>,
}

/// A word that a verb takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operand {
    pub name: &'static str,
    repeats: bool,
}

/// The plain words in a synopsis, without what stands behind a `--`.
pub(super) fn operands(synopsis: &'static str) -> impl Iterator<Item = Operand> {
    let mut is_of_a_flag = false;
    let words = synopsis.split(' ').take_while(|word| *word != "--");
    words.filter_map(move |word| {
        is_of_a_flag |= word.starts_with("[-");
        let is_left_out = is_of_a_flag;
        is_of_a_flag &= !word.ends_with(']');
        let plain = word.trim_start_matches('[').trim_end_matches(']');
        let name = plain.trim_end_matches("...");
        (!is_left_out && !name.is_empty()).then_some(Operand { name, repeats: name != plain })
    })
}

impl Place {
    /// The place behind these words.
    pub(super) fn behind(words: &[OsString]) -> Self {
        let mut place = Self::default();
        words.iter().for_each(|word| place.pass(word));
        place
    }

    fn pass(&mut self, word: &OsStr) {
        let bytes = word.as_bytes();
        if self.awaited.take().is_some() || self.is_command {
            return;
        }
        match bytes {
            _ if self.are_options_over => self.pass_plain(word),
            b"--" => self.pass_dashes(),
            [b'-', b'-', rest @ ..] => {
                let name = rest.split(|byte| *byte == b'=').next().unwrap_or_default();
                let value = std::str::from_utf8(name).ok().and_then(|name| self.value_of_word(name));
                self.is_listening |= name == b"listen";
                self.awaited = value.filter(|_| name.len() == rest.len());
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                if !(self.takes_signals() && is_signal(word)) {
                    let letters = String::from_utf8_lossy(letters);
                    let (value, rest) = self.value_in_cluster(&letters);
                    self.awaited = value.filter(|_| rest.is_empty());
                }
            }
            _ => self.pass_plain(word),
        }
    }

    fn pass_plain(&mut self, word: &OsStr) {
        match self.verb {
            None if self.is_target_read() => self.is_command = true,
            None => {
                self.verb = VERBS.iter().find(|verb| !self.are_options_over && word == verb.name);
                self.count += usize::from(self.verb.is_none());
            }
            Some(verb) => {
                if self.count == 0 {
                    self.form = verb.forms.iter().find(|form| word == form.name);
                }
                self.count += 1;
            }
        }
    }

    /// Behind a target, and behind the words of some verbs, a `--` begins a command.
    fn pass_dashes(&mut self) {
        let has_command = |verb: &Verb| verb.words.contains("-- ") || verb.of == Use::Completions;
        self.is_command = self.is_target_read() || self.verb.is_some_and(has_command);
        self.are_options_over = true;
    }

    fn is_target_read(&self) -> bool {
        self.verb.is_none() && (self.count > 0 || self.is_listening)
    }

    fn takes_signals(&self) -> bool {
        self.of() == Use::Kill || self.form.is_some_and(|form| form.name == "kill")
    }

    fn of(&self) -> Use {
        self.verb.map_or(Use::Run, |verb| verb.of)
    }

    /// What the value of the flag of this word is called.
    fn value_of_word(&self, word: &str) -> Option<&'static str> {
        match self.own().iter().find(|flag| flag.long == word) {
            Some(flag) => flag.value,
            None => flags::by_word(word).and_then(Flag::value),
        }
    }

    /// What the value is called that the first flag among these letters takes, and what of it stands there.
    fn value_in_cluster<'l>(&self, letters: &'l str) -> (Option<&'static str>, &'l str) {
        for (at, letter) in letters.char_indices() {
            let value = match self.own().iter().find(|flag| flag.letter == Some(letter)) {
                Some(flag) => flag.value,
                None => flags::by_letter(letter, self.of()).and_then(Flag::value),
            };
            if value.is_some() {
                return (value, &letters[at + letter.len_utf8()..]);
            }
        }
        (None, "")
    }

    /// The flags of the verb behind `fs` or `sys`.
    fn own(&self) -> &'static [OwnFlag] {
        self.form.map_or(&[], |form| form.flags)
    }

    /// Adds what can stand in the place of `word`, which stands here.
    pub(super) fn complete(&self, word: &str, names: Names<'_>, answer: &mut Answer) {
        if let Some(value) = self.awaited {
            return complete_value(value, "", word, names, answer);
        }
        if self.is_command {
            return;
        }
        if self.are_options_over || !word.starts_with('-') {
            return self.complete_plain(word, names, answer);
        }
        match (word.strip_prefix("--"), word.split_once('=')) {
            (Some(_), Some((name, value))) => {
                let kind = self.value_of_word(name.trim_start_matches('-'));
                complete_value(kind.unwrap_or_default(), &format!("{name}="), value, names, answer);
            }
            (Some(_), None) => self.flags(answer, |spelled| spelled.starts_with("--")),
            (None, _) if word == "-" => self.flags(answer, |_| true),
            (None, _) => {
                if let (Some(kind), rest) = self.value_in_cluster(&word[1..]) {
                    complete_value(kind, &word[..word.len() - rest.len()], rest, names, answer);
                }
            }
        }
    }

    fn complete_plain(&self, word: &str, names: Names<'_>, answer: &mut Answer) {
        let Some(verb) = self.verb else {
            if !self.is_target_read() {
                if !self.are_options_over && !word.contains(['@', ':', '%', '/']) {
                    VERBS.iter().for_each(|verb| answer.word(verb.name, verb.help));
                }
                Kind::Target.complete("", word, names, answer);
            }
            return;
        };
        let wanted = operands(verb.words).filter(|operand| !self.is_listening || operand.name != "TARGET");
        let wanted: Vec<Operand> = wanted.collect();
        let repeats = wanted.iter().any(|operand| operand.repeats);
        let last = wanted.last().filter(|_| repeats);
        match wanted.get(self.count).or(last).and_then(|operand| Kind::find(operand.name)) {
            Some(Kind::Form) => verb.forms.iter().for_each(|form| answer.word(form.name, form.help)),
            Some(kind) => kind.complete("", word, names, answer),
            None => {}
        }
    }

    fn flags(&self, answer: &mut Answer, is_wanted: impl Fn(&str) -> bool) {
        for flag in self.own() {
            let letter = flag.letter.map(|letter| format!("-{letter}"));
            for spelled in letter.into_iter().chain([format!("--{}", flag.long)]) {
                if is_wanted(&spelled) {
                    answer.word(spelled, flag.help);
                }
            }
        }
        let goes_with = |of: Use| move |flag: &&Flag| flag.uses.contains(of);
        let common = flags::all().filter(|flag| match self.verb {
            Some(verb) => goes_with(verb.of)(flag),
            None => [Use::Run, Use::Transfer, Use::Pass].into_iter().any(|of| goes_with(of)(flag)),
        });
        for flag in common.filter(|flag| self.own().iter().all(|own| flag.long != Some(own.long))) {
            for spelled in flag.spellings(Some(self.of())).into_iter().filter(|spelled| is_wanted(spelled)) {
                answer.word(spelled, flag.help);
            }
        }
    }
}

fn complete_value(name: &str, start: &str, word: &str, names: Names<'_>, answer: &mut Answer) {
    if let Some(kind) = Kind::find(name) {
        kind.complete(start, word, names, answer);
    }
}
