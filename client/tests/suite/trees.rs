//! Whole trees end to end: what is kept of every kind of entry, from here to a guest, back, and from guest to guest.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::guest::tree::{assert_same_trees, listing, make_fifo, make_socket, plant, set_attribute, thaw};
use crate::guest::{self, Directory, Guest, is_root, names};
use rustix::fs::{CWD, FileType, Mode, makedev};

/// A copy of a tree, with these options besides `-r`.
#[track_caller]
fn copied(guest: &Guest, options: &[&str], from: &OsStr, to: &OsStr) -> String {
    let options = ["-r"].iter().chain(options).map(OsString::from);
    let finished = guest.cp(options.chain([from.to_owned(), to.to_owned()]));
    assert_eq!((finished.status(), finished.stdout()), (0, ""), "{}", finished.stderr());
    finished.stderr().to_owned()
}

#[test]
fn every_kind_of_entry_survives_both_ways() {
    let guest = Guest::start();
    let [from, there, back] = ["from", "there", "back"].map(|name| guest.directory.path(name));
    plant(&from);
    for (options, is_preserved) in [(&[][..], false), (&["-p"][..], true)] {
        let expected = listing(&from, is_preserved);
        assert_eq!(copied(&guest, options, from.as_os_str(), &guest.remote(&there)), "");
        assert_same_trees(&listing(&there, is_preserved), &expected);
        assert_eq!(copied(&guest, options, &guest.remote(&there), back.as_os_str()), "");
        assert_same_trees(&listing(&back, is_preserved), &expected);
        for tree in [&there, &back] {
            thaw(tree);
            fs::remove_dir_all(tree).unwrap();
        }
    }
    thaw(&from);
}

#[test]
fn every_kind_of_entry_survives_from_guest_to_guest() {
    let (one, other) = (Guest::start(), Guest::start());
    let (from, to) = (one.directory.path("from"), other.directory.path("to"));
    plant(&from);
    for (options, is_preserved) in [(&[][..], false), (&["-p"][..], true)] {
        assert_eq!(copied(&one, options, &one.remote(&from), &other.remote(&to)), "");
        assert_same_trees(&listing(&to, is_preserved), &listing(&from, is_preserved));
        thaw(&to);
        fs::remove_dir_all(&to).unwrap();
    }
    thaw(&from);
}

#[test]
fn what_is_copied_is_counted_the_same_whichever_way() {
    let (one, other) = (Guest::start(), Guest::start());
    let [from, up, down] = ["from", "up", "down"].map(|name| one.directory.path(name));
    plant(&from);
    let across = other.directory.path("across");
    let counts = |source: &OsStr, destination: &OsStr| {
        let finished = one.cp([OsStr::new("-rp"), OsStr::new("--json"), source, destination]);
        let summary: serde_json::Value = serde_json::from_str(finished.succeeded()).unwrap();
        ["files", "directories", "others"].map(|key| summary[key].as_u64().unwrap())
    };
    let expected = counts(from.as_os_str(), &one.remote(&up));
    assert!(expected.iter().all(|&count| count > 5), "{expected:?}");
    assert_eq!(counts(&one.remote(&from), down.as_os_str()), expected);
    assert_eq!(counts(&one.remote(&from), &other.remote(&across)), expected);
    [from, up, down, across].iter().for_each(|tree| thaw(tree));
}

#[test]
fn without_p_each_name_of_a_file_is_one_of_its_own_and_attributes_stay_behind() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("a"), b"content").unwrap();
    fs::hard_link(from.join("a"), from.join("b")).unwrap();
    set_attribute(&from.join("a"), "user.colour", b"blue");
    let [there, back] = ["there", "back"].map(|name| guest.directory.path(name));
    copied(&guest, &[], from.as_os_str(), &guest.remote(&there));
    copied(&guest, &[], &guest.remote(&from), back.as_os_str());
    for to in [there, back] {
        let seen = listing(&to, true);
        for (path, seen) in seen.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
            let kept = seen.kept.as_ref().unwrap();
            assert_eq!((&kept.same_as, kept.attributes.len()), (path, 0));
        }
        assert_eq!(fs::read(to.join("b")).unwrap(), b"content");
    }
}

#[test]
fn owners_go_along_with_p_and_only_then() {
    if !is_root() {
        return;
    }
    let (guest, other) = (Guest::start(), Guest::start());
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("file"), b"content").unwrap();
    std::os::unix::fs::symlink("nothing", from.join("link")).unwrap();
    make_fifo(&from.join("fifo"), 0o600);
    for name in ["file", "link", "fifo", ""] {
        std::os::unix::fs::lchown(from.join(name), Some(1234), Some(5678)).unwrap();
    }
    let owner = |path: &Path| fs::symlink_metadata(path).map(|there| (there.uid(), there.gid())).unwrap();
    for (options, expected) in [(&["-p"][..], (1234, 5678)), (&[][..], (0, 0))] {
        let [there, back] = ["there", "back"].map(|name| guest.directory.path(name));
        let across = other.directory.path("across");
        copied(&guest, options, from.as_os_str(), &guest.remote(&there));
        copied(&guest, options, &guest.remote(&from), back.as_os_str());
        copied(&guest, options, &guest.remote(&from), &other.remote(&across));
        for to in [there, back, across] {
            for name in ["file", "link", "fifo", ""] {
                assert_eq!(owner(&to.join(name)), expected, "{to:?}/{name}");
            }
            fs::remove_dir_all(to).unwrap();
        }
    }
}

/// The note of what is left out of a tree, once.
const SOCKET: &str = "vsock-shell: a socket was left out, as nobody would serve it\n";
const NO_P: &str = "vsock-shell: a device was left out; -p copies devices\n";
const NO_TRUST: &str = "vsock-shell: a device was left out; --trust-guest takes devices from a guest\n";

#[test]
fn a_socket_is_left_out_and_that_is_said() {
    let (guest, other) = (Guest::start(), Guest::start());
    let from = guest.directory.subdirectory("from");
    make_socket(&from.join("socket"));
    fs::write(from.join("file"), b"content").unwrap();
    let [there, back] = ["there", "back"].map(|name| guest.directory.path(name));
    let across = other.directory.path("across");
    assert_eq!(copied(&guest, &[], from.as_os_str(), &guest.remote(&there)), SOCKET);
    assert_eq!(copied(&guest, &[], &guest.remote(&from), back.as_os_str()), SOCKET);
    assert_eq!(copied(&guest, &[], &guest.remote(&from), &other.remote(&across)), SOCKET);
    for to in [&there, &back, &across] {
        assert_eq!(names(to), ["file"]);
        fs::remove_dir_all(to).unwrap();
    }
    // With -q it is not.
    assert_eq!(copied(&guest, &["-q"], &guest.remote(&from), back.as_os_str()), "");
    assert_eq!(names(&back), ["file"]);
}

#[test]
fn devices_go_along_with_p_and_from_a_guest_only_with_trust() {
    if !is_root() {
        return;
    }
    let (guest, other) = (Guest::start(), Guest::start());
    let from = guest.directory.subdirectory("from");
    let device = makedev(1, 3);
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, from.join("null"), FileType::CharacterDevice, mode, device).unwrap();
    rustix::fs::mknodat(CWD, from.join("block"), FileType::BlockDevice, mode, makedev(250, 70_000)).unwrap();
    let up = guest.directory.path("up");
    let is_whole = |path: &Path| assert_same_trees(&listing(path, true), &listing(&from, true));
    let twice = |said: &str| said.replace('\n', " (2 times)\n");
    assert_eq!(copied(&guest, &[], from.as_os_str(), &guest.remote(&up)), twice(NO_P));
    assert!(names(&up).is_empty());
    fs::remove_dir_all(&up).unwrap();
    assert_eq!(copied(&guest, &["-p"], from.as_os_str(), &guest.remote(&up)), "");
    is_whole(&up);
    let down = guest.directory.path("down");
    let across = other.directory.path("across");
    for (to, operand) in [(&down, down.clone().into_os_string()), (&across, other.remote(&across))] {
        for (options, said) in [(&[][..], NO_P), (&["--trust-guest"], NO_P), (&["-p"], NO_TRUST)] {
            assert_eq!(copied(&guest, options, &guest.remote(&from), &operand), twice(said));
            assert!(names(to).is_empty());
            fs::remove_dir(to).unwrap();
        }
        assert_eq!(copied(&guest, &["-p", "--trust-guest"], &guest.remote(&from), &operand), "");
        is_whole(to);
    }
}

#[test]
fn set_id_bits_go_up_and_come_down_only_with_trust() {
    let (guest, other) = (Guest::start(), Guest::start());
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("file"), b"program").unwrap();
    make_fifo(&from.join("fifo"), 0o600);
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    fs::create_dir(from.join("folder")).unwrap();
    for name in ["file", "folder"] {
        fs::set_permissions(from.join(name), Permissions::from_mode(0o6755)).unwrap();
    }
    let up = guest.directory.path("up");
    assert_eq!(copied(&guest, &[], from.as_os_str(), &guest.remote(&up)), "");
    assert_eq!((mode(&up.join("file")), mode(&up.join("folder"))), (0o6755, 0o6755));
    let across = other.directory.path("across");
    for (to, operand) in [
        (guest.directory.path("down"), guest.directory.path("down").into_os_string()),
        (across.clone(), other.remote(&across)),
    ] {
        let said = copied(&guest, &[], &guest.remote(&from), &operand);
        let note = "vsock-shell: set-id bits were taken away; --trust-guest keeps them";
        assert!(said.starts_with(note) && said.lines().count() == 1, "{said}");
        assert_eq!((mode(&to.join("file")), mode(&to.join("folder"))), (0o755, 0o755));
        fs::remove_dir_all(&to).unwrap();
        assert_eq!(copied(&guest, &["--trust-guest"], &guest.remote(&from), &operand), "");
        assert_eq!((mode(&to.join("file")), mode(&to.join("folder"))), (0o6755, 0o6755));
    }
}

#[test]
fn attributes_that_give_rights_come_only_with_trust() {
    if !is_root() {
        return;
    }
    let (guest, other) = (Guest::start(), Guest::start());
    let from = guest.directory.subdirectory("from");
    let file = from.join("file");
    fs::write(&file, b"program").unwrap();
    set_attribute(&file, "user.colour", b"blue");
    set_attribute(&file, "trusted.secret", b"1");
    // cap_net_raw=ep, capabilities(7).
    let capability = [[1, 0, 0, 2], [0, 0x20, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    set_attribute(&file, "security.capability", &capability);
    let up = guest.directory.path("up");
    assert_eq!(copied(&guest, &["-p"], from.as_os_str(), &guest.remote(&up)), "");
    assert_same_trees(&listing(&up, true), &listing(&from, true));
    let across = other.directory.path("across");
    for (to, operand) in [
        (guest.directory.path("down"), guest.directory.path("down").into_os_string()),
        (across.clone(), other.remote(&across)),
    ] {
        let said = copied(&guest, &["-p"], &guest.remote(&from), &operand);
        let note =
            "vsock-shell: attributes that give rights were left out; --trust-guest keeps them (2 times)\n";
        assert_eq!(said, note);
        assert_eq!(guest::tree::attributes(&to.join("file")).len(), 1);
        fs::remove_dir_all(&to).unwrap();
        assert_eq!(copied(&guest, &["-p", "--trust-guest"], &guest.remote(&from), &operand), "");
        assert_same_trees(&listing(&to, true), &listing(&from, true));
    }
}

#[test]
fn a_hundred_thousand_files() {
    const FOLDERS: usize = 100;
    const FILES: usize = 1000;
    let (guest, directory) = (Guest::start(), Directory::in_memory());
    let [from, there, back] = ["from", "there", "back"].map(|name| directory.path(name));
    fs::create_dir(&from).unwrap();
    for folder in 0..FOLDERS {
        let folder = from.join(folder.to_string());
        fs::create_dir(&folder).unwrap();
        for file in 0..FILES {
            fs::write(folder.join(file.to_string()), file.to_string()).unwrap();
        }
    }
    copied(&guest, &[], from.as_os_str(), &guest.remote(&there));
    copied(&guest, &[], &guest.remote(&there), back.as_os_str());
    let expected = listing(&from, false);
    assert_eq!(expected.len(), 1 + FOLDERS * (FILES + 1));
    // What is not there cannot have come back.
    assert_same_trees(&listing(&back, false), &expected);
}
