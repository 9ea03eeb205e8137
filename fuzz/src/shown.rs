//! Bytes of a guest on their way to a terminal, which would obey some of them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vsock_shell::escape::Escapes;
use vsock_shell::fs::listing::{self, Entry};
use vsock_shell::system::{log, modules, mounts, processes};
use vsock_shell::text::escape;
use vsock_shell_agent::line::{Line, Part};

use crate::input::{Input, ways};

/// A text for people holds nothing that a terminal obeys, or that turns a line around, but the ends of its lines.
pub fn assert_plain(text: &str) {
    let is_obeyed = |character: char| {
        let is_turning = matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        );
        (character.is_control() && character != '\n') || is_turning
    };
    assert!(!text.contains(is_obeyed), "{text:?}");
}

/// Bytes in which those from 0xF0 on stand for what a terminal obeys, or turns a line around.
pub(crate) fn hostile(bytes: &[u8]) -> Vec<u8> {
    const HOSTILE: [&str; 16] = [
        "\u{1b}]0;x\u{7}",
        "\u{1b}[2J",
        "\u{9b}31m",
        "\u{202e}",
        "\u{202d}",
        "\u{2066}",
        "\u{200b}",
        "\u{feff}",
        "\u{2028}",
        "\r",
        "\t",
        "\u{7f}",
        "\u{85}",
        "\u{61c}",
        "\n",
        "\u{8}",
    ];
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            0xF0.. => out.extend_from_slice(HOSTILE[usize::from(byte & 15)].as_bytes()),
            plain => out.push(plain),
        }
    }
    out
}

/// Bytes as everything that a guest may tell.
pub fn shown(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    let text = if chosen < 128 { input.rest().to_vec() } else { hostile(input.rest()) };
    let mut input = Input::new(&text);
    match chosen % 6 {
        0 => {
            let bytes = input.rest();
            assert_plain(&escape(bytes).replace('\n', "?"));
            assert!(!escape(bytes).contains('\n'));
            let line = Line::of(&[Part::Bytes(bytes)]);
            assert!(line.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')));
        }
        1 => entries(&mut input),
        2 => {
            let file = input.rest();
            assert_plain(&modules::table(&modules::parse(file)));
            assert_plain(&mounts::table(&mounts::parse(file)));
            _ = (modules::to_value(&modules::parse(file)), mounts::to_value(&mounts::parse(file)));
        }
        3 => {
            let mut all = Vec::new();
            while !input.is_empty() {
                let files = [input.piece(), input.piece(), input.piece()];
                all.extend(processes::Process::parse(files[0], files[1], files[2]));
            }
            assert_plain(&processes::table(&all));
            _ = processes::to_value(&all);
        }
        4 => kernel_log(chosen, input.rest()),
        _ => typed(chosen, input.rest()),
    }
}

fn entries(input: &mut Input<'_>) {
    let mut all = Vec::new();
    while !input.is_empty() {
        all.push(Entry {
            name: input.piece().to_vec(),
            mode: input.number(),
            size: input.long(),
            device_number: (input.number(), input.number()),
            modified: (input.long() as i64, input.number()),
            blocks: input.long(),
            target: input.once_in(2).then(|| input.piece().to_vec()),
            ..Entry::default()
        });
    }
    assert_plain(&listing::long(&all, &TimeZone::UTC));
    assert_eq!(listing::short(&all).lines().count(), all.len());
    assert_plain(&listing::short(&all));
    for entry in &all {
        assert_plain(&entry.describe(&TimeZone::UTC));
    }
    _ = listing::to_value(&all);
}

fn kernel_log(chosen: u8, bytes: &[u8]) {
    let [whole, single, pieces] = ways(bytes, chosen).map(|piece| {
        let mut reader = log::Reader::default();
        let mut records = Vec::new();
        for piece in bytes.chunks(piece) {
            records.extend(reader.take(piece, false));
        }
        records.extend(reader.take(b"", true));
        records
    });
    assert!(whole == single && whole == pieces);
    for record in &whole {
        assert_plain(&record.to_text(Timestamp::UNIX_EPOCH, &TimeZone::UTC));
        _ = (record.to_value(Timestamp::UNIX_EPOCH), record.written(Timestamp::MAX));
    }
}

/// What a person types, in pieces: the same bytes go to the guest, and the same is done.
fn typed(chosen: u8, bytes: &[u8]) {
    let [whole, single, pieces] = ways(bytes, chosen).map(|piece| {
        let mut escapes = Escapes::new((chosen & 1 == 0).then_some(b'~'));
        let (mut forwarded, mut actions) = (Vec::new(), Vec::new());
        for mut rest in bytes.chunks(piece) {
            while !rest.is_empty() {
                let handled = escapes.handle(rest, &mut forwarded);
                assert!(handled.action.is_some() || handled.consumed == rest.len());
                actions.extend(handled.action.map(|action| (action, forwarded.len())));
                rest = &rest[handled.consumed..];
            }
        }
        (forwarded, actions)
    });
    assert_eq!(whole, single);
    assert_eq!(whole, pieces);
    assert!(whole.0.len() <= bytes.len());
}
