//! Clients that watch jobs: what they see, what they leave behind, and what becomes of the job when they go.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::guest::jobs::{KEPT, ask, describe, detach, has_ended, shell};
use crate::guest::proxy::{Fate, Proxy};
use crate::guest::pty::Terminal;
use crate::guest::{self, Guest, Running, TARGET, assert_same, client, payload, read_line, until};
use rustix::process::Signal;

/// Types `~d` at the beginning of a line, and reads which job that made.
#[track_caller]
fn leave(terminal: &mut Terminal) -> String {
    terminal.type_keys("\r~d");
    terminal.wait_for("detached as job ");
    let number = terminal.wait_for(";").trim_end_matches(';').to_owned();
    assert_eq!(terminal.end().code(), Some(0));
    number
}

fn attach(guest: &Guest, job: &str, options: &[&str]) -> Terminal {
    Terminal::start_sized(
        &guest.client(["attach"].into_iter().chain(options.iter().copied()).chain([TARGET, job])),
        30,
        90,
    )
}

#[test]
fn a_shell_is_left_and_come_back_to_with_all_it_knows() {
    let guest = Guest::keeping("60");
    let mut terminal = shell(&guest);
    terminal.type_keys("a=kept; (sleep 0.3; echo mean''while) &\n");
    terminal.wait_for("$ ");
    let job = leave(&mut terminal);
    until("what it wrote is kept", || ask(&guest, "logs", &job, &[]).stdout().contains("meanwhile"));
    let mut terminal = attach(&guest, &job, &[]);
    terminal.wait_for("meanwhile");
    terminal.type_keys("echo [$a]; until [ \"$(stty size)\" = '30 90' ]; do :; done; echo si''zed\n");
    terminal.wait_for("[kept]");
    terminal.wait_for("sized");
    assert!(terminal.is_raw());
    terminal.resize(41, 101);
    terminal.type_keys("until [ \"$(stty size)\" = '41 101' ]; do :; done; echo si''zed\n");
    terminal.wait_for("sized");
    terminal.type_keys("sh -c \"echo run''ning; exec sleep 1000\"\n");
    terminal.wait_for("running");
    terminal.type_keys("\x03");
    terminal.wait_for("$ ");
    assert_eq!(leave(&mut terminal), job);
    let mut terminal = attach(&guest, &job, &[]);
    terminal.type_keys("exit 9\n");
    assert_eq!(terminal.end().code(), Some(9));
    assert_eq!(guest.run(["jobs", "--json", TARGET]).succeeded(), "[]\n");
}

#[test]
fn a_program_that_fills_the_screen_draws_it_again() {
    let guest = Guest::keeping("60");
    let line = "trap 'echo drawn-$(stty size | tr \" \" x)' WINCH; echo ready; while :; do sleep 0.01; done";
    let job = detach(&guest, &["-t"], line);
    until("it is ready", || ask(&guest, "logs", &job, &[]).stdout().contains("ready"));
    // As large as the terminal before, so that the kernel alone would not tell.
    let mut terminal = Terminal::start_sized(&guest.client(["attach", TARGET, job.as_str()]), 24, 80);
    terminal.wait_for("drawn-24x80");
    terminal.type_keys("\r~d");
    terminal.end();
}

#[test]
fn two_clients_watch_one_job_and_one_that_only_reads_changes_nothing() {
    let guest = Guest::keeping("60");
    let mut terminal = shell(&guest);
    let job = leave(&mut terminal);
    let (mut first, mut second) = (attach(&guest, &job, &[]), attach(&guest, &job, &[]));
    let mut reader = Running::start(&mut guest.client(["attach", "--read-only", TARGET, job.as_str()]));
    until("all watch", || describe(&guest, &job)["watchers"] == 3);
    first.type_keys("echo fi''rst\n");
    for terminal in [&mut first, &mut second] {
        terminal.wait_for("first");
    }
    second.type_keys("echo sec''ond\n");
    for terminal in [&mut first, &mut second] {
        terminal.wait_for("second");
    }
    std::io::Write::write_all(reader.0.stdin.as_mut().unwrap(), b"echo thi''rd\n").unwrap();
    first.type_keys("exit 8\n");
    assert_eq!((first.end().code(), second.end().code()), (Some(8), Some(8)));
    let read = reader.finish(b"");
    assert_eq!(read.status(), 8);
    assert!(read.stdout().contains("first") && read.stdout().contains("second"), "{}", read.stdout());
    assert!(!read.stdout().contains("third"), "{}", read.stdout());
}

#[test]
fn who_only_reads_leaves_the_result_to_others_and_holds_nobody_up() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &["--hold"], "head -c 5000000 /dev/zero; exit 3");
    until("it is full", || describe(&guest, &job)["written"] == KEPT);
    let stalled = Running::start(&mut guest.client(["attach", "--read-only", TARGET, job.as_str()]));
    until("it is watched", || describe(&guest, &job)["watchers"] == 1);
    stalled.signal(Signal::STOP);
    assert_eq!(ask(&guest, "attach", &job, &[]).0.stdout.len(), 5_000_000);
    stalled.signal(Signal::CONT);
    let job = detach(&guest, &[], "exit 3");
    assert_eq!(ask(&guest, "attach", &job, &["--read-only"]).status(), 3);
    assert_eq!(ask(&guest, "result", &job, &[]).status(), 3);
}

#[test]
fn a_client_that_is_killed_leaves_the_job_alone() {
    let guest = Guest::start();
    let job = detach(&guest, &[], "echo ready; i=0; while :; do i=$((i + 1)); sleep 0.01; done");
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let mut running =
            Running::start(guest.client(["attach", TARGET, job.as_str()]).stderr(Stdio::null()));
        until("it is attached", || describe(&guest, &job)["watchers"] != 0);
        running.signal(signal);
        running.end();
        until("it is left", || describe(&guest, &job)["watchers"] == 0);
        assert_eq!(describe(&guest, &job)["state"], "running", "after {signal:?}");
    }
    guest.run(["kill", TARGET, &job]).succeeded();
    assert_eq!(ask(&guest, "result", &job, &["--wait"]).status(), 143);
}

#[test]
fn an_end_that_a_killed_client_did_not_hear_is_told_to_the_next() {
    let guest = Guest::keeping("60");
    let go = guest.directory.path("go");
    let line = format!("echo ready; until [ -e {} ]; do sleep 0.01; done; exit 6", go.display());
    let job = detach(&guest, &[], &line);
    for verb in [&["attach"][..], &["result", "--wait"]] {
        let words = verb.iter().copied().chain([TARGET, job.as_str()]);
        let mut running = Running::start(&mut guest.client(words));
        until("it waits", || describe(&guest, &job)["watchers"] != 0);
        running.signal(Signal::KILL);
        running.end();
    }
    std::fs::write(go, "").unwrap();
    has_ended(&guest, &job);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ask(&guest, "result", &job, &[]).status(), 6);
    ask(&guest, "result", &job, &[]).failed(255, &["there is no job"]);
}

#[test]
fn an_attached_client_loses_nothing_when_its_connection_is_cut() {
    const LENGTH: u64 = 8 << 20;
    let guest = Guest::keeping("60");
    let file = guest.directory.file("content", &payload(LENGTH));
    let job = detach(&guest, &["--hold"], &format!("cat {}; exit 4", file.display()));
    let mut state = 1_u64;
    let proxy = Proxy::start(&guest, move |number| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if number < 100 { Fate::Cut(100 + (state >> 33) % 100_000) } else { Fate::Lasts }
    });
    let finished = Running::start(&mut client(["attach", "-q", &proxy.target(), &job])).finish(b"");
    assert_eq!((finished.status(), finished.stderr()), (4, ""));
    assert_same(&finished.0.stdout, &payload(LENGTH));
    assert!(proxy.connections() > 60, "{} connections", proxy.connections());
}

#[test]
fn as_many_watch_a_job_as_it_takes_and_others_are_refused() {
    let guest = Guest::start();
    let job = detach(&guest, &[], "exec sleep 1000");
    let watchers: Vec<Running> =
        (0..8).map(|_| Running::start(&mut guest.client(["logs", "-f", TARGET, job.as_str()]))).collect();
    until("all watch", || describe(&guest, &job)["watchers"] == 8);
    ask(&guest, "logs", &job, &[]).failed(255, &["too many clients watch this job"]);
    ask(&guest, "result", &job, &[]).failed(255, &["still runs"]);
    guest.run(["kill", "-CONT", TARGET, &job]).succeeded();
    drop(watchers);
    until("there is room", || ask(&guest, "logs", &job, &[]).status() == 0);
}

#[test]
fn a_client_that_is_gone_does_not_hold_up_the_one_that_comes() {
    let guest = Guest::keeping("60");
    let go = guest.directory.path("go");
    let line =
        format!("until [ -e {} ]; do sleep 0.01; done; head -c 5000000 /dev/zero; exit 5", go.display());
    let job = detach(&guest, &[], &line);
    let mut gone = Running::start(&mut guest.client(["attach", TARGET, job.as_str()]));
    until("it is attached", || describe(&guest, &job)["watchers"] == 1);
    gone.signal(Signal::KILL);
    gone.end();
    std::fs::write(go, "").unwrap();
    let began = Instant::now();
    let attached = ask(&guest, "attach", &job, &[]);
    // What the other one was sent may be gone.
    let lost: u64 = lost(attached.stderr()).iter().sum();
    assert_eq!((attached.status(), attached.0.stdout.len() as u64 + lost), (5, 5_000_000));
    assert!(lost < KEPT as u64, "{lost} bytes");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn clients_that_are_gone_make_room_for_others() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "exec sleep 1000");
    let watchers: Vec<Running> =
        (0..8).map(|_| Running::start(&mut guest.client(["logs", "-f", TARGET, job.as_str()]))).collect();
    until("all watch", || describe(&guest, &job)["watchers"] == 8);
    drop(watchers);
    assert_eq!(ask(&guest, "logs", &job, &[]).succeeded(), "");
}

/// How many bytes were missed, as often as that was told.
fn lost(stderr: &str) -> Vec<u64> {
    let of_line =
        |line: &str| line.split_once("vsock-shell-agent: ")?.1.strip_suffix(" bytes are lost")?.parse().ok();
    stderr.lines().filter_map(of_line).collect()
}

/// The numbers from 1 to `last`, a line each.
fn numbers(last: usize) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn who_is_interrupted_leaves_no_gap_in_a_job_that_holds() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &["--hold"], "seq 1 400000; exit 4");
    let mut interrupted = Running::start(&mut guest.client(["attach", TARGET, job.as_str()]));
    // Much is on its way, and nobody reads it.
    until("it is sent", || describe(&guest, &job)["written"].as_u64() > Some(KEPT as u64));
    read_line(interrupted.0.stdout.as_mut().unwrap(), "1");
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.end().code(), Some(130));
    until("it is left", || describe(&guest, &job)["watchers"] == 0);
    let attached = ask(&guest, "attach", &job, &[]);
    assert_eq!((attached.status(), attached.stderr()), (4, ""));
    let all = numbers(400_000);
    assert!(all.ends_with(attached.stdout()), "something is missing");
    assert!(attached.stdout().len() > all.len() - 2 * KEPT);
}

#[test]
fn who_leaves_in_order_gets_all_that_was_on_its_way() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &["-t", "--hold"], "stty -opost; seq 1 300000; exit 4");
    until("it is full", || describe(&guest, &job)["written"] == KEPT);
    let mut terminal = attach(&guest, &job, &[]);
    let mut seen = terminal.wait_for("20000\n");
    terminal.type_keys("\r~d");
    seen += &terminal.wait_for("detached as job ");
    terminal.end();
    let seen = seen.split("vsock-shell: detached").next().unwrap().trim_end_matches(['\r', '\n']);
    let rest = ask(&guest, "attach", &job, &[]);
    assert_eq!((rest.status(), rest.stderr()), (4, ""));
    // What was typed is echoed somewhere.
    let without = |text: &str| text.replace(['\r', '\n'], "");
    let (all, got) = (without(&numbers(300_000)), without(seen) + &without(rest.stdout()));
    assert!(all == got, "{} and {} bytes", all.len(), got.len());
}

#[test]
fn a_gap_is_told_once_whichever_output_it_is_in() {
    let guest = Guest::keeping("60");
    for output in ["", " >&2"] {
        let go = guest.directory.path(if output.is_empty() { "go" } else { "go too" });
        let line = format!(
            "echo ready; until [ -e '{}' ]; do sleep 0.01; done; seq 1 1000000{output}; sleep 1",
            go.display()
        );
        let job = detach(&guest, &[], &line);
        let slow = Running::start(&mut guest.client(["logs", "-f", TARGET, job.as_str()]));
        until("it is watched", || describe(&guest, &job)["watchers"] == 1);
        slow.signal(Signal::STOP);
        std::fs::write(go, "").unwrap();
        let length = numbers(1_000_000).len() as u64;
        until("all is written", || describe(&guest, &job)["written"].as_u64() > Some(length));
        slow.signal(Signal::CONT);
        let finished = slow.finish(b"");
        let told = lost(finished.stderr());
        let came = finished.0.stdout.len() + finished.0.stderr.len();
        assert!((1..4).contains(&told.len()), "{told:?}");
        let lines = told
            .iter()
            .map(|lost| format!("vsock-shell-agent: {lost} bytes are lost\n").len())
            .sum::<usize>();
        assert_eq!(came as u64 + told.iter().sum::<u64>(), length + 6 + lines as u64, "{told:?}");
    }
}

#[test]
fn a_client_whose_output_nobody_reads_any_more_leaves() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "while :; do echo line; sleep 0.01; done");
    let line = format!("{} attach {} {job} | head -n 1", guest::client_binary().display(), guest.target());
    let output = std::process::Command::new("timeout").args(["20", "sh", "-c", &line]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"line\n"[..]), "{output:?}");
    guest.run(["kill", TARGET, &job]).succeeded();
}
