//! Guests that lack what others take for granted: shells.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::guest::{Guest, agent_binary, is_root};

/// An agent in a mount namespace of its own in which `/usr/bin` holds nothing but `programs` of here, under these names.
fn guest_with(programs: &[(&str, &str)]) -> Guest {
    Guest::start_by(|directory| {
        let programs_of_guest = directory.subdirectory("programs");
        for (from, name) in programs {
            let to = programs_of_guest.join(name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script = "mount --bind \"$1\" /usr/bin; shift; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]).arg(programs_of_guest).arg(agent_binary());
        command
    })
}

/// `/bin` is `/usr/bin`, as everywhere by now; elsewhere one mount would not hide all shells.
fn has_merged_usr() -> bool {
    fs::read_link("/bin").is_ok_and(|target| target.ends_with("usr/bin"))
}

#[test]
fn without_a_shell_the_refusal_names_what_was_tried() {
    if !is_root() || !has_merged_usr() {
        return;
    }
    let guest = guest_with(&[("/bin/true", "true")]);
    guest.run([&guest.target(), "echo hello"]).failed(127, &["no shell", "/bin/bash", "/bin/sh"]);
    guest.run([&guest.target(), "--", "true"]).succeeded();
    guest.run([&guest.target(), "--", "cat"]).failed(127, &["not found"]);
}

#[test]
fn without_the_users_shell_another_one_serves() {
    if !is_root() || !has_merged_usr() {
        return;
    }
    let guest = guest_with(&[("/bin/dash", "sh")]);
    assert_eq!(guest.run([&guest.target(), "echo $0 $SHELL"]).succeeded(), "/bin/sh /bin/sh\n");
}
