//! What somebody else has put where `--resume` keeps what it has of a file: it is never gone on with nor followed, what it
//! was stays what it is, and the copy either comes anew or says what is wrong.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guest::nobody::{as_nobody_here, program_for_all};
use crate::guest::tree::make_fifo;
use crate::guest::{
    self, Finished, Guest, Running, assert_same, client_binary, is_root, names, payload, solid_file, until,
};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

/// The file that is copied, and how much of it has been planted.
const LENGTH: u64 = 300_000;
const PLANTED: u64 = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Up,
    Down,
}

impl Way {
    fn words(self, guest: &Guest, from: &Path, to: &Path) -> [OsString; 4] {
        let (source, destination) = match self {
            Self::Up => (from.as_os_str().to_owned(), guest.remote(to)),
            Self::Down => (guest.remote(from), to.as_os_str().to_owned()),
        };
        ["cp".into(), "--resume".into(), source, destination]
    }
}

/// Where a copy that is interrupted keeps what it has of the file `to`, which a copy finds out that is.
#[track_caller]
fn kept_name(guest: &Guest, way: Way, to: &Path) -> PathBuf {
    let folder = guest.directory.subdirectory("trial");
    let from = guest.directory.path("endless");
    solid_file(&from, 2 << 30);
    let words = way.words(guest, &from, &folder.join(to.file_name().unwrap()));
    let mut running = Running::start(&mut guest.client(&words));
    let is_begun =
        || names(&folder).first().is_some_and(|name| fs::metadata(folder.join(name)).unwrap().len() > 0);
    until("a part is there", is_begun);
    running.signal(Signal::KILL);
    running.end();
    guest.is_idle();
    let name = names(&folder).remove(0);
    assert!(name.as_bytes().starts_with(b".vsock-shell-"), "{name:?}");
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_file(&from).unwrap();
    to.with_file_name(name)
}

/// What came of a copy to `to`: all of the file, which is not what was planted there; or nothing, and that was told.
#[track_caller]
fn is_new_or_told(finished: &Finished, to: &Path, planted: Option<u64>) {
    if finished.status() == 0 {
        assert_eq!(finished.stderr(), "");
        let there = fs::symlink_metadata(to).unwrap();
        assert!(there.is_file() && there.nlink() == 1, "{there:?}");
        assert_ne!(Some(there.ino()), planted, "the file of somebody else");
        assert_same(&fs::read(to).unwrap(), &payload(LENGTH));
    } else {
        finished.failed(255, &["cannot "]);
        assert!(fs::symlink_metadata(to).is_err());
    }
}

/// One way to plant something at a path; beside it is `outside` with the beginning of the file.
type Plant = (&'static str, fn(planted: &Path, outside: &Path));

fn beginning(path: &Path, mode: u32) {
    fs::write(path, payload(PLANTED)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

const PLANTS: [Plant; 10] = [
    ("a link to a file", |planted, outside| symlink(outside, planted).unwrap()),
    ("a link to nothing", |planted, outside| symlink(outside.with_file_name("nothing"), planted).unwrap()),
    ("a hard link", |planted, outside| fs::hard_link(outside, planted).unwrap()),
    ("a file that the group may write", |planted, _| beginning(planted, 0o620)),
    ("a file that everybody may write", |planted, _| beginning(planted, 0o602)),
    ("a file that everybody may read", |planted, _| beginning(planted, 0o644)),
    ("a file that everybody may write, of other content", |planted, _| {
        fs::write(planted, "something else").unwrap();
        fs::set_permissions(planted, Permissions::from_mode(0o666)).unwrap();
    }),
    ("a FIFO", |planted, _| make_fifo(planted, 0o600)),
    ("a directory", |planted, _| fs::create_dir(planted).unwrap()),
    ("a directory in use", |planted, _| {
        fs::create_dir(planted).unwrap();
        fs::write(planted.join("own"), "own").unwrap();
    }),
];

/// What is planted itself, and not what it leads to; it waits for nobody.
fn opened(planted: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(planted, flags, Mode::empty()).ok().map(File::from)
}

#[test]
fn what_is_planted_where_a_part_is_kept_is_neither_gone_on_with_nor_followed() {
    let guest = Guest::start();
    let from = guest.directory.file("from", &payload(LENGTH));
    for way in [Way::Up, Way::Down] {
        let to = guest.directory.subdirectory("to").join("file");
        let planted = kept_name(&guest, way, &to);
        for (what, plant) in PLANTS {
            let outside = guest.directory.path("outside");
            fs::write(&outside, payload(PLANTED)).unwrap();
            fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
            plant(&planted, &outside);
            // Whoever planted it has it open.
            let open = opened(&planted);
            let before = open.as_ref().map(|open| open.metadata().unwrap());
            let finished = Running::start(&mut guest.client(way.words(&guest, &from, &to))).finish(b"");
            is_new_or_told(&finished, &to, before.as_ref().map(fs::Metadata::ino));
            assert_eq!(fs::read(&outside).unwrap(), payload(PLANTED), "{way:?}: {what}");
            assert!(!guest.directory.path("nothing").exists(), "{way:?}: {what}");
            if let (Some(open), Some(before)) = (&open, &before) {
                let after = open.metadata().unwrap();
                assert_eq!((after.len(), after.mode()), (before.len(), before.mode()), "{way:?}: {what}");
            }
            if what == "a directory in use" {
                assert_eq!(fs::read(planted.join("own")).unwrap(), b"own", "{way:?}");
            }
            // Only what is planted stays, if anything.
            let left = names(to.parent().unwrap());
            let is_known = |name: &OsString| name == "file" || Some(name.as_os_str()) == planted.file_name();
            assert!(left.iter().all(is_known), "{way:?}: {what}: {left:?}");
            _ = fs::remove_file(&to);
            _ = fs::remove_file(&planted);
            _ = fs::remove_dir_all(&planted);
        }
        fs::remove_dir_all(to.parent().unwrap()).unwrap();
    }
}

/// Copies as nobody, whichever side that is: the guest's user, or the client's.
#[track_caller]
fn copied_as_nobody(guest: &Guest, way: Way, client: &Path, from: &Path, to: &Path) -> Finished {
    let mut words = way.words(guest, from, to);
    let mut command = match way {
        Way::Up => {
            let mut operand = OsString::from("65534@");
            operand.push(&words[3]);
            words[3] = operand;
            Command::new(client_binary())
        }
        Way::Down => as_nobody_here(client),
    };
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(&mut command).finish(b"")
}

#[test]
fn a_part_of_somebody_else_in_a_shared_directory_is_neither_gone_on_with_nor_touched() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    fs::set_permissions(guest.socket(), Permissions::from_mode(0o777)).unwrap();
    let client = program_for_all(&guest.directory, &client_binary());
    let from = guest.directory.file("from", &payload(LENGTH));
    for way in [Way::Up, Way::Down] {
        let folder = guest.directory.subdirectory("shared");
        let to = folder.join("file");
        let planted = kept_name(&guest, way, &to);
        for folder_mode in [0o1777, 0o777] {
            fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
            for (mode, content) in [
                (0o600, PLANTED),
                (0o644, PLANTED),
                (0o666, PLANTED),
                (0o622, PLANTED),
                (0o666, LENGTH),
                (0o666, 0),
            ] {
                fs::write(&planted, payload(content)).unwrap();
                chown(&planted, Some(1234), Some(1234)).unwrap();
                fs::set_permissions(&planted, Permissions::from_mode(mode)).unwrap();
                let open = File::open(&planted).unwrap();
                let before = open.metadata().unwrap();
                let finished = copied_as_nobody(&guest, way, &client, &from, &to);
                is_new_or_told(&finished, &to, Some(before.ino()));
                let after = open.metadata().unwrap();
                let seen = |of: &fs::Metadata| (of.len(), of.mode(), of.uid(), of.mtime(), of.mtime_nsec());
                assert_eq!(seen(&after), seen(&before), "{way:?} {mode:o}");
                if folder_mode & 0o1000 != 0 {
                    // Nobody may take it away, and the copy needs it not.
                    assert_eq!((finished.status(), after.nlink()), (0, 1), "{way:?} {mode:o}");
                }
                _ = fs::remove_file(&to);
                _ = fs::remove_file(&planted);
            }
            // A link of somebody else is not followed either, to what he who copies may write.
            let victim = guest.directory.file("victim", &payload(PLANTED));
            chown(&victim, Some(65534), Some(65534)).unwrap();
            symlink(&victim, &planted).unwrap();
            std::os::unix::fs::lchown(&planted, Some(1234), Some(1234)).unwrap();
            let finished = copied_as_nobody(&guest, way, &client, &from, &to);
            is_new_or_told(&finished, &to, Some(fs::metadata(&victim).unwrap().ino()));
            assert_same(&fs::read(&victim).unwrap(), &payload(PLANTED));
            _ = fs::remove_file(&to);
            _ = fs::remove_file(&planted);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
    assert_eq!(guest.run([OsStr::new(guest::TARGET), OsStr::new("echo fine")]).succeeded(), "fine\n");
}

#[test]
fn a_mark_that_somebody_else_made_is_believed_by_neither_side() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    solid_file(&from.join("large"), 2 << 30);
    // How a directory that is not complete is marked, a copy finds out that is.
    let trial = guest.directory.subdirectory("trial");
    let copy = |options: &[&str], to: &Path| {
        let options = ["cp", "-r", "--resume"].iter().chain(options).map(OsString::from);
        options.chain([from.clone().into(), guest.remote(to)]).collect::<Vec<_>>()
    };
    let mut running = Running::start(&mut guest.client(copy(&[], &trial.join("to"))));
    until("a part is there", || trial.join("to").exists() && !names(trial.join("to")).is_empty());
    running.signal(Signal::KILL);
    running.end();
    guest.is_idle();
    let mark = names(&trial).remove(0);
    assert!(mark.as_bytes().starts_with(b".vsock-shell-"), "{mark:?}");
    fs::remove_file(from.join("large")).unwrap();
    fs::write(from.join("new"), "new").unwrap();
    let shared = guest.directory.subdirectory("shared");
    let to = shared.join("to");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("own"), "own").unwrap();
    let planted = guest.directory.path("shared").join(mark);
    fs::write(&planted, "").unwrap();
    chown(&planted, Some(1234), Some(1234)).unwrap();
    for options in [&[][..], &["--delete"]] {
        guest.run(copy(options, &to)).succeeded();
        assert_eq!(names(&to), ["from", "own"]);
        assert_eq!(fs::read(to.join("from/new")).unwrap(), b"new");
    }
}
