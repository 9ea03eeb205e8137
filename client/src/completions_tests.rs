//! Tests of `completions`: what is offered where.

use super::*;

/// The lines for these words, with two names that are targets.
fn lines(words: &[&str]) -> Vec<String> {
    let words: Vec<OsString> = words.iter().map(Into::into).collect();
    let names = || vec![("box".to_owned(), "unix:/run/box".to_owned()), ("ci-1".to_owned(), String::new())];
    answer_with(&words, names).to_string().lines().map(str::to_owned).collect()
}

/// The words alone, and the place of files behind a slash.
fn offered(words: &[&str]) -> Vec<String> {
    let word = |line: &String| {
        let text = line.split('\t').next().unwrap_or_default();
        text.strip_prefix('=').or_else(|| text.strip_prefix('+')).unwrap_or(text).to_owned()
    };
    lines(words).iter().map(word).collect()
}

#[track_caller]
fn has(words: &[&str], expected: &[&str]) {
    let offered = offered(words);
    for word in expected {
        assert!(offered.iter().any(|offer| offer == word), "no {word} for {words:?}: {offered:?}");
    }
}

#[track_caller]
fn lacks(words: &[&str], unexpected: &[&str]) {
    let offered = offered(words);
    for word in unexpected {
        assert!(!offered.iter().any(|offer| offer == word), "{word} for {words:?}");
    }
}

#[track_caller]
fn is(words: &[&str], expected: &[&str]) {
    assert_eq!(offered(words), expected, "{words:?}");
}

#[test]
fn first_stands_a_verb_a_name_or_an_address() {
    has(&[""], &["cp", "wait", "sys", "box", "ci-1", "unix:", "vsock:"]);
    has(&["-t", ""], &["cp", "box"]);
    has(&["--timeout", "5", ""], &["wait"]);
    lacks(&["--", ""], &["cp"]);
    has(&["--", ""], &["box"]);
    assert!(lines(&[""]).contains(&"=wait\twait until the agent answers".to_owned()));
    assert!(lines(&[""]).contains(&"+unix:\ta Unix socket".to_owned()));
    assert!(lines(&[""]).contains(&"=box\tunix:/run/box".to_owned()));
}

#[test]
fn behind_a_target_stands_a_command_of_the_guest_of_which_nothing_is_known() {
    for words in [&["box", ""][..], &["box", "ls", "-"], &["box", "--", ""], &["--listen", "vsock", ""]] {
        is(words, &[]);
    }
    has(&["box", "-"], &["-t", "--kill-after", "-L"]);
    has(&["--listen", "vsock", "-"], &["-t"]);
}

#[test]
fn flags_are_those_that_go_with_the_verb() {
    has(&["--"], &["--upload", "--json", "--with", "--help"]);
    lacks(&["--"], &["--recursive", "--follow", "-t"]);
    has(&["cp", "-"], &["-r", "-p", "--preserve", "--port"]);
    lacks(&["cp", "-"], &["-t", "--with", "-P"]);
    has(&["logs", "box", "-"], &["-f", "--follow"]);
    is(&["-tn"], &[]);
    assert!(lines(&["wait", "--"]).contains(
        &"=--timeout\tkeep trying to connect for so long (2; with --listen for ever); 0: try once".to_owned()
    ));
}

#[test]
fn behind_fs_and_sys_stand_their_verbs_a_target_and_their_flags() {
    has(&["fs", ""], &["ls", "chmod"]);
    lacks(&["fs", ""], &["ps", "box"]);
    has(&["sys", ""], &["dmesg"]);
    has(&["fs", "ls", ""], &["box", "unix:"]);
    is(&["fs", "ls", "box", ""], &[]);
    has(&["fs", "mkdir", "-"], &["-p", "--parents", "--json", "-q"]);
    lacks(&["fs", "mkdir", "-"], &["-l", "--recursive"]);
    is(&["sys", "dmesg", "--since", ""], &[]);
    has(&["sys", "kill", "-KILL", ""], &["box"]);
    // Each word once.
    let flags = offered(&["sys", "poweroff", "--"]);
    assert_eq!(flags.iter().filter(|flag| *flag == "--force").count(), 1);
}

#[test]
fn a_value_is_completed_for_what_it_is() {
    is(&["--key", ""], &["/"]);
    is(&["--key=x"], &["/--key="]);
    is(&["-e", ""], &["none"]);
    is(&["-en"], &["-enone"]);
    is(&["--timeout", ""], &[]);
    is(&["--no-such=x"], &[]);
    is(&["box", "-u", ""], &["/"]);
    is(&["box", "-u", "x:/"], &[]);
    is(&["box", "-d", "/etc/x:"], &["//etc/x:"]);
    is(&["box", "-d", "/etc"], &[]);
    is(&["--listen", ""], &["vsock", "vsock:", "unix:"]);
    is(&["--listen=unix:/r"], &["/--listen=unix:"]);
    is(&["-tE", ""], &[]);
    is(&["keygen", ""], &["/"]);
    is(&["keygen", "a", ""], &[]);
    is(&["completions", ""], &["bash", "zsh", "fish"]);
    is(&["completions", "--", ""], &[]);
}

#[test]
fn a_target_may_have_a_user_and_a_path_of_this_side() {
    has(&["root@"], &["root@box", "root@unix:"]);
    is(&["unix:/ru"], &["/unix:"]);
    is(&["root@mux:"], &["/root@mux:"]);
    is(&["vsock:"], &[]);
    is(&["wait", "box", ""], &[]);
    has(&["wait", ""], &["box"]);
    lacks(&["wait", ""], &["cp"]);
    has(&["attach", ""], &["box"]);
    is(&["attach", "box", ""], &[]);
}

#[test]
fn what_is_copied_is_a_file_or_in_a_guest() {
    for words in [&["cp", ""][..], &["cp", "-r", "a", "b", ""]] {
        has(words, &["/", "box:", "unix%", "vsock%"]);
        lacks(words, &["box", "unix:"]);
    }
    is(&["cp", "box:/etc"], &[]);
    is(&["cp", "./a:b"], &["/"]);
    is(&["cp", "/etc/"], &["/"]);
    is(&["cp", "unix%/r"], &["/unix%"]);
    is(&["cp", "unix%/r:/etc"], &[]);
    has(&["cp", "root@"], &["root@box:", "/"]);
}

#[test]
fn several_targets_stand_before_the_dashes_of_a_command() {
    has(&["each", ""], &["box", "unix:"]);
    has(&["each", "-P", "2", "box", ""], &["ci-1"]);
    is(&["each", "-P", ""], &[]);
    is(&["each", "box", "--", ""], &[]);
    is(&["targets", ""], &[]);
}

#[test]
fn names_are_those_of_the_configuration_and_of_guests_with_their_addresses() {
    let words = [OsString::from("wait"), OsString::new()];
    let lines = answer(&words, &Names::none()).to_string();
    assert!(lines.starts_with("+vsock:\t"), "{lines}");
    let config = "[targets.box]\naddress = \"unix:/run/b\"\n[targets.\"ci-*\"]\naddress = \"3\"\n";
    let read = move || {
        let words = crate::config::Vocabulary { options: &[], verbs: &[] };
        crate::config::Config::read_text("configuration".as_ref(), config, None, words)
    };
    let guest = crate::guests::Guest {
        name: "vm".to_owned(),
        monitor: crate::guests::Monitor::Qemu,
        pid: 7,
        address: crate::target::Address::Vsock { cid: 9, port: DEFAULT_PORT },
    };
    let names = Names::new(read, move || vec![guest.clone()]);
    let lines = answer(&words, &names).to_string();
    assert!(lines.starts_with("=box\tunix:/run/b\n=vm\tvsock:9:5000\n+vsock:"), "{lines}");
}

#[test]
fn names_are_asked_for_only_where_one_can_stand() {
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    for line in [&["--"][..], &["box", ""], &["unix:/"], &["--timeout", ""], &["fs", ""]] {
        _ = answer_with(&words(line), || panic!("{line:?}"));
    }
}

#[test]
fn what_would_be_two_lines_or_is_no_word_is_not_answered() {
    is(&["--key=a\nb"], &[]);
    is(&[], &[]);
    has(&["\x1b", "-"], &["-t"]);
    has(&["-\u{e9}", ""], &["cp"]);
}
