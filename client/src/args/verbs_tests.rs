//! Tests of `verbs`: every form of `fs` and `sys`, and ways to get them wrong.

use super::*;
use crate::args::parse;

#[track_caller]
fn fs(line: &[&str]) -> Asked<FsVerb> {
    match parse(line.iter().copied()) {
        Ok(Invocation::Fs(asked)) => asked,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn system(line: &[&str]) -> SystemVerb {
    match parse(line.iter().copied()) {
        Ok(Invocation::System(asked)) => asked.verb,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn refused(line: &[&str], words: &[&str]) {
    let text = match parse(line.iter().copied()) {
        Ok(invocation) => panic!("{line:?}: {invocation:?}"),
        Err(error) => error.to_string(),
    };
    assert!(!text.contains('\n'), "{line:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{line:?}: no `{word}` in: {text}");
    }
}

#[test]
fn each_verb_of_fs_means_what_it_says() {
    let paths = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<OsString>>();
    let made = FsVerb::MakeDirectories { paths: paths(&["/a", "b"]), with_parents: true };
    assert_eq!(fs(&["fs", "mkdir", "3", "/a", "-p", "b"]).verb, made);
    assert_eq!(
        fs(&["fs", "rm", "-r", "3", "/a"]).verb,
        FsVerb::Remove { paths: paths(&["/a"]), is_tree: true }
    );
    assert_eq!(fs(&["fs", "mv", "3", "a", "b"]).verb, FsVerb::Rename { from: "a".into(), to: "b".into() });
    assert_eq!(
        fs(&["fs", "ln", "-s", "3", "t", "p"]).verb,
        FsVerb::Link { target: "t".into(), path: "p".into() }
    );
    assert_eq!(
        fs(&["fs", "chmod", "3", "4755", "x"]).verb,
        FsVerb::SetMode { mode: 0o4755, paths: paths(&["x"]) }
    );
    assert_eq!(fs(&["fs", "df", "3"]).verb, FsVerb::Space { paths: paths(&["/"]) });
    assert_eq!(
        fs(&["fs", "rm", "3", "--", "-r"]).verb,
        FsVerb::Remove { paths: paths(&["-r"]), is_tree: false }
    );
}

#[test]
fn options_of_the_client_stand_before_fs_or_behind_the_verb() {
    let asked =
        fs(&["-p", "7", "-l", "alice", "fs", "mkdir", "--json", "3", "-p", "-q", "--timeout", "0", "x"]);
    assert_eq!(asked.target.user, Some("alice".into()));
    assert!(asked.is_json && asked.settings.is_quiet && asked.settings.patience.connect.is_zero());
    let asked = fs(&["fs", "df", "--listen", "unix:/x", "/a"]);
    assert_eq!(asked.verb, FsVerb::Space { paths: vec!["/a".into()] });
}

#[test]
fn each_verb_of_sys_means_what_it_says() {
    assert_eq!(
        system(&["sys", "kill", "-KILL", "3", "12", "13"]),
        SystemVerb::Kill { signal: 9, processes: vec![12, 13] }
    );
    assert_eq!(system(&["sys", "kill", "3", "12"]), SystemVerb::Kill { signal: 15, processes: vec![12] });
    let log = SystemVerb::Log { follows: true, since: Since::parse("5m") };
    assert_eq!(system(&["sys", "dmesg", "-f", "--since=5m", "3"]), log);
    let mount = Mount { kind: Some("tmpfs".into()), flags: 1, data: b"size=1m".to_vec() };
    let mount = SystemVerb::Mount { source: "none".into(), target: "/mnt".into(), mount };
    assert_eq!(system(&["sys", "mount", "3", "-t", "tmpfs", "-o", "ro,size=1m", "none", "/mnt"]), mount);
    let unmount = SystemVerb::Unmount { targets: vec!["/mnt".into()], is_lazy: true, is_forced: true };
    assert_eq!(system(&["sys", "umount", "-lf", "3", "/mnt"]), unmount);
    let load = SystemVerb::Load { path: "/x.ko".into(), parameters: vec!["a=1".into()] };
    assert_eq!(system(&["sys", "load", "3", "/x.ko", "a=1"]), load);
    assert_eq!(system(&["sys", "unload", "3", "x"]), SystemVerb::Unload { name: "x".into() });
    assert_eq!(system(&["sys", "env", "3"]), SystemVerb::Environment);
    assert_eq!(system(&["sys", "date", "3", "--sync"]), SystemVerb::Date { is_set: true });
    assert_eq!(system(&["sys", "sync", "3"]), SystemVerb::Sync);
    for (verb, action) in [("poweroff", Action::PowerOff), ("reboot", Action::Reboot)] {
        match parse(["sys", verb, "--force", "3"]) {
            Ok(Invocation::Power(power)) => assert_eq!((power.action, power.is_forced), (action, true)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_a_verb_or_with_an_unknown_one_the_verbs_are_listed() {
    refused(&["fs"], &["mkdir, rm, mv, ln, chmod, df"]);
    refused(&["fs", "mkidr", "3"], &["did you mean `mkdir`?", "chmod"]);
    refused(&["sys"], &["kill, dmesg"]);
    refused(&["sys", "dmseg"], &["did you mean `dmesg`?"]);
    refused(&["sys", "\x1b"], &["\\x1b"]);
    let help = |verb, is_full| Ok(Invocation::Help { verb: Some(verb), is_full });
    assert_eq!(parse(["fs", "-h"]), help("fs", false));
    assert_eq!(parse(["fs", "--help"]), help("fs", true));
    assert_eq!(parse(["sys", "kill", "--help"]), help("sys", true));
}

#[test]
fn what_is_missing_or_too_much_is_one_line_with_the_usage() {
    refused(&["fs", "mkdir"], &["no target", "fs mkdir TARGET [-p] PATH..."]);
    refused(&["fs", "mkdir", "3"], &["missing", "fs mkdir TARGET"]);
    refused(&["fs", "mv", "3", "a", "b", "c"], &["`c`", "too many"]);
    refused(&["fs", "mkdir", "3", ""], &["empty"]);
    refused(&["fs", "mkdir", "-x", "3", "a"], &["`-x`", "fs mkdir"]);
    refused(&["fs", "rm", "--recursve", "3", "a"], &["did you mean `--recursive`?"]);
    refused(&["fs", "df", "--timout", "1", "3"], &["did you mean `--timeout`?"]);
    refused(&["fs", "df", "-l", "bob", "3"], &["`-l`", "fs df"]);
    refused(&["fs", "df", "--detach", "3"], &["`--detach`", "fs df"]);
    refused(&["fs", "ln", "3", "a", "b"], &["-s TEXT PATH"]);
    refused(&["fs", "chmod", "3", "u+x", "b"], &["`u+x`", "octal"]);
    refused(&["fs", "chmod", "3", "17777", "b"], &["octal"]);
    refused(&["fs", "chmod", "3", "+644", "b"], &["octal"]);
    refused(&["-t", "fs", "df", "3"], &["-t", "fs"]);
    refused(&["sys", "kill", "3", "x"], &["`x` is no process"]);
    refused(&["sys", "kill", "3", "0"], &["`0` is no process"]);
    refused(&["sys", "kill", "-FOO", "3", "1"], &["`-FOO` is no signal"]);
    refused(&["sys", "mount", "3", "a", "b"], &["-t TYPE"]);
    refused(&["sys", "dmesg", "--since", "then", "3"], &["`then`", "30s"]);
    refused(&["sys", "env", "3", "x"], &["`x`", "too many"]);
    refused(&["fs", "df", "nonsense:"], &["nonsense"]);
}
