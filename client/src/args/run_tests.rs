//! Tests of `run`: what can be meant together with a shell or a command, and what is in its place.

use crate::args::tests::{parsed, refused, run, vsock};
use crate::invocation::{ForwardKind, Invocation, Pass};

#[test]
fn json_needs_a_command_and_no_terminal() {
    assert!(run(&["--json", "3", "ls"]).is_json);
    assert!(run(&["3", "--json", "--", "ls"]).is_json);
    refused(&["--json", "3"], &["--json", "COMMAND"]);
    refused(&["--json", "-t", "3", "ls"], &["--json", "-t"]);
}

#[test]
fn a_command_is_detached_and_a_shell_is_not() {
    let detach = |words: &[&str]| match parsed(words) {
        Invocation::Run(run) => run.detach,
        other => panic!("{other:?}"),
    };
    assert_eq!(detach(&["3", "true"]), None);
    assert_eq!(detach(&["--detach", "3", "true"]), Some(false));
    assert_eq!(detach(&["3", "--detach", "--hold", "-t", "--", "true"]), Some(true));
    refused(&["--detach", "3"], &["--detach", "~d"]);
    refused(&["--hold", "3", "true"], &["--hold", "--detach"]);
    refused(&["--detach", "--json", "3", "true"], &["--json"]);
    refused(&["--detach", "--kill-after", "3", "3", "true"], &["--kill-after"]);
}

#[test]
fn forwards_go_with_a_shell_or_a_command_or_alone() {
    let forwarded = run(&["-L", "1:a:2", "3", "-A", "-R", "4:b:5", "id"]);
    let kinds: Vec<_> = forwarded.forwards.iter().map(|forward| forward.kind).collect();
    assert_eq!((kinds, forwarded.agent_forwarding), (vec![ForwardKind::Local, ForwardKind::Remote], true));
    assert!(run(&["-N", "-D1", "3"]).is_idle);
    assert!(!run(&["-A", "-a", "3"]).agent_forwarding);
    refused(&["-N", "3", "id"], &["-N", "command"]);
    refused(&["-N", "3", "--", "id"], &["-N", "command"]);
    refused(&["-N", "--with", "/f", "3"], &["-N"]);
    refused(&["-N", "--json", "3"], &["-N", "--json"]);
    refused(&["-L", "", "3"], &["-L", "no port"]);
    refused(&["-R", "1:vsock:2", "3"], &["-R", "`1:vsock:2`", "the guest's"]);
    for flag in ["-L1:a:2", "-R1:a:2", "-D1", "-A"] {
        refused(&["--detach", flag, "3", "id"], &["--detach", "forward"]);
        refused(&[flag, "3", "-u", "a:b"], &[&flag[..2], "-u"]);
        refused(&["info", flag, "3"], &[&flag[..2], "info"]);
    }
}

#[test]
fn one_connection_is_passed_and_nothing_else() {
    let pass = |line: &[&str]| match parsed(line) {
        Invocation::Pass(Pass { target, destination, .. }) => (target, destination.to_string()),
        other => panic!("{line:?}: {other:?}"),
    };
    assert_eq!(pass(&["-W", "h:22", "3"]), (vsock(3, 5000), "h:22".into()));
    assert_eq!(pass(&["-T", "-o", "BatchMode=yes", "-p7", "3", "-Wh:22"]), (vsock(3, 7), "h:22".into()));
    refused(&["-W", "h:22", "3", "id"], &["`id`", "-W"]);
    refused(&["-W", "a:1", "-W", "b:2", "3"], &["-W", "twice"]);
    refused(&["-W", "", "3"], &["-W", "port"]);
    refused(&["-W", "h:22"], &["target"]);
    for flag in ["-N", "-L1:a:2", "-t", "--json", "--detach"] {
        refused(&["-W", "h:22", flag, "3"], &[&flag[..2], "-W"]);
    }
}
