//! Commands end to end: the real client, the real agent, what a person sees of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::guest::processes::Mark;
use crate::guest::{
    self, DEADLINE, Directory, Finished, Guest, Running, TARGET, agent_binary, client, read_line, until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Signals that end nobody by default: SIGCHLD, SIGCONT, SIGURG, SIGWINCH; and SIGTSTP, SIGTTIN, SIGTTOU, which do nothing
/// in an orphaned process group, as that of a command is.
const HARMLESS: [i32; 7] = [17, 18, 20, 21, 22, 23, 28];

#[track_caller]
fn json_of(finished: &Finished) -> Value {
    assert_eq!(finished.stdout().lines().count(), 1, "{finished:?}");
    serde_json::from_str(finished.stdout()).unwrap()
}

#[test]
fn words_are_joined_by_spaces_for_the_guests_shell() {
    let guest = Guest::start();
    assert_eq!(guest.run([TARGET, "echo", "a  b", "$((1+1))", "|", "tr a-z A-Z"]).succeeded(), "A B 2\n");
}

#[test]
fn after_dashes_a_program_gets_its_arguments_as_they_are() {
    let guest = Guest::start();
    let words: [&[u8]; 10] =
        [TARGET.as_bytes(), b"--", b"printf", b"[%s]", b"a  b", b"$HOME", b"*", b"", b"--", b"\xff\n'\""];
    let finished = guest.run(words.map(OsStr::from_bytes));
    assert_eq!(finished.0.stdout, b"[a  b][$HOME][*][][--][\xff\n'\"]");
    assert_eq!(finished.status(), 0);
}

#[test]
fn options_stand_before_and_after_the_target_and_never_after_the_command() {
    let guest = Guest::start();
    assert_eq!(guest.run(["-n", TARGET, "-T", "echo", "-n", "x"]).succeeded(), "x");
    // As scp writes it.
    assert_eq!(guest.run(["-T", "--", TARGET, "echo", "--", "-n"]).succeeded(), "-- -n\n");
}

#[test]
fn the_status_is_the_commands_own() {
    let guest = Guest::start();
    for status in [0, 1, 2, 126, 127, 128, 254, 255] {
        let finished = guest.run([TARGET, &format!("exit {status}")]);
        assert_eq!((finished.status(), finished.stdout(), finished.stderr()), (status, "", ""));
    }
}

#[test]
fn death_by_a_signal_is_128_and_its_number() {
    let guest = Guest::start();
    // Not the shell itself, since bash ignores SIGQUIT; and perl ignores SIGFPE.
    let line = r#"ulimit -c 0; exec perl -e "\$SIG{FPE} = 'DEFAULT'; kill $0, \$\$; exit 77""#;
    for number in (1..=64).filter(|&number| number != Signal::STOP.as_raw()) {
        let finished = guest.run([TARGET, "--", "sh", "-c", line, &number.to_string()]);
        let expected = if HARMLESS.contains(&number) { 77 } else { 128 + number };
        assert_eq!((finished.status(), finished.stderr()), (expected, ""), "signal {number}");
    }
}

#[test]
fn a_stopped_command_is_waited_for_and_goes_on() {
    let guest = Guest::start();
    let mark = Mark::new();
    let line = "echo ready; kill -STOP $$; echo went on; exit 9";
    let mut running = guest.start_command(&["-E", mark.variable()], line);
    let mut stopped = None;
    until("the command is stopped", || {
        stopped = mark.processes().into_iter().find(|&pid| guest::processes::state(pid) == Some('T'));
        stopped.is_some()
    });
    assert_eq!(running.0.try_wait().unwrap(), None);
    kill_process(Pid::from_raw(stopped.unwrap()).unwrap(), Signal::CONT).unwrap();
    let finished = running.finish(b"");
    assert_eq!((finished.status(), finished.stdout()), (9, "went on\n"));
}

#[test]
fn standard_output_and_standard_error_stay_apart() {
    let guest = Guest::start();
    let finished = guest.run([TARGET, "echo out; echo err >&2; exit 3"]);
    assert_eq!((finished.status(), finished.stdout(), finished.stderr()), (3, "out\n", "err\n"));
}

#[test]
fn what_is_not_found_is_127() {
    let guest = Guest::start();
    guest.run([TARGET, "--", "no-such-program"]).failed(127, &["not found", "no-such-program"]);
    guest.run([TARGET, "--", "/no/such"]).failed(127, &["/no/such"]);
    // Names come back without their power over a terminal.
    guest.run([TARGET, "--", "\x1b[31mred"]).failed(127, &["red"]);
    // The guest's shell says it itself.
    let finished = guest.run([TARGET, "no-such-program"]);
    assert_eq!((finished.status(), finished.stdout()), (127, ""));
    assert!(finished.stderr().contains("no-such-program"));
}

#[test]
fn what_cannot_be_executed_is_126() {
    let guest = Guest::start();
    guest
        .run([TARGET, "--", "/etc/passwd"])
        .failed(126, &["cannot execute /etc/passwd", "Permission denied"]);
    guest.run([TARGET, "--", "/etc"]).failed(126, &["/etc", "Permission denied"]);
    let script = guest.directory.file("script", b"#!/no/such/interpreter\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    guest.run([TARGET, "--", script]).failed(126, &[script, "interpreter"]);
}

#[test]
fn signals_to_the_client_end_the_command_too() {
    let guest = Guest::start();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mark = Mark::new();
        let running = guest.start_command(&["-E", mark.variable()], "echo ready; exec sleep 1000");
        running.signal(signal);
        let finished = running.finish(b"");
        assert_eq!((finished.status(), finished.stderr()), (128 + signal.as_raw(), ""));
        mark.is_gone();
    }
    guest.is_idle();
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let guest = Guest::start();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(guest::client_binary());
    command.args([&guest.target(), "echo ready; read line; echo $line"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    read_line(running.0.stdout.as_mut().unwrap(), "ready");
    running.signal(Signal::HUP);
    assert_eq!(running.finish(b"still here\n").succeeded(), "still here\n");
}

#[test]
fn json_is_one_object_with_all_there_is_to_know() {
    let guest = Guest::start();
    let finished = guest.run(["--json", TARGET, "echo ä; echo b >&2; exit 3"]);
    assert_eq!((finished.status(), finished.stderr()), (3, ""));
    let mut told = json_of(&finished);
    assert!(told.as_object_mut().unwrap().remove("duration_ms").unwrap().as_u64().unwrap() < 30_000);
    let expected = json!({"exit": 3, "signal": null, "timed_out": false, "stdout": "ä\n", "stderr": "b\n", "truncated": false});
    assert_eq!(told, expected);
}

#[test]
fn json_tells_bytes_that_are_no_text_in_base64() {
    let guest = Guest::start();
    let told = json_of(&guest.run(["--json", TARGET, r"printf '\377\000'; printf '\376' >&2"]));
    assert_eq!((&told["stdout_base64"], &told["stderr_base64"]), (&json!("/wA="), &json!("/g==")));
    assert!(told.get("stdout").is_none() && told.get("stderr").is_none());
}

#[test]
fn json_names_the_signal() {
    let guest = Guest::start();
    let finished = guest.run(["--json", TARGET, "kill -KILL $$"]);
    assert_eq!(finished.status(), 137);
    let told = json_of(&finished);
    assert_eq!((&told["exit"], &told["signal"]), (&Value::Null, &json!("SIGKILL")));
}

#[test]
fn json_keeps_the_beginning_of_too_much() {
    let guest = Guest::start();
    let told = json_of(&guest.run(["--json", TARGET, "head -c 20000000 /dev/zero | tr '\\0' x"]));
    assert_eq!((told["stdout"].as_str().unwrap().len(), &told["truncated"]), (16 << 20, &json!(true)));
    assert_eq!(told["exit"], 0);
}

#[test]
fn json_has_no_object_for_what_never_ran() {
    let guest = Guest::start();
    guest.run(["--json", TARGET, "--", "no-such-program"]).failed(127, &["no-such-program"]);
    client(["--json", "--timeout", "0", "unix:/no/such", "true"])
        .output()
        .map(Finished)
        .unwrap()
        .failed(255, &["/no/such"]);
}

#[test]
fn kill_after_ends_the_whole_group_by_sigterm() {
    let guest = Guest::start();
    let mark = Mark::new();
    let words = ["-E", mark.variable(), "--kill-after", "0.2", TARGET, "sleep 1000 & sleep 1000"];
    guest.run(words).failed(143, &["ran too long"]);
    mark.is_gone();
    let quiet = guest.run(["-q", "--kill-after", "0.2", TARGET, "sleep 1000"]);
    assert_eq!((quiet.status(), quiet.stderr()), (143, ""));
    let told = json_of(&guest.run(["--json", "--kill-after", "0.2", TARGET, "echo out; sleep 1000"]));
    assert_eq!((&told["timed_out"], &told["signal"]), (&json!(true), &json!("SIGTERM")));
    assert_eq!(told["stdout"], "out\n");
    // Also one that has hardly begun.
    for _ in 0..10 {
        guest.run(["--kill-after", "0", TARGET, "--", "sleep", "1000"]).failed(143, &["ran too long"]);
    }
    // What ends in time is not concerned.
    assert_eq!(guest.run(["--kill-after", "60", TARGET, "echo done"]).succeeded(), "done\n");
}

#[test]
fn kill_after_kills_what_ignores_sigterm() {
    let guest = Guest::start();
    let line = "trap '' TERM; while :; do sleep 0.05; done";
    let told = json_of(&guest.run(["--json", "--kill-after", "0.1", TARGET, line]));
    assert_eq!((&told["timed_out"], &told["signal"]), (&json!(true), &json!("SIGKILL")));
}

#[test]
fn variables_are_set_in_order_and_taken_from_here() {
    let guest = Guest::start();
    let mut command = guest.client([
        "-E", "A=1", "-E", "A=2", "-E", "EMPTY=", "-E", "HERE", "-E", "NOT_HERE", TARGET, "--", "env",
    ]);
    command.env("HERE", "from here").env_remove("NOT_HERE");
    let finished = Running::start(&mut command).finish(b"");
    let lines: Vec<_> = finished.succeeded().lines().collect();
    for expected in ["A=2", "EMPTY=", "HERE=from here"] {
        assert!(lines.contains(&expected), "{expected} in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("A=1") || line.starts_with("NOT_HERE")));
}

#[test]
fn the_environment_is_that_of_a_login_and_nothing_of_the_agents() {
    let guest = Guest::start_by(|_| {
        let mut command = std::process::Command::new(agent_binary());
        command.env("OF_THE_AGENT", "1").env("PATH", "/usr/bin:/bin");
        command
    });
    let mut command = guest.client([TARGET, "--", "env"]);
    let finished = Running::start(command.env("OF_THE_CLIENT", "1").env("TERM", "vt100")).finish(b"");
    let mut names: Vec<_> =
        finished.succeeded().lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LOGNAME", "PATH", "SHELL", "USER"]);
    assert!(finished.stdout().lines().any(|line| line == "PATH=/usr/bin:/bin"));
}

#[test]
fn a_command_starts_in_the_home_directory_or_where_it_is_told() {
    let guest = Guest::start();
    assert_eq!(guest.run([TARGET, "[ \"$PWD\" -ef \"$HOME\" ] && echo home"]).succeeded(), "home\n");
    let place = guest.directory.subdirectory("a place");
    let place = place.to_str().unwrap();
    assert_eq!(guest.run(["-C", place, TARGET, "--", "pwd"]).succeeded(), format!("{place}\n"));
    guest.run(["-C", "/no/such", TARGET, "pwd"]).failed(255, &["/no/such", "No such file or directory"]);
}

#[test]
fn a_user_is_named_by_an_option_or_before_the_target() {
    if !guest::is_root() {
        return;
    }
    let guest = Guest::start();
    let id = "id -u; id -g; id -G; echo $USER $HOME";
    let nobody = std::process::Command::new("sh")
        .args(["-c", "id -u nobody; id -g nobody; id -G nobody; getent passwd nobody | cut -d: -f1,6 --output-delimiter=' '"])
        .output()
        .unwrap();
    let nobody = String::from_utf8(nobody.stdout).unwrap();
    let options = |user| ["-l", user, TARGET, "--", "/bin/sh", "-c", id];
    assert_eq!(guest.run(options("nobody")).succeeded(), nobody);
    assert_eq!(guest.run(["nobody@<target>", "--", "/bin/sh", "-c", id]).succeeded(), nobody);
    // By number, also where nobody has it.
    assert!(guest.run(options("65534")).succeeded().starts_with("65534\n"));
    guest.run(["-l", "no-such-user", TARGET, "id"]).failed(255, &["no-such-user"]);
    // A user may do no more than that user.
    let secret = guest.directory.file("secret", b"x");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let finished = guest.run(["-l", "nobody", TARGET, "--", "cat", secret.to_str().unwrap()]);
    assert_eq!((finished.status(), finished.stdout()), (1, ""));
}

#[test]
fn a_command_has_three_descriptors_and_a_session_of_its_own() {
    let guest = Guest::start();
    assert_eq!(guest.run([TARGET, "--", "sh", "-c", "ls /proc/$$/fd; :"]).succeeded(), "0\n1\n2\n");
    let line = "set -- $(cat /proc/$$/stat); echo $1 $5 $6 $7; exec grep -E 'Sig(Blk|Ign)' /proc/self/status";
    let finished = guest.run([TARGET, "--", "sh", "-c", line]);
    let lines: Vec<_> = finished.succeeded().lines().collect();
    let [pid, group, session, terminal] = lines[0].split(' ').collect::<Vec<_>>()[..] else {
        panic!("{lines:?}")
    };
    assert_eq!((group, session, terminal), (pid, pid, "0"));
    assert_eq!(lines[1..], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
}

#[test]
fn with_t_there_is_a_terminal_and_without_it_there_is_none() {
    let guest = Guest::start();
    let mut command = guest.client(["-t", TARGET, "stty size; tty; echo err >&2; echo $TERM"]);
    let finished = Running::start(command.env("TERM", "vt220")).finish(b"");
    let lines: Vec<_> = finished.succeeded().lines().collect();
    assert!(matches!(lines[..], ["24 80", tty, "err", "vt220"] if tty.starts_with("/dev/pts/")), "{lines:?}");
    assert_eq!(guest.run(["-T", TARGET, "tty"]).stdout(), "not a tty\n");
    assert_eq!(guest.run([TARGET, "tty"]).stdout(), "not a tty\n");
}

#[test]
fn with_t_the_end_of_piped_input_is_typed() {
    let guest = Guest::start();
    let finished =
        Running::start(&mut guest.client(["-t", TARGET, "stty -echo; cat; echo end"])).finish(b"a line\n");
    assert_eq!(finished.status(), 0);
    assert!(finished.stdout().ends_with("end\r\n"), "{finished:?}");
}

#[test]
fn with_t_a_command_that_leaves_its_terminal_has_a_status_of_its_own() {
    let guest = Guest::start();
    let leaves = "exec <&- >&- 2>&-; sleep 0.3; exit 3";
    assert_eq!(Running::start(&mut guest.client(["-t", TARGET, leaves])).finish(b"").status(), 3);
    for _ in 0..20 {
        let finished = Running::start(&mut guest.client(["-t", TARGET, "exec cat"])).finish(b"abc\n");
        assert_eq!(finished.status(), 0, "{finished:?}");
    }
    guest.is_idle();
}

#[test]
fn with_t_a_shell_that_edits_lines_ends_with_its_input() {
    let guest = Guest::start();
    for input in [&b""[..], b"echo typed\n"] {
        // It edits lines only where its terminal says what it can.
        let mut shell = guest.client(["-t", TARGET, "exec bash --norc -i"]);
        let finished = Running::start(shell.env("TERM", "vt100")).finish(input);
        assert_eq!(finished.status(), 0, "{finished:?}");
    }
}

#[test]
fn a_command_whose_session_was_killed_is_hung_up() {
    let guest = Guest::start();
    let mark = Mark::new();
    let running = guest.start_command(&["-E", mark.variable()], "echo ready; exec sleep 1000");
    for session in guest.sessions() {
        kill_process(Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(running.finish(b"").status(), 255);
    mark.is_gone();
}

#[test]
fn a_shell_reads_commands_from_a_pipe() {
    let guest = Guest::start();
    let finished = Running::start(&mut guest.client([TARGET])).finish(b"echo a$((1+1))\nexit 6\n");
    assert_eq!(finished.status(), 6);
    assert!(finished.stdout().ends_with("a2\n"), "{finished:?}");
}

#[test]
fn a_connect_is_retried_while_it_can_succeed() {
    let directory = Directory::new();
    let socket = directory.path("late");
    let target = format!("unix:{}", socket.display());
    let mut waiting = client(["wait", "--timeout", "25", &target]);
    let waiting = Running::start(&mut waiting);
    let mut agent = std::process::Command::new(agent_binary());
    agent.arg(format!("--listen={target}")).stderr(Stdio::null());
    let agent = Running::start(&mut agent);
    assert_eq!(waiting.finish(b"").succeeded(), "");
    agent.signal(Signal::TERM);
}

#[test]
fn a_failed_connect_is_one_line_in_the_time_that_was_given() {
    let began = Instant::now();
    for (words, limit) in [
        (&["--timeout", "0", "unix:/no/such", "true"][..], 2),
        (&["wait", "--timeout", "0.2", "unix:/no/such"], 2),
        (&["info", "--timeout", "0.2", "unix:/no/such"], 2),
        (&["cp", "--timeout", "0.2", "unix%/no/such:/etc/passwd", "-"], 2),
    ] {
        let began = Instant::now();
        client(words)
            .output()
            .map(Finished)
            .unwrap()
            .failed(255, &["unix:/no/such", "No such file or directory"]);
        assert!(began.elapsed() < Duration::from_secs(limit));
    }
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn a_command_that_is_no_way_to_an_agent_is_run_once() {
    let directory = Directory::new();
    let count = directory.path("count");
    let target = format!("exec:echo x >> {}; exit 1", count.display());
    client([&target, "true"]).output().map(|output| assert_eq!(output.status.code(), Some(255))).unwrap();
    assert_eq!(std::fs::read(&count).unwrap(), b"x\n");
}

#[test]
fn wait_is_quiet_and_zero_when_the_agent_answers() {
    let guest = Guest::start();
    assert_eq!(guest.run(["wait", TARGET]).succeeded(), "");
    // Somebody who accepts and says nothing is no agent.
    let silent = std::os::unix::net::UnixListener::bind(guest.directory.path("silent")).unwrap();
    let target = format!("unix:{}", guest.directory.path("silent").display());
    let finished = client(["wait", "--timeout", "0.2", &target]).output().map(Finished).unwrap();
    finished.failed(255, &["no answer"]);
    drop(silent);
}

#[test]
fn info_tells_the_agent_and_its_guest() {
    let guest = Guest::start();
    let text = guest.run(["info", TARGET]);
    let told: Value = serde_json::from_str(guest.run(["info", "--json", TARGET]).succeeded()).unwrap();
    let read = |path| std::fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(told["kernel"], read("/proc/sys/kernel/osrelease"));
    assert_eq!(told["hostname"], read("/proc/sys/kernel/hostname"));
    assert_eq!(told["boot_id"], read("/proc/sys/kernel/random/boot_id"));
    assert_eq!(told["protocol"], 1);
    assert!(told["agent"].as_str().unwrap().starts_with("vsock-shell-agent "));
    assert!(told["uptime_seconds"].as_u64().unwrap() > 0);
    for limit in ["sessions_max", "channels_max", "request_max"] {
        assert!(told[limit].as_u64().unwrap() > 0, "{limit}");
    }
    for key in told.as_object().unwrap().keys() {
        assert!(text.succeeded().contains(key.as_str()), "{key}");
    }
}

#[test]
fn a_wrong_command_line_is_one_line_that_names_the_word() {
    for (words, word) in [
        (&[][..], "no target"),
        (&["--nonsense", "3"], "--nonsense"),
        (&["no such target"], "no such target"),
        (&["unix:/x", "--"], "--"),
        (&["cp", "a", "b"], "cp"),
        (&["cp", "3:/a"], "cp"),
        (&["unix:/x", "-u", "nocolon"], "nocolon"),
        (&["--timeout", "soon", "3"], "soon"),
        (&["-p", "70000000000", "3"], "70000000000"),
        (&["--json", "unix:/x"], "--json"),
        (&["tcp:host:5000", "true"], "tcp"),
    ] {
        client(words).output().map(Finished).unwrap().failed(255, &[word]);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = client(["-h"]).output().map(Finished).unwrap();
    assert!(help.succeeded().contains("Usage: vsock-shell"));
    let version = client(["-V"]).output().map(Finished).unwrap();
    assert!(version.succeeded().starts_with("vsock-shell "));
}

#[test]
fn an_agent_over_the_standard_streams_of_a_command_is_a_target_too() {
    let target = format!("exec:{} --listen stdio", agent_binary().display());
    let finished = client([&target, "echo over a pipe; exit 7"]).output().map(Finished).unwrap();
    assert_eq!((finished.status(), finished.stdout()), (7, "over a pipe\n"));
    client(["exec:exit 1", "true"]).output().map(Finished).unwrap().failed(255, &["exec:exit 1"]);
}
