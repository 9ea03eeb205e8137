//! Owns the texts of `-h`, `--help` and `-V`, which are made from the tables of `flags`.

use crate::flags::{Flag, Form, OwnFlag, SECTIONS, SYNOPSES, Use, VERBS, Verb, all};

/// What `-V` prints.
pub const VERSION: &str = concat!("vsock-shell ", env!("CARGO_PKG_VERSION"), "\n");

/// The longest line.
const COLUMNS: usize = 120;
/// Where the words about a usage and about a flag begin.
const ABOUT_USAGE: usize = 64;
const ABOUT_FLAG: usize = 32;

const TARGETS: &str = "
TARGET is one of
  3, vsock:3[:PORT]             the guest with context id 3
  mux:PATH[:PORT]               the Unix socket of Firecracker, Cloud Hypervisor or vhost-device-vsock
  unix:PATH                     a Unix socket
  tcp:HOST:PORT                 a TCP stream
  serial:PATH                   a virtio-serial socket or a serial line
  exec:COMMAND                  the standard input and output of a command
  NAME                          one of the configuration, or a guest that runs here; see vsock-shell targets
With cp it is written without colons, `%` for `:` and `%%` for `%`: unix%/run/agent.sock:/etc/fstab

Options stand before or after TARGET, but before COMMAND.
";

const LAST_WORDS: &str = "
In a shell, at the beginning of a line: ~. ends the session, ~d leaves it running as a job,
~^Z suspends, ~~ sends a ~, ~? lists these.

Exit status: that of the command; 128+N when signal N killed it; 126 or 127 when it could not be executed or found;
255 when the guest could not be reached or vsock-shell itself failed.
";

/// The text about a verb, or about everything where it names none; in full, or a line for each thing.
#[must_use]
pub fn text(verb: Option<&str>, is_full: bool) -> String {
    let mut page = Page { text: String::new(), is_full };
    match VERBS.iter().find(|row| Some(row.name) == verb) {
        Some(verb) => page.verb(verb),
        None => page.everything(),
    }
    page.text
}

struct Page {
    text: String,
    is_full: bool,
}

impl Page {
    fn everything(&mut self) {
        self.text.push_str("A shell, a command or a file in a Linux guest, over a VM socket.\n\n");
        let forms = SYNOPSES.iter().map(|row| (row.words.to_owned(), row.help.to_owned()));
        let verbs = VERBS.iter().map(|verb| (format!("{} {}", verb.name, verb.words), about(verb)));
        for (at, (words, help)) in forms.chain(verbs).enumerate() {
            let start = if at == 0 { "Usage: " } else { "       " };
            self.row(&format!("{start}vsock-shell {words}"), &help, ABOUT_USAGE);
        }
        self.text.push_str(TARGETS);
        for section in SECTIONS {
            self.title(section.title);
            section.flags.iter().for_each(|flag| self.flag(flag, None));
        }
        if self.is_full {
            for verb in VERBS.iter().filter(|verb| !verb.forms.is_empty()) {
                self.title(&format!("Verbs of {}", verb.name));
                verb.forms.iter().for_each(|form| self.form(verb, form));
            }
        } else {
            self.text.push_str("\nvsock-shell VERB -h is about a verb; vsock-shell --help tells more.\n");
        }
        self.text.push_str(LAST_WORDS);
    }

    fn verb(&mut self, verb: &Verb) {
        let words = format!("Usage: vsock-shell {} {}", verb.name, verb.words);
        self.row(&words, verb.help, ABOUT_USAGE);
        if !verb.forms.is_empty() {
            self.title("Verbs");
            verb.forms.iter().for_each(|form| self.form(verb, form));
        }
        self.title("Options");
        all().filter(|flag| flag.uses.contains(verb.of)).for_each(|flag| self.flag(flag, Some(verb.of)));
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
        if written.chars().count() + 1 > column {
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
    fn every_flag_and_every_verb_is_in_it() {
        let page = text(None, false);
        for flag in all() {
            let spelled = flag.spellings(None).join(", ");
            let line = page.lines().find(|line| line.trim_start().starts_with(&spelled));
            let help = flag.help.split(' ').next().expect("it has a word");
            assert!(line.is_some_and(|line| line.contains(help)), "{spelled}");
        }
        for verb in VERBS {
            assert!(
                page.contains(&format!("       vsock-shell {} {}", verb.name, verb.words)),
                "{}",
                verb.name
            );
            let own = text(Some(verb.name), false);
            for form in verb.forms {
                assert!(own.contains(&format!("  {} {} TARGET", verb.name, form.name)), "{}", form.name);
                assert!(form.flags.iter().all(|flag| own.contains(flag.help)), "{}", form.name);
            }
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
    fn the_longer_text_has_all_of_the_shorter_and_more() {
        let (short, long) = (text(None, false), text(None, true));
        let more = "It gets SIGTERM first";
        assert!(long.contains(more) && !short.contains(more));
        assert!(long.contains("fs mkdir TARGET"));
    }

    #[test]
    fn the_version_is_one_line() {
        assert_eq!(VERSION.lines().count(), 1);
        assert!(VERSION.ends_with('\n'));
    }
}
