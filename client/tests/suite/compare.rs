//! Copies that look at what is on the other side first: `--resume` and `--checksum` where that is no file like the source, or
//! cannot be looked at.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::hash::Hasher as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::guest::pty::Terminal;
use crate::guest::tree::{assert_same_trees, listing, set_time};
use crate::guest::{Finished, Guest, Running, is_root, names, payload, until};
use rustix::process::Signal;
use twox_hash::XxHash3_64;

/// The operands of copies up and down of what is in a directory.
fn both_ways(guest: &Guest, from: &Path, to: &Path) -> [[OsString; 2]; 2] {
    let from = from.join(".");
    [[from.as_os_str().into(), guest.remote(to)], [guest.remote(&from), to.into()]]
}

#[track_caller]
fn cp(guest: &Guest, options: &[&str], operands: &[OsString]) -> Finished {
    guest.cp(options.iter().map(OsString::from).chain(operands.iter().cloned()))
}

/// What says here that a tree is not complete.
fn mark_of(tree: &Path) -> PathBuf {
    let mut digest = XxHash3_64::new();
    digest.write(tree.file_name().unwrap().as_bytes());
    tree.with_file_name(format!(".vsock-shell-{:016x}.part", digest.finish()))
}

/// Something beside a tree says so, here or in a guest.
fn is_marked(tree: &Path) -> bool {
    names(tree.parent().unwrap()).iter().any(|name| name.as_bytes().starts_with(b".vsock-shell-"))
}

/// An operand that the guest opens with the rights of nobody.
fn as_nobody(guest: &Guest, path: &Path) -> OsString {
    [OsStr::new("nobody@"), &guest.remote(path)].into_iter().collect()
}

#[test]
fn a_link_that_looks_like_the_file_is_replaced() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("file"), "four").unwrap();
    set_time(&from.join("file"), 1);
    let to = guest.directory.path("to");
    for operands in both_ways(&guest, &from, &to) {
        fs::create_dir(&to).unwrap();
        symlink("four", to.join("file")).unwrap();
        set_time(&to.join("file"), 1);
        cp(&guest, &["-r", "--resume"], &operands).succeeded();
        assert_same_trees(&listing(&to, false), &listing(&from, false));
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn several_go_into_a_directory_that_is_marked() {
    let guest = Guest::start();
    let [a, b, to] = ["a", "b", "to"].map(|name| guest.directory.subdirectory(name));
    fs::write(mark_of(&to), "").unwrap();
    cp(&guest, &["-r", "--resume"], &[guest.remote(&a), guest.remote(&b), to.clone().into()]).succeeded();
    assert_eq!(names(&to), ["a", "b"]);
}

#[test]
fn what_fails_with_one_operand_says_nothing_of_the_next() {
    let guest = Guest::start();
    let [tree, to] = ["tree", "to"].map(|name| guest.directory.subdirectory(name));
    let none = guest.directory.path("none");
    for operands in [
        [guest.remote(&none), guest.remote(&tree), to.clone().into()],
        [none.clone().into(), tree.clone().into(), guest.remote(&to)],
    ] {
        cp(&guest, &["-r", "--resume"], &operands).failed(255, &["none", "No such file"]);
        assert_eq!(names(&to), ["tree"], "it is complete");
        fs::write(to.join("tree/too much"), "").unwrap();
        cp(&guest, &["-r", "--delete"], &operands).failed(255, &["none", "No such file"]);
        assert!(names(to.join("tree")).is_empty());
        fs::remove_dir(to.join("tree")).unwrap();
    }
}

#[test]
fn what_could_not_be_read_in_the_guest_keeps_the_mark_here() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("closed"), "closed").unwrap();
    fs::set_permissions(from.join("closed"), Permissions::from_mode(0o000)).unwrap();
    let to = guest.directory.path("to");
    let operands = [as_nobody(&guest, &from), to.clone().into()];
    cp(&guest, &["-r", "--resume"], &operands).failed(255, &["/closed: cannot open: Permission denied"]);
    assert!(to.is_dir() && is_marked(&to));
    fs::set_permissions(from.join("closed"), Permissions::from_mode(0o644)).unwrap();
    cp(&guest, &["-r", "--resume"], &operands).succeeded();
    assert_eq!((names(&to), is_marked(&to)), (vec!["closed".into()], false));
}

#[test]
fn a_signal_is_heard_while_what_is_here_is_digested() {
    let guest = Guest::start();
    let [from, to] = ["from", "to"].map(|name| guest.directory.path(name));
    for (number, path) in [&from, &to].into_iter().enumerate() {
        // Zeros for many minutes.
        File::create(path).unwrap().set_len(1 << 40).unwrap();
        set_time(path, number as i64);
    }
    let words = [OsStr::new("cp"), OsStr::new("--checksum"), &guest.remote(&from), to.as_os_str()];
    let mut running = Running::start(&mut guest.client(words));
    let read = format!("/proc/{}/io", running.0.id());
    until("much was read", || {
        let read = fs::read_to_string(&read).unwrap();
        let count = read.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        count.parse::<u64>().unwrap() > 8 << 20
    });
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(130));
}

#[test]
fn what_need_not_come_counts_for_progress() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("same"), payload(3000)).unwrap();
    let to = guest.directory.path("to");
    for operands in both_ways(&guest, &from, &to) {
        for option in ["-p", "--resume", "--checksum"] {
            let words = ["cp", "-r", option].map(OsString::from).into_iter().chain(operands.clone());
            let mut terminal = Terminal::start(&guest.client(words));
            assert!(terminal.end().success());
            let shown = terminal.rest();
            // How much there is here is found out beside the copy, which may be over before.
            let is_up = operands[0] == from.join(".").as_os_str();
            assert!((is_up || shown.contains("100%")) && shown.contains("2.93 KiB"), "{shown:?}");
        }
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn what_cannot_be_sent_is_told_as_in_a_copy_that_looks_at_nothing() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::create_dir(from.join("d")).unwrap();
    fs::write(from.join("d/closed"), "closed").unwrap();
    fs::set_permissions(from.join("d/closed"), Permissions::from_mode(0o000)).unwrap();
    let to = guest.directory.path("to");
    for (option, source) in [
        ("-r", from.clone()),
        ("-r", from.join("d/closed")),
        ("-q", from.join("d/closed")),
        ("-q", from.clone()),
        ("-q", "/dev/zero".into()),
        ("-q", from.join("none")),
    ] {
        let told = |options: &[&str]| {
            let finished = cp(&guest, options, &[as_nobody(&guest, &source), to.clone().into()]);
            _ = fs::remove_dir_all(&to);
            _ = fs::remove_file(mark_of(&to));
            assert_eq!(finished.status(), 255, "{finished:?}");
            finished.stderr().to_owned()
        };
        let plain = told(&[option]);
        assert_eq!(told(&[option, "--resume"]), plain);
        assert_eq!(told(&[option, "--checksum"]), plain);
    }
    for option in ["--resume", "--checksum"] {
        let operands = [guest.remote("/proc/version"), to.clone().into()];
        cp(&guest, &[option], &operands).succeeded();
        assert_eq!(fs::read(&to).unwrap(), fs::read("/proc/version").unwrap());
    }
}
