//! The end of a guest: an agent that is process 1 of a namespace, or has another program there. What it ends is the
//! namespace; the user namespace around it makes sure of that.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use crate::guest::{Guest, agent_binary, until};
use rustix::process::Signal;

/// A guest whose process 1 is a shell that runs `line`: `$AGENT` is the agent, its address stands in `"$@"`, and `$PROGRAMS` is a
/// folder with a `reboot` that fails.
fn guest_of(line: &str) -> Guest {
    Guest::start_by(|directory| {
        let programs = directory.subdirectory("programs");
        std::fs::write(programs.join("reboot"), "#!/bin/sh\necho told $0 >&2\nexit 3\n").unwrap();
        std::fs::set_permissions(programs.join("reboot"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("unshare");
        command
            .args("--user --map-root-user --pid --fork --kill-child --mount --mount-proc --uts".split(' '));
        // A mount point already, /tmp stays what it is, and the socket can be seen from outside.
        command.args(["sh", "-c", &format!("mount --rbind /tmp /tmp; {line}"), "sh"]);
        command.env("AGENT", agent_binary()).env("PROGRAMS", programs);
        command
    })
}

/// How the kernel tells the end of the namespace to the parent of its process 1, reboot(2).
fn end_of(guest: &mut Guest) -> Option<i32> {
    let mut status = None;
    until("the guest has ended", || {
        status = guest.agent.0.try_wait().unwrap();
        status.is_some()
    });
    status.and_then(|status| status.signal())
}

#[test]
fn r_9_11_the_agent_as_process_1_ends_the_machine() {
    for (words, told) in [
        (&["poweroff"][..], Signal::INT),
        (&["reboot"], Signal::HUP),
        (&["halt"], Signal::INT),
        (&["reboot", "--force"], Signal::HUP),
    ] {
        let mut guest = guest_of("exec $AGENT \"$@\"");
        let target = guest.target();
        assert_eq!(guest.run(words.iter().copied().chain([&target[..]])).succeeded(), "", "{words:?}");
        assert_eq!(end_of(&mut guest), Some(told.as_raw()), "{words:?}: {}", guest.log());
    }
}

#[test]
fn r_9_11_another_init_is_asked_through_its_program() {
    let mut guest = guest_of("PATH=$PROGRAMS $AGENT \"$@\" & wait");
    let asked = guest.run(["reboot", &guest.target()]);
    assert_eq!(asked.status(), 3);
    assert!(
        asked.stderr().starts_with("told /") && asked.stderr().ends_with("/reboot\n"),
        "{}",
        asked.stderr()
    );
    let told = guest.run(["sys", "reboot", "--json", &guest.target()]);
    assert_eq!(told.stdout(), "[{\"error\":\"its program ended with status 3\",\"name\":\"reboot\"}]\n");
    let told = guest.run(["sys", "poweroff", "--json", &guest.target()]);
    assert!(told.status() == 255 && told.stdout().contains("\"not found: poweroff"), "{told:?}");
    guest.run(["halt", &guest.target()]).failed(255, &["not found: halt"]);
    // Force asks nobody: nothing else could end this process 1.
    guest.run(["poweroff", "--force", &guest.target()]).succeeded();
    assert_eq!(end_of(&mut guest), Some(Signal::INT.as_raw()));
}
