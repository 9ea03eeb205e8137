//! The client as the remote shell of git.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::rsh::{ADDRESS, HOST};
use crate::guest::{self, Finished, Guest, Running, client_binary};

/// git with these words, which reads no configuration of ours.
fn git<W: AsRef<OsStr>>(guest: &Guest, words: impl IntoIterator<Item = W>) -> Command {
    let mut git = guest.program("git", words);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@b"),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@b"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ] {
        git.env(name, value);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_SSH_VARIANT", "GIT_PROTOCOL"] {
        git.env_remove(name);
    }
    git.env("GIT_SSH_COMMAND", client_binary());
    git
}

#[track_caller]
fn run<W: AsRef<OsStr>>(guest: &Guest, words: impl IntoIterator<Item = W>) -> Finished {
    Running::start(&mut git(guest, words)).finish(b"")
}

#[track_caller]
fn done<W: AsRef<OsStr>>(guest: &Guest, words: impl IntoIterator<Item = W>) -> String {
    let finished = run(guest, words);
    assert_eq!(finished.status(), 0, "{finished:?}");
    finished.stdout().trim_end().to_owned()
}

/// A repository in the guest, with one commit on `main`; its path.
#[track_caller]
fn repository(guest: &Guest) -> PathBuf {
    let path = guest.directory.subdirectory("repository.git");
    let folder = path.to_str().unwrap();
    done(guest, ["init", "--quiet", "--bare", "--initial-branch=main", folder]);
    // Of the empty tree, which has the same name everywhere.
    let tree = done(guest, ["-C", folder, "mktree"]);
    let commit = done(guest, ["-C", folder, "commit-tree", "-m", "first", &tree]);
    done(guest, ["-C", folder, "update-ref", "refs/heads/main", &commit]);
    path
}

/// A clone under this name.
#[track_caller]
fn cloned(guest: &Guest, repository: &Path, name: &str) -> PathBuf {
    done(guest, ["clone", "--quiet", &format!("{HOST}:{}", repository.display()), name]);
    guest.directory.path(name)
}

#[test]
fn what_one_clone_pushes_another_fetches() {
    let guest = Guest::start();
    let repository = repository(&guest);
    let [one, other] = ["one", "other"].map(|name| cloned(&guest, &repository, name));
    let (one, other) = (one.to_str().unwrap(), other.to_str().unwrap());
    fs::write(Path::new(one).join("file"), guest::payload(3 << 20)).unwrap();
    done(&guest, ["-C", one, "add", "file"]);
    done(&guest, ["-C", one, "commit", "--quiet", "-m", "second"]);
    done(&guest, ["-C", one, "push", "--quiet", "origin", "HEAD:topic"]);
    let pushed = done(&guest, ["-C", one, "rev-parse", "HEAD"]);
    let there = done(&guest, ["-C", repository.to_str().unwrap(), "rev-parse", "topic"]);
    assert_eq!(there, pushed);
    done(&guest, ["-C", other, "fetch", "--quiet"]);
    assert_eq!(done(&guest, ["-C", other, "rev-parse", "origin/topic"]), pushed);
    done(&guest, ["-C", other, "fsck", "--strict"]);
    done(&guest, ["-C", one, "push", "--quiet", "origin", ":topic"]);
    done(&guest, ["-C", other, "fetch", "--quiet", "--prune"]);
    assert_ne!(run(&guest, ["-C", other, "rev-parse", "--verify", "origin/topic"]).status(), 0);
}

#[test]
fn the_newer_protocol_is_asked_for_by_a_variable() {
    let guest = Guest::start();
    let repository = repository(&guest);
    let address = format!("{HOST}:{}", repository.display());
    for (version, answer) in [("2", "< version 2"), ("1", "< version 1")] {
        let trace = guest.directory.path(format!("trace-{version}"));
        let mut ask = git(&guest, ["-c", &format!("protocol.version={version}"), "ls-remote", &address]);
        let told = Running::start(ask.env("GIT_TRACE_PACKET", &trace)).finish(b"");
        assert!(told.succeeded().ends_with("\trefs/heads/main\n"), "{told:?}");
        let trace = fs::read_to_string(trace).unwrap();
        assert!(trace.lines().any(|line| line.ends_with(answer)), "{trace}");
    }
}

#[test]
fn it_is_taken_for_one_that_knows_the_flags_of_ssh() {
    let guest = Guest::start();
    let repository = repository(&guest);
    // A port is handed only to what has answered `-G`.
    let address = format!("ssh://{ADDRESS}:7{}", repository.display());
    assert!(done(&guest, ["ls-remote", &address]).ends_with("\trefs/heads/main"));
}

#[test]
fn what_goes_wrong_is_told_in_its_words_and_in_ours() {
    let guest = Guest::start();
    let missing = run(&guest, ["clone", &format!("{HOST}:/no/such/repository"), "copy"]);
    assert_eq!(missing.status(), 128);
    assert!(missing.stderr().contains("'/no/such/repository' does not appear to be a git repository"));
    assert!(!missing.stderr().contains("vsock-shell: "), "{missing:?}");
    let nobody = run(&guest, ["clone", "unix%nobody:/repository", "copy"]);
    assert_eq!(nobody.status(), 128);
    assert!(nobody.stderr().contains("vsock-shell: cannot reach unix:nobody: "), "{nobody:?}");
}
