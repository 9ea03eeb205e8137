//! Tests of `flags`: the tables hold what the rest relies on.

use std::collections::BTreeSet;

use super::*;

/// Every use that messages can name.
fn uses() -> impl Iterator<Item = Use> {
    [Use::Run, Use::Transfer, Use::Pass].into_iter().chain(VERBS.iter().map(|verb| verb.of))
}

#[test]
fn a_spelling_means_one_flag_wherever_it_stands() {
    let words: Vec<_> = all().filter_map(|flag| flag.long).collect();
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
    for of in uses() {
        let letters: Vec<char> = all()
            .filter(|flag| flag.home.is_none() || flag.home == Some(of))
            .flat_map(|flag| flag.letters.chars())
            .collect();
        for letter in &letters {
            let owners = all().filter(|flag| flag.letters.contains(*letter));
            let is_at_home = |flag: &&Flag| flag.home == Some(of);
            let (at_home, elsewhere): (Vec<_>, Vec<_>) =
                owners.filter(|flag| flag.home.is_none() || flag.home == Some(of)).partition(is_at_home);
            assert!(at_home.len() <= 1 && elsewhere.len() <= 1, "-{letter} in {of:?}");
        }
    }
}

#[test]
fn letters_behind_cp_are_those_of_cp() {
    let word = |letter, there| by_letter(letter, there).and_then(|flag| flag.long);
    assert_eq!(word('p', Use::Copy), Some("preserve"));
    assert_eq!(word('p', Use::Run), Some("port"));
    assert_eq!((word('R', Use::Copy), word('r', Use::Copy)), (Some("recursive"), Some("recursive")));
    assert_eq!(by_letter('R', Use::Run).and_then(Flag::value), Some("SPEC"));
    // There is no other one that could be meant before the verb.
    assert_eq!(word('r', Use::Run), Some("recursive"));
    assert!(by_letter('Z', Use::Run).is_none() && by_word("z").is_none());
}

#[test]
fn every_flag_has_a_spelling_a_line_and_something_that_it_goes_with() {
    for flag in all() {
        assert!(!flag.spellings(None).is_empty(), "{flag:?}");
        assert!(!flag.help.is_empty() && !flag.help.ends_with('.') && !flag.help.contains('\n'), "{flag:?}");
        assert!(flag.more.is_empty() || flag.more.ends_with('.'), "{flag:?}");
        assert!(uses().any(|of| flag.uses.contains(of)), "{flag:?}");
        assert!(flag.home.is_none_or(|home| flag.uses.contains(home)), "{flag:?}");
    }
}

#[test]
fn every_verb_has_one_name_and_one_use() {
    let names: BTreeSet<_> = VERBS.iter().map(|verb| verb.name).collect();
    assert_eq!(names.len(), VERBS.len());
    let uses: BTreeSet<_> = uses().map(|of| of as u32).collect();
    assert_eq!(uses.len(), VERBS.len() + 3, "two verbs have the same use");
    assert!(VERBS.iter().all(|verb| verb.of.name() == verb.name && !verb.help.is_empty()));
    for form in FS.iter().chain(SYSTEM) {
        assert!(form.least <= form.most && !form.help.is_empty(), "{}", form.name);
    }
}

#[test]
fn letters_of_the_verbs_of_fs_and_sys_are_no_flags_of_the_client_there() {
    for there in [Use::Fs, Use::System] {
        for letter in ['p', 'l', 's', 't', 'o', 'f', 'a', 'd', 'r'] {
            assert!(by_letter(letter, there).is_none(), "{letter}");
        }
        for letter in ['q', 'v', 'h'] {
            assert!(by_letter(letter, there).is_some(), "{letter}");
        }
    }
}
