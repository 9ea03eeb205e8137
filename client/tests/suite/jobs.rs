//! Jobs: commands that go on without a client, and what is asked of them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::guest::jobs::{KEPT, ask, describe, detach, has_ended, keeper, shell};
use crate::guest::processes::Mark;
use crate::guest::proxy::{Fate, Proxy};
use crate::guest::{self, Guest, Running, TARGET, assert_same, client, payload, read_line, until};
use rustix::process::{Pid, Signal, kill_process};

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
