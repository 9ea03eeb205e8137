//! Owners, and other metadata, that cannot be set (`-p`): by somebody who is not root, and by a root who may not either. What
//! is copied is all there, without rights of an owner that it has not got, and only what is news is told.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guest::nobody::as_nobody;
use crate::guest::tree::{make_fifo, set_time};
use crate::guest::{Directory, Finished, Guest, Running, agent_binary, client_binary, is_root, names};
use rustix::process::{geteuid, getuid};

/// A program that is root in a user namespace in which there is nobody else: it can give nothing away, `user_namespaces(7)`.
fn alone(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(program);
    command
}

/// A program as somebody who is not root; root becomes nobody, who needs it where he can execute it.
fn not_root(directory: &Directory, program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    as_nobody(directory, program)
}

/// The user as whom [`not_root`] and [`as_user`] work.
fn user() -> u32 {
    if geteuid().is_root() { 65534 } else { getuid().as_raw() }
}

/// An operand with a user who is not root, by his number.
fn as_user(guest: &Guest, path: &Path) -> OsString {
    let mut operand = OsString::from(format!("{}@", user()));
    operand.push(guest.remote(path));
    operand
}

const NAMES: [&str; 7] = ["", "fifo", "folder", "folder/inside", "link", "plain", "program"];

/// A tree that is somebody else's, who is neither the user of the tests nor, where these are root's, anybody at all.
fn somebody_elses(directory: &Directory) -> PathBuf {
    let root = directory.subdirectory("from");
    fs::create_dir(root.join("folder")).unwrap();
    for name in ["folder/inside", "plain", "program"] {
        fs::write(root.join(name), name).unwrap();
    }
    symlink("plain", root.join("link")).unwrap();
    make_fifo(&root.join("fifo"), 0o600);
    if geteuid().is_root() {
        for name in NAMES {
            lchown(root.join(name), Some(1234), Some(1234)).unwrap();
        }
    }
    for (name, mode) in
        [("fifo", 0o640), ("plain", 0o604), ("program", 0o6755), ("folder", 0o2775), ("", 0o755)]
    {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
    for (number, name) in NAMES.iter().enumerate().rev() {
        set_time(&root.join(name), number as i64);
    }
    root
}

/// All of it came, as `owner`'s, with its modes and times, but for what would give rights of somebody else.
#[track_caller]
fn came(from: &Path, to: &Path, owner: u32) {
    assert_eq!(names(to), ["fifo", "folder", "link", "plain", "program"]);
    for name in NAMES {
        let [source, copy] = [from, to].map(|root| fs::symlink_metadata(root.join(name)).unwrap());
        assert_eq!(copy.uid(), owner, "{name}");
        assert_eq!(copy.mode(), source.mode() & !0o6000, "{name}: {:o}", copy.mode());
        if source.is_file() {
            assert_eq!(fs::read(to.join(name)).unwrap(), fs::read(from.join(name)).unwrap());
        }
        let time = |of: &fs::Metadata| (of.mtime(), of.mtime_nsec());
        assert_eq!(time(&copy), time(&source), "{name}");
    }
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("plain"));
}

/// Runs a client.
#[track_caller]
fn run(mut command: Command, words: &[&OsStr]) -> Finished {
    command.arg("cp").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(&mut command).finish(b"")
}

/// A client to which the tree is somebody else's: root's, where we are not root.
fn other_client() -> Command {
    if geteuid().is_root() { Command::new(client_binary()) } else { alone(&client_binary()) }
}

/// A directory in which everybody may make something.
fn open_folder(directory: &Directory, name: &str) -> PathBuf {
    let folder = directory.subdirectory(name);
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    folder
}

/// With which words a tree is copied; it is there before in the second and the third.
const TIMES: [&[&str]; 3] = [&["-rpq"], &["-rpq"], &["-rpq", "--resume"]];

#[test]
fn somebody_who_is_not_root_keeps_what_he_cannot_give_away_and_is_told_nothing() {
    let guest = Guest::start();
    let from = somebody_elses(&guest.directory);
    let source = from.join(".");
    let to = open_folder(&guest.directory, "up").join("to");
    for options in TIMES {
        let operand = as_user(&guest, &to);
        let words: Vec<_> = options.iter().map(OsStr::new).chain([source.as_os_str(), &operand]).collect();
        run(other_client(), &words).succeeded();
        came(&from, &to, user());
    }
    // The client is it, which may use the socket. (Where we are not root the guest's files are our own, and there is nothing to give away.)
    fs::set_permissions(guest.socket(), Permissions::from_mode(0o777)).unwrap();
    let to = open_folder(&guest.directory, "down").join("to");
    for options in TIMES {
        let operand = guest.remote(&source);
        let options = options.iter().chain(&["--trust-guest"][..]).map(OsStr::new);
        let words: Vec<_> = options.chain([&operand, to.as_os_str()]).collect();
        run(not_root(&guest.directory, &client_binary()), &words).succeeded();
        if geteuid().is_root() {
            came(&from, &to, user());
        }
        assert_eq!(fs::read(to.join("program")).unwrap(), b"program");
    }
}

#[test]
fn an_agent_of_somebody_who_is_not_root_does_the_same() {
    let guest = Guest::start_by(|directory| {
        fs::set_permissions(directory.path(""), Permissions::from_mode(0o1777)).unwrap();
        let mut command = not_root(directory, &agent_binary());
        command.args(["--grace", "0"]);
        command
    });
    let from = somebody_elses(&guest.directory);
    let to = guest.directory.path("to");
    let (source, operand) = (from.join("."), guest.remote(&to));
    for options in TIMES {
        let words: Vec<_> = options.iter().map(OsStr::new).chain([source.as_os_str(), &operand]).collect();
        run(other_client(), &words).succeeded();
        came(&from, &to, user());
    }
}

/// It failed, and what it said is the owner of each of these alone.
#[track_caller]
fn owners_told(finished: &Finished, names: &[&str]) {
    let lines: Vec<_> = finished.stderr().lines().collect();
    assert_eq!((finished.status(), lines.len()), (255, names.len()), "{lines:#?}");
    let is_owner = |line: &&str| {
        line.ends_with(": cannot set the owner: Invalid argument")
            // The destination as a whole.
            || line.contains("/from/.: cannot set the owner of ")
    };
    assert!(lines.iter().all(is_owner), "{lines:#?}");
    for name in names {
        let place = Path::new("/from/.").join(name);
        let is_of = |line: &&&str| {
            line.contains(&format!("{}: cannot set", place.display().to_string().trim_end_matches('/')))
        };
        assert_eq!(lines.iter().filter(is_of).count(), 1, "{name:?} in {lines:#?}");
    }
}

#[test]
fn a_root_of_the_guest_who_cannot_set_owners_is_told_so_and_has_all_of_it() {
    let guest = Guest::start_by(|_| {
        let mut command = alone(&agent_binary());
        command.args(["--grace", "0"]);
        command
    });
    let from = somebody_elses(&guest.directory);
    let to = guest.directory.path("to");
    let finished = guest.cp([OsStr::new("-rp"), from.join(".").as_os_str(), &guest.remote(&to)]);
    owners_told(&finished, &NAMES);
    came(&from, &to, getuid().as_raw());
    // Without -p nobody asks for them.
    fs::remove_dir_all(&to).unwrap();
    let finished = guest.cp([OsStr::new("-r"), from.join(".").as_os_str(), &guest.remote(&to)]);
    finished.succeeded();
    assert_eq!(names(&to), ["fifo", "folder", "link", "plain", "program"]);
}

#[test]
fn a_root_of_this_side_who_cannot_set_owners_is_told_so_and_has_all_of_it() {
    let guest = Guest::start();
    let from = somebody_elses(&guest.directory);
    let to = guest.directory.path("to");
    let operand = guest.remote(from.join("."));
    let words = ["-rp".as_ref(), "--trust-guest".as_ref(), operand.as_os_str(), to.as_os_str()];
    owners_told(&run(alone(&client_binary()), &words), &NAMES);
    came(&from, &to, getuid().as_raw());
}

/// A directory that is in use, with a file of its own; its owner, mode and time.
fn in_use(directory: &Directory, name: &str) -> (PathBuf, (u32, u32, i64)) {
    let folder = open_folder(directory, name);
    fs::write(folder.join("own"), "own").unwrap();
    let seen = described(&folder);
    (folder, seen)
}

fn described(path: &Path) -> (u32, u32, i64) {
    let there = fs::metadata(path).unwrap();
    (there.uid(), there.mode(), there.mtime())
}

/// A small tree, of the user of the tests, whose metadata are unlike those of a directory in use.
fn small_tree(directory: &Directory) -> PathBuf {
    let root = directory.subdirectory("from");
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/f"), "f").unwrap();
    fs::write(root.join("f"), "f").unwrap();
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    set_time(&root, 1);
    root
}

#[track_caller]
fn is_merged(folder: &Path) {
    assert_eq!(names(folder), ["d", "f", "own"]);
    assert_eq!(names(folder.join("d")), ["f"]);
    for name in ["d/f", "f"] {
        assert_eq!(fs::read(folder.join(name)).unwrap(), b"f");
    }
    assert_eq!(fs::read(folder.join("own")).unwrap(), b"own");
}

#[test]
fn a_first_directory_that_is_somebody_elses_stays_as_it_is_and_that_is_told() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    fs::set_permissions(guest.socket(), Permissions::from_mode(0o777)).unwrap();
    let source = small_tree(&guest.directory).join(".");
    for options in [&["-rp"][..], &["-rp", "--resume"], &["-rp", "--checksum", "--delete"]] {
        let (up, before) = in_use(&guest.directory, "up");
        let operand = as_user(&guest, &up);
        let words: Vec<_> = options.iter().map(OsStr::new).chain([source.as_os_str(), &operand]).collect();
        run(other_client(), &words).failed(255, &["/from/.: cannot set the mode: Operation not permitted"]);
        // Where something could not be copied nothing is deleted.
        is_merged(&up);
        assert_eq!((described(&up).0, described(&up).1), (before.0, before.1));
        let (down, before) = in_use(&guest.directory, "down");
        let operand = guest.remote(&source);
        let words: Vec<_> = options.iter().map(OsStr::new).chain([&operand, down.as_os_str()]).collect();
        let finished = run(not_root(&guest.directory, &client_binary()), &words);
        finished.failed(255, &["cannot set the mode of ", "/down: Operation not permitted"]);
        is_merged(&down);
        assert_eq!((described(&down).0, described(&down).1), (before.0, before.1));
        for folder in [up, down] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[test]
fn a_first_directory_whose_owner_cannot_be_set_gets_the_rest_of_its_metadata() {
    let guest = Guest::start_by(|_| {
        let mut command = alone(&agent_binary());
        command.args(["--grace", "0"]);
        command
    });
    let other = Guest::start();
    let from = small_tree(&guest.directory);
    if geteuid().is_root() {
        lchown(&from, Some(1234), Some(1234)).unwrap();
        for name in ["d", "d/f", "f"] {
            lchown(from.join(name), Some(0), Some(0)).unwrap();
        }
    }
    let source = from.join(".");
    let (up, _) = in_use(&guest.directory, "up");
    let finished = guest.cp([OsStr::new("-rp"), source.as_os_str(), &guest.remote(&up)]);
    let (down, _) = in_use(&guest.directory, "down");
    let operand = other.remote(&source);
    let finished_down = run(alone(&client_binary()), &["-rp".as_ref(), &operand, down.as_os_str()]);
    for (finished, to) in [(finished, up), (finished_down, down)] {
        // Where we are not root all of it is somebody's who is not in the namespace.
        let told: &[&str] = if geteuid().is_root() { &[""] } else { &["", "d", "d/f", "f"] };
        owners_told(&finished, told);
        is_merged(&to);
        let (owner, mode, time) = described(&from);
        assert_eq!(described(&to), (if owner == 1234 { 0 } else { owner }, mode, time));
    }
}

#[test]
fn somebody_who_is_not_root_resumes_a_tree_with_hard_links_of_somebody_else() {
    let guest = Guest::start();
    let from = somebody_elses(&guest.directory);
    fs::hard_link(from.join("plain"), from.join("same")).unwrap();
    let to = open_folder(&guest.directory, "up").join("to");
    let (source, operand) = (from.join("."), as_user(&guest, &to));
    for options in [&["-rpq"][..], &["-rpq", "--resume"]] {
        let words: Vec<_> = options.iter().map(OsStr::new).chain([source.as_os_str(), &operand]).collect();
        run(other_client(), &words).succeeded();
        let number = |name| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(number("plain"), number("same"));
    }
}
