//! Command lines of both programs, and what their words are made of.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::OnceLock;

use vsock_shell::args;
use vsock_shell::completions::answer;
use vsock_shell::names::Names;
use vsock_shell::operand::{Operand, split_pair};
use vsock_shell::system::log::Since;
use vsock_shell::target::{Address, Listen, Target};
use vsock_shell_agent::args::{LONG, Options, parse, parse_address, parse_peer};
use vsock_shell_proto::ability;

use crate::shown::assert_plain;

/// Words, each with a NUL behind it. One that begins with [`KNOWN`] begins with a word of the vocabulary: bytes alone would
/// hardly spell an option.
pub fn arguments(data: &[u8]) {
    let words: Vec<Vec<u8>> = data.split(|&byte| byte == 0).map(spelled).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let typed: Vec<OsString> = words.iter().map(|word| OsString::from_vec(word.to_vec())).collect();
    if let Err(error) = args::parse(typed.iter()) {
        assert_plain(&error.to_string());
    }
    assert_is_offered_by_lines(&answer(&typed, &Names::none()).to_string());
    agent(&words);
    for word in words {
        client_word(OsStr::from_bytes(word));
    }
}

/// What a shell's script reads: a word stands there as it was typed, and is never two lines.
fn assert_is_offered_by_lines(offered: &str) {
    let is_line =
        |line: &str| line.starts_with(['=', '+', '/']) && !line.replace('\t', " ").contains(char::is_control);
    assert!(offered.lines().all(is_line), "{offered:?}");
}

/// Begins a word of the vocabulary; the byte behind it says which.
const KNOWN: u8 = 1;

fn spelled(word: &[u8]) -> Vec<u8> {
    match word {
        [KNOWN, number, rest @ ..] => {
            let all = vocabulary();
            [all[usize::from(*number) % all.len()].as_bytes(), rest].concat()
        }
        _ => word.to_vec(),
    }
}

/// What the client completes, behind nothing and behind each of its verbs; the agent's options, and the words of one of them.
fn vocabulary() -> &'static [String] {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let verbs = completed(&[""]);
        let inner = ["fs", "sys"]
            .map(|verb| completed(&[verb, ""]).into_iter().map(move |word| vec![verb.to_owned(), word]));
        let places = verbs.iter().map(|verb| vec![verb.clone()]).chain(inner.into_iter().flatten());
        let options = places.flat_map(|mut place| {
            place.push("--".to_owned());
            completed(&place)
        });
        let agents = LONG.iter().map(|name| String::from_utf8_lossy(name).into_owned());
        let denied = ability::NAMES.map(str::to_owned);
        let mut all: Vec<String> =
            options.chain(completed(&["--"])).chain(agents).chain(denied).chain(verbs.clone()).collect();
        all.sort();
        all.dedup();
        all
    })
}

/// What may stand in the place of the last word.
fn completed(words: &[impl AsRef<OsStr>]) -> Vec<String> {
    let words: Vec<OsString> = words.iter().map(|word| word.as_ref().to_owned()).collect();
    let lines = answer(&words, &Names::none()).to_string();
    lines.lines().filter_map(|line| Some(line.get(1..)?.split('\t').next()?.to_owned())).collect()
}

fn agent(words: &[&[u8]]) {
    let words: Vec<CString> =
        words.iter().map(|word| CString::new(*word).expect("it was cut at NULs")).collect();
    let mut arguments = words.iter().map(CString::as_c_str);
    let mut options = Options::NONE;
    // Whoever is lenient goes on behind a mistake.
    while parse(&mut arguments, &mut options).is_err() {}
    for word in &words {
        _ = (parse_peer(word), parse_address(word, 5000));
    }
}

fn client_word(word: &OsStr) {
    match Target::parse(word, 5000) {
        Ok(target) => assert_is_typed_as_shown(&target.address),
        Err(error) => assert_plain(&error.to_string()),
    }
    if let Err(error) = Listen::parse(word, 5000) {
        assert_plain(&error.to_string());
    }
    if let Err(error) = Operand::parse(word, 5000) {
        assert_plain(&error.to_string());
    }
    if let Ok((first, second)) = split_pair(word) {
        assert!(!first.is_empty() && !second.is_empty());
        assert!(first.len() + second.len() < word.len());
    }
    _ = word.to_str().map(Since::parse);
}

/// An address is shown as it can be typed, where nothing in it had to be escaped.
pub(crate) fn assert_is_typed_as_shown(address: &Address) {
    let shown = address.to_string();
    assert_plain(&shown);
    let is_as_it_is = shown.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'@'));
    if is_as_it_is && !matches!(address, Address::Listen(_)) {
        let again = Target::parse(OsStr::new(&shown), 5000).map(|target| target.address);
        assert_eq!(again.as_ref(), Ok(address), "{shown}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_has_words_of_both_programs_and_of_their_verbs() {
        for word in ["--deny", "system-write", "--upload", "--exclude", "cp", "--follow", "--expect-boot-id"]
        {
            assert!(vocabulary().iter().any(|known| known == word), "{word}: {:?}", vocabulary());
        }
        assert!(vocabulary().len() <= 256, "one byte chooses");
    }
}
