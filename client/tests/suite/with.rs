//! Programs of this side, executed in the guest's memory.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::guest::pty::Terminal;
use crate::guest::{Guest, Running, TARGET, names};

/// A program that is there wherever these tests run.
const SHELL: &str = "/bin/sh";

/// `sh` with the words behind it.
fn sh<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&[TARGET, "--with", SHELL, "--", "sh"], words].concat()
}

/// A copy of the shell in which some bytes are others.
fn patched(guest: &Guest, name: &str, patch: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut program = fs::read(SHELL).unwrap();
    patch(&mut program);
    guest.directory.file(name, &program)
}

#[test]
fn it_gets_its_words_and_tells_its_status() {
    let guest = Guest::start();
    let finished = guest.run(sh(&["-c", "echo \"$0\" \"$@\"; echo err >&2; exit 7", "zero", "a b", ""]));
    assert_eq!((finished.status(), finished.stdout(), finished.stderr()), (7, "zero a b \n", "err\n"));
    let finished = guest.run(sh(&["-c", "kill -KILL $$"]));
    assert_eq!(finished.status(), 137);
    let mut reading = guest.client(sh(&["-c", "cat"]));
    assert_eq!(
        Running::start(&mut reading).finish(b"over standard input").succeeded(),
        "over standard input"
    );
}

#[test]
fn its_first_word_may_be_any_and_without_words_it_is_its_own_name() {
    let guest = Guest::start();
    let name = |words: &[&str]| guest.run(words).succeeded().trim_end().to_owned();
    let ask = "tr '\\0' '\\n' < /proc/$$/cmdline | head -n 1";
    assert_eq!(name(&[TARGET, "--with", SHELL, "--", "any", "-c", ask]), "any");
    let mut alone = guest.client([TARGET, "--with", SHELL]);
    assert_eq!(Running::start(&mut alone).finish(ask.as_bytes()).succeeded(), "sh\n");
}

#[test]
fn nothing_of_it_touches_a_disk() {
    let guest = Guest::start();
    let exe = guest.run(sh(&["-c", "readlink /proc/$$/exe"])).succeeded().to_owned();
    assert!(exe.starts_with("/memfd:vsock-shell"), "{exe}");
    assert_eq!(names(guest.directory.path("")), ["log", "socket"]);
    // Nor does it inherit a descriptor of its own file.
    let open = guest.run(sh(&["-c", "ls -l /proc/$$/fd"])).succeeded().to_owned();
    assert!(!open.contains("memfd"), "{open}");
}

#[test]
fn it_can_have_a_terminal_and_be_a_job() {
    let guest = Guest::start();
    let mut terminal =
        Terminal::start(&guest.client([&["-t"][..], &sh(&["-c", "tty; read x; echo got $x"])].concat()));
    terminal.wait_for("/dev/pts/");
    terminal.type_keys("typed\r");
    terminal.wait_for("got typed");
    assert!(terminal.end().success());
    let job = guest.run([&["--detach"][..], &sh(&["-c", "echo from a job; exit 3"])].concat());
    let number = job.succeeded().trim_end().to_owned();
    let finished = guest.run(["attach", TARGET, &number]);
    assert_eq!((finished.status(), finished.stdout()), (3, "from a job\n"));
}

#[test]
fn what_cannot_run_there_is_refused_with_what_is_wrong() {
    let guest = Guest::start();
    let refused = |program: &Path, parts: &[&str]| {
        let words = [
            OsStr::new(TARGET),
            OsStr::new("--with"),
            program.as_os_str(),
            OsStr::new("--"),
            OsStr::new("x"),
        ];
        guest.run(words).failed(126, parts);
    };
    let foreign =
        patched(&guest, "foreign", |program| program[18..20].copy_from_slice(&22_u16.to_le_bytes()));
    refused(&foreign, &["foreign", "it is for s390x", "the guest is"]);
    let at = |program: &[u8]| program.windows(4).position(|window| window == b"/lib").unwrap();
    let lonely = patched(&guest, "lonely", |program| {
        let at = at(program);
        program[at + 1..at + 4].copy_from_slice(b"no\x1b");
    });
    refused(&lonely, &["lonely", "it needs /no\\x1b", "which the guest has not"]);
    refused(&guest.directory.file("script", b"#!/bin/sh\n"), &["it is a script"]);
    refused(&guest.directory.file("text", b"hello"), &["it is no ELF program"]);
    refused(&guest.directory.file("empty", b""), &["it is no ELF program"]);
    guest.run([TARGET, "--with", "/no/such", "--", "x"]).failed(255, &["/no/such", "No such file"]);
}

#[test]
fn words_without_dashes_before_them_are_refused() {
    let guest = Guest::start();
    guest.run([TARGET, "--with", SHELL, "ls"]).failed(255, &["`ls` stands behind --with without a `--`"]);
}
