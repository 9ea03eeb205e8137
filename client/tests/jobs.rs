//! Jobs: commands that go on without a client, and what clients do with them.

mod guest;

use std::process::Stdio;
use std::time::{Duration, Instant};

use guest::processes::{self, Mark};
use guest::proxy::{Fate, Proxy};
use guest::pty::Terminal;
use guest::{Finished, Guest, Running, TARGET, assert_same, client, payload, read_line, until};
use rustix::process::{Pid, Signal, kill_process};

/// Bytes that are kept of an output.
const KEPT: usize = 1 << 20;

/// Starts a command line as a job; its number.
#[track_caller]
fn detach(guest: &Guest, options: &[&str], line: &str) -> String {
    let words = ["--detach"].into_iter().chain(options.iter().copied()).chain([TARGET, line]);
    let number = guest.run(words).succeeded().to_owned();
    assert!(number.trim_end().parse::<u32>().is_ok() && number.ends_with('\n'), "{number:?}");
    number.trim_end().to_owned()
}

#[track_caller]
fn ask(guest: &Guest, verb: &str, job: &str, options: &[&str]) -> Finished {
    guest.run([verb, TARGET, job].into_iter().chain(options.iter().copied()))
}

/// What `jobs --json` tells of a job.
#[track_caller]
fn describe(guest: &Guest, job: &str) -> serde_json::Value {
    let told: serde_json::Value =
        serde_json::from_str(guest.run(["jobs", "--json", TARGET]).succeeded()).unwrap();
    let number: u64 = job.parse().unwrap();
    told.as_array().unwrap().iter().find(|job| job["job"] == number).cloned().unwrap_or_default()
}

/// The process that keeps the job whose command has this mark.
#[track_caller]
fn keeper(guest: &Guest, mark: &Mark) -> i32 {
    let all = processes::with_argument(&format!("unix:{}", guest.socket().display()));
    let keeps = |&pid: &i32| processes::children(pid).iter().any(|child| mark.processes().contains(child));
    all.into_iter().find(keeps).unwrap()
}

#[track_caller]
fn has_ended(guest: &Guest, job: &str) {
    until("the job has ended", || describe(guest, job)["state"] != "running");
}

#[test]
fn a_command_becomes_a_job_and_tells_its_output_and_its_status_later() {
    let guest = Guest::keeping("60");
    let go = guest.directory.path("go");
    let line = format!(
        "echo 'out'; echo err >&2; until [ -e {} ]; do sleep 0.01; done; echo more; exit 3",
        go.display()
    );
    let job = detach(&guest, &[], &line);
    until("its output is kept", || describe(&guest, &job)["written"] == 8);
    let table = guest.run(["jobs", TARGET]);
    let lines: Vec<&str> = table.succeeded().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("JOB") && lines[1].starts_with(&job) && lines[1].contains("running"),
        "{lines:?}"
    );
    assert!(lines[1].contains("echo 'out'; echo err"), "{lines:?}");
    let logs = ask(&guest, "logs", &job, &[]);
    assert_eq!((logs.status(), logs.stdout(), logs.stderr()), (0, "out\n", "err\n"));
    ask(&guest, "result", &job, &[]).failed(255, &["still runs", "--wait"]);
    std::fs::write(go, "").unwrap();
    has_ended(&guest, &job);
    let told = describe(&guest, &job);
    assert_eq!((&told["state"], &told["status"]), (&"exited".into(), &3.into()), "{told}");
    let attached = ask(&guest, "attach", &job, &[]);
    assert_eq!((attached.status(), attached.stdout(), attached.stderr()), (3, "out\nmore\n", "err\n"));
    for verb in ["result", "attach", "logs", "kill"] {
        ask(&guest, verb, &job, &[]).failed(255, &["there is no job"]);
    }
    assert_eq!(guest.run(["jobs", "--json", TARGET]).succeeded(), "[]\n");
}

#[test]
fn a_result_is_told_once_and_waited_for_on_request() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "sleep 0.3; kill -SEGV $$");
    assert_eq!(ask(&guest, "result", &job, &["--wait"]).status(), 128 + 11);
    ask(&guest, "result", &job, &[]).failed(255, &["there is no job"]);
    let job = detach(&guest, &[], "exit 5");
    has_ended(&guest, &job);
    assert_eq!(ask(&guest, "logs", &job, &[]).status(), 0, "reading the output is not reading the status");
    assert_eq!(ask(&guest, "result", &job, &[]).status(), 5);
}

#[test]
fn a_job_reads_nothing_and_a_terminal_is_asked_for() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "readlink /proc/self/fd/0; cat; test -t 1 || echo pipe");
    assert_eq!(ask(&guest, "attach", &job, &[]).succeeded(), "/dev/null\npipe\n");
    let job = detach(&guest, &["-t"], "test -t 0 && test -t 1 && echo terminal");
    assert_eq!(ask(&guest, "attach", &job, &[]).succeeded(), "terminal\r\n");
    let job = detach(&guest, &["-E", "A=b c", "-C", "/usr"], "echo $A $PWD");
    assert_eq!(ask(&guest, "attach", &job, &[]).succeeded(), "b c /usr\n");
}

#[test]
fn what_cannot_be_started_is_told_and_is_no_job() {
    let guest = Guest::keeping("60");
    guest.run(["--detach", TARGET, "--", "/none/such"]).failed(127, &["/none/such"]);
    guest.run(["--detach", "-C", "/none", TARGET, "true"]).failed(255, &["/none"]);
    assert_eq!(guest.run(["jobs", "--json", TARGET]).succeeded(), "[]\n");
    guest.is_idle();
}

#[test]
fn a_job_that_writes_all_the_time_keeps_nobody_waiting() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "exec yes");
    until("it writes", || describe(&guest, &job)["written"].as_u64() > Some(10 * KEPT as u64));
    assert!(ask(&guest, "logs", &job, &[]).0.stdout.len() <= KEPT);
    guest.run(["kill", TARGET, &job]).succeeded();
    assert_eq!(ask(&guest, "result", &job, &["--wait"]).status(), 143);
}

#[test]
fn a_job_whose_keeper_is_stopped_keeps_nobody_waiting_for_long() {
    let guest = Guest::keeping("60");
    let mark = Mark::new();
    let stopped = detach(&guest, &["-E", mark.variable()], "exec sleep 1000");
    let other = detach(&guest, &[], "exec sleep 1000");
    let keeper = Pid::from_raw(keeper(&guest, &mark)).unwrap();
    kill_process(keeper, Signal::STOP).unwrap();
    let began = Instant::now();
    let told = describe(&guest, &other);
    assert_eq!(told["state"], "running", "{told}");
    ask(&guest, "logs", &stopped, &[]).failed(255, &["does not answer"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    kill_process(keeper, Signal::CONT).unwrap();
    assert_eq!(describe(&guest, &stopped)["state"], "running");
}

#[test]
fn the_oldest_output_makes_room_and_how_much_was_lost_is_told() {
    const LENGTH: usize = 3_000_000;
    let guest = Guest::keeping("60");
    let file = guest.directory.file("content", &payload(LENGTH as u64));
    let job = detach(&guest, &[], &format!("cat {}; echo end >&2", file.display()));
    has_ended(&guest, &job);
    let told = describe(&guest, &job);
    assert_eq!((&told["written"], &told["lost"]), (&(LENGTH + 4).into(), &(LENGTH - KEPT).into()), "{told}");
    for verb in ["logs", "attach"] {
        let finished = ask(&guest, verb, &job, &[]);
        let lost = format!("{} bytes are lost", LENGTH - KEPT);
        assert!(
            finished.stderr().contains(&lost) && finished.stderr().contains("end\n"),
            "{}",
            finished.stderr()
        );
        assert_same(&finished.0.stdout, &payload(LENGTH as u64)[LENGTH - KEPT..]);
    }
}

#[test]
fn a_job_that_holds_waits_until_somebody_attaches_and_loses_nothing() {
    const LENGTH: usize = 3_000_000;
    let guest = Guest::keeping("60");
    let file = guest.directory.file("content", &payload(LENGTH as u64));
    let job = detach(&guest, &["--hold"], &format!("cat {}; exit 4", file.display()));
    until("it is full", || describe(&guest, &job)["written"] == KEPT);
    std::thread::sleep(Duration::from_millis(200));
    let told = describe(&guest, &job);
    assert_eq!((&told["written"], &told["state"]), (&KEPT.into(), &"running".into()), "{told}");
    assert_same(&ask(&guest, "logs", &job, &[]).0.stdout, &payload(KEPT as u64));
    let attached = ask(&guest, "attach", &job, &[]);
    assert_eq!((attached.status(), attached.stderr()), (4, ""));
    assert_same(&attached.0.stdout, &payload(LENGTH as u64));
}

#[test]
fn logs_are_followed_to_the_end_of_the_job() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "for i in 1 2 3; do sleep 0.1; echo $i; done; exit 6");
    let followed = ask(&guest, "logs", &job, &["-f"]);
    assert_eq!((followed.status(), followed.stdout(), followed.stderr()), (0, "1\n2\n3\n", ""));
    assert_eq!(ask(&guest, "result", &job, &[]).status(), 6);
}

#[test]
fn a_job_is_sent_signals_by_name_and_number() {
    let guest = Guest::keeping("60");
    for (options, status) in [(&[][..], 143), (&["-9"], 137), (&["-SIGINT"], 130), (&["-HUP"], 129)] {
        let job = detach(&guest, &[], "exec sleep 1000");
        let words = ["kill"].into_iter().chain(options.iter().copied()).chain([TARGET, &job]);
        assert_eq!(guest.run(words).succeeded(), "");
        assert_eq!(ask(&guest, "result", &job, &["--wait"]).status(), status, "{options:?}");
    }
    let job = detach(&guest, &[], "trap 'echo heard; exit 7' USR1; echo ready; while :; do sleep 0.01; done");
    until("it is ready", || ask(&guest, "logs", &job, &[]).stdout() == "ready\n");
    guest.run(["kill", "-USR1", TARGET, &job]).succeeded();
    let attached = ask(&guest, "attach", &job, &[]);
    assert_eq!((attached.status(), attached.stdout()), (7, "ready\nheard\n"));
}

#[test]
fn a_grandchild_that_holds_the_pipes_delays_nothing() {
    let guest = Guest::keeping("60");
    let mark = Mark::new();
    let job = detach(&guest, &["-E", mark.variable()], "sleep 1000 & echo started; exit 2");
    let began = Instant::now();
    let attached = ask(&guest, "attach", &job, &[]);
    assert_eq!((attached.status(), attached.stdout()), (2, "started\n"));
    assert!(began.elapsed() < Duration::from_secs(5));
    for process in mark.processes() {
        kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
    }
}

/// A shell in a terminal, with a prompt of its own.
fn shell(guest: &Guest) -> Terminal {
    let mut terminal = Terminal::start(&guest.client(["-t", "-E", "PS1=$ ", TARGET, "--", "sh"]));
    terminal.wait_for("$ ");
    terminal
}

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
fn jobs_survive_the_listener_however_it_ends() {
    let mut guest = Guest::keeping("60");
    let target = guest.target();
    let job = detach(&guest, &[], "echo before; exec sleep 1000");
    let mut attached = Running::start(&mut guest.client(["attach", TARGET, job.as_str()]));
    read_line(attached.0.stdout.as_mut().unwrap(), "before");
    for signal in [Signal::KILL, Signal::TERM] {
        let began = Instant::now();
        guest.agent.signal(signal);
        guest.agent.end();
        assert!(began.elapsed() < Duration::from_secs(4), "a job is not waited for: {:?}", began.elapsed());
        let mut command = std::process::Command::new(guest::agent_binary());
        command.arg(format!("--listen={target}")).stdin(Stdio::null()).stderr(Stdio::null());
        guest.agent = Running::start(&mut command);
        until("the agent is back", || guest.run(["wait", TARGET]).status() == 0);
        assert_eq!(describe(&guest, &job)["state"], "running", "after {signal:?}");
    }
    guest.run(["kill", "-9", TARGET, &job]).succeeded();
    assert_eq!(attached.finish(b"").status(), 137, "it was attached all the time");
}

#[test]
fn another_agent_has_other_jobs() {
    let (one, other) = (Guest::keeping("60"), Guest::keeping("60"));
    let job = detach(&one, &[], "exec sleep 1000");
    assert_eq!(other.run(["jobs", "--json", TARGET]).succeeded(), "[]\n");
    ask(&other, "kill", &job, &[]).failed(255, &["there is no job"]);
}

#[test]
fn there_are_64_jobs_and_the_first_that_ended_makes_room() {
    let guest = Guest::keeping("60");
    let mut jobs = vec![detach(&guest, &[], "exit 1")];
    has_ended(&guest, &jobs[0]);
    jobs.push(detach(&guest, &[], "exit 2"));
    has_ended(&guest, &jobs[1]);
    for _ in 2..64 {
        jobs.push(detach(&guest, &[], "exec sleep 1000"));
    }
    assert_eq!(guest.run(["jobs", TARGET]).succeeded().lines().count(), 65);
    let newest = detach(&guest, &[], "exec sleep 1000");
    assert_eq!(newest, jobs[0], "the number of the one that ended first");
    assert_eq!(detach(&guest, &[], "exec sleep 1000"), jobs[1]);
    guest.run(["--detach", TARGET, "true"]).failed(255, &["no room for another job"]);
    let mut terminal = shell(&guest);
    terminal.type_keys("\r~d");
    terminal.wait_for("cannot detach");
    terminal.type_keys("\recho he''re; exit 3\n");
    terminal.wait_for("here");
    assert_eq!(terminal.end().code(), Some(3));
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
fn a_job_whose_keeper_is_killed_hangs_up_and_is_told_to_be_lost() {
    let guest = Guest::keeping("60");
    let mark = Mark::new();
    let job = detach(&guest, &["-E", mark.variable()], "echo ready; exec sleep 1000");
    let mut attached = Running::start(&mut guest.client(["attach", TARGET, job.as_str()]));
    read_line(attached.0.stdout.as_mut().unwrap(), "ready");
    kill_process(Pid::from_raw(keeper(&guest, &mark)).unwrap(), Signal::KILL).unwrap();
    attached.finish(b"").failed(255, &["lost"]);
    mark.is_gone();
    ask(&guest, "result", &job, &[]).failed(255, &["there is no job"]);
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
fn the_status_of_a_command_that_has_ended_does_not_wait_for_its_output() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &["--hold"], "head -c 1060000 /dev/zero; exit 3");
    has_ended(&guest, &job);
    assert_eq!(ask(&guest, "result", &job, &["--wait"]).status(), 3);
    ask(&guest, "result", &job, &[]).failed(255, &["there is no job"]);
    let job = detach(&guest, &["--hold"], "head -c 1060000 /dev/zero; exit 3");
    has_ended(&guest, &job);
    let attached = ask(&guest, "attach", &job, &[]);
    assert_eq!((attached.status(), attached.0.stdout.len()), (3, 1_060_000));
}

#[test]
fn many_that_want_room_at_once_get_it() {
    let guest = Guest::keeping("60");
    for _ in 0..64 {
        detach(&guest, &[], "exit 1");
    }
    until("all have ended", || !guest.run(["jobs", TARGET]).succeeded().contains("running"));
    let started: Vec<Running> =
        (0..6).map(|_| Running::start(&mut guest.client(["--detach", TARGET, "exec sleep 1000"]))).collect();
    let mut jobs: Vec<String> =
        started.into_iter().map(|running| running.finish(b"").succeeded().to_owned()).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 6);
}

#[test]
fn a_job_that_ends_at_once_has_its_words_all_the_same() {
    let guest = Guest::keeping("60");
    let job = detach(&guest, &[], "exit 3");
    assert_eq!(describe(&guest, &job)["command"], "exit 3");
    let words = ["--detach", TARGET, "--", "printf", "%s", "a b\n\x1b"];
    let job = guest.run(words).succeeded().trim_end().to_owned();
    assert_eq!(describe(&guest, &job)["command"], "printf %s a b  ");
}

#[test]
fn a_job_is_told_of_wherever_the_connection_is_cut() {
    let guest = Guest::keeping("60");
    let proxy =
        Proxy::start(
            &guest,
            |number| if number % 2 == 0 { Fate::Cut(number as u64 / 2) } else { Fate::Lasts },
        );
    for cut in 0..600 {
        let number = Running::start(&mut client(["--detach", "-q", &proxy.target(), "exit 7"])).finish(b"");
        let job = number.succeeded().trim_end().to_owned();
        assert_eq!(ask(&guest, "result", &job, &["--wait"]).status(), 7, "cut at {cut}");
    }
    assert_eq!(guest.run(["jobs", "--json", TARGET]).succeeded(), "[]\n", "no command ran twice");
}

#[test]
fn a_job_outlives_the_agent_of_one_session() {
    let mark = Mark::new();
    let target = format!("exec:{} --listen stdio", guest::agent_binary().display());
    let run = |words: &[&str]| Running::start(&mut client(words)).finish(b"");
    let job = run(&["--detach", "-E", mark.variable(), &target, "echo out; exec sleep 1000"]);
    let job = job.succeeded().trim_end().to_owned();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(run(&["logs", &target, &job]).succeeded(), "out\n");
    run(&["kill", &target, &job]).succeeded();
    assert_eq!(run(&["result", "--wait", &target, &job]).status(), 143);
    mark.is_gone();
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
