//! The client as the remote shell of rsync.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::guest::rsh::{ADDRESS, HOST, own_user};
use crate::guest::tree::{Listing, assert_same_trees, listing, plant, thaw};
use crate::guest::{Finished, Guest, assert_same, client_binary, names, payload};

/// rsync with these options, from and to these places, over the client.
#[track_caller]
fn rsync(guest: &Guest, options: &[&str], from: &str, to: &str) -> Finished {
    let rsh = client_binary();
    let words = ["-e", rsh.to_str().unwrap()].into_iter().chain(options.iter().copied());
    guest.run_program("rsync", words.chain([from, to]))
}

/// The operand for a path of the guest.
fn there(guest: &Guest, path: &str) -> String {
    format!("{HOST}:{}/{path}", guest.directory.path("").display())
}

/// A tree without what rsync keeps in its own way: how a file with holes lies on the disk.
fn without_holes(root: &Path) -> Listing {
    let mut listing = listing(root, true);
    listing.values_mut().for_each(|seen| seen.has_holes = false);
    listing
}

#[test]
fn every_kind_of_entry_survives_there_and_back() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    plant(&from);
    // As rsync reads it, five GiB of zeros.
    fs::remove_file(from.join("hole")).unwrap();
    let expected = without_holes(&from);
    for (one, other, tree) in [
        (guest.directory.path("from/").display().to_string(), there(&guest, "to"), "to"),
        (there(&guest, "to/"), guest.directory.path("back").display().to_string(), "back"),
    ] {
        // Otherwise it takes times of the same second for the same.
        rsync(&guest, &["-aHAX", "--modify-window=-1"], &one, &other).succeeded();
        assert_same_trees(&without_holes(&guest.directory.path(tree)), &expected);
    }
    ["from", "to", "back"].iter().for_each(|tree| thaw(&guest.directory.path(tree)));
}

#[test]
fn what_the_source_has_not_is_deleted_on_either_side() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    for name in ["kept", "name with 'quotes' and \"spaces\"", "gone"] {
        fs::write(from.join(name), name).unwrap();
    }
    let up = |options: &[&str]| rsync(&guest, options, "from/", &there(&guest, "to"));
    let down = |options: &[&str]| rsync(&guest, options, &there(&guest, "to/"), "back");
    up(&["-a"]).succeeded();
    down(&["-a"]).succeeded();
    fs::remove_file(from.join("gone")).unwrap();
    assert_eq!(up(&["-a", "--delete", "--info=del"]).succeeded(), "deleting gone\n");
    assert_eq!(down(&["-a", "--delete", "--info=del"]).succeeded(), "deleting gone\n");
    for tree in ["to", "back"] {
        let tree = guest.directory.path(tree);
        assert_eq!(names(&tree), names(&from));
        names(&from).iter().for_each(|name| assert_eq!(fs::read(tree.join(name)).unwrap(), name.as_bytes()));
    }
}

#[test]
fn much_comes_whole_and_a_change_of_it_as_a_difference() {
    let guest = Guest::start();
    let mut content = payload(12 << 20);
    let from = guest.directory.file("from", &content);
    rsync(&guest, &["-z"], "from", &there(&guest, "to")).succeeded();
    assert_same(&fs::read(guest.directory.path("to")).unwrap(), &content);
    content[5 << 20] ^= 1;
    fs::write(&from, &content).unwrap();
    let told = rsync(&guest, &["--stats", "--no-whole-file", "--ignore-times"], "from", &there(&guest, "to"));
    let told = told.succeeded();
    let literal = told.lines().find_map(|line| line.strip_prefix("Literal data: ")).unwrap();
    let literal: String = literal.chars().filter(char::is_ascii_digit).collect();
    assert!(literal.parse::<u64>().unwrap() < 1 << 20, "{told}");
    assert_same(&fs::read(guest.directory.path("to")).unwrap(), &content);
}

#[test]
fn a_user_before_the_name_or_the_address_is_the_one_in_the_guest() {
    let guest = Guest::start();
    guest.directory.file("from", b"content");
    let user = own_user();
    for host in [HOST, ADDRESS] {
        let there =
            |user: &str, name: &str| format!("{user}@{host}:{}", guest.directory.path(name).display());
        let to = format!("to-{host}");
        rsync(&guest, &[], "from", &there(&user, &to)).succeeded();
        assert_eq!(fs::read(guest.directory.path(to)).unwrap(), b"content");
        let refused = rsync(&guest, &[], "from", &there("nobody-at-all", "never"));
        failed(&refused, ": no such user nobody-at-all");
        assert!(refused.stderr().starts_with("vsock-shell: unix:"), "{refused:?}");
    }
}

#[test]
fn its_statuses_are_its_own() {
    let guest = Guest::start();
    // Something is missing on the other side.
    let missing = rsync(&guest, &["-a"], &there(&guest, "none"), ".");
    assert_eq!(missing.status(), 23, "{missing:?}");
    assert!(!missing.stderr().contains("vsock-shell: "), "{missing:?}");
    // There is no rsync on the other side, or there is no other side.
    failed(&rsync(&guest, &["--rsync-path=no-such-rsync"], &there(&guest, "none"), "."), "no-such-rsync");
    failed(&rsync(&guest, &[], "unix%nobody:none", "."), "vsock-shell: cannot reach unix:nobody: ");
}

/// rsync has failed, and before its own words there are these. Its status is ours only where it sees us end before it ends
/// itself (12, its own one for a stream that is over), as with ssh.
#[track_caller]
fn failed(finished: &Finished, words: &str) {
    assert!([12, 127, 255].contains(&finished.status()), "{finished:?}");
    assert!(finished.stderr().lines().next().is_some_and(|line| line.contains(words)), "{finished:?}");
}
