//! Sessions that outlive their connections: not a byte is lost, repeated or reordered, whatever happens on the way.

use std::ffi::OsStr;
use std::fs;
use std::time::{Duration, Instant};

use crate::guest::processes::Mark;
use crate::guest::proxy::{Fate, Proxy};
use crate::guest::pty::Terminal;
use crate::guest::{DEADLINE, Guest, Running, assert_same, client, payload, read_line};
use rustix::process::Signal;

/// Numbers that look random, the same in each run.
fn draw(state: &mut u64, from: u64, to: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    from + (*state >> 33) % (to - from)
}

/// A proxy that cuts so many connections, each after between `from` and `to` bytes.
fn cutting(guest: &Guest, count: usize, from: u64, to: u64) -> Proxy {
    let mut state = 1;
    Proxy::start(guest, move |number| {
        let after = draw(&mut state, from, to);
        if number < count { Fate::Cut(after) } else { Fate::Lasts }
    })
}

#[test]
fn three_hundred_early_cuts_change_nothing() {
    let guest = Guest::keeping("60");
    let proxy =
        Proxy::start(
            &guest,
            |number| if number % 2 == 0 { Fate::Cut(number as u64 / 2) } else { Fate::Lasts },
        );
    let input: Vec<u8> = (0..=255).cycle().take(700).collect();
    for cut in 0..300 {
        let mut command = client(["-q", &proxy.target(), "cat; echo err >&2; exit 7"]);
        let finished = Running::start(&mut command).finish(&input);
        assert_eq!((finished.status(), finished.stderr()), (7, "err\n"), "cut at {cut}");
        assert_same(&finished.0.stdout, &input);
        assert_eq!(proxy.connections(), 2 * (cut + 1), "cut at {cut}");
    }
}

#[test]
fn files_arrive_through_a_thousand_cuts() {
    const LENGTH: u64 = 64 << 20;
    let guest = Guest::keeping("60");
    let proxy = cutting(&guest, 1000, 1000, 125_000);
    let (from, there, back) =
        (guest.directory.path("from"), guest.directory.path("there"), guest.directory.path("back"));
    fs::write(&from, payload(LENGTH)).unwrap();
    let copy = |from: &OsStr, to: &OsStr| {
        let finished =
            Running::start(&mut client([OsStr::new("cp"), OsStr::new("-q"), from, to])).finish(b"");
        assert_eq!((finished.status(), finished.stderr()), (0, ""));
    };
    copy(from.as_ref(), proxy.remote(&there).as_ref());
    let up = proxy.connections();
    copy(proxy.remote(&there).as_ref(), back.as_ref());
    assert!(up > 400 && proxy.connections() > 1000, "{up} of {} connections", proxy.connections());
    assert_same(&fs::read(&there).unwrap(), &fs::read(&from).unwrap());
    assert_same(&fs::read(&back).unwrap(), &fs::read(&from).unwrap());
}

#[test]
fn a_command_with_binary_streams_goes_on_through_cuts() {
    let guest = Guest::keeping("60");
    let proxy = cutting(&guest, 200, 100, 100_000);
    let input = payload(8 << 20);
    let finished = Running::start(&mut client(["-q", &proxy.target(), "cat; exit 9"])).finish(&input);
    assert_eq!((finished.status(), finished.stderr()), (9, ""));
    assert_same(&finished.0.stdout, &input);
    assert!(proxy.connections() > 100, "{} connections", proxy.connections());
}

#[test]
fn a_shell_goes_on_through_cuts_with_every_key_and_its_size() {
    let guest = Guest::keeping("60");
    let proxy = cutting(&guest, 30, 300, 900);
    let seen = guest.directory.path("seen");
    let mut shell = Terminal::start(&client(["-q", "-t", &proxy.target(), "--", "sh"]));
    for round in 0..40 {
        shell.type_keys(format!("echo {round} >> {}; echo '<'{round}'>'\n", seen.display()));
        shell.wait_for(&format!("<{round}>"));
    }
    let expected: String = (0..40).map(|round| format!("{round}\n")).collect();
    assert_eq!(fs::read_to_string(&seen).unwrap(), expected);
    shell.resize(50, 132);
    shell.type_keys("until [ \"$(stty size)\" = '50 132' ]; do :; done; echo si''zed\n");
    shell.wait_for("sized");
    shell.type_keys("exit 4\n");
    assert_eq!(shell.end().code(), Some(4));
    assert!(proxy.connections() > 5, "{} connections", proxy.connections());
}

#[test]
fn what_ended_while_the_client_was_away_is_told_when_it_is_back() {
    let guest = Guest::keeping("60");
    let proxy = Proxy::start(&guest, |_| Fate::Lasts);
    let mut running =
        Running::start(&mut client([&proxy.target(), "echo ready; sleep 0.3; echo out; exit 5"]));
    read_line(running.0.stdout.as_mut().unwrap(), "ready");
    proxy.set_open(false);
    std::thread::sleep(Duration::from_millis(800));
    proxy.set_open(true);
    let finished = running.finish(b"");
    assert_eq!((finished.status(), finished.stdout()), (5, "out\n"));
    let told = finished.stderr();
    assert!(told.contains("connection lost") && told.contains("trying for 30 s"), "{told:?}");
    assert_eq!(told.lines().count(), 1, "{told:?}");
    assert!(proxy.connections() > 1);
}

#[test]
fn a_connection_that_stands_still_is_left_within_five_seconds() {
    for is_up in [true, false] {
        let guest = Guest::keeping("60");
        let fate = |number| if number == 0 { Fate::Stall(5_000_000) } else { Fate::Lasts };
        let proxy = Proxy::start(&guest, fate);
        let (from, to) = (guest.directory.path("from"), guest.directory.path("to"));
        fs::write(&from, payload(20_000_000)).unwrap();
        let words = if is_up {
            ["cp".to_owned(), from.display().to_string(), proxy.remote(&to)]
        } else {
            ["cp".to_owned(), proxy.remote(&from), to.display().to_string()]
        };
        let began = Instant::now();
        let finished = Running::start(&mut client(words)).finish(b"");
        assert_eq!(finished.status(), 0, "{finished:?}");
        assert!(finished.stderr().contains("no sign of life"), "{finished:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "up: {is_up}, {:?}", began.elapsed());
        assert_same(&fs::read(&to).unwrap(), &fs::read(&from).unwrap());
    }
}

#[test]
fn a_guest_that_is_stopped_is_waited_for_unless_that_has_a_limit() {
    let guest = Guest::keeping("60");
    let mut running = guest.start_command(&["-q"], "echo ready; cat");
    let patient = running.0.stdin.as_mut().unwrap();
    let limited = guest.start_command(&["--dead-after", "4"], "echo ready; cat");
    let sessions = guest.sessions();
    let all = |signal| {
        for &session in sessions.iter().chain([&(guest.agent.0.id() as i32)]) {
            rustix::process::kill_process(rustix::process::Pid::from_raw(session).unwrap(), signal).unwrap();
        }
    };
    all(Signal::STOP);
    std::io::Write::write_all(patient, b"while away\n").unwrap();
    // Something is owed to this one as well.
    let mut limited = limited;
    std::io::Write::write_all(limited.0.stdin.as_mut().unwrap(), b"x\n").unwrap();
    let began = Instant::now();
    assert_eq!(limited.finish(b"").status(), 255);
    assert!((3..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    std::thread::sleep(Duration::from_secs(3));
    all(Signal::CONT);
    assert_eq!(running.finish(b"").succeeded(), "while away\n");
}

#[test]
fn what_a_killed_client_ran_ends_with_its_grace_and_at_once_where_there_is_none() {
    let guest = Guest::keeping("2");
    for (options, signal, is_kept) in [
        (&["--reconnect", "100"][..], Signal::KILL, true),
        (&["--reconnect", "0"], Signal::KILL, false),
        (&[], Signal::TERM, false),
    ] {
        let mark = Mark::new();
        let options = [&["-E", mark.variable()], options].concat();
        let mut running = guest.start_command(&options, "echo ready; exec sleep 1000");
        running.signal(signal);
        let began = Instant::now();
        running.end();
        mark.is_gone();
        let kept = began.elapsed();
        assert!((Duration::from_millis(1500)..DEADLINE).contains(&kept) == is_kept, "{options:?}: {kept:?}");
    }
    guest.is_idle();
}

#[test]
fn a_session_that_is_gone_is_told_so_at_once() {
    let guest = Guest::keeping("1");
    let proxy = Proxy::start(&guest, |_| Fate::Lasts);
    let mut running = Running::start(&mut client(["-q", &proxy.target(), "echo ready; exec sleep 1000"]));
    read_line(running.0.stdout.as_mut().unwrap(), "ready");
    let session = guest.sessions()[0];
    rustix::process::kill_process(rustix::process::Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
    let began = Instant::now();
    running.finish(b"").failed(255, &["no longer has this session"]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
