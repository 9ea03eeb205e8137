//! Tests of `ssh`: what programs pass that call ssh, and how its lines are written.

use super::*;
use crate::args::parse;
use crate::invocation::{ForwardWord, Invocation, Program, Run};

#[track_caller]
fn run(line: &[&str]) -> Run {
    match parse(line) {
        Ok(Invocation::Run(run)) => run,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn refused(line: &[&str], words: &[&str]) {
    let text = match parse(line) {
        Ok(invocation) => panic!("{line:?}: {invocation:?}"),
        Err(error) => error.to_string(),
    };
    assert!(words.iter().all(|word| text.contains(word)) && !text.contains('\n'), "{line:?}: {text}");
}

#[test]
fn scp_and_sftp_ask_for_a_subsystem_so() {
    let line = "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no \
                -oForwardAgent=no -l alice -p 7 -s -- vsock%3 sftp";
    let run = run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!((run.program, run.is_subsystem), (Program::Argv(vec!["sftp-server".into()]), true));
    assert_eq!((run.pty, run.target.user), (Pty::Never, Some("alice".into())));
    assert_eq!(run.target.address.to_string(), "vsock:3:7");
    refused(&["-s", "3"], &["-s", "sftp"]);
    refused(&["-s", "3", "netconf"], &["-s", "`netconf`", "sftp"]);
    refused(&["-s", "--detach", "3", "sftp"], &["-s", "--detach"]);
}

#[test]
fn git_and_rsync_and_ansible_write_it_so() {
    let git = run(&["-o", "SendEnv=GIT_PROTOCOL", "-4", "-p", "7", "git@3", "git-upload-pack '/a'"]);
    assert_eq!(git.sent, ["GIT_PROTOCOL"]);
    assert_eq!(git.program, Program::Line("git-upload-pack '/a'".into()));
    let line = "-o ControlMaster=auto -o ControlPersist=60s -o KbdInteractiveAuthentication=no -o User=\"bob\" \
                -o ConnectTimeout=10 -o ControlPath=/a -i /k -tt 3 id";
    let ansible = run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!((ansible.pty, ansible.target.user), (Pty::Always, Some("bob".into())));
    assert_eq!(ansible.settings.patience.connect, Duration::from_secs(10));
}

#[test]
fn a_line_has_a_keyword_and_words_behind_a_blank_or_an_equals_sign() {
    for word in ["port=7", "PORT 7", "Port = 7", " Port\t=7 ", "Port \"7\"", "Port='7'"] {
        assert_eq!(run(&["-o", word, "3"]).target.address.to_string(), "vsock:3:7", "{word}");
    }
    for word in ["", " ", "=", "=7", "Port", "Port=", "Port= ", "SetEnv=\"A=b", "Whatever"] {
        refused(&["-o", word, "3"], &["-o", "KEYWORD=VALUE"]);
    }
    refused(&["-o"], &["-o"]);
    refused(&["-o", "Port=x", "3"], &["-o Port", "`x`"]);
    refused(&["-oPort\x1b=\x1b", "-Z"], &["-Z"]);
}

#[test]
fn what_is_known_to_ssh_alone_or_to_nobody_is_ignored() {
    let plain = run(&["3", "id"]);
    for word in ["StrictHostKeyChecking=no", "UserKnownHostsFile /dev/null", "BatchMode=yes", "Whatever=x"] {
        assert_eq!(run(&["-o", word, "3", "id"]), plain, "{word}");
    }
    assert_eq!(run(&["-x46", "-a", "-i", "k", "-F/f", "-c", "c", "-m", "m", "-S", "none", "3", "id"]), plain);
    // It would lead somewhere else than it says.
    refused(&["-o", "HostName=vsock:4", "3"], &["HostName", "TARGET"]);
}

#[test]
fn our_own_flags_win_and_of_two_lines_the_first() {
    for line in [["-p7", "-oPort=8"], ["-oPort=8", "-p7"], ["-oPort=7", "-oPort=8"]] {
        let address = run(&[line[0], line[1], "3"]).target.address.to_string();
        assert_eq!(address, "vsock:3:7", "{line:?}");
    }
    assert_eq!(run(&["-oRequestTTY=no", "-t", "3"]).pty, Pty::Always);
    assert_eq!(run(&["-t", "-oRequestTTY=no", "3"]).pty, Pty::Always);
    assert_eq!(run(&["-oUser=a", "b@3"]).target.user, Some("b".into()));
    assert_eq!(run(&["-oUser=a", "-lb", "3"]).target.user, Some("b".into()));
    assert!(!run(&["-oStdinNull=no", "-oStdinNull=yes", "3"]).is_stdin_null);
}

#[test]
fn variables_are_lists_of_words_that_quotes_hold_together() {
    let run = run(&["-o", r#"SetEnv A=1 "B=x y" C='"' D=a\ b"#, "-o", "setenv=E=", "3"]);
    let seen: Vec<_> = run.environment.iter().map(|it| (it.name.to_str(), it.value.as_deref())).collect();
    let expected = [("A", "1"), ("B", "x y"), ("C", "\""), ("D", "a b"), ("E", "")];
    assert_eq!(seen, expected.map(|(name, value)| (Some(name), Some(OsStr::new(value)))));
    refused(&["-o", "SetEnv=A", "3"], &["SetEnv", "NAME=VALUE"]);
    refused(&["-o", "SetEnv==A", "3"], &["SetEnv"]);
}

#[test]
fn forwards_keep_their_order_and_their_words() {
    let forward = |kind, spec: &str| ForwardWord {
        kind,
        spec: spec.into(),
        forward: crate::forward::parse(kind, OsStr::new(spec)).unwrap(),
    };
    let line = [
        "-L1:a:2",
        "-o",
        "RemoteForward 3 b:4",
        "-D",
        "5",
        "-oLocalForward=[::1]:6 c:7",
        "-R8:/d",
        "-N",
        "3",
    ];
    let expected = vec![
        forward(ForwardKind::Local, "1:a:2"),
        forward(ForwardKind::Remote, "3:b:4"),
        forward(ForwardKind::Dynamic, "5"),
        forward(ForwardKind::Local, "[::1]:6:c:7"),
        forward(ForwardKind::Remote, "8:/d"),
    ];
    let run = run(&line);
    assert_eq!((run.forwards, run.is_idle), (expected, true));
    let mut cleared = line.to_vec();
    cleared.insert(0, "-oClearAllForwardings=yes");
    assert!(matches!(parse(cleared), Ok(Invocation::Run(run)) if run.forwards.is_empty()));
}

#[test]
fn choices_are_told() {
    assert!(run(&["-oLogLevel=QUIET", "3"]).settings.is_quiet);
    assert_eq!(run(&["-oLogLevel=verbose", "3"]).settings.verbosity, 1);
    assert!(run(&["-oForwardAgent=yes", "3"]).agent_forwarding);
    assert!(!run(&["-oForwardAgent=yes", "-a", "3"]).agent_forwarding);
    assert!(run(&["-oStdinNull=yes", "3"]).is_stdin_null);
    assert!(run(&["-oSessionType=none", "3"]).is_idle);
    assert!(run(&["-oSessionType=subsystem", "3", "sftp"]).is_subsystem);
    assert_eq!(run(&["-oEscapeChar=none", "3"]).escape, None);
    assert_eq!(run(&["-oRemoteCommand=echo  a", "3"]).program, Program::Line("echo  a".into()));
    assert_eq!(run(&["-oRemoteCommand=x", "3", "y"]).program, Program::Line("y".into()));
    for (word, list) in [
        ("RequestTTY=maybe", "yes, force, no, auto"),
        ("LogLevel=loud", "quiet"),
        ("StdinNull=2", "yes, no"),
        ("SessionType=x", "subsystem"),
    ] {
        refused(&["-o", word, "3"], &[list]);
    }
}

#[test]
fn times_have_units() {
    for (word, expected) in [("0", 0), ("90", 90), ("1m30s", 90), ("1H", 3600), ("1w2d", 777_600)] {
        assert_eq!(seconds(word), Some(expected), "{word}");
    }
    for word in
        ["", "s", "1x", "1.5", "-1", "1m s", "99999999999999999999", "4294967296", "9999999999999999w"]
    {
        assert_eq!(seconds(word), None, "{word}");
    }
    assert_eq!(run(&["-oConnectTimeout=none", "3"]).settings.patience.connect, Duration::from_secs(2));
    refused(&["-oConnectTimeout=x", "3"], &["ConnectTimeout", "1m30s"]);
}

#[test]
fn the_help_names_every_keyword_that_is_understood() {
    let flag = crate::flags::by_letter('o', crate::flags::Use::Run).expect("it is in the table");
    let words: Vec<_> = flag.more.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    for (keyword, ..) in KEYWORDS {
        assert!(words.iter().any(|word| word.eq_ignore_ascii_case(keyword)), "{keyword}");
    }
}
