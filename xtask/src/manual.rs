//! The manual page of the agent, `vsock-shell-agent(8)`: its prose, which stands beside the agent, and between it the options,
//! as the agent's own `--help` has them. The agent itself carries nothing of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use roff::{Inline, Roff, bold, italic, roman};

/// The prose, with places for what is filled in.
const PROSE: &str = include_str!("../../agent/manual/vsock-shell-agent.8.in");

/// Where in a line of `--help` the words about an option begin.
const ABOUT: usize = 18;

/// The page, of what the agent prints for `--help`.
///
/// # Errors
/// The prose is about an option that is not in `help`, or has no place for something.
pub fn agent_page(help: &str) -> Result<String> {
    let options = options(help);
    let (before, rest) = PROSE.split_once("@options\n").context("no place for the options")?;
    let (more, behind) = rest.split_once("@end\n").context("no end of the options' prose")?;
    let mut more = paragraphs(more);
    let mut list = String::new();
    for (spelled, about) in &options {
        let mut item = Roff::new();
        item.control("TP", []).text(term(spelled)).text([roman(sentence(about))]);
        list.push_str(&item.to_roff());
        let name = spelled.split([' ', ',']).find(|word| more.contains_key(*word));
        list.push_str(&name.and_then(|name| more.remove(name)).unwrap_or_default());
    }
    if let Some(option) = more.keys().next() {
        bail!("the manual page is about {option}, which is no option");
    }
    let page = [before, &list, behind].concat();
    Ok(page.replace("@synopsis\n", &synopsis(help)).replace("@version", env!("CARGO_PKG_VERSION")))
}

/// Each option as it is spelled, and the words about it.
pub fn options(help: &str) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let (spelled, about) = line.split_at_checked(ABOUT).unwrap_or((line, ""));
        if let Some(option) = spelled.strip_prefix("  ").filter(|option| option.starts_with('-')) {
            options.push((option.trim().to_owned(), about.to_owned()));
        } else if let (Some((_, before)), true) = (options.last_mut(), spelled.trim().is_empty()) {
            before.push(' ');
            before.push_str(about);
        }
    }
    options
}

/// How the usage of `--help` is written on a page.
fn synopsis(help: &str) -> String {
    let usage = help.lines().take_while(|line| line.starts_with("Usage: ") || line.starts_with(' '));
    let words = usage.flat_map(str::split_whitespace).skip(1);
    let mut synopsis = Roff::new();
    synopsis.text(term(&words.collect::<Vec<_>>().join(" ")));
    // A bracket stays with what is in it, and lines are short.
    synopsis.to_roff().replace(" [", "\n[")
}

/// What is typed, and what stands for something, which is in capitals.
fn term(words: &str) -> Vec<Inline> {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let mut inlines = Vec::new();
    let mut rest = words;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter| is_of_word(letter) != is_of_word(first)).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        inlines.push(if !is_of_word(first) {
            roman(piece)
        } else if piece.chars().all(|letter| letter.is_ascii_uppercase()) {
            italic(piece)
        } else {
            bold(piece)
        });
        rest = behind;
    }
    inlines
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    // Each line of it is filled by the formatter.
    format!("{first}{}.", letters.as_str()).replace("; ", ";\n").replace(", ", ",\n")
}

/// What is said of each option: a line that begins with a hyphen names it, and what follows is about it.
fn paragraphs(text: &str) -> BTreeMap<String, String> {
    let mut paragraphs: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match paragraphs.last_mut() {
            _ if line.starts_with('-') => paragraphs.push((line.to_owned(), String::new())),
            Some((_, paragraph)) => {
                paragraph.push_str(line);
                paragraph.push('\n');
            }
            None => {}
        }
    }
    paragraphs.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
Usage: agent [-p PORT] [--listen ADDR]...
             [--key FILE]
Does things.

  -p PORT         vsock port
  --listen ADDR   this,
                  or that
  --max-number N  at most
  -h, --help      print this
";

    #[test]
    fn options_are_read_with_the_lines_that_go_on() {
        let expected = [
            ("-p PORT", "vsock port"),
            ("--listen ADDR", "this, or that"),
            ("--max-number N", "at most"),
            ("-h, --help", "print this"),
        ];
        let expected = expected.map(|(spelled, about)| (spelled.to_owned(), about.to_owned()));
        assert_eq!(options(HELP), expected);
    }

    #[test]
    fn the_usage_is_in_lines() {
        let expected = "\\fBagent\\fR\n[\\fB\\-p\\fR \\fIPORT\\fR]\n[\\fB\\-\\-listen\\fR \\fIADDR\\fR]...\n";
        assert!(synopsis(HELP).starts_with(expected), "{}", synopsis(HELP));
    }

    #[test]
    fn prose_about_what_is_no_option_is_an_error() {
        assert!(agent_page(HELP).unwrap_err().to_string().contains("which is no option"));
    }
}
