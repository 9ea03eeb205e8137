use super::*;

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag], &(value.len() as u32).to_le_bytes()[..3], value].concat()
}

/// The lines of a request that comes in pieces of so many bytes.
fn lines(request: &[u8], piece: usize) -> Vec<String> {
    let mut requests = Requests::default();
    let mut lines = Vec::new();
    for piece in request.chunks(piece) {
        requests.handle(2, 3, piece, &mut |line| lines.push(line));
    }
    lines
}

#[test]
fn every_field_has_its_line_wherever_it_is_cut() {
    let (four, eight) = (7_u32.to_le_bytes(), 9_u64.to_le_bytes());
    let job = [3, 0, 0, 0, 3, 0, 0, 0, 15, 0, 0, 0];
    let fields = [
        (tag::ARG, &b"a\x1b b\0"[..], "ARG \"a\\x1b b\""),
        (tag::SHELL, b"ls\0", "SHELL \"ls\""),
        (tag::ENV, b"PASSWORD=hush\0", "ENV \"PASSWORD\"=…"),
        (tag::CWD, b"/\0", "CWD \"/\""),
        (tag::USER, b"0\0", "USER \"0\""),
        (tag::PTY, &[24, 0, 80, 0, 1, 0, 2, 0], "PTY rows=24 columns=80 width=1 height=2"),
        (tag::TERM, b"vt100\0", "TERM \"vt100\""),
        (tag::MODES, &[1, 2, 3], "MODES 3"),
        (tag::DETACH, &[1, 0, 0, 0], "DETACH 0x1"),
        (tag::PROGRAM, &four, "PROGRAM 7"),
        (tag::PATH, b"/x\0", "PATH \"/x\""),
        (tag::NAME, b"x\0", "NAME \"x\""),
        (tag::FLAGS, &[9, 0, 0, 0], "FLAGS 0x9 SYNC TREE"),
        (tag::EXCLUDE, b"*.o\0", "EXCLUDE \"*.o\""),
        (tag::VALUE, &eight, "VALUE 9"),
        (tag::VERB, b"stat\0", "VERB \"stat\""),
        (tag::JOB, &job, "JOB 3 SIGNAL flags=0x0 signal=15"),
        (tag::HOST, b"localhost\0", "HOST \"localhost\""),
        (tag::PORT, &four, "PORT 7"),
        (tag::CID, &four, "CID 7"),
        (tag::LISTENER, &four, "LISTENER 7"),
        (0xC0, b"", "field 0xc0, 0 bytes"),
        (tag::ARG, b"\0", "ARG \"\""),
    ];
    let request: Vec<u8> = fields.iter().flat_map(|(tag, value, _)| field(*tag, value)).collect();
    let expected: Vec<String> = fields.iter().map(|(_, _, line)| format!("    {line}")).collect();
    for piece in (1..16).chain([request.len()]) {
        assert_eq!(lines(&request, piece), expected, "pieces of {piece}");
    }
    // What is not complete is not shown.
    let partial = [&request[..], &field(tag::ENV, b"A=secret\0")[..8]].concat();
    assert_eq!(lines(&partial, partial.len()), expected);
}

#[test]
fn of_a_long_value_the_beginning_is_shown_and_of_a_variable_never_its_value() {
    let long = vec![b'x'; 5000];
    let shown = &lines(&field(tag::ARG, &long), 999)[0];
    assert_eq!(*shown, format!("    ARG \"{}\"… 5000 bytes", "x".repeat(SHOWN_MAX)));
    let named = [&b"N="[..], &long].concat();
    assert_eq!(lines(&field(tag::ENV, &named), 999), ["    ENV \"N\"=…"]);
    // A name so long that its end was not kept, or none at all.
    for value in [&long[..], b"value\0"] {
        assert_eq!(lines(&field(tag::ENV, value), 999), ["    ENV \"\"=…"]);
    }
}

#[test]
fn requests_of_several_channels_come_between_each_other_and_end() {
    let mut requests = Requests::default();
    let mut lines = Vec::new();
    let (one, other) = (field(tag::PATH, b"one\0"), field(tag::PATH, b"other\0"));
    let mut tell = |line: String| lines.push(line);
    requests.handle(0, 3, &one[..5], &mut tell);
    requests.handle(2, 3, &other[..7], &mut tell);
    requests.handle(2, 0, b"of another flow", &mut tell);
    requests.handle(0, 3, &one[5..], &mut tell);
    requests.handle(2, 3, &other[7..], &mut tell);
    // What was begun in a channel that is gone is none of the next one's.
    requests.handle(0, 3, &one[..5], &mut tell);
    requests.forget(0);
    requests.handle(0, 3, &one, &mut tell);
    requests.handle(CHANNEL_IDS as u16, 3, &one, &mut tell);
    assert_eq!(lines, ["    PATH \"one\"", "    PATH \"other\"", "    PATH \"one\""]);
}

/// The first two cells of the rows of tables in §9 of the specification.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let specification = include_str!("../../../docs/PROTOCOL.md");
    let section = specification.split_once("\n## 9. Requests\n").unwrap().1.split_once("\n## ").unwrap().0;
    section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?, cells.next()?))
    })
}

#[test]
fn every_field_and_every_flag_of_the_specification_has_its_name() {
    let (mut tags, mut bits) = (0, 0);
    for (number, name) in rows() {
        if let Some(tag) = number.strip_prefix("0x") {
            let line = &lines(&field(u8::from_str_radix(tag, 16).unwrap(), &[0; 12]), 99)[0];
            assert_eq!(line.split_whitespace().next(), Some(name), "{number}");
            tags += 1;
        } else if let Ok(bit) = number.parse::<u32>() {
            let value = 1_u32 << bit;
            assert_eq!(
                lines(&field(tag::FLAGS, &value.to_le_bytes()), 99),
                [format!("    FLAGS {value:#x} {name}")]
            );
            bits += 1;
        }
    }
    assert!(tags > 15 && bits > 15, "{tags} tags and {bits} bits");
}
