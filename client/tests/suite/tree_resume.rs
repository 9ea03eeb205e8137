//! A tree that was copied in part: `--resume` and `--checksum`, up and down, after a client, or a guest's session, was killed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::guest::proxy::{Fate, Proxy};
use crate::guest::tree::{assert_same_trees, listing, plant, set_time, thaw};
use crate::guest::{Guest, Running, TARGET, client, names, payload, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LARGE: u64 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Up,
    Down,
}

impl Way {
    /// The words of `cp -r` with these options: of a directory what is in it, to go to the same place again and again.
    fn words(self, guest: &Guest, options: &[&str], from: &Path, to: &Path) -> Vec<OsString> {
        let from = &if from.is_dir() { from.join(".") } else { from.to_owned() };
        let (source, destination) = match self {
            Self::Up => (from.as_os_str().to_owned(), guest.remote(to)),
            Self::Down => (guest.remote(from), to.as_os_str().to_owned()),
        };
        let options = ["cp", "-r"].iter().chain(options).map(OsString::from);
        options.chain([source, destination]).collect()
    }

    /// Runs it: its summary.
    #[track_caller]
    fn copy(self, guest: &Guest, options: &[&str], from: &Path, to: &Path) -> Value {
        let options = [options, &["--json"]].concat();
        let finished = guest.run(self.words(guest, &options, from, to));
        serde_json::from_str(finished.succeeded()).unwrap()
    }
}

/// A directory with a small file and a large one, each byte of which proves itself.
fn large_tree(root: &Path) {
    fs::create_dir(root).unwrap();
    fs::write(root.join("small"), "small").unwrap();
    fs::write(root.join("large"), "").unwrap();
    let large = File::options().write(true).open(root.join("large")).unwrap();
    let piece = payload(1 << 20);
    for at in (0..LARGE).step_by(1 << 20) {
        large.write_all_at(&piece, at).unwrap();
        large.write_all_at(&at.to_le_bytes(), at).unwrap();
    }
    set_time(&root.join("large"), 1);
    set_time(&root.join("small"), 2);
    set_time(root, 3);
}

/// What is kept of a file until it is complete.
fn partial(folder: &Path) -> Option<PathBuf> {
    let is_partial = |name: &OsString| {
        name.as_bytes().starts_with(b".vsock-shell-") && name.as_bytes().len() > ".vsock-shell-".len() + 10
    };
    names(folder).into_iter().find(is_partial).map(|name| folder.join(name))
}

/// How much of it there is.
fn begun(folder: &Path) -> u64 {
    if !folder.exists() {
        return 0;
    }
    partial(folder).and_then(|path| fs::metadata(path).ok()).map_or(0, |there| there.len())
}

/// Copies a part of the tree, until `kill` ends it.
#[track_caller]
fn interrupted(guest: &Guest, way: Way, from: &Path, to: &Path, kill: &dyn Fn(&Running)) {
    let words = way.words(guest, &["--resume"], from, to);
    let mut running = Running::start(&mut guest.client(&words));
    until("a part is there", || begun(to) > 2 << 20);
    kill(&running);
    assert_ne!(running.end().code(), Some(0));
    guest.is_idle();
    let length = begun(to);
    assert!(length > 2 << 20 && length < LARGE, "{length}");
    assert!(!to.join("large").exists());
    // Nobody else reads what is not complete.
    assert_eq!(fs::metadata(partial(to).unwrap()).unwrap().mode() & 0o7777, 0o600);
}

/// The name of what is kept of the large file, of which there is then only a MiB to copy.
#[track_caller]
fn a_partial_file(guest: &Guest, way: Way, from: &Path, to: &Path) -> PathBuf {
    large_tree(from);
    interrupted(guest, way, from, to, &kill_client);
    fs::write(from.join("large"), payload(1 << 20)).unwrap();
    set_time(&from.join("large"), 1);
    set_time(from, 3);
    partial(to).unwrap()
}

fn kill_client(client: &Running) {
    client.signal(Signal::KILL);
}

fn terminate_client(client: &Running) {
    client.signal(Signal::TERM);
}

#[test]
fn what_was_begun_is_gone_on_with_after_a_kill_of_either_side() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    large_tree(&from);
    let kill_session = |_: &Running| {
        for session in guest.sessions() {
            kill_process(Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
        }
    };
    let kills: [&dyn Fn(&Running); 3] = [&kill_client, &terminate_client, &kill_session];
    for way in [Way::Up, Way::Down] {
        for kill in kills {
            let to = guest.directory.path("to");
            interrupted(&guest, way, &from, &to, kill);
            let begun = begun(&to);
            let summary = way.copy(&guest, &["--resume"], &from, &to);
            assert_same_trees(&listing(&to, false), &listing(&from, false));
            // No byte that was there came again.
            let bytes = summary["bytes"].as_u64().unwrap();
            assert!(bytes <= LARGE - begun + 5, "{way:?}: {bytes} bytes, and {begun} were there");
            // Once more, and nothing moves at all.
            let summary = way.copy(&guest, &["--resume"], &from, &to);
            assert_eq!((&summary["bytes"], &summary["unchanged"]), (&0.into(), &2.into()), "{way:?}");
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

#[test]
fn the_same_words_again_go_on_where_they_stopped() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    large_tree(&from);
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        let (source, destination) = match way {
            Way::Up => (from.as_os_str().to_owned(), guest.remote(&to)),
            Way::Down => (guest.remote(&from), to.as_os_str().to_owned()),
        };
        let words = ["cp", "-r", "--resume"].map(OsString::from).into_iter().chain([source, destination]);
        let words: Vec<_> = words.collect();
        let mut running = Running::start(&mut guest.client(&words));
        until("a part is there", || begun(&to) > 2 << 20);
        kill_client(&running);
        assert_ne!(running.end().code(), Some(0));
        guest.is_idle();
        guest.run(&words).succeeded();
        assert_same_trees(&listing(&to, false), &listing(&from, false));
        // Nothing tells any more that it was not complete: as cp has it, the next one goes into it.
        assert_eq!(partial(&guest.directory.path("")), None, "{way:?}");
        guest.run(&words).succeeded();
        assert_same_trees(&listing(&to.join("from"), false), &listing(&from, false));
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn what_is_there_is_checked_before_it_is_gone_on_with() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        let path = a_partial_file(&guest, way, &from, &to);
        let spoil: [&dyn Fn(&Path); 4] = [
            // Another byte; more than the whole file has; none at all; another file altogether.
            &|path| File::options().write(true).open(path).unwrap().write_all_at(b"!", 77).unwrap(),
            &|path| File::options().write(true).open(path).unwrap().set_len((1 << 20) + 1).unwrap(),
            &|path| File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
            &|path| fs::write(path, "something else").unwrap(),
        ];
        for spoil in spoil {
            fs::write(&path, payload(1000)).unwrap();
            spoil(&path);
            way.copy(&guest, &["--resume"], &from, &to);
            assert_same_trees(&listing(&to, false), &listing(&from, false));
            assert_eq!(partial(&to), None);
            fs::remove_file(to.join("large")).unwrap();
        }
        fs::remove_dir_all(&to).unwrap();
        fs::remove_dir_all(&from).unwrap();
    }
}

#[test]
fn what_stands_where_a_partial_file_goes_is_not_written_through() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        let path = a_partial_file(&guest, way, &from, &to);
        let outside = guest.directory.path("outside");
        let content = payload(1000);
        for plant in [
            (|outside, path| std::os::unix::fs::symlink(outside, path))
                as fn(&Path, &Path) -> std::io::Result<()>,
            |outside, path| fs::hard_link(outside, path),
        ] {
            _ = fs::remove_file(&path);
            _ = fs::remove_file(&outside);
            fs::write(&outside, &content).unwrap();
            plant(&outside, &path).unwrap();
            let finished = guest.run(way.words(&guest, &["--resume"], &from, &to));
            // It may be refused or copied anew, but what is outside stays as it is.
            assert_eq!(fs::read(&outside).unwrap(), content, "{finished:?}");
            if finished.status() == 0 {
                assert_same_trees(&listing(&to, false), &listing(&from, false));
                fs::remove_file(to.join("large")).unwrap();
            } else {
                finished.failed(255, &["/large: cannot "]);
            }
        }
        fs::remove_dir_all(&to).unwrap();
        fs::remove_dir_all(&from).unwrap();
    }
}

#[test]
fn without_resume_nothing_is_kept_and_nothing_that_was_kept_is_used() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    large_tree(&from);
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        interrupted(&guest, way, &from, &to, &kill_client);
        let summary = way.copy(&guest, &[], &from, &to.join("new"));
        assert_eq!(summary["bytes"], LARGE + 5);
        assert_same_trees(&listing(&to.join("new"), false), &listing(&from, false));
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn resume_leaves_what_is_complete_and_brings_what_has_changed() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    plant(&from);
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        for (options, is_preserved) in [(&["--resume"][..], false), (&["--resume", "-p"], true)] {
            way.copy(&guest, options, &from, &to);
            assert_same_trees(&listing(&to, is_preserved), &listing(&from, is_preserved));
            // Again: no content moves, and nothing of what is there gets lost.
            let summary = way.copy(&guest, options, &from, &to);
            assert_eq!(summary["bytes"], 0, "{way:?}");
            assert_same_trees(&listing(&to, is_preserved), &listing(&from, is_preserved));
            thaw(&to);
            fs::remove_dir_all(&to).unwrap();
        }
    }
    thaw(&from);
}

#[test]
fn a_changed_file_is_copied_anew_and_a_changed_mode_is_brought() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    for way in [Way::Up, Way::Down] {
        for name in ["same", "newer", "longer", "gone", "mode"] {
            fs::write(from.join(name), name).unwrap();
            set_time(&from.join(name), 5);
        }
        let to = guest.directory.path("to");
        way.copy(&guest, &[], &from, &to);
        fs::write(from.join("newer"), "NEWER").unwrap();
        fs::write(from.join("longer"), "longer than before").unwrap();
        fs::set_permissions(from.join("mode"), fs::Permissions::from_mode(0o604)).unwrap();
        fs::remove_file(to.join("gone")).unwrap();
        let same = fs::metadata(to.join("same")).unwrap().ino();
        let summary = way.copy(&guest, &["--resume"], &from, &to);
        assert_same_trees(&listing(&to, false), &listing(&from, false));
        let counts = (&summary["files"], &summary["unchanged"], &summary["bytes"]);
        assert_eq!(counts, (&3.into(), &2.into(), &(5 + 18 + 4).into()), "{way:?}");
        assert_eq!(fs::metadata(to.join("same")).unwrap().ino(), same);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn checksum_skips_what_is_identical_whatever_its_time() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    for (name, content) in [("same", payload(200_000)), ("touched", payload(200_000)), ("other", payload(10))]
    {
        fs::write(from.join(name), content).unwrap();
        set_time(&from.join(name), 5);
    }
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        way.copy(&guest, &[], &from, &to);
        set_time(&to.join("touched"), 1000);
        // Same length, same time, another content: what --resume would believe.
        fs::write(to.join("other"), "0123456789").unwrap();
        set_time(&to.join("other"), 5);
        let summary = way.copy(&guest, &["--resume"], &from, &to);
        assert_eq!(
            (&summary["unchanged"], fs::read(to.join("other")).unwrap()),
            (&2.into(), b"0123456789".to_vec())
        );
        set_time(&to.join("touched"), 1000);
        let number = fs::metadata(to.join("touched")).unwrap().ino();
        let summary = way.copy(&guest, &["--checksum"], &from, &to);
        let counts = (&summary["files"], &summary["unchanged"], &summary["bytes"]);
        assert_eq!(counts, (&1.into(), &2.into(), &10.into()), "{way:?}: {summary}");
        for name in ["same", "touched", "other"] {
            assert_eq!(listing(&to.join(name), false), listing(&from.join(name), false));
        }
        assert_eq!(fs::metadata(to.join("touched")).unwrap().ino(), number);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn one_file_is_resumed_too() {
    let guest = Guest::start();
    let tree = guest.directory.path("tree");
    large_tree(&tree);
    let from = tree.join("large");
    for way in [Way::Up, Way::Down] {
        let folder = guest.directory.subdirectory("folder");
        // Under its own name in a directory, and under another one.
        for to in [folder.clone(), folder.join("other")] {
            let words = way.words(&guest, &["--resume"], &from, &to);
            let mut running = Running::start(&mut guest.client(&words));
            until("a part is there", || begun(&folder) > 2 << 20);
            running.signal(Signal::KILL);
            running.end();
            guest.is_idle();
            let begun = begun(&folder);
            let summary = way.copy(&guest, &["--resume"], &from, &to);
            let bytes = summary["bytes"].as_u64().unwrap();
            assert_eq!(bytes, LARGE - begun, "{way:?} {to:?}");
            let copy = if to == folder { folder.join("large") } else { to };
            assert_eq!(listing(&copy, false), listing(&from, false));
        }
        assert_eq!(names(&folder), ["large", "other"]);
        fs::remove_dir_all(&folder).unwrap();
    }
    assert_eq!(guest.run([OsStr::new(TARGET), OsStr::new("echo fine")]).succeeded(), "fine\n");
}

#[test]
fn what_is_not_complete_is_gone_on_with_by_the_same_source_only() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    large_tree(&from);
    let other = guest.directory.subdirectory("other");
    fs::write(other.join("new"), "new").unwrap();
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.path("to");
        interrupted(&guest, way, &from, &to, &kill_client);
        fs::write(to.join("own"), "own").unwrap();
        // Another tree goes into what is there of the first, and --delete takes nothing of that away.
        let (source, destination) = match way {
            Way::Up => (other.clone().into_os_string(), guest.remote(&to)),
            Way::Down => (guest.remote(&other), to.clone().into_os_string()),
        };
        let options = ["-r", "--resume", "--delete"].map(OsString::from);
        guest.cp(options.into_iter().chain([source, destination])).succeeded();
        assert_eq!(names(to.join("other")), ["new"]);
        assert_eq!(fs::read(to.join("own")).unwrap(), b"own");
        fs::remove_dir_all(&to).unwrap();
        // Nor does what comes later under the name of the directory take it for its own.
        fs::create_dir(&to).unwrap();
        fs::write(to.join("own"), "own").unwrap();
        way.copy(&guest, &["--resume"], &from, &to);
        assert_eq!(fs::read(to.join("own")).unwrap(), b"own");
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn a_copy_whose_connection_comes_back_leaves_what_another_has_completed() {
    const PREFIX: u64 = 30 << 20;
    let guest = Guest::keeping("30");
    let write = |name: &str, length: u64, rest: u8| {
        let path = guest.directory.path(name);
        let mut content = payload(PREFIX);
        content.resize(length as usize, rest);
        fs::write(&path, &content).unwrap();
        (path, content)
    };
    let (first, _) = write("first", 40 << 20, 1);
    let (second, content) = write("second", 60 << 20, 2);
    let to = guest.directory.subdirectory("to");
    let goes_on = Arc::new(AtomicBool::new(false));
    let proxy = {
        let goes_on = goes_on.clone();
        Proxy::start(&guest, move |number| {
            if number == 0 {
                return Fate::Cut(20 << 20);
            }
            until("the other copy is over", || goes_on.load(Ordering::SeqCst));
            Fate::Lasts
        })
    };
    let there = proxy.remote(&to.join("file"));
    let mut command =
        client(["cp".as_ref(), "-q".as_ref(), "--resume".as_ref(), first.as_os_str(), there.as_ref()]);
    let running = Running::start(&mut command);
    until("the connection is lost", || proxy.connections() == 2);
    let words = [OsStr::new("--resume"), second.as_os_str(), &guest.remote(to.join("file"))];
    guest.cp(words).succeeded();
    goes_on.store(true, Ordering::SeqCst);
    running.finish(b"").failed(255, &["busy"]);
    assert!(fs::read(to.join("file")).unwrap() == content, "the file of the second copy");
    assert_eq!(names(&to), ["file"]);
}
