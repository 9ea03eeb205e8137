//! The manual page of the client as the programs render it that people read it with.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::guest::{Directory, client};

/// What the client prints.
fn printed(words: &[&str]) -> String {
    let output = client(words).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a program makes of the page, without a word on standard error.
fn rendered(program: &str, words: &[&str], page: &Path) -> String {
    let mut command = Command::new(program);
    command.args(words).arg(page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
    command.env("MANROFFOPT", "-c").env("MAN_KEEP_FORMATTING", "").env_remove("MANPAGER");
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // A letter that is struck twice is bold, one over an underscore stands for something.
    let mut plain = String::new();
    for letter in text.chars() {
        if letter == '\u{8}' { _ = plain.pop() } else { plain.push(letter) }
    }
    plain
}

/// The page in a file.
fn page(directory: &Directory) -> std::path::PathBuf {
    directory.file("vsock-shell.1", printed(&["manual"]).as_bytes())
}

/// What begins a line of the page, behind its indentation.
fn begins(text: &str, words: &str) -> bool {
    let goes_on = |line: &str| {
        line.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
    };
    text.lines().any(|line| goes_on(line.trim_start()))
}

/// Every way to write a flag in `--help`, as its line begins.
fn flags() -> BTreeSet<String> {
    let help = printed(&["--help"]);
    // What is said of one may go on in lines that are further to the right.
    let is_row =
        |line: &&str| line.find('-').is_some_and(|at| (2..=8).contains(&at) && line[..at].trim().is_empty());
    let rows = help.lines().filter(is_row);
    let spelled = |row: &str| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let last = words.iter().take_while(|word| word.starts_with('-') && word.ends_with(',')).count();
        words[..=last].join(" ")
    };
    rows.map(spelled).collect()
}

/// Every verb in `--help`, with the first ones of `fs` and `sys`.
fn verbs() -> BTreeSet<String> {
    let help = printed(&["--help"]);
    let words = help.lines().filter_map(|line| line.trim_start().strip_prefix("vsock-shell "));
    let verbs = words.filter_map(|words| words.split(' ').next());
    let is_verb = |verb: &&str| {
        verb.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') && !verb.starts_with('-')
    };
    let own = ["fs ls TARGET", "fs chmod TARGET", "sys dmesg TARGET", "sys reboot TARGET"];
    verbs.filter(is_verb).chain(own).map(str::to_owned).collect()
}

#[test]
fn the_page_is_without_a_fault_to_mandoc() {
    let directory = Directory::new();
    let page = page(&directory);
    assert_eq!(rendered("mandoc", &["-T", "lint", "-W", "style"], &page), "");
}

#[test]
fn every_flag_and_verb_is_on_the_rendered_page() {
    let directory = Directory::new();
    let page = page(&directory);
    let (flags, verbs) = (flags(), verbs());
    assert!(
        flags.len() > 60 && flags.contains("-r, -R, --recursive") && verbs.contains("cp"),
        "{flags:?} {verbs:?}"
    );
    for text in [
        rendered("man", &["--warnings", "-l"], &page),
        rendered("mandoc", &["-T", "utf8", "-O", "width=100"], &page),
    ] {
        for words in flags.iter().chain(&verbs) {
            assert!(begins(&text, words), "{text}: no {words}");
        }
    }
}

#[test]
fn the_page_has_its_sections_and_what_is_typed_is_shown_as_it_is_typed() {
    let directory = Directory::new();
    let page = page(&directory);
    let text = rendered("man", &["--warnings", "-l"], &page);
    let titles: Vec<&str> =
        text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase())).collect();
    let [head, titles @ ..] = &titles[..] else { panic!("{text}") };
    assert!(head.starts_with("VSOCK-SHELL(1)"), "{head}");
    assert_eq!(
        titles,
        [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "TARGETS",
            "VERBS",
            "OPTIONS",
            "FORWARDING",
            "FILES",
            "ENVIRONMENT",
            "EXIT STATUS",
            "ESCAPES",
            "EXAMPLES",
            "SEE ALSO"
        ]
    );
    for typed in [
        "~^Z",
        "~~",
        "unix%/run/agent.sock:/etc/fstab",
        "vsock-shell 3 'dmesg | tail'",
        "vsock-shell logs -f 3 $job",
        "names \\: is a colon",
    ] {
        assert!(text.contains(typed), "no {typed} in {text}");
    }
}
