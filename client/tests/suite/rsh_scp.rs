//! The client as the ssh of scp and sftp, and behind a pipe.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::guest::rsh::{ADDRESS, HOST};
use crate::guest::tree::{assert_same_trees, listing};
use crate::guest::{Finished, Guest, TARGET, agent_binary, assert_same, client_binary, is_root, payload};

/// Where Debian's sftp-server stands.
const PLACE: &str = "/usr/lib/openssh";

/// scp with these words, over the client.
#[track_caller]
fn scp(guest: &Guest, words: &[&str]) -> Finished {
    let rsh = client_binary();
    guest.run_program("scp", ["-q", "-S", rsh.to_str().unwrap()].iter().chain(words))
}

/// sftp with these commands, over `rsh`.
#[track_caller]
fn sftp(guest: &Guest, rsh: &Path, commands: &str) -> Finished {
    let batch = guest.directory.file("batch", commands.as_bytes());
    let words = ["-S", rsh.to_str().unwrap(), "-b", batch.to_str().unwrap(), HOST];
    guest.run_program("sftp", words)
}

/// The operand for a path of the guest.
fn there(guest: &Guest, path: &str) -> String {
    format!("{HOST}:{}/{path}", guest.directory.path("").display())
}

/// A folder with a folder and files in it.
fn tree(guest: &Guest, name: &str) {
    let tree = guest.directory.subdirectory(name);
    fs::create_dir(tree.join("inner")).unwrap();
    fs::write(tree.join("inner/a name with 'quotes' and spaces"), "one").unwrap();
    fs::write(tree.join("script"), payload(100_000)).unwrap();
    fs::set_permissions(tree.join("script"), fs::Permissions::from_mode(0o750)).unwrap();
}

/// A guest where nothing is in the place of the sftp-server; it is in `$DIRECTORY/aside` instead, where there is one.
fn guest_without_server() -> Guest {
    Guest::start_by(|directory| {
        let aside = directory.subdirectory("aside");
        fs::copy(Path::new(PLACE).join("sftp-server"), aside.join("sftp-server")).unwrap();
        let script = "mount -t tmpfs none \"$1\"; shift; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh", PLACE]).arg(agent_binary());
        command
    })
}

#[test]
fn scp_copies_files_and_trees_there_and_back() {
    let guest = Guest::start();
    let content = payload(5 << 20);
    let from = guest.directory.file("from", &content);
    scp(&guest, &[from.to_str().unwrap(), &there(&guest, "to")]).succeeded();
    let to = format!("{ADDRESS}:{}", guest.directory.path("to").display());
    scp(&guest, &[&to, "back"]).succeeded();
    assert_same(&fs::read(guest.directory.path("back")).unwrap(), &content);
    tree(&guest, "tree");
    scp(&guest, &["-r", "-p", "tree", &there(&guest, "tree-to")]).succeeded();
    scp(&guest, &["-r", "-p", &there(&guest, "tree-to"), "tree-back"]).succeeded();
    for copy in ["tree-to", "tree-back"] {
        let [mut got, mut expected] = [copy, "tree"].map(|tree| listing(&guest.directory.path(tree), false));
        // It keeps whole seconds.
        got.values_mut().chain(expected.values_mut()).for_each(|seen| seen.modified.1 = 0);
        assert_same_trees(&got, &expected);
    }
}

#[test]
fn scp_of_old_needs_the_guests_scp_and_no_server() {
    let guest = Guest::start();
    guest.directory.file("from", b"content");
    scp(&guest, &["-O", "from", &there(&guest, "to")]).succeeded();
    let to = format!("{ADDRESS}:{}", guest.directory.path("to").display());
    scp(&guest, &["-O", &to, "back"]).succeeded();
    assert_eq!(fs::read(guest.directory.path("back")).unwrap(), b"content");
}

#[test]
fn scp_tells_what_is_missing_and_fails() {
    let guest = Guest::start();
    let missing = scp(&guest, &[&there(&guest, "none"), "."]);
    assert_eq!(missing.status(), 1, "{missing:?}");
    assert!(missing.stderr().contains("No such file or directory"), "{missing:?}");
    assert!(!missing.stderr().contains("vsock-shell: "), "{missing:?}");
    let nobody = scp(&guest, &["unix%nobody:none", "."]);
    assert_eq!(nobody.status(), 255, "{nobody:?}");
    assert!(nobody.stderr().starts_with("vsock-shell: cannot reach unix:nobody: "), "{nobody:?}");
}

#[test]
fn sftp_does_what_its_batch_says() {
    let guest = Guest::start();
    guest.directory.file("from", b"content");
    let folder = guest.directory.path("");
    let batch = format!(
        "cd {}\nmkdir there\nput from there/one\nrename there/one there/two\nchmod 640 there/two\n\
         get there/two back\nls -1 there\n",
        folder.display()
    );
    let finished = sftp(&guest, &client_binary(), &batch);
    assert!(finished.succeeded().ends_with("sftp> ls -1 there\nthere/two\n"), "{finished:?}");
    assert_eq!(fs::read(folder.join("back")).unwrap(), b"content");
    assert_eq!(fs::metadata(folder.join("there/two")).unwrap().permissions().mode() & 0o7777, 0o640);
    // The batch ends with what fails first.
    let failed = sftp(&guest, &client_binary(), "get /no/such/file back\nmkdir never\n");
    assert_eq!(failed.status(), 1, "{failed:?}");
    assert!(failed.stderr().contains("\"/no/such/file\" not found"), "{failed:?}");
    assert!(!folder.join("never").exists());
}

#[test]
fn without_a_server_in_the_guest_one_line_says_so() {
    if !is_root() {
        return;
    }
    let guest = guest_without_server();
    guest.directory.file("from", b"content");
    let line = format!(
        "vsock-shell: {}: the guest has no sftp-server, which sftp and scp need; vsock-shell cp needs nothing there\n",
        guest.target()
    );
    for finished in [scp(&guest, &["from", &there(&guest, "to")]), sftp(&guest, &client_binary(), "ls\n")] {
        assert_eq!(finished.status(), 255, "{finished:?}");
        // The other line is theirs.
        assert!(finished.stderr().starts_with(&line), "{finished:?}");
        assert!(finished.stderr().trim_end().ends_with("Connection closed"), "{finished:?}");
    }
    guest.run(["-s", TARGET, "sftp"]).failed(255, &["the guest has no sftp-server"]);
}

#[test]
fn the_server_is_looked_for_in_a_path_of_ones_own_first() {
    if !is_root() {
        return;
    }
    let guest = guest_without_server();
    guest.directory.file("from", b"content");
    let path = guest.directory.path("aside");
    let rsh = guest.rsh_with("rsh", &format!("-E PATH={}", path.display()));
    let to = guest.directory.path("to");
    sftp(&guest, &rsh, &format!("put from {}\n", to.display()));
    assert_eq!(fs::read(to).unwrap(), b"content");
}

#[test]
fn another_subsystem_is_refused_in_one_line() {
    let guest = Guest::start();
    guest.run(["-s", TARGET, "netconf"]).failed(255, &["`netconf`", "the one subsystem is sftp"]);
    guest.run(["-s", TARGET]).failed(255, &["-s TARGET sftp"]);
}

#[test]
fn tar_streams_through_a_pipe_either_way() {
    let guest = Guest::start();
    tree(&guest, "tree");
    let (to, back) = (guest.directory.subdirectory("to"), guest.directory.subdirectory("back"));
    let client = client_binary();
    let client = client.display();
    let up = format!("tar c -C tree . | '{client}' {HOST} tar x -C {}", to.display());
    guest.run_program("sh", ["-c", &up]).succeeded();
    let down = format!("'{client}' {HOST} tar c -C {} . | tar x -C {}", to.display(), back.display());
    guest.run_program("sh", ["-c", &down]).succeeded();
    // It keeps whole seconds.
    let seen = |name: &str| {
        let mut seen = listing(&guest.directory.path(name), false);
        seen.values_mut().for_each(|seen| seen.modified.1 = 0);
        seen
    };
    for copy in ["to", "back"] {
        assert_same_trees(&seen(copy), &seen("tree"));
    }
}
