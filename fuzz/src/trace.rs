//! What goes over the wire, as `-v` and `-vv` tell it: the same lines however it was cut, and none that a terminal obeys.

use vsock_shell::trace::{Detail, Direction, Line, Transcript};
use vsock_shell_proto::frame::Flow;

use crate::input::Input;
use crate::session::{frame_of, record, said};
use crate::shown::{assert_plain, hostile};

/// Bytes of what is not cut at each of them.
const LONG: usize = 4096;

/// What happens to one of the two directions.
enum Step {
    Bytes(Direction, Vec<u8>),
    /// Another connection begins, and goes on there.
    Resume(Direction, u64),
}

/// Both directions of a session.
pub fn trace(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    let detail = if chosen < 16 { Detail::Story } else { Detail::Frames };
    let mut steps = Vec::new();
    while let Some(action) = input.taken() {
        steps.push(step(action, &mut input));
    }
    let ways = [usize::MAX, 1, usize::from(chosen % 61) + 2];
    let [whole, bytes, pieces] = ways.map(|piece| tell(&steps, detail, piece));
    assert!(whole == bytes && whole == pieces, "{whole:?}");
}

fn step(action: u8, input: &mut Input<'_>) -> Step {
    let direction = if action & 1 == 0 { Direction::Received } else { Direction::Sent };
    let bytes = match action >> 1 & 15 {
        0 => return Step::Resume(direction, input.long()),
        1 => input.piece().to_vec(),
        2 => record(&hello(input)),
        3 => record(&refused_or_exited(input)),
        4..=7 => record(&request(input)),
        _ => said(input),
    };
    Step::Bytes(direction, bytes)
}

fn hello(input: &mut Input<'_>) -> Vec<u8> {
    let mut hello = input.bytes(32).to_vec();
    hello.resize(32, 0);
    // What nobody here understands is refused for that alone.
    hello[8..16].fill(0);
    hello.extend(hostile(input.piece()));
    frame_of(0x01, 0, 0, &hello)
}

/// Both end with a text.
fn refused_or_exited(input: &mut Input<'_>) -> Vec<u8> {
    let kind = if input.once_in(2) { 0x12 } else { 0x19 };
    let mut payload = vec![input.byte() % 32, input.byte(), 0, 0, input.byte(), 0, 0, 0];
    payload.extend(hostile(input.piece()));
    frame_of(kind, 0, input.byte() % 4, &payload)
}

/// Fields of a request, or the beginning of one.
fn request(input: &mut Input<'_>) -> Vec<u8> {
    let channel = input.byte() % 4;
    let mut fields = Vec::new();
    for _ in 0..=input.byte() % 4 {
        let tag = input.byte() & !0x40;
        let value = hostile(input.piece());
        let missing = if input.once_in(8) { u32::from(input.short()) } else { 0 };
        fields.push(tag);
        fields.extend_from_slice(&(value.len() as u32 + missing).to_le_bytes()[..3]);
        fields.extend(value);
    }
    frame_of(0x13, Flow::Request as u8, channel, &fields)
}

/// The lines, where at most `piece` bytes come at once. Of the story's what is measured is left out.
fn tell(steps: &[Step], detail: Detail, piece: usize) -> Vec<Line> {
    let mut transcript = Transcript::new(detail);
    let mut lines = Vec::new();
    for step in steps {
        match step {
            Step::Resume(direction, offset) => _ = transcript.resume(*direction, *offset),
            Step::Bytes(direction, bytes) => {
                // Long ones are long of payload, which is much the same at every byte.
                let least = if bytes.len() > LONG { LONG / 8 } else { 1 };
                for part in bytes.chunks(piece.max(least)) {
                    transcript.read(*direction, part, &mut |line| lines.push(line));
                }
            }
        }
    }
    for line in &mut lines {
        match line {
            Line::Wire(_, text) => assert_plain(text),
            Line::Story(text) => {
                assert_plain(text);
                text.truncate(text.rfind(" after ").unwrap_or(text.len()));
            }
        }
        let (Line::Wire(_, text) | Line::Story(text)) = line;
        assert!(!text.contains('\n'), "one line is one line: {text:?}");
    }
    lines
}
