//! Tests of `args` and `options`: every form of the usage, and every way to get it wrong.

use std::time::Duration;

use super::*;
use crate::invocation::{Copy, CopyOptions, Program, Pty, Run};
use crate::invocation::{Job, Settings, Variable, Wish};
use crate::operand::Operand;
use crate::target::{Address, Listen};

#[track_caller]
pub(super) fn parsed(line: &[&str]) -> Invocation {
    parse(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[track_caller]
pub(super) fn run(line: &[&str]) -> Run {
    match parsed(line) {
        Invocation::Run(run) => run,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn copy(line: &[&str]) -> Copy {
    match parsed(line) {
        Invocation::Copy(copy) => copy,
        other => panic!("{line:?}: {other:?}"),
    }
}

/// The line of complaint, which has to be one line and to hold every one of `words`.
#[track_caller]
pub(super) fn refused(line: &[&str], words: &[&str]) {
    is_refused(parse(line), line, words);
}

/// The same of what came of parsing it.
#[track_caller]
pub(super) fn is_refused(parsed: Result<Invocation, ArgsError>, line: &[&str], words: &[&str]) {
    let text = match parsed {
        Ok(invocation) => panic!("{line:?}: {invocation:?}"),
        Err(error) => error.to_string(),
    };
    assert!(!text.contains('\n') && !text.is_empty(), "{line:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{line:?}: no `{word}` in: {text}");
    }
}

pub(super) fn vsock(cid: u32, port: u32) -> Target {
    Target { user: None, address: Address::Vsock { cid, port }, credentials: None }
}

fn line(command: &str) -> Program {
    Program::Line(command.into())
}

fn argv(words: &[&str]) -> Program {
    Program::Argv(words.iter().map(Into::into).collect())
}

#[test]
fn a_target_alone_is_a_shell_with_every_default() {
    let expected = Run {
        target: vsock(3, 5000),
        program: Program::Shell,
        pty: Pty::Auto,
        is_stdin_null: false,
        escape: Some(b'~'),
        environment: vec![],
        sent: vec![],
        forwards: vec![],
        agent_forwarding: false,
        is_idle: false,
        is_subsystem: false,
        directory: None,
        detach: None,
        with: None,
        kill_after: None,
        is_json: false,
        settings: Settings { patience: Duration::from_secs(2).into(), is_quiet: false, verbosity: 0 },
    };
    assert_eq!(parsed(&["3"]), Invocation::Run(expected));
}

#[test]
fn words_after_the_target_are_joined_by_spaces() {
    assert_eq!(run(&["3", "ls"]).program, line("ls"));
    assert_eq!(run(&["3", "echo", "a  b", "", "c"]).program, line("echo a  b  c"));
    assert_eq!(run(&["3", ""]).program, line(""));
}

#[test]
fn after_the_commands_first_word_nothing_is_an_option() {
    let run = run(&["3", "ls", "-t", "--", "-h", "--json"]);
    assert_eq!((run.program, run.pty), (line("ls -t -- -h --json"), Pty::Auto));
}

#[test]
fn options_stand_before_or_after_the_target() {
    for words in [["-t", "-n", "3", "ls"], ["3", "-t", "-n", "ls"], ["-n", "3", "-t", "ls"]] {
        let run = run(&words);
        assert_eq!((run.program, run.pty, run.is_stdin_null), (line("ls"), Pty::Always, true), "{words:?}");
    }
}

#[test]
fn clustered_options_and_attached_values_work() {
    let run = run(&["-nTvvp22", "3", "-qeX", "ls"]);
    assert_eq!(run.target, vsock(3, 22));
    assert_eq!((run.is_stdin_null, run.pty, run.escape), (true, Pty::Never, Some(b'X')));
    assert_eq!((run.settings.is_quiet, run.settings.verbosity), (true, 2));
}

#[test]
fn a_double_dash_before_the_target_ends_options_and_verbs() {
    assert_eq!(run(&["--", "3", "ls", "-l"]).program, line("ls -l"));
    assert_eq!(run(&["-T", "--", "3", "-x"]).program, line("-x"));
    assert_eq!(run(&["--", "3"]).program, Program::Shell);
    refused(&["--", "cp", "3:/a", "b"], &["`cp`"]);
    refused(&["--", "-t"], &["`-t`"]);
}

#[test]
fn a_double_dash_after_the_target_runs_a_program_as_it_is() {
    assert_eq!(run(&["3", "--", "ls", "a b", "-t"]).program, argv(&["ls", "a b", "-t"]));
    assert_eq!(run(&["3", "-t", "--", "-x"]).program, argv(&["-x"]));
    assert_eq!(run(&["--", "3", "--", "ls", "--"]).program, argv(&["ls", "--"]));
    refused(&["3", "--"], &["PROGRAM"]);
    refused(&["3", "--", ""], &["empty"]);
}

#[test]
fn rsync_git_and_scp_spell_it_so() {
    let rsync = run(&["-l", "root", "3", "rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/tmp"]);
    assert_eq!(rsync.target.user, Some("root".into()));
    assert_eq!(rsync.program, line("rsync --server -vlogDtpre.iLsfxCIvu . /tmp"));
    assert_eq!(run(&["-p", "22", "git@3", "git-upload-pack 'a'"]).target.user, Some("git".into()));
    assert_eq!(
        run(&["-l", "root", "-p", "22", "--", "3", "scp -f /etc/fstab"]).program,
        line("scp -f /etc/fstab")
    );
}

#[test]
fn the_user_comes_from_either_place_but_not_from_both() {
    assert_eq!(run(&["-l", "a", "3"]).target.user, Some("a".into()));
    assert_eq!(run(&["a@3", "-l", "a"]).target.user, Some("a".into()));
    refused(&["-l", "a", "b@3"], &["`a`", "`b`"]);
    refused(&["-l", "", "3"], &["-l"]);
}

#[test]
fn a_port_in_the_target_wins_over_the_option() {
    assert_eq!(run(&["-p", "7", "vsock:3:9"]).target, vsock(3, 9));
    for word in ["x", "-1", "4294967295", "", "+1"] {
        refused(&["-p", word, "3"], &["-p", &format!("`{word}`")]);
    }
}

#[test]
fn the_last_of_t_and_capital_t_counts() {
    assert_eq!(run(&["-tT", "3"]).pty, Pty::Never);
    assert_eq!(run(&["-T", "-tt", "3"]).pty, Pty::Always);
}

#[test]
fn the_escape_character_is_a_byte_a_control_or_none() {
    for (word, expected) in [
        ("~", Some(b'~')),
        ("none", None),
        ("^]", Some(0x1d)),
        ("^b", Some(2)),
        ("^", Some(b'^')),
        ("^?", Some(0x7f)),
    ] {
        assert_eq!(run(&["-e", word, "3"]).escape, expected, "{word}");
    }
    for word in ["", "ab", "^ab", "é"] {
        refused(&["-e", word, "3"], &["-e"]);
    }
    assert_eq!(run(&["-e=", "3"]).escape, Some(b'='));
}

#[test]
fn variables_keep_their_order_and_their_values() {
    let run = run(&["-E", "A=1", "3", "-E", "B", "-EC=x=y", "-E", "D=", "env"]);
    let seen: Vec<_> = run
        .environment
        .iter()
        .map(|Variable { name, value }| (name.to_str().unwrap(), value.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [("A", Some("1".as_ref())), ("B", None), ("C", Some("x=y".as_ref())), ("D", Some("".as_ref()))]
    );
    refused(&["-E", "=x", "3"], &["`=x`"]);
    refused(&["-E", "", "3"], &["-E"]);
}

#[test]
fn seconds_may_have_a_fraction() {
    let run = run(&["--timeout", "0.25", "--kill-after=1.5", "3", "ls"]);
    assert_eq!(run.settings.patience.connect, Duration::from_millis(250));
    assert_eq!(run.kill_after, Some(Duration::from_millis(1500)));
    for word in ["-1", "inf", "nan", "1e3", "", ".", "1.2.3", "2s", "99999999999999999999999"] {
        refused(&["--timeout", word, "3"], &["--timeout", &format!("`{word}`")]);
    }
}

#[test]
fn how_long_a_connection_is_kept_can_be_chosen() {
    let usual = run(&["3"]).settings.patience;
    assert_eq!((usual.reconnect, usual.dead_after), (Duration::from_secs(30), None));
    let chosen = run(&["--reconnect", "0", "3", "--dead-after", "2.5"]).settings.patience;
    assert_eq!((chosen.reconnect, chosen.dead_after), (Duration::ZERO, Some(Duration::from_millis(2500))));
    refused(&["--reconnect", "x", "3"], &["--reconnect"]);
    refused(&["--dead-after", "-1", "3"], &["--dead-after"]);
}

#[test]
fn the_working_directory_is_taken() {
    assert_eq!(run(&["-C", "/tmp", "3", "ls"]).directory, Some("/tmp".into()));
    refused(&["-C", "", "3", "ls"], &["-C"]);
}

#[test]
fn upload_and_download_are_copies_of_one_file() {
    let remote = |path: &str| Operand::Remote { target: vsock(3, 5000), path: path.into() };
    for words in [["3", "-u", "a:b"], ["-u", "a:b", "3"], ["--upload", "a:b", "3"]] {
        let copy = copy(&words);
        assert_eq!(
            (copy.sources, copy.destination),
            (vec![Operand::Local("a".into())], remote("b")),
            "{words:?}"
        );
    }
    let down = copy(&["3", "-d", r"/x\:y:b", "--sync"]);
    assert_eq!(
        (down.sources, down.destination, down.options.is_synced),
        (vec![remote("/x:y")], Operand::Local("b".into()), true)
    );
    assert_eq!(copy(&["3", "--download=a:-"]).destination, Operand::Stream);
    assert_eq!(copy(&["3", "-u", "-:a"]).sources, [Operand::Stream]);
}

#[test]
fn a_transfer_that_cannot_be_meant_is_refused() {
    refused(&["3", "-u", "a"], &["-u", "`a`", "LOCAL:REMOTE"]);
    refused(&["3", "-d", "a:"], &["-d", "`a:`", "REMOTE:LOCAL"]);
    refused(&["3", "-u", "a:b", "-d", "a:b"], &["-u", "-d"]);
    refused(&["3", "-u", "a:b", "-u", "a:b"], &["-u", "cp"]);
    refused(&["3", "-u", "a:b", "ls"], &["`ls`"]);
    refused(&["3", "-u", "a:b", "-t"], &["-t", "-u"]);
    refused(&["-u", "a:b"], &["target"]);
}

#[test]
fn cp_takes_sources_and_a_destination() {
    let copy = copy(&["cp", "-q", "a", "./b:c", "--sync", "root@3:/tmp"]);
    assert_eq!(copy.sources, [Operand::Local("a".into()), Operand::Local("./b:c".into())]);
    assert_eq!((copy.options.is_synced, copy.settings.is_quiet), (true, true));
    match copy.destination {
        Operand::Remote { target, path } => {
            assert_eq!((target.user, path), (Some("root".into()), "/tmp".into()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn cp_takes_what_is_to_be_done_with_trees() {
    let words = ["cp", "-r", "-p", "--exclude", "*.o", "--exclude=/t", "--resume", "--checksum", "--delete"];
    let up = copy(&[&words[..], &["--sync", "a", "3:/b"]].concat());
    let expected = CopyOptions {
        is_recursive: true,
        is_preserving: true,
        is_synced: true,
        is_resumed: true,
        is_checked: true,
        deletes: true,
        trusts: false,
        is_in_place: false,
        excludes: vec!["*.o".into(), "/t".into()],
    };
    assert_eq!((up.options, up.is_json), (expected, false));
    let down = copy(&["cp", "--recursive", "--preserve", "--trust-guest", "--json", "3:/b", "a"]);
    let expected =
        CopyOptions { is_recursive: true, is_preserving: true, trusts: true, ..Default::default() };
    assert_eq!((down.options, down.is_json), (expected, true));
    assert!(copy(&["cp", "--in-place", "a", "3:/dev/vda"]).options.is_in_place);
    assert!(copy(&["cp", "--in-place", "-", "3:/dev/vda"]).options.is_in_place);
    assert!(copy(&["cp", "--in-place", "3:/dev/vda", "4:/dev/vda"]).options.is_in_place);
}

#[test]
fn after_cp_p_preserves_and_before_it_it_is_the_port() {
    let preserving = copy(&["cp", "-p", "a", "3:/b"]);
    assert_eq!((preserving.options.is_preserving, preserving.sources.len()), (true, 1));
    let both = copy(&["-p", "7", "cp", "-rp", "a", "3:/b"]);
    assert!(both.options.is_preserving && both.options.is_recursive);
    assert_eq!(both.destination, Operand::Remote { target: vsock(3, 7), path: "/b".into() });
    let port = copy(&["cp", "--port", "7", "a", "3:/b"]);
    assert!(!port.options.is_preserving);
    assert_eq!(port.destination, Operand::Remote { target: vsock(3, 7), path: "/b".into() });
}

#[test]
fn options_of_trees_that_cannot_be_meant_are_refused() {
    for option in ["--resume", "--checksum"] {
        refused(&["cp", option, "3:/a", "4:/b"], &[option, "two guests"]);
        // Also where only one of several sources is a guest.
        refused(&["cp", option, "a", "3:/a", "4:/b"], &[option, "two guests"]);
    }
    refused(&["cp", "-r", "--delete", "3:/a", "4:/b"], &["--delete", "two guests"]);
    refused(&["cp", "--delete", "a", "3:/b"], &["--delete", "-r"]);
    refused(&["cp", "--in-place", "3:/a", "b"], &["--in-place", "destination"]);
    refused(&["cp", "--in-place", "-r", "a", "3:/b"], &["--in-place", "-r"]);
    refused(&["cp", "--in-place", "--resume", "a", "3:/b"], &["--in-place", "--resume"]);
    refused(&["cp", "--json", "3:/a", "-"], &["--json", "`-`"]);
    refused(&["cp", "--exclude", "", "a", "3:/b"], &["--exclude"]);
    refused(&["cp", "--exclude"], &["--exclude"]);
    for option in ["--delete", "--resume", "--checksum", "--trust-guest", "--in-place"] {
        refused(&[option, "3", "ls"], &[option, "a command"]);
        refused(&[option, "3", "-u", "a:b"], &[option, "-u"]);
    }
    refused(&["-r", "3", "ls"], &["-r"]);
}

#[test]
fn cp_takes_options_before_the_verb_streams_and_two_guests() {
    let stream = copy(&["-p", "7", "cp", "-", "3:/x"]);
    assert_eq!(stream.sources, [Operand::Stream]);
    assert_eq!(stream.destination, Operand::Remote { target: vsock(3, 7), path: "/x".into() });
    assert_eq!(copy(&["cp", "3:/x", "-"]).destination, Operand::Stream);
    assert!(matches!(copy(&["cp", "3:/x", "4:/y"]).destination, Operand::Remote { .. }));
    assert_eq!(copy(&["cp", "--", "-x", "3:/y"]).sources, [Operand::Local("-x".into())]);
}

#[test]
fn a_copy_that_cannot_be_meant_is_refused() {
    refused(&["cp"], &["SRC"]);
    refused(&["cp", "3:/a"], &["SRC"]);
    refused(&["cp", "a", "b"], &["local"]);
    refused(&["cp", "3:/a", "b", "c"], &["local"]);
    refused(&["cp", "-", "-", "3:/a"], &["`-`"]);
    refused(&["cp", "guest:/a", "b"], &["`guest`", "./guest:/a"]);
    refused(&["cp", "-t", "3:/a", "b"], &["-t", "cp"]);
    refused(&["cp", "-l", "a", "b@3:/a", "b"], &["-l"]);
}

#[test]
fn wait_and_info_take_one_target() {
    let ask = |timeout, is_json| Ask {
        target: vsock(3, 5000),
        is_json,
        settings: Settings { patience: Duration::from_secs(timeout).into(), is_quiet: false, verbosity: 0 },
    };
    assert_eq!(parsed(&["wait", "--timeout", "60", "3"]), Invocation::Wait(ask(60, false)));
    assert_eq!(parsed(&["wait", "3", "--timeout=60"]), Invocation::Wait(ask(60, false)));
    assert_eq!(parsed(&["info", "--json", "3"]), Invocation::Info(ask(2, true)));
    refused(&["wait"], &["target"]);
    refused(&["info", "3", "4"], &["`4`", "info"]);
    refused(&["wait", "--json", "3"], &["--json", "wait"]);
    refused(&["info", "-t", "3"], &["-t", "info"]);
}

#[test]
fn the_end_of_a_guest_takes_one_target_and_force() {
    for (word, action) in [("poweroff", Action::PowerOff), ("reboot", Action::Reboot), ("halt", Action::Halt)]
    {
        let settings = Settings { patience: Duration::from_secs(2).into(), is_quiet: false, verbosity: 0 };
        let power = |is_forced| {
            Invocation::Power(Power { target: vsock(3, 5000), action, is_forced, is_json: false, settings })
        };
        assert_eq!(parsed(&[word, "3"]), power(false));
        assert_eq!(parsed(&[word, "--force", "3"]), power(true));
        refused(&[word], &["target"]);
        refused(&[word, "3", "4"], &["`4`", word]);
        refused(&[word, "-l", "user", "3"], &["-l", word]);
    }
    refused(&["--force", "3"], &["--force"]);
}

#[test]
fn help_and_version_win_wherever_they_stand_before_a_command() {
    for words in [&["-h"][..], &["--help"], &["3", "-h"], &["cp", "-h"], &["-tVh", "3"]] {
        assert!(matches!(parsed(words), Invocation::Help { .. }), "{words:?}");
    }
    let help = |verb, is_full| Invocation::Help { verb, is_full };
    assert_eq!(parsed(&["-h"]), help(None, false));
    assert_eq!(parsed(&["cp", "--help"]), help(Some("cp"), true));
    assert_eq!(parsed(&["-V"]), Invocation::Version);
    assert_eq!(parsed(&["--version"]), Invocation::Version);
    assert_eq!(run(&["3", "ls", "-h"]).program, line("ls -h"));
}

#[test]
fn mistyped_words_are_named_and_near_ones_suggested() {
    refused(&["--timout", "2", "3"], &["`--timout`", "`--timeout`"]);
    refused(&["--jsn", "3", "ls"], &["`--jsn`", "`--json`"]);
    refused(&["--frobnicate", "3"], &["`--frobnicate`", "-h"]);
    refused(&["-Z", "3"], &["`-Z`", "-h"]);
    refused(&["-nZ", "3"], &["`-Z`"]);
    refused(&["wiat", "3"], &["`wiat`", "`wait`"]);
    refused(&["ifno", "3"], &["`ifno`", "`info`"]);
    refused(&["guest"], &["`guest`", "vsock:3"]);
    refused(&["-p"], &["-p"]);
    refused(&["--json=x", "3", "ls"], &["--json", "`x`"]);
    refused(&["--sync", "3", "ls"], &["--sync"]);
    refused(&[], &["target", "-h"]);
    refused(&[""], &["empty"]);
}

#[test]
fn a_complaint_shows_no_control_character_and_stays_on_one_line() {
    refused(&["a\nb\x1b[31m"], &[r"`a\nb\x1b[31m`"]);
    refused(&["--a\nb", "3"], &[r"--a\nb"]);
    refused(&["-\x1b", "3"], &[r"-\x1b"]);
}

#[test]
fn words_need_not_be_text() {
    let words =
        ["3", "--", "cat"].map(OsString::from).into_iter().chain([OsString::from_vec(b"\xff".to_vec())]);
    match parse(words) {
        Ok(Invocation::Run(Run { program: Program::Argv(argv), .. })) => {
            assert_eq!(argv[1].as_bytes(), b"\xff");
        }
        other => panic!("{other:?}"),
    }
    assert!(parse([OsString::from_vec(b"--\xff".to_vec())]).is_err());
    assert!(parse([OsString::from_vec(b"-\xff".to_vec())]).is_err());
}

#[test]
fn listening_stands_for_the_target() {
    let at = |listen| Target { user: None, address: Address::Listen(listen), credentials: None };
    for (words, target, program) in [
        (&["--listen", "vsock:7"][..], at(Listen::Vsock(7)), Program::Shell),
        (&["--listen=vsock", "-p", "9", "a", "b"], at(Listen::Vsock(9)), line("a b")),
        (&["--listen", "unix:/s_5000", "--", "a"], at(Listen::Unix("/s_5000".into())), argv(&["a"])),
        (&["--listen", "vsock", "poweroff"], at(Listen::Vsock(5000)), line("poweroff")),
    ] {
        let Invocation::Run(run) = parsed(words) else { panic!("{words:?}") };
        assert_eq!((run.target, run.program), (target, program), "{words:?}");
        assert!(run.settings.patience.connect > Duration::from_secs(86_400), "it waits as long as it takes");
    }
    let Invocation::Wait(wait) = parsed(&["wait", "--listen", "vsock", "--timeout", "3", "-l", "bob"]) else {
        panic!("no wait");
    };
    assert_eq!(
        (wait.target.user, wait.settings.patience.connect),
        (Some("bob".into()), Duration::from_secs(3))
    );
    refused(&["3", "--listen", "vsock", "id"], &["--listen", "3"]);
    refused(&["wait", "--listen", "vsock", "3"], &["3"]);
    refused(&["cp", "--listen", "vsock", "a", "3:b"], &["--listen", "cp"]);
    for address in ["tcp:a:1", "unix:", "vsock:x", "3", ""] {
        refused(&["--listen", address], &["--listen", "cannot use"]);
    }
}

#[test]
fn jobs_have_verbs_and_numbers() {
    let wish = |words: &[&str]| match parsed(words) {
        Invocation::Job(Job { number, wish, .. }) => (number, wish),
        other => panic!("{other:?}"),
    };
    let attach = |is_read_only, escape| Wish::Attach { is_read_only, escape };
    assert_eq!(wish(&["attach", "3", "7"]), (7, attach(false, Some(b'~'))));
    assert_eq!(wish(&["attach", "--read-only", "-e", "none", "3", "7"]), (7, attach(true, None)));
    assert_eq!(wish(&["logs", "3", "1"]), (1, Wish::Logs { follows: false }));
    for option in ["-f", "--follow"] {
        assert_eq!(wish(&["logs", "3", option, "1"]), (1, Wish::Logs { follows: true }));
    }
    assert_eq!(wish(&["result", "3", "1"]), (1, Wish::Result { waits: false }));
    assert_eq!(wish(&["result", "--wait", "3", "1"]), (1, Wish::Result { waits: true }));
    for (words, signal) in [
        (&["kill", "3", "1"][..], 15),
        (&["kill", "-9", "3", "1"], 9),
        (&["kill", "3", "-KILL", "1"], 9),
        (&["kill", "3", "1", "-SIGHUP"], 1),
        (&["kill", "-q", "-TERM", "3", "1"], 15),
    ] {
        assert_eq!(wish(words), (1, Wish::Kill(signal)), "{words:?}");
    }
    assert!(matches!(parsed(&["jobs", "--json", "3"]), Invocation::Jobs(Ask { is_json: true, .. })));
    assert_eq!(wish(&["logs", "--listen", "vsock", "4"]).0, 4);
}

#[test]
fn what_is_wrong_with_a_job_is_said() {
    refused(&["attach", "3"], &["attach TARGET JOB"]);
    refused(&["attach"], &["attach TARGET JOB"]);
    refused(&["result", "3", "0"], &["`0`", "number"]);
    refused(&["logs", "3", "one"], &["`one`", "number"]);
    refused(&["logs", "3", "1", "2"], &["`2`", "too many"]);
    refused(&["logs", "--wait", "3", "1"], &["--wait", "logs"]);
    for word in ["-NONE", "-65", "-0", "-RTMIN+99"] {
        refused(&["kill", word, "3", "1"], &[word, "signal"]);
    }
    refused(&["kill", "-9", "-15", "3", "1"], &["`-15`", "second"]);
    refused(&["kill", "-T", "3", "1"], &["-T", "kill"]);
    refused(&["jobs", "3", "1"], &["`1`", "too many"]);
    refused(&["3", "-9", "true"], &["-9"]);
    refused(&["job", "3"], &["jobs"]);
}

#[test]
fn complaints_show_a_flag_as_it_was_written() {
    refused(&["--port", "x", "3"], &["--port `x`"]);
    refused(&["--port=x", "3"], &["--port `x`"]);
    refused(&["--recursive", "3", "ls"], &["--recursive does not go"]);
    refused(&["-R", "1:a:2", "wait", "3"], &["-R does not go with wait"]);
}
