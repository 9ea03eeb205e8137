//! Files that a guest or this side cannot take: what is said, and that nothing is left behind.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::guest::{self, Guest, Running, agent_binary, is_root, names, payload, until};

#[test]
fn refusals_name_the_file_and_the_reason() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"x");
    let folder = guest.directory.subdirectory("folder");
    let to = guest.directory.path("to");
    guest
        .cp([&guest.remote("/no/such"), to.as_os_str()])
        .failed(255, &["/no/such", "No such file or directory"]);
    guest.cp([&guest.remote(&folder), to.as_os_str()]).failed(255, &["folder", "Is a directory"]);
    guest.cp([&guest.remote("/dev/tty"), to.as_os_str()]).failed(255, &["/dev/tty"]);
    guest.cp([from.as_os_str(), &guest.remote("/no/such/x")]).failed(255, &["No such file or directory"]);
    guest
        .cp([Path::new("/no/such").as_os_str(), &guest.remote(&to)])
        .failed(255, &["/no/such", "No such file or directory"]);
    guest.cp([folder.as_os_str(), &guest.remote(&to)]).failed(255, &["folder", "Is a directory"]);
    let mut stdin = guest.client([OsStr::new("cp"), OsStr::new("-"), &guest.remote(&folder)]);
    Running::start(&mut stdin).finish(b"x").failed(255, &["Is a directory"]);
    let name = "n".repeat(256);
    guest.cp([from.as_os_str(), &guest.remote(to.with_file_name(name))]).failed(255, &["File name too long"]);
    // A name that ends in a slash is a directory's.
    guest
        .cp([from.as_os_str(), &guest.remote(format!("{}/", to.display()))])
        .failed(255, &["No such file or directory"]);
    assert_eq!(names(guest.directory.path("")), ["folder", "from", "log", "socket"]);
    assert!(names(&folder).is_empty());
}

#[test]
fn a_user_is_refused_what_that_user_may_not() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.file("from", b"secret");
    fs::set_permissions(&from, Permissions::from_mode(0o600)).unwrap();
    let to = guest.directory.path("to");
    let as_nobody = |path: &Path| {
        let mut operand = OsString::from("nobody@");
        operand.push(guest.remote(path));
        operand
    };
    guest.cp([&as_nobody(&from), to.as_os_str()]).failed(255, &["Permission denied"]);
    guest.cp([from.as_os_str(), &as_nobody(&to)]).failed(255, &["Permission denied"]);
    assert_eq!(names(guest.directory.path("")), ["from", "log", "socket"]);
    // Where nobody may write, the file is nobody's.
    let open = guest.directory.subdirectory("open");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    guest.cp([from.as_os_str(), &as_nobody(&open)]).succeeded();
    let nobody =
        String::from_utf8(Command::new("id").args(["-u", "nobody"]).output().unwrap().stdout).unwrap();
    assert_eq!(fs::metadata(open.join("from")).unwrap().uid().to_string(), nobody.trim());
    // Nor may nobody put its file in the place of somebody else's, where a folder forbids it as /tmp does.
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(open.join("roots"), "root's").unwrap();
    guest.cp([from.as_os_str(), &as_nobody(&open.join("roots"))]).failed(255, &["cannot rename"]);
    assert_eq!(fs::read_to_string(open.join("roots")).unwrap(), "root's");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 2, "nothing is left behind");
}

/// An agent in a mount namespace of its own, which ends with it: `full` takes a megabyte, `frozen` nothing.
fn guest_with_mounts() -> Guest {
    Guest::start_by(|directory| {
        let [full, frozen] = ["full", "frozen"].map(|name| directory.subdirectory(name));
        let script = "mount -t tmpfs -o size=1m none \"$1\" && mount -t tmpfs -o ro none \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]).args([full, frozen]).arg(agent_binary());
        command
    })
}

#[test]
fn a_full_disk_is_told_and_nothing_of_the_file_stays() {
    if !is_root() {
        return;
    }
    let guest = guest_with_mounts();
    let from = guest.directory.path("from");
    fs::write(&from, payload(3 << 20)).unwrap();
    let full = guest.directory.path("full");
    // What the agent sees there, and we do not.
    let seen = Path::new("/proc")
        .join(guest.agent.0.id().to_string())
        .join("root")
        .join(full.strip_prefix("/").unwrap());
    guest.cp([from.as_os_str(), &guest.remote(full.join("to"))]).failed(255, &["No space left on device"]);
    assert!(names(&seen).is_empty());
    // Also of an endless stream, whose client is told while it still sends.
    let mut endless = guest.client([OsStr::new("cp"), OsStr::new("-"), &guest.remote(full.join("to"))]);
    endless.stdin(File::open("/dev/zero").unwrap());
    Running::start(&mut endless).finish(b"").failed(255, &["No space left on device"]);
    until("nothing is left behind", || names(&seen).is_empty());
    // There is room again for what fits.
    let small = guest.directory.file("small", b"fits");
    guest.cp([small.as_os_str(), &guest.remote(full.join("to"))]).succeeded();
    assert_eq!(names(&seen), ["to"]);
}

#[test]
fn a_read_only_file_system_is_told() {
    if !is_root() {
        return;
    }
    let guest = guest_with_mounts();
    let from = guest.directory.file("from", b"x");
    guest
        .cp([from.as_os_str(), &guest.remote(guest.directory.path("frozen/to"))])
        .failed(255, &["Read-only file system"]);
}

#[test]
fn a_full_disk_on_this_side_leaves_nothing_either() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let from = guest.directory.path("from");
    fs::write(&from, payload(3 << 20)).unwrap();
    let full = guest.directory.subdirectory("full");
    // The client in a mount namespace, and what it sees there afterwards.
    let script = "mount -t tmpfs -o size=1m none \"$1\"; \"$2\" cp \"$3\" \"$1/to\"; echo $?; ls -A \"$1\"";
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "sh",
        "-ec",
        &script.replace("; echo", " || status=$?; echo").replace("$?; ls", "$status; ls"),
        "sh",
    ]);
    command.arg(&full).arg(guest::client_binary()).arg(guest.remote(&from));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let finished = Running::start(&mut command).finish(b"");
    assert_eq!(finished.stdout(), "255\n");
    assert!(finished.stderr().contains("No space left on device"), "{finished:?}");
    assert_eq!(finished.stderr().lines().count(), 1);
}
