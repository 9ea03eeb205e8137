//! The manual page of the agent: what is on it, and what the programs make of it that people read it with.

use std::process::Command;

use vsock_shell_agent::args::{HELP, LONG};
use vsock_shell_agent::init::settings::KEYS;
use xtask::manual::{agent_page, options};
use xtask::scratch::Scratch;

fn page() -> String {
    agent_page(HELP.to_str().unwrap()).unwrap()
}

/// What a program makes of the page, without a word on standard error.
fn rendered(program: &str, words: &[&str]) -> String {
    let folder = Scratch::new(&std::env::temp_dir(), "manual").unwrap();
    let file = folder.path("vsock-shell-agent.8");
    std::fs::write(&file, page()).unwrap();
    let mut command = Command::new(program);
    command.args(words).arg(&file).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let mut plain = String::new();
    // A letter that is struck twice is bold, one over an underscore stands for something.
    for letter in String::from_utf8(output.stdout).unwrap().chars() {
        if letter == '\u{8}' { _ = plain.pop() } else { plain.push(letter) }
    }
    plain
}

#[test]
fn the_page_is_without_a_fault_to_mandoc() {
    assert_eq!(rendered("mandoc", &["-T", "lint", "-W", "style"]), "");
}

#[test]
fn every_option_of_the_parser_and_every_key_of_process_1_is_on_the_rendered_page() {
    for text in
        [rendered("man", &["--warnings", "-l"]), rendered("mandoc", &["-T", "utf8", "-O", "width=100"])]
    {
        let begins = |words: &str| {
            let goes_on = |rest: &str| rest.is_empty() || rest.starts_with([' ', ',']);
            text.lines().any(|line| line.trim_start().strip_prefix(words).is_some_and(goes_on))
        };
        for (spelled, _) in options(HELP.to_str().unwrap()) {
            assert!(begins(&spelled), "{text}: no {spelled}");
        }
        for option in LONG {
            let option = str::from_utf8(option).unwrap();
            let letters = ["-h, ", "-V, "].map(|letter| format!("{letter}{option}"));
            assert!(begins(option) || letters.iter().any(|words| begins(words)), "{text}: no {option}");
        }
        for key in KEYS {
            assert!(begins(str::from_utf8(key).unwrap()), "{text}: no {key:?}");
        }
        assert!(text.contains(&format!("vsock-shell {}", env!("CARGO_PKG_VERSION"))), "{text}");
        assert!(!text.contains('@'), "{text}");
    }
}
