//! What programs write that call ssh, end to end.

use crate::guest::{Guest, TARGET, client};

#[test]
fn what_ssh_would_use_is_printed_and_nobody_is_called() {
    // As git asks a program that it does not know.
    let words = ["-G", "-o", "SendEnv=GIT_PROTOCOL", "-p", "7", "git@unix%/no/such/socket"];
    let output = client(words).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{lines}");
    assert!(lines.starts_with("user git\nhostname unix:/no/such/socket\n"), "{lines}");
}

#[test]
fn variables_that_ssh_would_send_and_set_arrive() {
    let guest = Guest::start();
    let line =
        ["-oSendEnv=GIT_* -GIT_SECRET", "-o", "SetEnv=A=\"b  c\"", "-xo", "BatchMode yes", TARGET, "--"];
    let mut command = guest.client(line.into_iter().chain(["env"]));
    command.envs([("GIT_PROTOCOL", "version=2"), ("GIT_SECRET", "no"), ("OTHER", "no")]);
    let output = command.output().unwrap();
    let variables = String::from_utf8(output.stdout).unwrap();
    let has = |line: &str| variables.lines().any(|variable| variable == line);
    assert!(has("GIT_PROTOCOL=version=2") && has("A=b  c"), "{variables}");
    assert!(!variables.contains("GIT_SECRET") && !variables.contains("OTHER"), "{variables}");
}

#[test]
fn help_is_printed_about_everything_and_about_a_verb() {
    for (words, line) in [
        (&["-h"][..], "Usage: vsock-shell [OPTIONS] [USER@]TARGET"),
        (&["--help"], "  fs mkdir TARGET [-p] PATH..."),
        (&["cp", "-h"], "Usage: vsock-shell cp [-r] [-p] SRC... DST"),
        (&["sys", "mount", "-h"], "Usage: vsock-shell sys VERB TARGET ..."),
    ] {
        let output = client(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.lines().any(|one| one.starts_with(line)),
            "{words:?}: {text}"
        );
    }
}
