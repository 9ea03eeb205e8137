use vsock_shell_proto::preamble::Status;

use super::*;
use crate::trace::reader::Reader;

const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

/// The bytes of a test vector of the specification.
fn vector(name: &str) -> Vec<u8> {
    let begin = format!("```vector {name}\n");
    let block = PROTOCOL.split_once(&begin).unwrap_or_else(|| panic!("no vector {name}")).1;
    let lines = block.lines().take_while(|line| *line != "```").filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The lines of these bytes of a connection.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    Reader::new().read(bytes, &mut |seen| lines.extend(line(&seen)));
    lines
}

/// The one line of a frame.
fn frame(name: &str) -> String {
    let frame = vector(name);
    let bytes = [&[1, 0, 0, 0], &(frame.len() as u32).to_le_bytes()[..], &frame].concat();
    let lines = lines(&bytes);
    assert_eq!((lines.len(), &lines[0]), (2, &format!("DATA {}", frame.len())));
    lines[1].clone()
}

#[test]
fn the_vectors_of_the_specification_have_their_lines() {
    for (name, expected) in [
        (
            "frame-hello",
            "  HELLO features=JOBS required=0 channels=512 request_max=1048576 grace_ms=60000 denied=0 software=\"demo 1\"",
        ),
        ("frame-close", "  CLOSE code=NORMAL"),
        ("frame-open", "  OPEN ch=2 kind=exec"),
        ("frame-accepted", "  ACCEPTED ch=2 value=4242"),
        ("frame-refused", "  REFUSED ch=2 code=SYSTEM errno=13 \"open\""),
        ("frame-data", "  DATA ch=2 flow=0 5"),
        ("frame-finish", "  FINISH ch=2 flow=3"),
        ("frame-stop", "  STOP ch=2 flow=0"),
        ("frame-credit", "  CREDIT ch=2 flow=0 limit=8192"),
        ("frame-signal", "  SIGNAL ch=2 number=15"),
        ("frame-resize", "  RESIZE ch=2 rows=50 columns=132 width=1056 height=800"),
        ("frame-exit-exited", "  EXIT ch=2 exited 3"),
        ("frame-exit-killed", "  EXIT ch=2 killed 11 core"),
        ("frame-exit-failed", "  EXIT ch=2 failed 28 \"write\""),
        ("frame-exit-detached", "  EXIT ch=2 detached 3"),
        ("frame-reset", "  RESET ch=2 code=CANCELLED"),
        ("frame-release", "  RELEASE ch=2"),
        ("frame-detach", "  DETACH ch=2 value=1"),
    ] {
        assert_eq!(frame(name), expected);
    }
    assert_eq!(lines(&vector("record-ack")), ["ACK offset=67"]);
    assert_eq!(lines(&vector("record-ping")), ["PING token=1"]);
    assert_eq!(lines(&vector("record-pong")), ["PONG token=18364758544493064720"]);
    assert_eq!(lines(&vector("record-bye")), ["BYE code=CHANNEL_STATE"]);
}

#[test]
fn a_whole_session_reads_as_the_specification_tells_it() {
    let client = vector("transcript-client");
    assert_eq!(
        lines(&client[64..]),
        [
            "DATA 95",
            "  HELLO features=JOBS required=0 channels=512 request_max=1048576 grace_ms=60000 denied=0 software=\"demo 1\"",
            "  OPEN ch=0 kind=exec",
            "  DATA ch=0 flow=3 9",
            "  FINISH ch=0 flow=3",
            "  FINISH ch=0 flow=0",
            "ACK offset=102",
            "DATA 20",
            "  RELEASE ch=0",
            "  CLOSE code=NORMAL",
        ]
    );
    let agent = vector("transcript-agent");
    assert_eq!(
        lines(&agent[64..])[4..8],
        ["  FINISH ch=0 flow=1", "  FINISH ch=0 flow=2", "  EXIT ch=0 exited 0", "  RELEASE ch=0"]
    );
    assert_eq!(lines(&agent[64..]).last().unwrap(), "BYE code=NORMAL");
}

#[test]
fn names_are_those_of_the_specification() {
    let is_told =
        |name: &str| PROTOCOL.contains(&format!("| {name} |")) || PROTOCOL.contains(&format!("`{name}`"));
    let codes = CloseCode::ALL.iter().map(name).chain(RefusalCode::ALL.iter().map(name));
    for name in codes.chain(Status::ALL.iter().map(name)) {
        assert!(is_told(&name), "{name}");
    }
    for number in 1..=8 {
        let name = kind_name(number);
        assert!(is_told(&name), "{name}");
    }
    assert_eq!((kind_name(9), close_code(999)), ("9".to_owned(), "999".to_owned()));
}

#[test]
fn bits_without_a_name_are_shown_as_a_number() {
    assert_eq!([0, 1, 4, 5].map(feature_names), ["0", "JOBS", "0x4", "JOBS,0x4"]);
    let denied = ability::EXEC | ability::PUT;
    assert_eq!(
        [0, denied, 1 << 31, denied | 1 << 31].map(|bits| denied_names(bits, ",")),
        ["0", "exec,put", "0x80000000", "exec,put,0x80000000"]
    );
}

#[test]
fn text_of_the_agent_never_reaches_the_terminal_raw() {
    let refused = [&[0x12, 0, 2, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0][..], b"\x1b]0;"].concat();
    let software = [&[1, 0, 0, 0, 34, 0, 0, 0][..], &[0; 32], b"\x1b\n"].concat();
    for frame in [refused, software] {
        let bytes = [&[1, 0, 0, 0], &(frame.len() as u32).to_le_bytes()[..], &frame].concat();
        let lines = lines(&bytes);
        assert!(lines.iter().all(|line| !line.chars().any(char::is_control)), "{lines:?}");
        assert!(lines[1].contains("\\x1b"), "{lines:?}");
    }
}
