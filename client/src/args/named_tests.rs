use std::path::PathBuf;
use std::time::Duration;

use crate::args::parse_named;
use crate::args::tests::is_refused;
use crate::config::{Config, Vocabulary};
use crate::guests::{Guest, Monitor};
use crate::invocation::{Ask, Copy, Each, Invocation, Run, Targets};
use crate::key::Credentials;
use crate::names::Names;
use crate::operand::Operand;
use crate::target::{Address, DEFAULT_PORT};

const FILE: &str = "
[targets.box]
address = 'vsock:7'
user = 'me'
port = 22
key = '/k'
reconnect = 0
timeout = 9
env = ['A=1', 'B=2']
exclude = '*.o'
quiet = true

[targets.other]
address = 'unix:/o'
timeout = 5
exclude = 'x'

[targets.fixed]
address = 'you@vsock:8:99'

[targets.wrong]
address = 'vsock:9'
reconnect = 'soon'

[targets.switch]
address = 'vsock:9'
quiet = 'yes'

[targets.'ci-*']
address = 'mux:/run/{name}.sock'
";

fn names() -> Names {
    let options: Vec<&str> = crate::flags::all().filter_map(|flag| flag.long).collect();
    let config =
        Config::read_text("configuration".as_ref(), FILE, None, Vocabulary { options: &options, verbs: &[] })
            .unwrap();
    let guest = |name: &str, cid| {
        let address = Address::Vsock { cid, port: DEFAULT_PORT };
        Guest { name: name.to_owned(), monitor: Monitor::Qemu, pid: cid, address }
    };
    Names::new(move || Ok(config.clone()), move || vec![guest("vm", 3), guest("ci-1", 4)])
}

#[track_caller]
fn parsed(line: &[&str]) -> Invocation {
    parse_named(line, &names()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[track_caller]
fn run(line: &[&str]) -> Run {
    match parsed(line) {
        Invocation::Run(run) => run,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn ask(line: &[&str]) -> Ask {
    match parsed(line) {
        Invocation::Info(ask) => ask,
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

#[track_caller]
fn each(line: &[&str]) -> Each {
    match parsed(line) {
        Invocation::Each(each) => each,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn refused(line: &[&str], words: &[&str]) {
    is_refused(parse_named(line, &names()), line, words);
}

#[track_caller]
fn address(line: &[&str]) -> String {
    run(line).target.address.to_string()
}

#[test]
fn a_name_is_a_target_wherever_one_can_stand() {
    assert_eq!(address(&["other"]), "unix:/o");
    assert_eq!(address(&["vm"]), "vsock:3:5000");
    assert_eq!(address(&["ci-9", "id"]), "mux:/run/ci-9.sock:5000");
    assert_eq!(address(&["--", "other"]), "unix:/o");
    assert_eq!(ask(&["info", "vm"]).target.address.to_string(), "vsock:3:5000");
    for line in [
        &["fs", "ls", "other"][..],
        &["sys", "ps", "other"],
        &["jobs", "other"],
        &["kill", "other", "3"],
        &["poweroff", "other"],
        &["other", "-u", "a:b"],
        &["other", "-W", "h:1"],
    ] {
        assert!(format!("{:?}", parsed(line)).contains("Unix(\"/o\")"), "{line:?}");
    }
    let copy = copy(&["cp", "vm:/a", "root@other:b", "./c"]);
    let remote = |operand: &Operand| match operand {
        Operand::Remote { target, path } => (target.user.clone(), target.address.to_string(), path.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(remote(&copy.sources[0]), (None, "vsock:3:5000".into(), "/a".into()));
    assert_eq!(remote(&copy.sources[1]), (Some("root".into()), "unix:/o".into(), "b".into()));
}

#[test]
fn an_address_is_no_name_and_asks_nobody() {
    let panics = Names::new(|| panic!("the configuration is read"), || panic!("processes are looked at"));
    for line in
        [&["3"][..], &["vsock%3"], &["cp", "3:/a", "."], &["fs", "ls", "unix:/x"], &["keygen", "f"], &["-h"]]
    {
        assert!(parse_named(line, &panics).is_ok(), "{line:?}");
    }
}

#[test]
fn options_of_the_configuration_are_those_of_the_command_line() {
    let run = run(&["box"]);
    assert_eq!(run.target.user, Some("me".into()));
    assert_eq!(run.target.address.to_string(), "vsock:7:22");
    let credentials = Credentials { key: PathBuf::from("/k"), boot_id: None, machine_id: None };
    assert_eq!(run.target.credentials, Some(credentials));
    assert_eq!(run.settings.patience.reconnect, Duration::ZERO);
    assert_eq!(run.settings.patience.connect, Duration::from_secs(9));
    assert!(run.settings.is_quiet);
    let names: Vec<_> = run.environment.iter().map(|variable| variable.name.to_str().unwrap()).collect();
    assert_eq!(names, ["A", "B"]);
}

#[test]
fn the_command_line_counts_more() {
    let run = run(&["-p", "5", "--key", "/mine", "--reconnect=3", "-E", "A=9", "box", "--timeout", "1"]);
    assert_eq!(run.target.address.to_string(), "vsock:7:5");
    assert_eq!(run.target.credentials.unwrap().key, PathBuf::from("/mine"));
    assert_eq!(run.settings.patience.reconnect, Duration::from_secs(3));
    assert_eq!(run.settings.patience.connect, Duration::from_secs(1));
    // The last one of a name counts.
    let values: Vec<_> = run.environment.iter().map(|variable| variable.value.clone().unwrap()).collect();
    assert_eq!(values, ["1", "2", "9"]);
    assert_eq!(address(&["-p", "5", "fixed"]), "vsock:8:5");
    assert_eq!(address(&["fixed"]), "vsock:8:99");
}

#[test]
fn a_user_that_is_typed_counts_more_than_one_that_is_configured() {
    for (line, user) in [
        (&["box"][..], "me"),
        (&["root@box"], "root"),
        (&["-l", "root", "box"], "root"),
        (&["-o", "User=root", "box"], "root"),
        (&["fixed"], "you"),
        (&["root@fixed"], "root"),
        (&["-l", "root", "fixed"], "root"),
    ] {
        assert_eq!(run(line).target.user, Some(user.into()), "{line:?}");
    }
    refused(&["-l", "a", "b@box"], &["-l names the user `a` and the target `b`"]);
}

#[test]
fn options_that_do_not_go_with_what_is_done_are_left_out() {
    assert_eq!(ask(&["info", "box"]).settings.patience.reconnect, Duration::ZERO);
    assert_eq!(copy(&["cp", "box:a", "b"]).options.excludes, ["*.o"]);
    for line in
        [&["fs", "rm", "-r", "box", "/a"][..], &["sys", "ps", "box"], &["wait", "box"], &["reboot", "box"]]
    {
        assert!(format!("{:?}", parsed(line)).contains("is_quiet: true"), "{line:?}");
    }
}

#[test]
fn of_two_guests_each_has_its_own_and_the_first_says_the_rest() {
    let line = ["cp", "box:a", "other:b"];
    let there = copy(&line);
    let credentials = |operand: &Operand| match operand {
        Operand::Remote { target, .. } => (target.user.clone(), target.credentials.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(credentials(&there.sources[0]), (Some("me".into()), true));
    assert_eq!(credentials(&there.destination), (None, false));
    assert_eq!(there.settings.patience.connect, Duration::from_secs(9));
    assert_eq!(there.options.excludes, ["x", "*.o"]);
    assert_eq!(copy(&["cp", "other:a", "box:b"]).settings.patience.connect, Duration::from_secs(5));
}

#[test]
fn a_wrong_value_is_told_with_its_place_where_its_name_is_used() {
    refused(&["wrong"], &["configuration:23: cannot use --reconnect `soon`"]);
    refused(&["cp", "a", "wrong:b"], &["configuration:23: cannot use --reconnect `soon`"]);
    refused(&["fs", "ls", "wrong"], &["configuration:23: cannot use --reconnect `soon`"]);
    refused(&["switch"], &["configuration:27: --quiet takes no value, and `yes` was given"]);
}

#[test]
fn a_name_that_is_not_known_hints_at_the_near_one() {
    refused(&["bxo"], &["cannot use target `bxo`: it is no context id", "did you mean `box`?"]);
    refused(&["othre"], &["did you mean `other`?"]);
    refused(&["ifno"], &["did you mean `info`?"]);
    refused(&["cp", "fixd:/a", "b"], &["cannot use target `fixd`", "did you mean `fixed`?", "is ./fixd:/a"]);
    refused(&["me@bxo"], &["cannot use target `me@bxo`"]);
    refused(&["sys", "ps", "iffo"], &["cannot use target `iffo`"]);
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_where_a_name_is() {
    let broken = || {
        let error =
            Config::read_text("configuration".as_ref(), "x", None, Vocabulary { options: &[], verbs: &[] })
                .unwrap_err();
        Names::new(move || Err(error.clone()), Vec::new)
    };
    for line in
        [&["box"][..], &["cp", "box:a", "b"], &["targets"], &["each", "b*", "--", "id"], &["info", "box"]]
    {
        let error = parse_named(line, &broken()).unwrap_err().to_string();
        assert!(
            error.contains("configuration:1: this is not TOML") && !error.contains('\n'),
            "{line:?}: {error}"
        );
    }
}

#[test]
fn each_takes_targets_and_behind_dashes_a_command() {
    let all = each(&["each", "-P", "3", "3", "box", "-q", "root@vm", "--", "uname", "-r"]);
    assert_eq!(all.targets, ["3", "box", "root@vm"]);
    assert_eq!((all.parallel, all.is_json), (3, false));
    assert_eq!(all.command, ["--", "uname", "-r"]);
    assert_eq!(all.flags, ["-q"]);
    let all = each(&["each", "--json", "-E", "A=b c", "--timeout=1", "3", "--", "id"]);
    assert_eq!(all.flags, ["--json", "-E", "A=b c", "--timeout", "1"]);
    assert!(all.is_json && all.parallel == 32);
}

#[test]
fn one_word_that_only_a_shell_can_mean_is_a_line() {
    for (word, is_line) in [("dmesg | tail", true), ("echo $HOME", true), ("exit;", true), ("/bin/id", false)]
    {
        let command = each(&["each", "3", "--", word]).command;
        assert_eq!(command.len(), if is_line { 1 } else { 2 }, "{word}");
    }
    assert_eq!(each(&["each", "3", "--", "echo", "a b"]).command, ["--", "echo", "a b"]);
    assert_eq!(each(&["each", "--with", "f", "3", "--", "a b"]).command, ["--", "a b"]);
}

#[test]
fn a_pattern_stands_for_the_names_that_match_once_each() {
    assert_eq!(each(&["each", "*o*", "--", "id"]).targets, ["box", "other", "wrong"]);
    assert_eq!(each(&["each", "root@ci-?", "vm", "v*", "--", "id"]).targets, ["root@ci-1", "vm"]);
    refused(&["each", "z*", "--", "id"], &["cannot use target `z*`: no name that is known here matches"]);
}

#[test]
fn each_refuses_before_anything_is_run() {
    refused(&["each", "3", "bxo", "--", "id"], &["cannot use target `bxo`", "did you mean `box`?"]);
    refused(&["each", "3", "id"], &["each needs a command"]);
    refused(&["each", "3", "--"], &["each needs a command"]);
    refused(&["each", "--", "id"], &["each needs targets"]);
    refused(&["each", "-P", "0", "3", "--", "id"], &["cannot use -P `0`"]);
    refused(&["each", "-t", "3", "--", "id"], &["-t does not go with each"]);
    refused(&["each", "--json", "--detach", "3", "--", "id"], &["exclude each other"]);
}

#[test]
fn what_goes_with_each_goes_with_the_client_of_each() {
    use crate::flags::{Use, all};
    for flag in all().filter(|flag| flag.uses.contains(Use::Each) && flag.long != Some("parallel")) {
        assert!(flag.uses.contains(Use::Run), "{flag:?}");
    }
}

#[test]
fn targets_are_the_names_of_the_configuration_then_guests_then_patterns() {
    let Invocation::Targets(Targets { known, is_json }) = parsed(&["targets", "--json", "-p", "7"]) else {
        panic!("no targets");
    };
    let rows: Vec<_> = known
        .iter()
        .map(|known| {
            let address = match &known.target {
                Ok(Some(target)) => target.address.to_string(),
                Ok(None) => "-".to_owned(),
                Err(why) => why.clone(),
            };
            (known.name.as_str(), known.source, address)
        })
        .collect();
    let row = |name, source, address: &str| (name, source, address.to_owned());
    assert!(is_json);
    assert_eq!(rows[0], row("box", "configuration", "vsock:7:7"));
    assert_eq!(rows[1], row("other", "configuration", "unix:/o"));
    assert_eq!(rows[5], row("vm", "qemu", "vsock:3:7"));
    // Its pattern has an address, and counts.
    assert_eq!(rows[6], row("ci-1", "configuration", "mux:/run/ci-1.sock:7"));
    assert_eq!(rows[7], row("ci-*", "configuration", "-"));
    assert_eq!(rows.len(), 8);
    refused(&["targets", "box"], &["`box` is one word too many"]);
}
