//! Owns the manual page, `vsock-shell(1)`: the tables of `flags`, and the prose of `manual/prose`, as `man(7)` wants them.
//!
//! `manual/page` knows how that is written.

mod page;
mod prose;

use crate::escape;
use crate::flags::{ADDRESSES, Flag, Form, SECTIONS, SYNOPSES, VERBS, Verb};
use crate::help::SUMMARY;
use page::{Page, pieces, usage};
use roff::{Inline, bold, italic, roman};

/// When what the page says has last changed.
const DATE: &str = "2026-11-27";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = Page::new("VSOCK-SHELL", "1", DATE, concat!("vsock-shell ", env!("CARGO_PKG_VERSION")));
    page.section("NAME");
    page.line([roman(format!(
        "vsock-shell - {}",
        SUMMARY.to_lowercase().replace("linux", "Linux").replace("vm ", "VM ")
    ))]);
    page.section("SYNOPSIS");
    synopses(&mut page);
    page.section("DESCRIPTION");
    page.paragraphs(prose::DESCRIPTION);
    page.section("TARGETS");
    for address in ADDRESSES {
        page.item(usage(address.words), address.help);
    }
    page.paragraphs(prose::TARGETS);
    page.section("VERBS");
    VERBS.iter().for_each(|row| verb(&mut page, row));
    page.section("OPTIONS");
    page.paragraphs(prose::OPTIONS);
    for section in SECTIONS {
        page.subsection(section.title);
        section.flags.iter().for_each(|row| flag(&mut page, row));
    }
    page.section("FORWARDING");
    page.paragraphs(prose::FORWARDING);
    page.section("FILES");
    page.items(prose::FILES);
    let (before, example, behind) = prose::CONFIGURATION;
    page.examples(&[(before, example)]);
    page.paragraphs(&[behind]);
    page.section("ENVIRONMENT");
    page.items(prose::ENVIRONMENT);
    page.section("EXIT STATUS");
    page.items(prose::STATUS);
    page.section("ESCAPES");
    page.paragraphs(prose::ESCAPES);
    for (key, help) in escape::KEYS {
        page.item(vec![bold(format!("~{}", if key.is_empty() { "~" } else { key }))], help);
    }
    page.section("EXAMPLES");
    page.examples(prose::EXAMPLES);
    page.section("SEE ALSO");
    page.line(prose::ALSO.iter().enumerate().flat_map(|(at, (name, section))| {
        [roman(if at == 0 { "" } else { ", " }), bold(*name), roman(format!("({section})"))]
    }));
    page.finish()
}

fn synopses(page: &mut Page) {
    let forms = SYNOPSES.iter().map(|row| row.words.to_owned());
    let verbs = VERBS.iter().map(|verb| format!("{} {}", verb.name, verb.words));
    for (at, words) in forms.chain(verbs).enumerate() {
        if at > 0 {
            page.line_break();
        }
        page.line([bold("vsock-shell"), roman(" ")].into_iter().chain(usage(words.trim_end())));
    }
}

fn verb(page: &mut Page, verb: &Verb) {
    page.item(usage(format!("{} {}", verb.name, verb.words).trim_end()), &sentences(verb.help, verb.more));
    if !verb.forms.is_empty() {
        page.indented(|page| verb.forms.iter().for_each(|row| form(page, verb, row)));
    }
}

fn form(page: &mut Page, verb: &Verb, form: &Form) {
    let words = format!("{} {} TARGET {}", verb.name, form.name, form.words);
    page.item(usage(words.trim_end()), &sentences(form.help, ""));
    if !form.flags.is_empty() {
        page.indented(|page| {
            for flag in form.flags {
                let letter = flag.letter.map(|letter| format!("-{letter}"));
                let spellings = letter.into_iter().chain([format!("--{}", flag.long)]);
                page.item(spelled(spellings, flag.value), &sentences(flag.help, ""));
            }
        });
    }
}

fn flag(page: &mut Page, flag: &'static Flag) {
    let mut help = sentences(flag.help, flag.more);
    if let Some(home) = flag.home {
        help = format!("Behind `{}`: {}", home.name(), flag.help.to_owned() + &help[flag.help.len()..]);
    }
    page.item(spelled(flag.spellings(None).into_iter(), flag.value()), &help);
}

/// The ways to write a flag, and its value.
fn spelled(spellings: impl Iterator<Item = String>, value: Option<&str>) -> Vec<Inline> {
    let mut term = Vec::new();
    for (at, spelling) in spellings.enumerate() {
        if at > 0 {
            term.push(roman(", "));
        }
        term.push(bold(spelling));
    }
    if let Some(value) = value {
        term.push(roman(" "));
        term.extend(pieces(value, |piece| {
            if piece.chars().any(char::is_lowercase) { bold(piece) } else { italic(piece) }
        }));
    }
    term
}

/// The words of a table as a sentence, and what stands behind it.
fn sentences(help: &str, more: &str) -> String {
    let mut letters = help.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let space = if more.is_empty() { "" } else { " " };
    format!("{first}{}.{space}{more}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::all;

    /// The page without what the formatter sees of it.
    fn plain() -> String {
        page()
            .replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
            .replace("\\-", "-")
            .replace("\\(ti", "~")
    }

    #[test]
    fn every_flag_verb_and_escape_has_an_item() {
        let page = plain();
        for flag in all() {
            let spelled = flag.spellings(None).join(", ");
            assert!(page.contains(&format!(".TP\n{spelled}")), "{spelled}");
        }
        for verb in VERBS {
            assert!(page.contains(format!(".TP\n{} {}", verb.name, verb.words).trim_end()), "{}", verb.name);
            for form in verb.forms {
                let words = format!(".TP\n{} {} TARGET {}", verb.name, form.name, form.words);
                assert!(page.contains(words.trim_end()), "{}", form.name);
            }
        }
        assert!(page.contains(".TP\n~.\n") && page.contains(".TP\n~~\n"));
    }

    #[test]
    fn what_is_said_of_a_flag_is_sentences() {
        assert_eq!(sentences("end it", "At once."), "End it. At once.");
        assert!(plain().contains("\n-p, --preserve\nBehind cp: with owners"));
    }
}
