//! Answers of verbs and jobs that are not what the document says (`PROTOCOL.md` §9, §11).

use crate::guest::fake::{Asked, Fake, Say, items};
use crate::guest::stream::{FILE, bytes, end, entry, file, folder, hole, leave, meta};
use crate::guest::wire::{frame, kind};
use crate::guest::{Finished, Running, TARGET, client, names};
use crate::{Stage, accepted, finished, hear_request, is_left};
use vsock_shell_proto::items::{Meta, Timestamp, meta_flag};

/// What the client makes of this, said on flow 1. It neither dies of it nor moves the cursor.
#[track_caller]
fn told(words: &[&str], answer: &'static [u8]) -> Finished {
    let fake = Fake::start(move |_: Asked| items([answer.to_vec()]));
    let target = format!("unix:{}", fake.directory.path("socket").display());
    let words = words.iter().map(|&word| if word == TARGET { target.as_str() } else { word });
    let finished = Running::start(&mut client(words)).finish(b"");
    assert!([0, 255].contains(&finished.status()), "{finished:?}");
    for said in [&finished.0.stdout, &finished.0.stderr] {
        let text = String::from_utf8_lossy(said);
        assert!(!text.chars().any(|c| c.is_control() && !"\n\t".contains(c)), "{text:?}");
    }
    finished
}

#[test]
fn r_9_10_lines_of_info_that_are_none_are_passed_over_or_escaped() {
    let said = b"no equals\n=\n==\n\x1B[2J=evil\nkey=\x9B2J\x07\n\xFF=\xFE\nversion=1\nversion=2";
    for words in [&["info", TARGET][..], &["info", "--json", TARGET]] {
        told(words, said);
        told(words, b"");
        told(words, &[0; 3000]);
    }
}

#[test]
fn r_9_11_a_guest_whose_connection_ends_before_it_has_accepted_was_not_ended() {
    let stage = Stage::new();
    let (client, mut wire) = stage.created(&["poweroff", TARGET]);
    wire.say(&[crate::hello(60_000)]);
    hear_request(&mut wire);
    drop(wire);
    assert_eq!(client.finish(b"").status(), 255);
}

#[test]
fn r_9_12_numbers_of_a_file_system_that_are_none_are_told_to_be() {
    let huge =
        b"block_size=18446744073709551615\nblocks=18446744073709551615\nblocks_free=18446744073709551615\n\
        blocks_available=18446744073709551615\ninodes=1\ninodes_free=2\ntype=1\n";
    for said in [
        &b""[..],
        b"\x1B[2J",
        b"block_size=x\n",
        b"block_size=-1\nblocks=99999999999999999999999\n",
        b"block_size=0\nblocks=0\nblocks_free=9\nblocks_available=9\ninodes=0\ninodes_free=9\ntype=0\n",
        huge,
    ] {
        told(&["fs", "df", TARGET, "/"], said);
    }
}

#[test]
fn r_9_13_clocks_logs_and_variables_that_are_none_do_no_harm() {
    for said in [
        &b""[..],
        b"time=\n",
        b"time=x.y\n",
        b"time=99999999999999999999.9\n",
        b"time=1.9999999999\n",
        b"\x1B",
    ] {
        assert_eq!(told(&["sys", "date", TARGET], said).stdout(), "", "{said:?}");
    }
    for said in [&b""[..], b"\0\0", b"A=\x1B[2J\0", b"no equals\0=\0", b"without its end"] {
        told(&["sys", "env", TARGET], said);
    }
    for said in [
        &b""[..],
        b"x",
        b";",
        b"6,1,5,-;\x1B[2J\n",
        b"999999999999999999999,-1,x,-;text\n",
        b"6,1\n\n\n",
        &[7; 9000],
    ] {
        told(&["sys", "dmesg", TARGET], said);
    }
}

#[test]
fn r_11_4_what_jobs_are_told_to_be_and_are_not_is_passed_over_or_escaped() {
    for said in [
        &b""[..],
        b"state=running\n",
        b"job=x\nstate=running\n",
        b"job=1\njob=1\njob=99999999999\n",
        b"job=1\nstate=\x1B[2J\ncommand=\x9B\x07\xFF\n",
        b"job=1\nstate=exited\nstatus=x\nstarted=99999999999999999999\n",
        b"job=1",
    ] {
        told(&["jobs", TARGET], said);
        told(&["jobs", "--json", TARGET], said);
    }
}

#[test]
fn r_11_1_a_command_that_has_become_a_job_unasked_is_told_to_be_one() {
    let stage = Stage::new();
    let (client, mut wire) = stage.asked();
    let detached = frame(kind::EXIT, 0, 0, &[3, 0, 0, 0, 7, 0, 0, 0]);
    wire.say(&[accepted(), finished(), detached, frame(kind::RELEASE, 0, 0, b"")]);
    let _ends_with_us = std::thread::spawn(move || is_left(&mut wire));
    let finished = client.finish(b"");
    assert!(finished.stderr().contains("detached as job 7"), "{finished:?}");
}

/// What comes of a copy of these items, and where it went.
#[track_caller]
fn copied(options: &[&str], stream: Vec<Vec<u8>>) -> (Finished, Fake) {
    let fake = Fake::start(move |_: Asked| items(stream.clone()));
    let words = ["cp".into()].into_iter().chain(options.iter().map(Into::into));
    let to = fake.directory.path("to").into_os_string();
    let words: Vec<std::ffi::OsString> = words.chain([fake.remote("/from"), to]).collect();
    let finished = Running::start(&mut client(words)).finish(b"");
    (finished, fake)
}

#[test]
fn r_10_2_a_file_that_is_not_as_long_as_its_end_says_is_discarded() {
    let open = || entry(&meta(FILE, meta_flag::OPEN), b"", b"");
    for stream in [
        vec![open(), bytes(b"xy"), end(b"xy", 1)],
        vec![open(), hole(9), end(b"", 10)],
        vec![entry(&Meta { offset: 5, ..meta(FILE, meta_flag::OPEN) }, b"", b""), bytes(b"x"), end(b"x", 6)],
    ] {
        let (finished, fake) = copied(&[], stream);
        assert_eq!(finished.status(), 255);
        assert_eq!(names(fake.directory.path("")), ["socket"], "{finished:?}");
    }
}

#[test]
fn r_10_6_more_nanoseconds_than_a_second_has_are_no_time() {
    use std::os::unix::fs::MetadataExt as _;
    for nanoseconds in [1_000_000_000, u32::MAX] {
        let modified = Timestamp { seconds: 1, nanoseconds };
        let open = entry(&Meta { modified, ..meta(FILE, meta_flag::OPEN) }, b"", b"");
        let (finished, fake) = copied(&["-p"], vec![open, end(b"", 0)]);
        assert_eq!((finished.status(), finished.stderr()), (0, ""));
        assert!(std::fs::metadata(fake.directory.path("to")).unwrap().mtime() > 1_000_000_000);
    }
}

#[test]
fn r_10_8_a_socket_is_told_and_not_made() {
    let socket = entry(&meta(0o140_666, 0), b"x", b"");
    let (finished, fake) = copied(&["-rp"], vec![folder(b""), socket, file(b"z", b"z"), leave()]);
    assert_eq!(finished.status(), 255, "{finished:?}");
    assert!(finished.stderr().contains("/from/x: "), "{finished:?}");
    assert_eq!(names(fake.directory.path("to")), ["z"]);
}

#[test]
fn r_10_10_content_that_goes_on_with_what_is_not_there_is_discarded() {
    let offset = Meta { offset: 5, size: 9, ..meta(FILE, meta_flag::OPEN) };
    let begun = [entry(&offset, b"x", b""), bytes(b"x"), end(b"x", 6)].concat();
    let (finished, fake) = copied(&["-r"], vec![folder(b""), begun, file(b"z", b"z"), leave()]);
    assert_eq!(finished.status(), 255, "{finished:?}");
    assert!(!fake.directory.path("to/x").exists(), "{finished:?}");
}

#[test]
fn r_10_11_patterns_that_an_agent_does_not_take_are_told_in_a_line() {
    let fake = Fake::start(|_: Asked| Say::Refused(7, b"exclude".to_vec()));
    let to = fake.directory.path("to").into_os_string();
    let words = ["cp".into(), "-r".into(), "--exclude".into(), "x".into(), fake.remote("/from"), to];
    Running::start(&mut client(words)).finish(b"").failed(255, &["exclude"]);
}
