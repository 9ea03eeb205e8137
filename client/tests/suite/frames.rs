//! Sessions that are spoken by hand, frame by frame: what no client of ours says.

use std::io::{Read as _, Write as _};

use crate::guest::frames::{frame, hello, is_answered, request};
use crate::guest::stream::composed;
use crate::guest::{Guest, TARGET};
use vsock_shell_proto::items::{Want, encode_want};
use vsock_shell_proto::preamble::{Dialer, SessionId};

#[test]
fn who_is_taken_over_is_told() {
    let guest = Guest::keeping("60");
    let mut dialer = Dialer::new(SessionId([9; 16]));
    let mut dial = || {
        let mut stream = guest.connect();
        stream.write_all(&dialer.next_preamble(0, [0; 16]).encode()).unwrap();
        let mut answer = [0; 64];
        stream.read_exact(&mut answer).unwrap();
        (stream, answer[12])
    };
    let (mut first, created) = dial();
    let (second, resumed) = dial();
    assert_eq!((created, resumed), (0, 1));
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&[5, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0]), "{rest:?}");
    drop(second);
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
}

#[test]
fn requests_to_jobs_that_make_no_sense_are_refused() {
    const MALFORMED: u8 = 2;
    const NOT_FOUND: u8 = 7;
    let guest = Guest::start();
    let mut stream = guest.session(0x1000_0001);
    is_answered(&mut stream, &[hello()], &[1]);
    let job = |number: u8, verb: u8| {
        let mut field = vec![0x20, 12, 0, 0, number, 0, 0, 0, verb, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        field[9] = 0;
        field
    };
    for (number, (bytes, code)) in [
        (Vec::new(), MALFORMED),
        (job(1, 5), MALFORMED),
        (job(1, 255), MALFORMED),
        ([job(1, 0), job(1, 0)].concat(), MALFORMED),
        (vec![0x20, 11, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], MALFORMED),
        (vec![0x20, 12, 0, 0, 1], MALFORMED),
        (vec![0x01, 1, 0, 0, 0], 1),
        (job(1, 0), NOT_FOUND),
        (job(1, 1), NOT_FOUND),
        (job(255, 3), NOT_FOUND),
    ]
    .into_iter()
    .enumerate()
    {
        let channel = number as u8 * 2;
        let refused = [&frame(0x12, 0, channel, &[0; 8])[..4], &[8, 0, 0, 0, code, 0, 0, 0]].concat();
        is_answered(&mut stream, &[request(channel, 8, &bytes)], &refused);
    }
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
}

#[test]
fn a_session_goes_on_when_it_has_made_a_job_and_when_it_cannot() {
    let guest = Guest::start();
    let mut stream = guest.session(0x1000_0002);
    is_answered(&mut stream, &[hello()], &[1]);
    let sleep = b"\x01\x06\0\0sleep\0\x01\x05\0\x001000\0";
    let field = [&sleep[..], &[9, 4, 0, 0, 0, 0, 0, 0]].concat();
    let detached = |channel: u8, job: u8| {
        [frame(0x19, 0, channel, &[3, 0, 0, 0, job, 0, 0, 0]), frame(0x1B, 0, channel, b"")].concat()
    };
    let accepted = |channel: u8| frame(0x11, 0, channel, &[0; 8])[..4].to_vec();
    // Before it runs, and with a file transfer beside it, to which it means nothing.
    let get = request(2, 3, b"\x10\x0A\0\0/dev/zero\0");
    let both = [request(0, 1, sleep), frame(0x1C, 0, 0, &[0; 4]), get, frame(0x1C, 0, 2, &[0; 4])];
    is_answered(&mut stream, &both, &detached(0, 1));
    is_answered(&mut stream, &[request(4, 1, &field)], &detached(4, 2));
    // A command beside it would be left behind by who waits for it.
    is_answered(&mut stream, &[request(6, 1, sleep)], &accepted(6));
    is_answered(&mut stream, &[request(8, 1, sleep)], &accepted(8));
    is_answered(&mut stream, &[frame(0x1C, 0, 6, &[0; 4])], &frame(0x1C, 0, 6, &[16, 0, 0, 0]));
    is_answered(&mut stream, &[frame(0x1A, 0, 8, &[3, 0, 0, 0])], &frame(0x1B, 0, 8, b""));
    assert_eq!(guest.run(["jobs", TARGET]).succeeded().lines().count(), 3);
    drop(stream);
    for job in ["1", "2"] {
        guest.run(["kill", "-9", TARGET, job]).succeeded();
        assert_eq!(guest.run(["result", "--wait", TARGET, job]).status(), 137);
    }
    guest.is_idle();
}

#[test]
fn requests_for_files_with_what_they_do_not_take_are_refused() {
    const GET: u8 = 3;
    const PUT: u8 = 2;
    let (unsupported, malformed) = (1, 2);
    let guest = Guest::start();
    let mut stream = guest.session(0x1000_0004);
    is_answered(&mut stream, &[hello()], &[1]);
    let path = &b"\x10\x02\0\0.\0"[..];
    let with = |more: &[u8]| [path, more].concat();
    let flags = |bit: u32| with(&[&[0x12, 4, 0, 0][..], &(1_u32 << bit).to_le_bytes()].concat());
    let mut cases = vec![
        (GET, with(b"\x11\x02\0\0x\0"), unsupported),
        (PUT, with(b"\x13\x02\0\0x\0"), unsupported),
        (GET, Vec::new(), malformed),
        (PUT, with(path), malformed),
    ];
    let of_get = [3, 4, 5, 6, 7, 12, 13];
    let of_put = [0, 1, 8, 9, 10];
    for bit in 0..32 {
        cases.extend((!of_get.contains(&bit)).then(|| (GET, flags(bit), malformed)));
        cases.extend((!of_put.contains(&bit)).then(|| (PUT, flags(bit), malformed)));
    }
    for (number, (kind, bytes, code)) in cases.into_iter().enumerate() {
        let channel = number as u8 * 2;
        let refused = [&frame(0x12, 0, channel, &[0; 8])[..4], &[8, 0, 0, 0, code, 0, 0, 0]].concat();
        is_answered(&mut stream, &[request(channel, kind, &bytes)], &refused);
    }
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
}

#[test]
fn wants_that_come_one_by_one_are_answered_one_by_one() {
    const GET: u8 = 3;
    const LIST: u8 = 1 << 7;
    let guest = Guest::start();
    let folder = guest.directory.subdirectory("folder");
    let mut stream = guest.session(0x1000_0005);
    let path = [folder.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let fields = [&[0x10, path.len() as u8, 0, 0], &path[..], &[0x12, 4, 0, 0, LIST, 0, 0, 0]].concat();
    is_answered(&mut stream, &[hello(), request(0, GET, &fields)], &frame(0x11, 0, 0, &[0; 8]));
    for number in 0..3 {
        let name = format!("file-{number}");
        std::fs::write(folder.join(&name), format!("content of {name}")).unwrap();
        let path = std::ffi::CString::new(name.clone()).unwrap();
        let want = Want { length: 0, digest: 0, flags: 0, path: &path };
        let item = composed(|out| encode_want(out, &want));
        is_answered(&mut stream, &[frame(0x13, 0, 0, &item)], format!("content of {name}").as_bytes());
    }
    is_answered(&mut stream, &[frame(0x14, 0, 0, b"")], &frame(0x19, 0, 0, &[0; 8]));
}
