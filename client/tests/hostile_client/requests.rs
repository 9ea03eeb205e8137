//! Requests that break the rules (`PROTOCOL.md` §9), and those for jobs (§11).

use std::process::Command;

use crate::guest::jobs::detach;
use crate::guest::wire::{Wire, field, frame, kind};
use crate::guest::{Guest, TARGET, agent_binary};
use crate::{EXEC, GET, PUT, answer, arguments, asking, ends, greeted, open, serves, string};

const CONNECT: u8 = 4;
const LISTEN: u8 = 5;
const FS: u8 = 6;
const SYSTEM: u8 = 7;
const JOB: u8 = 8;

const UNSUPPORTED: u32 = 1;
const MALFORMED: u32 = 2;
const TOO_LARGE: u32 = 3;
const NO_USER: u32 = 5;
const NOT_FOUND: u32 = 7;
const BY_SYSTEM: u32 = 9;
const DENIED: u32 = 10;

const ENOENT: u32 = 2;
const EBUSY: u32 = 16;
const EXDEV: u32 = 18;
const EINVAL: u32 = 22;

/// Asks on channel 0, and is refused with this code and errno.
#[track_caller]
fn is_refused(wire: &mut Wire, kind: u8, request: &[u8], expected: (u32, u32), case: &str) {
    wire.say(&[asking(0, kind, request)]);
    let answer = answer(wire);
    assert_eq!(answer.kind, kind::REFUSED, "{case}");
    assert_eq!((answer.number(0), answer.number(4)), expected, "{case}");
    is_released(wire);
}

/// The agent has released channel 0, and so do we.
#[track_caller]
fn is_released(wire: &mut Wire) {
    wire.next(kind::RELEASE);
    wire.say(&[frame(kind::RELEASE, 0, 0, b"")]);
}

fn number(tag: u8, value: u32) -> Vec<u8> {
    field(tag, &value.to_le_bytes())
}

fn long(value: u64) -> Vec<u8> {
    field(0x14, &value.to_le_bytes())
}

fn verb(name: &str) -> Vec<u8> {
    string(0x18, name)
}

fn job(number: u32, verb: u8, flags: u8) -> Vec<u8> {
    field(0x20, &[&number.to_le_bytes()[..], &[verb, flags, 0, 0], &[0; 4]].concat())
}

#[test]
fn requests_that_break_a_rule_are_refused_with_its_code_and_the_session_goes_on() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    let cat = || arguments(&["cat"]);
    let path = || string(0x10, "/");
    let flags = |bits: u32| number(0x12, bits);
    for (case, kind, fields, code) in [
        ("R-9.1: a tag that nobody knows", EXEC, vec![cat(), field(0x7F, b"")], UNSUPPORTED),
        (
            "R-9.1: a field that has more than there is",
            EXEC,
            vec![cat(), vec![0x01, 9, 0, 0, b'x']],
            MALFORMED,
        ),
        ("R-9.1: a field's header that is cut off", EXEC, vec![cat(), vec![0x01, 0]], MALFORMED),
        (
            "R-9.1: a field twice that stands once",
            EXEC,
            vec![string(0x04, "/"), string(0x04, "/")],
            MALFORMED,
        ),
        ("R-9.1: a PTY of another length", EXEC, vec![cat(), field(0x06, &[0; 7])], MALFORMED),
        ("R-9.1: a verb of the other kind", FS, vec![verb("sync"), path()], UNSUPPORTED),
        ("R-9.1: flags that a kind does not know", GET, vec![path(), flags(1)], MALFORMED),
        ("R-9.1: nothing that is asked for", GET, vec![], MALFORMED),
        ("R-9.2: a string without a NUL", EXEC, vec![field(0x01, b"cat")], MALFORMED),
        ("R-9.2: a string with two", EXEC, vec![field(0x01, b"c\0at\0")], MALFORMED),
        ("R-9.2: a string of nothing", EXEC, vec![field(0x01, b"")], MALFORMED),
        ("R-9.3: a program and a command line", EXEC, vec![cat(), string(0x02, "cat")], MALFORMED),
        ("R-9.3: two command lines", EXEC, vec![string(0x02, "cat"), string(0x02, "cat")], MALFORMED),
        ("R-9.5: a variable without a value", EXEC, vec![cat(), string(0x03, "NAME")], MALFORMED),
        ("R-9.5: a variable without a name", EXEC, vec![cat(), string(0x03, "=value")], MALFORMED),
        ("R-9.10: an unknown verb", SYSTEM, vec![verb("informal")], UNSUPPORTED),
        ("R-9.10: no verb", SYSTEM, vec![], MALFORMED),
        ("R-9.10: a path for what has none", SYSTEM, vec![verb("info"), path()], UNSUPPORTED),
        ("R-9.12: a verb without its path", FS, vec![verb("statfs")], MALFORMED),
        ("R-9.12: a mode is missing", FS, vec![verb("mkdir"), string(0x10, "/x")], MALFORMED),
        ("R-9.12: a new name is missing", FS, vec![verb("rename"), string(0x10, "/x")], MALFORMED),
        ("R-9.12: flags of other kinds", FS, vec![verb("statfs"), path(), flags(1)], MALFORMED),
        ("R-9.13: a signal is missing", SYSTEM, vec![verb("kill"), long(1)], MALFORMED),
        ("R-9.13: half a time", SYSTEM, vec![verb("clock"), long(1)], MALFORMED),
        ("R-9.13: one number too many", SYSTEM, vec![verb("sync"), long(1)], MALFORMED),
        ("R-9.15: a program that nobody has put", EXEC, vec![cat(), number(0x0A, 4)], NOT_FOUND),
        ("R-9.15: a program without its name", EXEC, vec![number(0x0A, 4)], MALFORMED),
        ("R-9.16: a host without a port", CONNECT, vec![string(0x28, "a")], MALFORMED),
        (
            "R-9.16: a port that TCP has not",
            CONNECT,
            vec![string(0x28, "a"), number(0x29, 0x1_0000)],
            MALFORMED,
        ),
        ("R-9.16: two places", CONNECT, vec![string(0x10, "/a"), number(0x29, 1)], MALFORMED),
        ("R-9.16: nowhere", CONNECT, vec![], MALFORMED),
        ("R-9.16: no path", LISTEN, vec![string(0x10, "")], MALFORMED),
        ("R-9.16: who has come to nobody", CONNECT, vec![number(0x2B, 0)], UNSUPPORTED),
        ("R-9.17: a name that is none", CONNECT, vec![string(0x28, "a..b"), number(0x29, 1)], NOT_FOUND),
        (
            "R-9.18: no directory of its own",
            LISTEN,
            vec![string(0x28, ""), number(0x29, 0), flags(1 << 16)],
            MALFORMED,
        ),
        ("R-9.18: listening by a name", LISTEN, vec![string(0x28, "name"), number(0x29, 0)], BY_SYSTEM),
        ("R-9.18: listening as somebody else", LISTEN, vec![number(0x2A, 3), number(0x29, 9)], BY_SYSTEM),
        ("R-10.11: a pattern that is no string", GET, vec![path(), field(0x13, b"*")], MALFORMED),
        ("R-11.3: a job that there is not", JOB, vec![job(60, 0, 0)], NOT_FOUND),
        ("R-11.3: a verb that there is not", JOB, vec![job(1, 5, 0)], MALFORMED),
        ("R-11.3: no job", JOB, vec![], MALFORMED),
        ("R-11.1: a DETACH of another length", EXEC, vec![cat(), field(0x09, &[0; 3])], MALFORMED),
    ] {
        is_refused(&mut wire, kind, &fields.concat(), (code, 0), case);
    }
    for (case, kind, fields, code, errno) in [
        (
            "R-9.4: a user that there is not",
            EXEC,
            vec![cat(), string(0x05, "nobody at all")],
            NO_USER,
            ENOENT,
        ),
        ("R-9.5: no directory to enter", EXEC, vec![cat(), string(0x04, "/no/such")], BY_SYSTEM, ENOENT),
        // Without its upper half it would be a process that there is not.
        (
            "R-9.13: a process that there cannot be",
            SYSTEM,
            vec![verb("kill"), long(0x1_7FFF_FFF0), long(9)],
            BY_SYSTEM,
            EINVAL,
        ),
    ] {
        is_refused(&mut wire, kind, &fields.concat(), (code, errno), case);
    }
    drop(wire);
    serves(&guest);
}

#[test]
fn r_9_1_optional_tags_are_skipped() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    let request = [field(0xFF, &[7; 500]), arguments(&["true"]), field(0x80, b"")].concat();
    wire.say(&[asking(0, EXEC, &request)]);
    assert_eq!(wire.next(kind::EXIT).payload, [0; 8]);
}

#[test]
fn r_9_5_more_variables_than_an_agent_takes_are_too_many() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    // They go beyond the credit that a request has at first.
    let mut request = arguments(&["true"]);
    request.extend((0..8_193).flat_map(|_| string(0x03, "a=")));
    wire.say(&[open(0, EXEC), frame(kind::DATA, 3, 0, &request[..4096])]);
    let mut limit = 4096;
    let mut sent = 4096;
    while sent < request.len() {
        while limit <= sent {
            let credit = wire.next(kind::CREDIT);
            assert_eq!(credit.flow, 3);
            limit = credit.number(0) as usize;
        }
        let end = request.len().min(limit).min(sent + 60_000);
        wire.say(&[frame(kind::DATA, 3, 0, &request[sent..end])]);
        sent = end;
    }
    wire.say(&[frame(kind::FINISH, 3, 0, b"")]);
    assert_eq!(wire.next(kind::REFUSED).number(0), TOO_LARGE);
}

#[test]
fn r_9_9_a_signal_before_there_is_a_command_is_heard_by_nobody() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    let signal = frame(kind::SIGNAL, 0, 0, &[9, 0, 0, 0]);
    let request = asking(0, EXEC, &arguments(&["true"])).split_off(16);
    wire.say(&[open(0, EXEC), signal, request]);
    assert_eq!(wire.next(kind::EXIT).payload, [0; 8]);
}

/// An agent that serves one directory and nothing else: what is asked of it by mistake it does not do either.
fn rooted() -> Guest {
    Guest::start_by(|directory| {
        let mut command = Command::new(agent_binary());
        directory.subdirectory("root");
        directory.subdirectory("root/d");
        command.args(["--grace", "0", "--root"]).arg(directory.path("root"));
        command
    })
}

#[test]
fn r_9_11_what_ends_the_machine_takes_nothing_but_its_flag() {
    let guest = rooted();
    let mut wire = greeted(&guest);
    for name in ["poweroff", "reboot", "halt"] {
        for (more, code) in [
            (long(1), MALFORMED),
            (number(0x12, 1), MALFORMED),
            (field(0x12, &[4]), MALFORMED),
            (string(0x05, "root"), UNSUPPORTED),
        ] {
            is_refused(&mut wire, SYSTEM, &[verb(name), more].concat(), (code, 0), name);
        }
    }
}

#[test]
fn r_9_14_nothing_but_files_of_one_directory_is_served() {
    let guest = rooted();
    let mut wire = greeted(&guest);
    is_refused(&mut wire, EXEC, &arguments(&["true"]), (DENIED, 0), "exec");
    is_refused(&mut wire, JOB, &job(0, 0, 0), (DENIED, 0), "job");
    is_refused(&mut wire, SYSTEM, &verb("env"), (DENIED, 0), "env");
    for (name, path) in
        [("statfs", ".."), ("remove", "../log"), ("remove", "/../log"), ("remove", "d/../../log")]
    {
        is_refused(&mut wire, FS, &[verb(name), string(0x10, path)].concat(), (BY_SYSTEM, EXDEV), path);
    }
    assert!(guest.directory.path("log").exists());
}

#[test]
fn r_10_11_patterns_that_are_longer_than_they_may_be_together_are_too_large() {
    let guest = Guest::start();
    let mut wire = greeted(&guest);
    let patterns = (0..10).flat_map(|_| string(0x13, [b'*'; 450])).collect::<Vec<u8>>();
    let request = [string(0x10, "/proc/self"), number(0x12, 1 << 3), patterns].concat();
    wire.say(&[open(0, GET), frame(kind::DATA, 3, 0, &request[..4096])]);
    wire.next(kind::CREDIT);
    wire.say(&[frame(kind::DATA, 3, 0, &request[4096..]), frame(kind::FINISH, 3, 0, b"")]);
    assert_eq!(wire.next(kind::REFUSED).number(0), TOO_LARGE);
}

#[test]
fn r_11_1_detach_of_what_is_no_command_is_ignored() {
    let guest = Guest::start();
    let to = guest.directory.path("to");
    let mut wire = greeted(&guest);
    let put = asking(0, PUT, &string(0x10, to.to_str().unwrap()));
    wire.say(&[put, frame(kind::DETACH, 0, 0, &[1, 0, 0, 0])]);
    assert_eq!(answer(&mut wire).kind, kind::ACCEPTED);
    wire.is_alive();
    wire.say(&[frame(kind::RESET, 0, 0, &[3, 0, 0, 0])]);
    wire.next(kind::RELEASE);
    drop(wire);
    serves(&guest);
}

#[test]
fn r_11_4_a_result_that_there_is_not_yet_is_not_waited_for() {
    let guest = Guest::start();
    let number = detach(&guest, &[], "exec sleep 1000").parse().unwrap();
    let mut wire = greeted(&guest);
    const RESULT: u8 = 4;
    wire.say(&[asking(0, JOB, &job(number, RESULT, 0))]);
    let exit = wire.next(kind::EXIT);
    assert_eq!((exit.payload[0], exit.number(4)), (2, EBUSY));
    guest.run(["kill", "-9", TARGET, "1"]).succeeded();
    guest.run(["result", "--wait", TARGET, "1"]);
}

#[test]
fn r_11_5_who_only_reads_and_types_all_the_same_is_stopped() {
    const CREDIT_EXCEEDED: u32 = 0x27;
    const ATTACH: u8 = 1;
    const READ_ONLY: u8 = 1;
    let guest = Guest::start();
    let number = detach(&guest, &["-t"], "cat").parse().unwrap();
    let mut wire = greeted(&guest);
    wire.say(&[asking(0, JOB, &job(number, ATTACH, READ_ONLY)), frame(kind::RESIZE, 0, 0, &[9; 8])]);
    assert_eq!(wire.next(kind::STOP).flow, 0);
    wire.say(&[frame(kind::DATA, 0, 0, &[4; 4096])]);
    wire.is_alive();
    wire.say(&[frame(kind::DATA, 0, 0, &[4])]);
    ends(&guest, &mut wire, CREDIT_EXCEEDED, "");
    // The job has heard nothing of it.
    assert!(guest.run(["jobs", TARGET]).succeeded().contains("running"));
    guest.run(["kill", "-9", TARGET, "1"]).succeeded();
    guest.run(["result", "--wait", TARGET, "1"]);
}

#[test]
fn r_11_6_a_job_whose_status_was_read_is_no_more() {
    const ATTACH: u8 = 1;
    let guest = Guest::start();
    let number = detach(&guest, &[], "exit 3").parse().unwrap();
    let mut wire = greeted(&guest);
    wire.say(&[asking(0, JOB, &job(number, ATTACH, 0))]);
    assert_eq!(wire.next(kind::EXIT).number(4), 3);
    wire.say(&[frame(kind::RELEASE, 0, 0, b""), frame(kind::CLOSE, 0, 0, &[0; 4])]);
    ends(&guest, &mut wire, 0, "");
    guest.is_idle();
    let mut wire = greeted(&guest);
    is_refused(&mut wire, JOB, &job(number, ATTACH, 0), (NOT_FOUND, 0), "");
}
