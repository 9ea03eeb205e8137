//! Several clients that copy to one place at the same time: each ends well, what is there is one whole version, and nothing
//! of the others is left.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::guest::{self, Guest, Running, names, payload_byte};

const CLIENTS: u64 = 8;
const ROUNDS: usize = 2;

/// A version of some content: whole, it is told apart from all others by any of its bytes.
fn version(number: u64, length: u64) -> Vec<u8> {
    (0..length).map(|offset| payload_byte(offset) ^ (number as u8 + 1)).collect()
}

/// Runs all of these copies at once; each succeeds and says nothing.
#[track_caller]
fn all_succeed(guest: &Guest, copies: impl Iterator<Item = Vec<OsString>>) {
    let start = |words: Vec<OsString>| {
        Running::start(&mut guest.client([OsString::from("cp")].into_iter().chain(words)))
    };
    let running: Vec<_> = copies.map(start).collect();
    for client in running {
        client.finish(b"").succeeded();
    }
}

/// What is at `path` is one of the versions, from its first byte to its last.
#[track_caller]
fn is_whole(path: &Path, length: u64) {
    let content = fs::read(path).unwrap();
    let number = u64::from(content[0] ^ payload_byte(0)) - 1;
    assert!(number < CLIENTS, "{path:?} is of nobody");
    guest::assert_same(&content, &version(number, length));
}

const LENGTH: u64 = 1_000_001;

/// Each client's file, or tree, of the same name.
fn sources(guest: &Guest, make: impl Fn(&Path, u64)) -> Vec<PathBuf> {
    let make_one = |number| {
        let path = guest.directory.subdirectory(&format!("client-{number}")).join("name");
        make(&path, number);
        path
    };
    (0..CLIENTS).map(make_one).collect()
}

#[test]
fn uploads_to_one_name_leave_one_whole_version() {
    let guest = Guest::start();
    let sources = sources(&guest, |path, number| fs::write(path, version(number, LENGTH)).unwrap());
    let to = guest.directory.subdirectory("to");
    for options in [&[][..], &["-p"]] {
        for _ in 0..ROUNDS {
            all_succeed(
                &guest,
                sources.iter().map(|source| {
                    let options = options.iter().map(OsString::from);
                    options.chain([source.clone().into(), guest.remote(&to)]).collect()
                }),
            );
            assert_eq!(names(&to), ["name"]);
            is_whole(&to.join("name"), LENGTH);
        }
    }
}

const FOLDERS: u64 = 4;
const FILES: u64 = 25;

/// A tree whose files are all of one version, with a link in each directory.
fn plant(root: &Path, number: u64) {
    for folder in 0..FOLDERS {
        let folder = root.join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for file in 0..FILES {
            fs::write(folder.join(file.to_string()), version(number, 1000 * (file + 1))).unwrap();
        }
        std::os::unix::fs::symlink("0", folder.join("link")).unwrap();
    }
}

#[track_caller]
fn is_whole_tree(root: &Path) {
    assert_eq!(names(root).len() as u64, FOLDERS);
    for folder in names(root) {
        let folder = root.join(folder);
        let mut expected: Vec<_> = (0..FILES).map(|file| OsString::from(file.to_string())).collect();
        expected.push(OsString::from("link"));
        expected.sort();
        assert_eq!(names(&folder), expected);
        for file in 0..FILES {
            is_whole(&folder.join(file.to_string()), 1000 * (file + 1));
        }
        assert_eq!(fs::read_link(folder.join("link")).unwrap(), Path::new("0"));
    }
}

#[test]
fn trees_to_one_place_leave_whole_files_only() {
    let guest = Guest::start();
    let sources = sources(&guest, plant);
    for options in [["-r"], ["-rp"]] {
        for round in 0..ROUNDS {
            let to = guest.directory.path(format!("to{}-{round}", options[0]));
            // In the first round there is no directory yet, and each client is the one that may make it.
            all_succeed(
                &guest,
                sources.iter().map(|source| {
                    let options = options.iter().map(OsString::from);
                    options.chain([source.join(".").into(), guest.remote(&to)]).collect()
                }),
            );
            is_whole_tree(&to);
        }
    }
}

#[test]
fn a_reader_sees_one_whole_version_at_any_time() {
    let guest = Guest::start();
    let sources = sources(&guest, |path, number| fs::write(path, version(number, LENGTH)).unwrap());
    let to = guest.directory.file("to", &version(0, LENGTH));
    let start = |source: &PathBuf| {
        Running::start(&mut guest.client([OsStr::new("cp"), source.as_os_str(), &guest.remote(&to)]))
    };
    let mut running: Vec<_> = sources.iter().map(start).collect();
    loop {
        is_whole(&to, LENGTH);
        let back = guest.directory.path("back");
        guest.cp([guest.remote(&to), back.clone().into()]).succeeded();
        is_whole(&back, LENGTH);
        if running.iter_mut().all(|client| client.0.try_wait().unwrap().is_some()) {
            break;
        }
    }
    for client in running {
        client.finish(b"").succeeded();
    }
}

#[test]
fn downloads_to_one_name_leave_one_whole_version() {
    let guest = Guest::start();
    let sources = sources(&guest, |path, number| fs::write(path, version(number, LENGTH)).unwrap());
    let to = guest.directory.subdirectory("to");
    for _ in 0..ROUNDS {
        all_succeed(&guest, sources.iter().map(|source| vec![guest.remote(source), to.clone().into()]));
        assert_eq!(names(&to), ["name"]);
        is_whole(&to.join("name"), LENGTH);
    }
}

#[test]
fn resumed_uploads_to_one_name_leave_one_whole_version() {
    let guest = Guest::start();
    let sources = sources(&guest, |path, number| fs::write(path, version(number, LENGTH)).unwrap());
    let to = guest.directory.subdirectory("to");
    all_succeed(
        &guest,
        sources.iter().map(|source| vec!["--resume".into(), source.into(), guest.remote(&to)]),
    );
    assert_eq!(names(&to), ["name"]);
    is_whole(&to.join("name"), LENGTH);
}

#[test]
fn trees_with_hard_links_to_one_place_leave_whole_files_only() {
    let guest = Guest::start();
    let sources = sources(&guest, |root, number| {
        plant(root, number);
        for folder in 0..FOLDERS {
            let folder = root.join(folder.to_string());
            fs::hard_link(folder.join("0"), folder.join("again")).unwrap();
        }
    });
    let to = guest.directory.path("to");
    for _ in 0..2 * ROUNDS {
        all_succeed(
            &guest,
            sources.iter().map(|source| vec!["-rp".into(), source.join(".").into(), guest.remote(&to)]),
        );
    }
}
