//! Owns how a page of `man(7)` is written: sections, paragraphs, items, examples.
//!
//! In prose, what stands between backquotes is written on the command line, and is bold.

use roff::{Inline, Roff, bold, italic, roman};

/// A page, as far as it is written.
pub(super) struct Page {
    roff: Roff,
    /// A heading came last, and a paragraph needs no sign of its own.
    is_fresh: bool,
}

impl Page {
    pub(super) fn new(name: &str, section: &str, date: &str, source: &str) -> Self {
        let mut roff = Roff::new();
        // A word that is typed is not divided at the end of a line.
        roff.control("TH", [name, section, date, source]).control("nh", []);
        Self { roff, is_fresh: true }
    }

    pub(super) fn section(&mut self, title: &str) {
        self.roff.control("SH", [title]);
        self.is_fresh = true;
    }

    pub(super) fn subsection(&mut self, title: &str) {
        self.roff.control("SS", [title]);
        self.is_fresh = true;
    }

    /// Text that goes on behind what is there.
    pub(super) fn line(&mut self, text: impl IntoIterator<Item = Inline>) {
        self.roff.text(wrapped(text));
        self.is_fresh = false;
    }

    pub(super) fn line_break(&mut self) {
        self.roff.control("br", []);
    }

    pub(super) fn paragraphs(&mut self, paragraphs: &[&str]) {
        for text in paragraphs {
            if !self.is_fresh {
                self.roff.control("PP", []);
            }
            self.line(prose(text));
        }
    }

    /// What is explained, and the explanation.
    pub(super) fn item(&mut self, term: Vec<Inline>, text: &str) {
        self.roff.control("TP", []);
        self.roff.text(term);
        self.line(prose(text));
    }

    pub(super) fn items(&mut self, items: &[(&str, &str)]) {
        for (term, text) in items {
            self.item(vec![bold(*term)], text);
        }
    }

    /// Items that belong to the one before.
    pub(super) fn indented(&mut self, write: impl FnOnce(&mut Self)) {
        self.roff.control("RS", []);
        write(self);
        self.roff.control("RE", []);
    }

    /// What a command line does, and the line.
    pub(super) fn examples(&mut self, examples: &[(&str, &str)]) {
        for (text, line) in examples {
            self.paragraphs(&[text]);
            self.roff.control("PP", []).control("RS", []).control("EX", []);
            self.roff.text([roman(*line)]);
            self.roff.control("EE", []).control("RE", []);
        }
    }

    pub(super) fn finish(self) -> String {
        // Letters that formatters take for accents or quotes where they mean themselves.
        self.roff.render().replace('~', "\\(ti").replace('^', "\\(ha").replace("\\\\", "\\e")
    }
}

/// A synopsis: what is written as it is, and what stands for something.
pub(super) fn usage(words: &str) -> Vec<Inline> {
    pieces(words, |piece| {
        let is_name = piece.starts_with(|first: char| first.is_ascii_uppercase())
            && piece.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit());
        if is_name { italic(piece) } else { bold(piece) }
    })
}

/// Cuts words from what stands around and between them, which is roman.
pub(super) fn pieces(words: &str, font: impl Fn(&str) -> Inline) -> Vec<Inline> {
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '-';
    let mut inlines = Vec::new();
    let mut rest = words;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter| is_of_word(letter) != is_of_word(first)).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        inlines.push(if is_of_word(first) { font(piece) } else { roman(piece) });
        rest = behind;
    }
    inlines
}

/// The same text in lines that an editor shows whole, as `mandoc -T lint` wants them; the formatter fills its own.
fn wrapped(text: impl IntoIterator<Item = Inline>) -> Vec<Inline> {
    /// Of 80, less what signs of the formatter take.
    const COLUMNS: usize = 60;
    let mut column = 0;
    let mut wrap = |text: String| {
        let mut wrapped = String::with_capacity(text.len());
        for (at, word) in text.split(' ').enumerate() {
            let is_full = column + 1 + word.len() > COLUMNS;
            match at {
                0 => {}
                _ if is_full => {
                    wrapped.push('\n');
                    column = 0;
                }
                _ => {
                    wrapped.push(' ');
                    column += 1;
                }
            }
            wrapped.push_str(word);
            column += word.len();
        }
        wrapped
    };
    let text = text.into_iter();
    text.map(|inline| match inline {
        Inline::Roman(text) => Inline::Roman(wrap(text)),
        Inline::Bold(text) => Inline::Bold(wrap(text)),
        Inline::Italic(text) => Inline::Italic(wrap(text)),
        Inline::LineBreak => Inline::LineBreak,
    })
    .collect()
}

/// Prose with words to type in it.
fn prose(text: &str) -> Vec<Inline> {
    let pieces = text.split('`').enumerate();
    pieces
        .filter(|(_, piece)| !piece.is_empty())
        .map(|(at, piece)| if at % 2 == 1 { bold(piece) } else { roman(piece) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_is_typed() {
        let expected = [italic("TARGET"), roman(" "), bold("-L"), roman("|"), bold("-D"), roman(" [")];
        let expected = expected.into_iter().chain([italic("ARG0"), roman("]...")]).collect::<Vec<_>>();
        assert_eq!(usage("TARGET -L|-D [ARG0]..."), expected);
        assert_eq!(usage("unix:PATH"), [bold("unix"), roman(":"), italic("PATH")]);
    }

    #[test]
    fn prose_has_bold_words() {
        assert_eq!(prose("with `-r` too"), [roman("with "), bold("-r"), roman(" too")]);
        assert_eq!(prose("`-`: stdin"), [bold("-"), roman(": stdin")]);
    }

    #[test]
    fn lines_are_short_and_no_word_is_lost() {
        let words = "a word ".repeat(40);
        let lines = wrapped(prose(&format!("{words}`{words}`")));
        let text: String = lines
            .iter()
            .map(|inline| match inline {
                Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.as_str(),
                Inline::LineBreak => "",
            })
            .collect();
        assert!(text.lines().all(|line| line.len() <= 60), "{text}");
        assert_eq!(text.replace('\n', " "), format!("{words}{words}"));
    }

    #[test]
    fn no_letter_of_a_text_means_something_to_the_formatter() {
        let mut page = Page::new("A", "1", "2026-01-01", "a 1");
        page.paragraphs(&[".x 'y' ~^ `\\:` a-b"]);
        let text = page.finish();
        assert!(text.ends_with("\\&.x \\*(Aqy\\*(Aq \\(ti\\(ha \\fB\\e:\\fR a\\-b\n"), "{text}");
    }
}
