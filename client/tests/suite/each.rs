//! `each`: one command in several guests at once.

use std::fs;
use std::process::{Command, Stdio};

use crate::guest::{Directory, Finished, Guest, Running, client, read_line};
use rustix::process::Signal;
use serde_json::Value;

/// Two guests that are called `one` and `two`, and a name behind which nobody is.
struct Pair {
    guests: [Guest; 2],
    directory: Directory,
}

impl Pair {
    fn start() -> Self {
        let guests = [Guest::start(), Guest::start()];
        let directory = Directory::new();
        let text = format!(
            "[targets.one]\naddress = \"{}\"\nenv = \"WHO=1\"\n[targets.two]\naddress = \"{}\"\nenv = \"WHO=2\"\n\
             [targets.gone]\naddress = \"unix:{}\"\ntimeout = 0\n",
            guests[0].target(),
            guests[1].target(),
            directory.path("none").display(),
        );
        directory.file("config.toml", text.as_bytes());
        Self { guests, directory }
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut command = client([&["each"], words].concat());
        command.env("VSOCK_SHELL_CONFIG", self.directory.path("config.toml"));
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Finished {
        Running::start(&mut self.client(words)).finish(b"")
    }
}

/// Its lines, sorted: guests are told in the order in which they write.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_output_of_each_guest_is_told_under_its_name() {
    let pair = Pair::start();
    let told = pair.run(&["one", "two", "--", "echo $WHO out; echo $WHO error >&2; printf end"]);
    assert_eq!(told.status(), 0);
    assert_eq!(sorted(told.stdout()), ["one: 1 out", "one: end", "two: 2 out", "two: end"]);
    assert_eq!(sorted(told.stderr()), ["one: 1 error", "two: 2 error"]);
}

#[test]
fn a_pattern_stands_for_the_names_that_match() {
    let pair = Pair::start();
    assert_eq!(sorted(pair.run(&["[ot]??", "--", "echo $WHO;"]).succeeded()), ["one: 1", "two: 2"]);
    assert_eq!(pair.run(&["*wo", "two", "--", "echo $WHO;"]).succeeded(), "two: 2\n");
}

#[test]
fn several_words_are_a_program_and_its_arguments() {
    let pair = Pair::start();
    assert_eq!(pair.run(&["one", "--", "echo", "$WHO", "a  b"]).succeeded(), "one: $WHO a  b\n");
}

#[test]
fn the_worst_status_is_told() {
    let pair = Pair::start();
    let line = "exit $((WHO + 2))";
    assert_eq!(pair.run(&["one", "two", "--", line]).status(), 4);
    let told = pair.run(&["one", "gone", "--", "echo there; exit 3"]);
    assert_eq!((told.status(), told.stdout()), (255, "one: there\n"));
    let line = told.stderr();
    assert!(line.starts_with("gone: vsock-shell: cannot reach unix:") && line.lines().count() == 1, "{line}");
}

#[test]
fn with_json_there_is_an_object_for_each_on_a_line() {
    let pair = Pair::start();
    let told = pair.run(&["--json", "one", "gone", "two", "--", "echo $WHO; exit $WHO"]);
    assert_eq!(told.status(), 255);
    let mut objects: Vec<Value> =
        told.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    objects.sort_by_key(|object| object["target"].to_string());
    let [gone, one, two] = &objects[..] else { panic!("{told:?}") };
    assert_eq!((&gone["status"], gone.get("exit")), (&Value::from(255), None));
    assert!(gone["error"].as_str().unwrap().starts_with("cannot reach unix:"), "{gone}");
    for (object, number) in [(one, 1), (two, 2)] {
        assert_eq!((&object["exit"], &object["status"]), (&Value::from(number), &Value::from(number)));
        assert_eq!(
            (&object["stdout"], &object["error"]),
            (&Value::from(format!("{number}\n")), &Value::Null)
        );
    }
}

#[test]
fn lines_of_guests_that_write_at_once_are_whole() {
    const LINES: usize = 3000;
    let pair = Pair::start();
    let line = format!("i=0; while [ $i -lt {LINES} ]; do echo $WHO-$i-$WHO; i=$((i + 1)); done");
    let told = pair.run(&["one", "two", "--", &line]);
    let mut next = [0; 2];
    for line in told.succeeded().lines() {
        let who = usize::from(line.starts_with("two"));
        let (name, number) = ([("one"), ("two")][who], who + 1);
        assert_eq!(line, format!("{name}: {number}-{}-{number}", next[who]));
        next[who] += 1;
    }
    assert_eq!(next, [LINES; 2]);
}

#[test]
fn guests_run_at_once() {
    let pair = Pair::start();
    let fifo = pair.directory.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Each waits for the other one to open it.
    let line = format!("if [ $WHO = 1 ]; then echo met >{0}; else cat {0}; fi", fifo.display());
    assert_eq!(pair.run(&["one", "two", "--", &line]).succeeded(), "two: met\n");
}

#[test]
fn no_more_run_at_once_than_is_said() {
    let pair = Pair::start();
    let log = pair.directory.path("log");
    let line = format!(
        "echo begin >>{0}; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo end >>{0}",
        log.display()
    );
    let (one, two) = (pair.guests[0].target(), pair.guests[1].target());
    pair.run(&["-P", "1", "one", "two", &one, &two, "--", &line]).succeeded();
    assert_eq!(fs::read_to_string(log).unwrap(), "begin\nend\n".repeat(4));
}

#[test]
fn standard_input_is_empty() {
    let pair = Pair::start();
    let told = Running::start(&mut pair.client(&["one", "two", "--", "cat"])).finish(b"not for all of them");
    assert_eq!(told.succeeded(), "");
}

#[test]
fn a_signal_ends_all_of_them() {
    let pair = Pair::start();
    let words = ["-P", "2", "one", "two", "gone", "--", "echo ready; exec sleep 1000"];
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut running = Running::start(&mut pair.client(&words));
        let mut seen = [false; 2];
        let stdout = running.0.stdout.as_mut().unwrap();
        while seen != [true; 2] {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                let mut byte = [0];
                std::io::Read::read_exact(stdout, &mut byte).unwrap();
                line.push(byte[0]);
            }
            seen[usize::from(line == b"two: ready\n")] = true;
        }
        running.signal(signal);
        let told = running.finish(b"");
        // The third was not begun with.
        assert_eq!((told.status(), told.stderr()), (status, ""));
        pair.guests.iter().for_each(Guest::is_idle);
    }
}

#[test]
fn all_of_them_end_where_nobody_reads() {
    let pair = Pair::start();
    let mut running =
        Running::start(pair.client(&["one", "two", "--", "while echo x; do :; done"]).stderr(Stdio::null()));
    let mut stdout = running.0.stdout.take().unwrap();
    let mut byte = [0; 1];
    std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
    drop(stdout);
    assert_eq!(running.end().code(), Some(141));
    pair.guests.iter().for_each(Guest::is_idle);
}

#[test]
fn jobs_are_begun_in_all_of_them() {
    let pair = Pair::start();
    let told = pair.run(&["--detach", "one", "two", "--", "true;"]);
    assert_eq!(sorted(told.succeeded()), ["one: 1", "two: 1"]);
}

#[test]
fn nothing_is_run_where_a_target_is_none() {
    let pair = Pair::start();
    let file = pair.directory.path("file");
    let words = ["one", "tvo", "--", "touch", file.to_str().unwrap()];
    pair.run(&words).failed(255, &["cannot use target `tvo`", "did you mean `two`?"]);
    assert!(!file.exists());
}

#[test]
fn a_guest_that_answers_late_holds_up_no_other() {
    let pair = Pair::start();
    let mut running =
        Running::start(&mut pair.client(&["one", "two", "--", "[ $WHO = 2 ] || exec sleep 1000; echo done"]));
    read_line(running.0.stdout.as_mut().unwrap(), "two: done");
    running.signal(Signal::TERM);
    assert_eq!(running.finish(b"").status(), 143);
}
