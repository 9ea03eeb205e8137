//! Owns the encoding of terminal modes for a guest's pty: RFC 4254 section 8, with IUTF8 of RFC 8160.
//!
//! An opcode, then a big-endian `u32`, for everything that Linux has; the end is marked by opcode 0. The guest's
//! terminal then behaves as ours did before it became raw: its erase character, its flow control, its UTF-8.

use rustix::termios::{
    ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, SpecialCodes, Termios,
};

const END: u8 = 0;
const INPUT_SPEED: u8 = 128;
const OUTPUT_SPEED: u8 = 129;

/// What the RFC writes for a special character that is off; Linux writes 0 (`_POSIX_VDISABLE`).
const DISABLED: u32 = 255;

const CHARACTERS: [(u8, SpecialCodeIndex); 15] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
    (16, SpecialCodeIndex::VSWTC),
    (18, SpecialCodeIndex::VDISCARD),
];

const INPUT: [(u8, InputModes); 13] = [
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (37, InputModes::IUCLC),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];

const LOCAL: [(u8, LocalModes); 13] = [
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (52, LocalModes::XCASE),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];

const OUTPUT: [(u8, OutputModes); 6] = [
    (70, OutputModes::OPOST),
    (71, OutputModes::OLCUC),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];

/// CS7 and CS8 are values of one field and are compared with it whole.
const SIZES: [(u8, ControlModes); 2] = [(90, ControlModes::CS7), (91, ControlModes::CS8)];

const PARITY: [(u8, ControlModes); 2] = [(92, ControlModes::PARENB), (93, ControlModes::PARODD)];

/// The modes of a terminal as the field MODES of an `exec` request holds them (`docs/PROTOCOL.md`, section 9).
/// At most 266 bytes.
pub fn encode_modes(modes: &Termios) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(272);
    let mut push = |opcode: u8, value: u32| {
        encoded.push(opcode);
        encoded.extend_from_slice(&value.to_be_bytes());
    };
    push(INPUT_SPEED, modes.input_speed());
    push(OUTPUT_SPEED, modes.output_speed());
    for (opcode, index) in CHARACTERS {
        push(opcode, character(&modes.special_codes, index));
    }
    for (opcode, mode) in INPUT {
        push(opcode, modes.input_modes.contains(mode).into());
    }
    for (opcode, mode) in LOCAL {
        push(opcode, modes.local_modes.contains(mode).into());
    }
    for (opcode, mode) in OUTPUT {
        push(opcode, modes.output_modes.contains(mode).into());
    }
    for (opcode, size) in SIZES {
        push(opcode, (modes.control_modes & ControlModes::CSIZE == size).into());
    }
    for (opcode, mode) in PARITY {
        push(opcode, modes.control_modes.contains(mode).into());
    }
    encoded.push(END);
    encoded
}

fn character(codes: &SpecialCodes, index: SpecialCodeIndex) -> u32 {
    let code = codes[index];
    if code == 0 { DISABLED } else { code.into() }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, openpt};
    use rustix::termios::tcgetattr;

    use super::*;

    fn value(encoded: &[u8], opcode: u8) -> Option<u32> {
        let found = encoded.chunks_exact(5).find(|chunk| chunk[0] == opcode)?;
        Some(u32::from_be_bytes([found[1], found[2], found[3], found[4]]))
    }

    fn fresh() -> Termios {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        tcgetattr(&master).unwrap()
    }

    #[test]
    fn a_fresh_pty_encodes_as_linux_sets_it_up() {
        let encoded = encode_modes(&fresh());
        for (opcode, expected) in [
            (1, 3),
            (3, 127),
            (5, 4),
            (8, 17),
            (6, DISABLED),
            (36, 1),
            (37, 0),
            (50, 1),
            (51, 1),
            (53, 1),
            (70, 1),
            (72, 1),
        ] {
            assert_eq!(value(&encoded, opcode), Some(expected), "opcode {opcode}");
        }
        assert_eq!((value(&encoded, 90), value(&encoded, 91)), (Some(0), Some(1)));
        assert_eq!((value(&encoded, 128), value(&encoded, 129)), (Some(38_400), Some(38_400)));
    }

    #[test]
    fn changed_modes_are_seen() {
        let mut modes = fresh();
        modes.local_modes.remove(LocalModes::ECHO);
        modes.input_modes.insert(InputModes::IUTF8);
        modes.special_codes[SpecialCodeIndex::VERASE] = 8;
        let encoded = encode_modes(&modes);
        assert_eq!(
            (value(&encoded, 53), value(&encoded, 42), value(&encoded, 3)),
            (Some(0), Some(1), Some(8))
        );
    }

    #[test]
    fn every_opcode_stands_once_and_the_end_is_marked() {
        let encoded = encode_modes(&fresh());
        assert_eq!(encoded.len(), 5 * (2 + 15 + 13 + 13 + 6 + 2 + 2) + 1);
        assert_eq!(encoded.last(), Some(&END));
        let mut opcodes: Vec<u8> = encoded.chunks_exact(5).map(|chunk| chunk[0]).collect();
        opcodes.sort_unstable();
        opcodes.dedup();
        assert_eq!(opcodes.len(), 53);
        assert!(opcodes.iter().all(|opcode| (1..160).contains(opcode)));
    }
}
