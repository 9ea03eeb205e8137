//! What goes wrong inside a tree: it is told, one line each, the rest is copied, and the status says so.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::guest::nobody::as_nobody;
use crate::guest::tree::{make_socket, odd_names};
use crate::guest::{
    Finished, Guest, Running, agent_binary, client_binary, is_root, names, payload, solid_file, until,
};
use rustix::process::{Pid, Signal, kill_process};

/// Takes long enough to copy for something to happen meanwhile.
const LARGE: u64 = 400 << 20;

/// It failed with as many lines as there are words, each with its own; nothing in them is a control character.
#[track_caller]
fn told(finished: &Finished, words: &[&str]) {
    let lines: Vec<_> = finished.stderr().lines().collect();
    assert_eq!((finished.status(), lines.len()), (255, words.len()), "{lines:?}");
    for word in words {
        assert!(lines.iter().any(|line| line.contains(word)), "no {word:?} in {lines:?}");
    }
    assert!(lines.iter().all(|line| line.starts_with("vsock-shell: ")), "{lines:?}");
    assert!(!finished.stderr().chars().any(|character| character.is_control() && character != '\n'));
}

#[test]
fn what_cannot_be_opened_is_told_one_by_one_and_the_rest_is_copied() {
    if !is_root() {
        return;
    }
    let guest = Guest::start_by(|directory| {
        fs::set_permissions(directory.path(""), Permissions::from_mode(0o1777)).unwrap();
        as_nobody(directory, &agent_binary())
    });
    let from = guest.directory.subdirectory("from");
    for name in ["a", "closed", "d", "d/closed", "z"] {
        if name == "d" {
            fs::create_dir(from.join(name)).unwrap();
        } else {
            fs::write(from.join(name), name).unwrap();
        }
    }
    fs::create_dir(from.join("locked")).unwrap();
    fs::write(from.join("locked/in"), "in").unwrap();
    for name in ["closed", "d/closed", "locked"] {
        fs::set_permissions(from.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let words = ["/closed: cannot open: Permission denied", "/d/closed: cannot", "/locked: cannot open"];
    let check = |to: &Path| {
        assert_eq!(names(to), ["a", "d", "z"]);
        assert!(names(to.join("d")).is_empty());
        assert_eq!(fs::read(to.join("z")).unwrap(), b"z");
    };
    // Down: the agent may not read it.
    let down = guest.directory.path("down");
    told(&guest.cp([OsStr::new("-r"), &guest.remote(&from), down.as_os_str()]), &words);
    check(&down);
    // Up: the client may not.
    let up = guest.directory.path("up");
    let mut command = as_nobody(&guest.directory, &client_binary());
    command.args(["cp", "-r"]).args([from.as_os_str(), &guest.remote(&up)]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    told(&Running::start(&mut command).finish(b""), &words);
    check(&up);
    // With -q all the same; and for programs.
    told(&guest.cp([OsStr::new("-rq"), &guest.remote(&from), down.as_os_str()]), &words);
    let finished = guest.cp([OsStr::new("-r"), OsStr::new("--json"), &guest.remote(&from), down.as_os_str()]);
    assert_eq!((finished.status(), finished.stderr().lines().count()), (255, 3));
    let summary: serde_json::Value = serde_json::from_str(finished.stdout()).unwrap();
    assert_eq!((&summary["problem_count"], &summary["files"]), (&3.into(), &2.into()), "{summary}");
    let problems = summary["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|problem| problem["path"].as_str().unwrap().ends_with("/d/closed")),
        "{summary}"
    );
    assert!(problems.iter().all(|problem| problem["error"] == "cannot open: Permission denied"), "{summary}");
    // Where the receiver may not write: nobody's directory takes nothing from us.
    let own = guest.directory.subdirectory("own");
    fs::create_dir_all(own.join("from/d")).unwrap();
    fs::set_permissions(own.join("from"), Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(from.join("closed")).unwrap();
    let finished = guest.cp([OsStr::new("-r"), from.as_os_str(), &guest.remote(&own)]);
    told(&finished, &["/d/closed: cannot create: Permission denied"]);
    assert_eq!(names(own.join("from")), ["a", "d", "locked", "z"]);
    assert_eq!(fs::read(own.join("from/locked/in")).unwrap(), b"in");
}

#[test]
fn a_problem_with_a_path_longer_than_any_call_takes_ends_nothing() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    let name = "n".repeat(100);
    let mut folder = openat(CWD, &from, OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..140 {
        mkdirat(&folder, &name, Mode::RWXU).unwrap();
        folder = openat(&folder, &name, OFlags::PATH, Mode::empty()).unwrap();
    }
    for file in ["a", "z"] {
        fs::write(from.join(file), file).unwrap();
    }
    let to = guest.directory.path("to");
    let finished = guest.cp([OsStr::new("-r"), from.as_os_str(), &guest.remote(&to)]);
    assert_eq!(finished.status(), 255);
    assert!(finished.stderr().lines().all(|line| line.ends_with(": File name too long")), "{finished:?}");
    assert_eq!(names(&to), ["a", &name, "z"]);
}

#[test]
fn names_in_what_is_told_are_escaped() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    let to = guest.directory.subdirectory("to");
    fs::create_dir(to.join("from")).unwrap();
    let names = odd_names();
    for name in &names {
        let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name.as_slice());
        fs::write(from.join(name), "x").unwrap();
        fs::create_dir(to.join("from").join(name)).unwrap();
    }
    let count = names.len();
    for words in [
        [OsString::from("-r"), from.clone().into(), guest.remote(&to)],
        ["-r".into(), guest.remote(&from), to.clone().into()],
    ] {
        told(&guest.cp(words), &vec!["cannot write: Is a directory"; count]);
    }
}

#[test]
fn files_that_change_while_they_are_read_are_told_and_copied_as_they_were_read() {
    let guest = Guest::start();
    let other = Guest::start();
    let from = guest.directory.subdirectory("from");
    let large = from.join("large");
    solid_file(&large, LARGE);
    fs::write(from.join("small"), "small").unwrap();
    for (number, way) in [(0, "up"), (1, "down"), (2, "across")] {
        let to = guest.directory.path(way);
        let (source, destination) = match number {
            0 => (from.clone().into_os_string(), guest.remote(&to)),
            1 => (guest.remote(&from), to.clone().into_os_string()),
            _ => (guest.remote(&from), other.remote(&to)),
        };
        let running = Running::start(&mut guest.client(["cp".into(), "-r".into(), source, destination]));
        until("the large file is being copied", || {
            to.exists() && names(&to).iter().any(|name| !["large", "small"].iter().any(|own| name == own))
        });
        // A byte at its end that is long past what was sent; its time changes with it.
        File::options().write(true).open(&large).unwrap().write_all_at(b"x", LARGE + number).unwrap();
        told(&running.finish(b""), &["/large: changed while it was read"]);
        assert_eq!(names(&to), ["large", "small"]);
        assert_eq!(fs::metadata(to.join("large")).unwrap().len(), LARGE + number);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_told() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    for way in ["up", "down"] {
        let large = from.join("large");
        solid_file(&large, LARGE);
        let to = guest.directory.path(way);
        let (source, destination) = match way {
            "up" => (from.clone().into_os_string(), guest.remote(&to)),
            _ => (guest.remote(&from), to.clone().into_os_string()),
        };
        let running = Running::start(&mut guest.client(["cp".into(), "-r".into(), source, destination]));
        until("the file is being copied", || to.exists() && !names(&to).is_empty());
        File::options().write(true).open(&large).unwrap().set_len(0).unwrap();
        told(&running.finish(b""), &["/large: changed while it was read"]);
        assert_eq!(names(&to), ["large"]);
    }
}

#[test]
fn what_vanishes_is_told_and_the_rest_is_copied() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    for way in ["up", "down"] {
        // The names of a directory are read before what has them: it is emptied behind the back of who reads it.
        let folder = from.join("folder");
        fs::create_dir(&folder).unwrap();
        for number in 0..200 {
            solid_file(&folder.join(number.to_string()), 8 << 20);
        }
        let to = guest.directory.path(way);
        let (source, destination) = match way {
            "up" => (from.clone().into_os_string(), guest.remote(&to)),
            _ => (guest.remote(&from), to.clone().into_os_string()),
        };
        let running = Running::start(&mut guest.client(["cp".into(), "-r".into(), source, destination]));
        until("some files were copied", || {
            to.join("folder").exists() && !names(to.join("folder")).is_empty()
        });
        fs::remove_dir_all(&folder).unwrap();
        fs::write(from.join("later"), "later").unwrap();
        let finished = running.finish(b"");
        assert_eq!(finished.status(), 255, "{finished:?}");
        let lines: Vec<_> = finished.stderr().lines().collect();
        assert!(
            lines.iter().all(|line| line.contains(": cannot open: No such file or directory")),
            "{lines:?}"
        );
        let copied = names(to.join("folder"));
        // What was not read of the directory yet is simply not in it.
        assert!(
            !lines.is_empty() && copied.len() + lines.len() <= 200,
            "{} and {}",
            copied.len(),
            lines.len()
        );
        for name in copied {
            assert_eq!(fs::metadata(to.join("folder").join(name)).unwrap().len(), 8 << 20);
        }
    }
}

/// A script that mounts a tmpfs on its first argument and runs the rest there, and then tells what is in it.
const ON_TMPFS: &str = "mount -t tmpfs -o size=16m none \"$1\"; folder=$1; shift; \
    status=0; \"$@\" || status=$?; echo $status; find \"$folder\" -type f | sort";

/// A tree of one small file, then one too large, then small ones: in which order a directory has them nobody knows.
fn too_large_a_tree(root: &Path) {
    fs::create_dir_all(root.join("d")).unwrap();
    for number in 0..20 {
        fs::write(root.join(format!("small-{number}")), payload(1000)).unwrap();
        fs::write(root.join(format!("d/small-{number}")), payload(1000)).unwrap();
    }
    fs::write(root.join("large"), payload(30 << 20)).unwrap();
}

#[test]
fn a_full_disk_here_costs_what_does_not_fit() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.path("from");
    too_large_a_tree(&from);
    let full = guest.directory.subdirectory("full");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", ON_TMPFS, "sh"]).arg(&full).arg(client_binary()).args(["cp", "-r"]);
    command.arg(guest.remote(&from)).arg(full.join("to"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let finished = Running::start(&mut command).finish(b"");
    let told: Vec<_> = finished.stderr().lines().collect();
    assert!(
        told.len() == 1 && told[0].ends_with("/large: cannot write: No space left on device"),
        "{told:?}"
    );
    let found: Vec<_> = finished.stdout().lines().collect();
    assert_eq!((found[0], found.len()), ("255", 41), "{found:?}");
    assert!(found[1..].iter().all(|path| path.contains("/small-")), "{found:?}");
}

#[test]
fn a_full_disk_in_the_guest_costs_what_does_not_fit() {
    if !is_root() {
        return;
    }
    let guest = Guest::start_by(|directory| {
        let full = directory.subdirectory("full");
        let script = "mount -t tmpfs -o size=16m none \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]).arg(full).arg(agent_binary());
        command
    });
    let from = guest.directory.path("from");
    too_large_a_tree(&from);
    let to = guest.directory.path("full/to");
    let finished = guest.cp([OsStr::new("-r"), from.as_os_str(), &guest.remote(&to)]);
    told(&finished, &["/large: cannot write: No space left on device"]);
    let root = Path::new("/proc").join(guest.agent.0.id().to_string()).join("root");
    let seen = root.join(to.strip_prefix("/").unwrap());
    assert_eq!((names(&seen).len(), names(seen.join("d")).len()), (21, 20));
    // From another guest, too.
    fs::remove_dir_all(&seen).unwrap();
    let other = Guest::start();
    let finished = guest.cp([OsStr::new("-r"), &other.remote(&from), &guest.remote(&to)]);
    told(&finished, &["/large: cannot write: No space left on device"]);
    assert_eq!((names(&seen).len(), names(seen.join("d")).len()), (21, 20));
}

#[test]
fn a_session_that_dies_in_a_tree_leaves_whole_files_only() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("small"), "small").unwrap();
    solid_file(&from.join("large"), 2 << 30);
    let is_clean =
        |to: &Path| !to.exists() || names(to).iter().all(|name| name == "small" || name == "large");
    for way in ["up", "down"] {
        let to = guest.directory.path(way);
        let (source, destination) = match way {
            "up" => (from.clone().into_os_string(), guest.remote(&to)),
            _ => (guest.remote(&from), to.clone().into_os_string()),
        };
        let words = ["cp".into(), "-r".into(), source, destination];
        // A client that is told to end takes its temporary file with it.
        let mut running = Running::start(&mut guest.client(&words));
        until("the large file is being copied", || !is_clean(&to));
        running.signal(Signal::TERM);
        assert_eq!(running.end().code(), Some(128 + 15));
        until("nothing incomplete is left", || is_clean(&to));
        _ = fs::remove_dir_all(&to);
        // The agent's session is killed.
        let running = Running::start(&mut guest.client(&words));
        until("the large file is being copied", || !is_clean(&to));
        for session in guest.sessions() {
            kill_process(Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
        }
        running.finish(b"").failed(255, &["connection lost"]);
        if way == "down" {
            assert!(is_clean(&to));
        }
        assert!(!to.join("large").exists());
        fs::remove_dir_all(&to).unwrap();
        guest.is_idle();
    }
    // The client is killed in an upload: the guest removes what is incomplete.
    let to = guest.directory.path("killed");
    let words = ["cp".into(), "-r".into(), from.into_os_string(), guest.remote(&to)];
    let running = Running::start(&mut guest.client(&words));
    until("the large file is being copied", || !is_clean(&to));
    running.signal(Signal::KILL);
    until("nothing incomplete is left", || is_clean(&to));
}

#[test]
fn what_is_given_away_without_the_right_to_is_copied_all_the_same() {
    if !is_root() {
        return;
    }
    let guest = Guest::start_by(|directory| {
        fs::set_permissions(directory.path(""), Permissions::from_mode(0o1777)).unwrap();
        as_nobody(directory, &agent_binary())
    });
    let from = guest.directory.subdirectory("from");
    let mut file = File::create(from.join("program")).unwrap();
    file.write_all(b"program").unwrap();
    chown(from.join("program"), Some(1234), Some(1234)).unwrap();
    fs::set_permissions(from.join("program"), Permissions::from_mode(0o6755)).unwrap();
    symlink("program", from.join("link")).unwrap();
    make_socket(&from.join("socket"));
    let to = guest.directory.path("to");
    let finished = guest.cp([OsStr::new("-rpq"), from.as_os_str(), &guest.remote(&to)]);
    assert_eq!((finished.status(), finished.stderr()), (0, ""));
    // As with cp: nobody stays its owner, and it has no rights of an owner that it has not.
    let there = fs::metadata(to.join("program")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((there.uid(), there.mode() & 0o7777), (65534, 0o755));
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("program"));
}
