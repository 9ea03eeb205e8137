//! Mistyped words: the one line that the client says names the word, and the near one that may have been meant.

use std::process::Stdio;

use crate::guest::{Directory, Finished, Running, client};

/// What the client says to these words where `ci-build` and `box` are names of the configuration.
fn said(words: &[&str]) -> Finished {
    let directory = Directory::new();
    let names = "[targets.ci-build]\naddress = \"unix:/no/such/socket\"\n[targets.box]\naddress = \"unix:/no/such/socket\"\n";
    let config = directory.file("config.toml", names.as_bytes());
    let mut command = client(words);
    command.env("VSOCK_SHELL_CONFIG", config).stdin(Stdio::null());
    Running::start(&mut command).finish(b"")
}

#[track_caller]
fn suggests(words: &[&str], wrong: &str, near: &str) {
    said(words).failed(255, &[&format!("`{wrong}`"), &format!("did you mean `{near}`?")]);
}

/// Nothing is near, and where the words are listed is told instead.
#[track_caller]
fn suggests_nothing(words: &[&str], wrong: &str, advice: &str) {
    let finished = said(words);
    finished.failed(255, &[&format!("`{wrong}`"), advice]);
    assert!(!finished.stderr().contains("did you mean"), "{finished:?}");
}

#[test]
fn a_wrong_flag_suggests_the_near_one() {
    suggests(&["--timout", "5", "box"], "--timout", "--timeout");
    suggests(&["box", "--jsno", "ls"], "--jsno", "--json");
    suggests(&["cp", "--recusive", "a", "box:"], "--recusive", "--recursive");
    suggests(&["logs", "--folow", "box", "1"], "--folow", "--follow");
    suggests(&["box", "--forwrad-agent"], "--forwrad-agent", "--forward-agent");
    suggests_nothing(&["--frobnicate", "box"], "--frobnicate", "--help");
    suggests_nothing(&["-Z", "box"], "-Z", "--help");
}

#[test]
fn a_wrong_flag_of_a_verb_of_fs_or_sys_suggests_one_of_that_verb() {
    suggests(&["fs", "mkdir", "--parnets", "box", "x"], "--parnets", "--parents");
    suggests(&["sys", "dmesg", "box", "--sicne", "5m"], "--sicne", "--since");
    suggests(&["sys", "ps", "box", "--jsn"], "--jsn", "--json");
    suggests_nothing(&["fs", "ls", "box", "--frobnicate"], "--frobnicate", "fs ls TARGET");
}

#[test]
fn a_wrong_verb_suggests_the_near_one() {
    suggests(&["wiat", "box"], "wiat", "wait");
    suggests(&["keygne", "file"], "keygne", "keygen");
    suggests(&["mnaual"], "mnaual", "manual");
    suggests(&["completoins", "bash"], "completoins", "completions");
    suggests(&["fs", "mkdri", "box", "x"], "mkdri", "mkdir");
    suggests(&["sys", "umuont", "box", "/x"], "umuont", "umount");
    suggests(&["completions", "fsih"], "fsih", "fish");
}

#[test]
fn a_wrong_target_suggests_a_name_of_the_configuration() {
    suggests(&["ci-biuld"], "ci-biuld", "ci-build");
    suggests(&["wait", "ci-buidl"], "ci-buidl", "ci-build");
    suggests(&["cp", "file", "ci-bild:/"], "ci-bild", "ci-build");
    suggests(&["fs", "ls", "ci-buil"], "ci-buil", "ci-build");
    suggests(&["each", "ci-biuld", "--", "true"], "ci-biuld", "ci-build");
    suggests_nothing(&["elsewhere"], "elsewhere", "no name that is known here");
}
