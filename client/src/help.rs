//! Owns the texts of `-h`, `--help` and `-V`, which are made from the tables of `flags`.

use crate::flags::{ADDRESSES, Flag, Form, OwnFlag, SECTIONS, SYNOPSES, Use, VERBS, Verb, all};

/// What `-V` prints.
pub const VERSION: &str = concat!("vsock-shell ", env!("CARGO_PKG_VERSION"), "\n");

/// The longest line.
const COLUMNS: usize = 120;
/// Where the words about a usage, a verb and a flag begin.
const ABOUT_USAGE: usize = 64;
const ABOUT_VERB: usize = 38;
const ABOUT_FLAG: usize = 32;

pub(crate) const SUMMARY: &str = "A shell, a command or a file in a Linux guest, over a VM socket";

const BEHIND_TARGETS: &str = "\
With cp it is written without colons, `%` for `:` and `%%` for `%`: unix%/run/agent.sock:/etc/fstab

Options stand before or after TARGET, but before COMMAND.
";

const LAST_WORDS: &str = "
In a shell, at the beginning of a line: ~. ends the session, ~d leaves it running as a job,
~^Z suspends, ~~ sends a ~, ~? lists these.

Exit status: that of the command; 128+N when signal N killed it; 126 or 127 when it could not be executed or found;
255 when the guest could not be reached or vsock-shell itself failed.
";

/// The text about a verb, or about everything where it names none; in full, or what is needed every day.
#[must_use]
pub fn text(verb: Option<&str>, is_full: bool) -> String {
    let mut page = Page { text: String::new(), is_full };
    match VERBS.iter().find(|row| Some(row.name) == verb) {
        Some(verb) => page.verb(verb),
        None if is_full => page.everything(),
        None => page.everyday(),
    }
    page.text
}

struct Page {
    text: String,
    is_full: bool,
}

impl Page {
    /// One screen.
    fn everyday(&mut self) {
        self.text.push_str(&format!("{SUMMARY}.\n\n"));
        let forms = SYNOPSES.iter().filter(|row| row.is_everyday).map(|row| (row.words, row.help));
        self.usages(forms.chain([("VERB ...", "one of those below; vsock-shell VERB -h is about it")]));
        self.targets();
        self.title("Verbs");
        for verb in VERBS {
            let words = format!("  {} {}", verb.name, verb.words);
            self.row(words.trim_end(), verb.help, ABOUT_VERB);
        }
        self.title("Options, of which vsock-shell --help has all");
        all().filter(|flag| flag.is_everyday).for_each(|flag| self.flag(flag, None));
        self.text.push_str(LAST_WORDS);
    }

    fn everything(&mut self) {
        self.text.push_str(&format!("{SUMMARY}.\n\n"));
        let forms = SYNOPSES.iter().map(|row| (row.words.to_owned(), row.help.to_owned()));
        let verbs = VERBS.iter().map(|verb| (format!("{} {}", verb.name, verb.words), about(verb)));
        self.usages(forms.chain(verbs));
        self.targets();
        for section in SECTIONS {
            self.title(section.title);
            section.flags.iter().for_each(|flag| self.flag(flag, None));
        }
        for verb in VERBS.iter().filter(|verb| !verb.forms.is_empty()) {
            self.title(&format!("Verbs of {}", verb.name));
            verb.forms.iter().for_each(|form| self.form(verb, form));
        }
        self.text.push_str(LAST_WORDS);
    }

    fn verb(&mut self, verb: &Verb) {
        let words = format!("Usage: vsock-shell {} {}", verb.name, verb.words);
        self.row(words.trim_end(), verb.help, ABOUT_USAGE);
        if self.is_full && !verb.more.is_empty() {
            self.text.push('\n');
            self.row("", verb.more, 0);
        }
        if !verb.forms.is_empty() {
            self.title("Verbs");
            verb.forms.iter().for_each(|form| self.form(verb, form));
        }
        self.title("Options");
        all().filter(|flag| flag.uses.contains(verb.of)).for_each(|flag| self.flag(flag, Some(verb.of)));
    }

    /// The ways to write it, each with what that does.
    fn usages<W: AsRef<str>, H: AsRef<str>>(&mut self, usages: impl Iterator<Item = (W, H)>) {
        for (at, (words, help)) in usages.enumerate() {
            let start = if at == 0 { "Usage: " } else { "       " };
            let written = format!("{start}vsock-shell {}", words.as_ref());
            self.row(written.trim_end(), help.as_ref(), ABOUT_USAGE);
        }
    }

    fn targets(&mut self) {
        self.text.push_str("\nTARGET is one of\n");
        for address in ADDRESSES {
            self.row(&format!("  {}", address.words), address.help, ABOUT_FLAG);
        }
        self.text.push_str(BEHIND_TARGETS);
    }

    fn form(&mut self, verb: &Verb, form: &Form) {
        let words = format!("  {} {} TARGET {}", verb.name, form.name, form.words);
        self.row(words.trim_end(), form.help, ABOUT_USAGE);
        form.flags.iter().for_each(|flag| self.own_flag(flag));
    }

    /// A flag of the client, as it is written behind this verb.
    fn flag(&mut self, flag: &'static Flag, there: Option<Use>) {
        let words = flag.spellings(there);
        let Some(first) = words.first() else { return };
        // Words stand below each other.
        let indent = if first.starts_with("--") { "      " } else { "  " };
        let value = flag.value().map(|value| format!(" {value}")).unwrap_or_default();
        let mut help = flag.help.to_owned();
        // In the list of all of them its letters say something else.
        if let (None, Some(home)) = (there, flag.home) {
            help = format!("behind {}: {help}", home.name());
        }
        if self.is_full && !flag.more.is_empty() {
            help = format!("{help}. {}", flag.more);
        }
        self.row(&format!("{indent}{}{value}", words.join(", ")), &help, ABOUT_FLAG);
    }

    fn own_flag(&mut self, flag: &OwnFlag) {
        let letter = flag.letter.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        self.row(&format!("    {letter}--{}{value}", flag.long), flag.help, ABOUT_FLAG);
    }

    fn title(&mut self, title: &str) {
        self.text.push_str(&format!("\n{title}:\n"));
    }

    /// What is written, and from a column on what it is about, in as many lines as that needs.
    fn row(&mut self, written: &str, about: &str, column: usize) {
        let mut line = format!("{written:column$}");
        if written.chars().count() + 1 > column && !written.is_empty() {
            self.text.push_str(&format!("{written}\n"));
            line = " ".repeat(column);
        }
        let mut is_begun = false;
        for word in about.split(' ') {
            if is_begun && line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.text.push_str(&format!("{line}\n"));
                line = " ".repeat(column);
                is_begun = false;
            }
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
            is_begun = true;
        }
        self.text.push_str(&format!("{line}\n"));
    }
}

/// What a verb is for, and which it has itself.
fn about(verb: &Verb) -> String {
    let names: Vec<&str> = verb.forms.iter().map(|form| form.name).collect();
    if names.is_empty() { verb.help.to_owned() } else { format!("{}: {}", verb.help, names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Vec<String> {
        let verbs = VERBS.iter().map(|verb| Some(verb.name)).chain([None]);
        verbs.flat_map(|verb| [text(verb, false), text(verb, true)]).collect()
    }

    #[test]
    fn the_help_fits_a_terminal_of_120_columns_and_has_no_tabs() {
        for line in pages().iter().flat_map(|page| page.lines()) {
            assert!(line.chars().count() <= 120 && !line.contains('\t') && line.trim_end() == line, "{line}");
        }
    }

    #[test]
    fn every_flag_and_every_verb_is_in_the_full_text() {
        let page = text(None, true);
        for flag in all() {
            let spelled = flag.spellings(None).join(", ");
            let line = page.lines().find(|line| line.trim_start().starts_with(&spelled));
            let help = flag.help.split(' ').next().expect("it has a word");
            assert!(line.is_some_and(|line| line.contains(help)), "{spelled}");
        }
        for verb in VERBS {
            let usage = format!("       vsock-shell {} {}", verb.name, verb.words);
            assert!(page.contains(usage.trim_end()), "{}", verb.name);
            let own = text(Some(verb.name), false);
            for form in verb.forms {
                assert!(own.contains(&format!("  {} {} TARGET", verb.name, form.name)), "{}", form.name);
                assert!(form.flags.iter().all(|flag| own.contains(flag.help)), "{}", form.name);
            }
        }
    }

    #[test]
    fn the_everyday_text_is_a_screen_with_every_verb_and_the_flags_of_every_day() {
        let page = text(None, false);
        assert!(page.lines().count() <= 66, "{} lines", page.lines().count());
        for verb in VERBS {
            assert!(page.contains(&format!("\n  {} {}", verb.name, verb.words)), "{}", verb.name);
        }
        for flag in all() {
            let spelled = format!("{} ", flag.spellings(None).join(", "));
            // What does not fit a line goes on in the next one.
            let words = flag.help.split(' ').take(3).collect::<Vec<_>>().join(" ");
            let is_there =
                page.lines().any(|line| line.trim_start().starts_with(&spelled) && line.contains(&words));
            assert_eq!(is_there, flag.is_everyday, "{spelled}");
        }
    }

    #[test]
    fn the_text_about_a_verb_has_its_flags_and_no_others() {
        let page = text(Some("cp"), false);
        assert!(
            page.contains("-p, --preserve") && page.contains("      --port") && !page.contains("-p, --port")
        );
        assert!(!page.contains("--detach") && !page.contains("--listen ADDR"), "{page}");
    }

    #[test]
    fn the_text_about_fs_has_no_letter_twice() {
        let page = text(Some("fs"), false);
        assert!(
            page.contains("    -p, --parents") && page.contains("      --port") && !page.contains("-l USER")
        );
    }

    #[test]
    fn the_longer_texts_have_more() {
        let (short, long) = (text(None, false), text(None, true));
        let more = "It gets SIGTERM first";
        assert!(long.contains(more) && !short.contains(more));
        assert!(long.contains("fs mkdir TARGET"));
        let (short, long) = (text(Some("keygen"), false), text(Some("keygen"), true));
        assert!(long.contains("256 random bits") && !short.contains("256 random bits"));
    }

    #[test]
    fn the_version_is_one_line() {
        assert_eq!(VERSION.lines().count(), 1);
        assert!(VERSION.ends_with('\n'));
    }
}
