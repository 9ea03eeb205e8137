//! Owns what can stand in the place of a word that the tables call so: of an operand or of the value of a flag.

use super::{Answer, Named, SHELLS};
use crate::flags::ADDRESSES;

/// The names that are targets, once they are asked for.
pub(super) type Names<'n> = Box<dyn FnOnce() -> Vec<Named> + 'n>;

/// What is offered for a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody knows it better than who types it: a number, a name in the guest.
    Free,
    /// A file of this side.
    File,
    /// The same, and behind a colon what is in the guest.
    FileFirst,
    /// The other way around.
    FileLast,
    /// One of these.
    Words(&'static [&'static str]),
    /// Where to listen for an agent.
    Listen,
    /// A guest.
    Target,
    /// What `cp` copies: a file of this side, or a guest with a path behind it.
    Operand,
    /// A verb of the verb before it.
    Form,
}

/// Every word that the tables have for an operand or a value.
const KINDS: &[(&str, Kind)] = &[
    ("TARGET", Kind::Target),
    ("SRC", Kind::Operand),
    ("DST", Kind::Operand),
    ("FILE", Kind::File),
    ("LOCAL:REMOTE", Kind::FileFirst),
    ("REMOTE:LOCAL", Kind::FileLast),
    ("ADDR", Kind::Listen),
    ("CHAR|none", Kind::Words(&["none"])),
    ("SHELL", Kind::Words(SHELLS)),
    ("VERB", Kind::Form),
    ("PORT", Kind::Free),
    ("N", Kind::Free),
    ("USER", Kind::Free),
    ("SECONDS", Kind::Free),
    ("ID", Kind::Free),
    ("NAME[=VALUE]", Kind::Free),
    // A directory of the guest.
    ("DIR", Kind::Free),
    ("SPEC", Kind::Free),
    ("HOST:PORT", Kind::Free),
    ("GLOB", Kind::Free),
    ("JOB", Kind::Free),
    ("KEYWORD=VALUE", Kind::Free),
    ("WORD", Kind::Free),
    ("TIME", Kind::Free),
    ("TYPE", Kind::Free),
    ("OPTIONS", Kind::Free),
];

/// The schemes behind which a path of this side stands.
const PATHS: [&str; 3] = ["mux", "unix", "serial"];

impl Kind {
    /// What the tables mean by this word; `None`: it has no row here.
    pub(super) fn find(name: &str) -> Option<Self> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Adds what can stand in the place of `word`, which stands behind `start` in its word.
    pub(super) fn complete(self, start: &str, word: &str, names: Names<'_>, answer: &mut Answer) {
        match self {
            Self::Free | Self::Form => {}
            Self::File => answer.files = Some(start.to_owned()),
            Self::FileFirst if !word.contains(':') => answer.files = Some(start.to_owned()),
            Self::FileFirst => {}
            Self::FileLast => {
                answer.files = word.split_once(':').map(|(remote, _)| format!("{start}{remote}:"));
            }
            Self::Words(words) => words.iter().for_each(|word| answer.word(format!("{start}{word}"), "")),
            Self::Listen => listen(start, word, answer),
            Self::Target => target(start, word, names, answer),
            Self::Operand => operand(start, word, names, answer),
        }
    }
}

fn listen(start: &str, word: &str, answer: &mut Answer) {
    if word.starts_with("unix:") {
        answer.files = Some(format!("{start}unix:"));
    } else {
        answer.word(format!("{start}vsock"), "the port of -p");
        answer.open(format!("{start}vsock:"), "a port");
        answer.open(format!("{start}unix:"), "a Unix socket");
    }
}

fn target(start: &str, word: &str, names: Names<'_>, answer: &mut Answer) {
    let (start, word) = behind_user(start, word);
    if let Some(path) = path_of(word, ':') {
        answer.files = Some(format!("{start}{path}"));
    } else if !word.contains([':', '%', '/']) {
        names().iter().for_each(|(name, about)| answer.word(format!("{start}{name}"), about));
        schemes(&start, ':', answer);
    }
}

fn operand(start: &str, word: &str, names: Names<'_>, answer: &mut Answer) {
    // A name with a slash before its first colon is a file of this side.
    let is_plain = !word.contains(':') || word.find('/') < word.find(':');
    let (behind, rest) = behind_user(start, word);
    if let Some(path) = path_of(rest, '%') {
        answer.files = Some(format!("{behind}{path}")).filter(|_| !word.contains(':'));
    } else if is_plain || word.starts_with(['/', '.']) {
        answer.files = Some(start.to_owned());
        if !rest.contains([':', '%', '/']) {
            names().iter().for_each(|(name, about)| answer.open(format!("{behind}{name}:"), about));
            schemes(&behind, '%', answer);
        }
    }
}

/// How addresses begin, with what stands for the colon.
fn schemes(start: &str, colon: char, answer: &mut Answer) {
    for address in ADDRESSES {
        let written = address.words.rsplit(", ").next().unwrap_or_default();
        if let Some((scheme, _)) = written.split_once(':') {
            answer.open(format!("{start}{scheme}{colon}"), address.help);
        }
    }
}

/// Splits behind a `USER@`, as `target` does; what was split off stands behind `start`.
fn behind_user<'w>(start: &str, word: &'w str) -> (String, &'w str) {
    match word.find(['@', ':', '%', '/']) {
        Some(at) if word.as_bytes()[at] == b'@' => (format!("{start}{}", &word[..=at]), &word[at + 1..]),
        _ => (start.to_owned(), word),
    }
}

/// The scheme and its colon, where a path of this side stands behind it.
fn path_of(word: &str, colon: char) -> Option<String> {
    let (scheme, _) = word.split_once(colon)?;
    PATHS.contains(&scheme).then(|| format!("{scheme}{colon}"))
}

#[cfg(test)]
mod tests {
    use super::super::place::operands;
    use super::*;
    use crate::flags::{FS, SYSTEM, VERBS, all};

    #[test]
    fn every_word_that_the_tables_have_for_a_value_or_an_operand_has_a_kind() {
        let forms = || FS.iter().chain(SYSTEM);
        let values = all().filter_map(|flag| flag.value());
        let own = forms().flat_map(|form| form.flags).filter_map(|flag| flag.value);
        let operands = VERBS.iter().flat_map(|verb| operands(verb.words)).map(|operand| operand.name);
        for name in values.chain(own).chain(operands) {
            assert!(Kind::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_scheme_of_an_address_is_offered() {
        let mut answer = Answer::default();
        schemes("", ':', &mut answer);
        let offered: Vec<_> = answer.words.iter().map(|word| word.text.trim_end_matches(':')).collect();
        assert_eq!(offered, crate::target::SCHEMES);
    }
}
