use super::*;
use crate::trace::lines::line;

/// A record of DATA around these bytes of the stream.
fn data(bytes: &[u8]) -> Vec<u8> {
    [&[1, 0, 0, 0], &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

/// Three frames, 45 bytes of the stream: CREDIT, DATA of ten bytes, FINISH.
fn frames() -> Vec<u8> {
    let credit = [0x16, 1, 2, 0, 8, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0];
    let data = [&[0x13, 0, 2, 0, 10, 0, 0, 0][..], b"0123456789"].concat();
    let finish = [0x14, 0, 2, 0, 0, 0, 0, 0];
    [&credit[..], &data, &finish].concat()
}

const ACK: [u8; 16] = [2, 0, 0, 0, 8, 0, 0, 0, 67, 0, 0, 0, 0, 0, 0, 0];

/// The lines of what stands in the pieces, and the payload.
fn read<'p>(reader: &mut Reader, pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<String>, Vec<u8>) {
    let (mut lines, mut payload) = (Vec::new(), Vec::new());
    for piece in pieces {
        reader.read(piece, &mut |seen| {
            lines.extend(line(&seen));
            if let Seen::Payload { bytes, .. } = seen {
                payload.extend_from_slice(bytes);
            }
        });
    }
    (lines, payload)
}

fn expected() -> Vec<String> {
    [
        "DATA 42",
        "  CREDIT ch=2 flow=1 limit=8192",
        "  DATA ch=2 flow=0 10",
        "  FINISH ch=2 flow=0",
        "ACK offset=67",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn records_and_frames_are_read_wherever_they_are_cut() {
    let bytes = [data(&frames()), ACK.to_vec()].concat();
    let expected = (expected(), b"0123456789".to_vec());
    assert_eq!(read(&mut Reader::new(), [&bytes[..]]), expected);
    assert_eq!(read(&mut Reader::new(), bytes.chunks(1)), expected);
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(read(&mut Reader::new(), [first, second]), expected, "cut at {at}");
    }
}

#[test]
fn frames_go_on_in_the_next_record() {
    let frames = frames();
    for at in 1..frames.len() {
        let (first, second) = frames.split_at(at);
        let bytes = [data(first), ACK.to_vec(), data(second)].concat();
        let (lines, payload) = read(&mut Reader::new(), [&bytes[..]]);
        let of_frames: Vec<_> = lines.iter().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(of_frames, expected().iter().filter(|line| line.starts_with("  ")).collect::<Vec<_>>());
        assert_eq!(payload, b"0123456789", "record ends at {at}");
    }
}

#[test]
fn what_is_not_complete_waits_for_the_rest() {
    let bytes = [data(&frames()), ACK.to_vec()].concat();
    let mut reader = Reader::new();
    let beginning = [&bytes[..], &ACK[..11]].concat();
    assert_eq!(read(&mut reader, [&beginning[..]]).0, expected());
    assert_eq!(read(&mut reader, [&ACK[11..]]).0, ["ACK offset=67"]);
}

#[test]
fn r_3_6_what_comes_again_after_a_cut_is_told_as_such_and_taken_apart_once() {
    let frames = frames();
    let first = data(&frames);
    for cut in 0..=first.len() {
        let came = cut.saturating_sub(HEADER_LEN);
        for held in 0..=came {
            let mut reader = Reader::new();
            let (mut lines, mut payload) = read(&mut reader, [&first[..cut]]);
            let again = came - held;
            assert_eq!(reader.resume(held as u64), again as u64);
            if held < frames.len() {
                let second = data(&frames[held..]);
                let (more, rest) = read(&mut reader, second.chunks(5));
                let length = frames.len() - held;
                let told = if again > 0 {
                    format!("DATA {length} repeated={again}")
                } else {
                    format!("DATA {length}")
                };
                assert_eq!(more[0], told, "cut at {cut}, {held} held");
                lines.extend(more);
                payload.extend(rest);
            }
            let of_frames: Vec<_> = lines.iter().filter(|line| line.starts_with("  ")).cloned().collect();
            assert_eq!(of_frames, expected()[1..4], "cut at {cut}, {held} held");
            assert_eq!(payload, b"0123456789", "cut at {cut}, {held} held");
        }
    }
}

#[test]
fn r_4_1_and_r_5_2_unknown_types_are_skipped_and_what_breaks_a_rule_is_the_last() {
    let frame = [0x7F | 0x80, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3];
    let empty = [0xFE, 0, 0, 0, 0, 0, 0, 0];
    let skipped = [&[9, 0, 0, 0, 2, 0, 0, 0, 7, 7][..], &[8, 0, 0, 0, 0, 0, 0, 0]].concat();
    let bytes = [&skipped, &data(&[&frame[..], &empty].concat())[..], &ACK].concat();
    let expected = [
        "record of type 0x09, 2 skipped",
        "record of type 0x08, 0 skipped",
        "DATA 19",
        "  frame of type 0xff, 3 skipped",
        "  frame of type 0xfe, 0 skipped",
        "ACK offset=67",
    ];
    assert_eq!(read(&mut Reader::new(), [&bytes[..]]).0, expected);
    assert_eq!(read(&mut Reader::new(), bytes.chunks(1)).0, expected);

    let wrong_frame = [data(&[0x7F, 0, 0, 0, 0, 0, 0, 0, 0x14]), ACK.to_vec()].concat();
    let told = ["DATA 9", "FRAME_TYPE: nothing behind it is read", "ACK offset=67"];
    assert_eq!(read(&mut Reader::new(), [&wrong_frame[..]]).0, told);
    let wrong_record = [&[2, 0, 0, 0, 7, 0, 0, 0][..], &ACK].concat();
    assert_eq!(read(&mut Reader::new(), [&wrong_record[..]]).0, ["RECORD_LENGTH: nothing behind it is read"]);
}
