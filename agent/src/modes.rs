//! Terminal modes as the client's terminal has them, applied to a new pseudoterminal: RFC 4254 section 8, with IUTF8 of
//! RFC 8160. Opcodes that are unknown, or of no meaning to a pseudoterminal (speed, parity), are passed over.

use rustix::termios::{InputModes, LocalModes, OutputModes, SpecialCodeIndex as Code, Termios};

/// A special character that is switched off.
const OFF: u32 = 255;

/// Opcodes 1 to 18.
const CODES: [Option<Code>; 18] = [
    Some(Code::VINTR),
    Some(Code::VQUIT),
    Some(Code::VERASE),
    Some(Code::VKILL),
    Some(Code::VEOF),
    Some(Code::VEOL),
    Some(Code::VEOL2),
    Some(Code::VSTART),
    Some(Code::VSTOP),
    Some(Code::VSUSP),
    None,
    Some(Code::VREPRINT),
    Some(Code::VWERASE),
    Some(Code::VLNEXT),
    None,
    Some(Code::VSWTC),
    None,
    Some(Code::VDISCARD),
];

/// Opcodes from 30.
const INPUT: [InputModes; 13] = [
    InputModes::IGNPAR,
    InputModes::PARMRK,
    InputModes::INPCK,
    InputModes::ISTRIP,
    InputModes::INLCR,
    InputModes::IGNCR,
    InputModes::ICRNL,
    InputModes::IUCLC,
    InputModes::IXON,
    InputModes::IXANY,
    InputModes::IXOFF,
    InputModes::IMAXBEL,
    InputModes::IUTF8,
];

/// Opcodes from 50.
const LOCAL: [LocalModes; 13] = [
    LocalModes::ISIG,
    LocalModes::ICANON,
    LocalModes::XCASE,
    LocalModes::ECHO,
    LocalModes::ECHOE,
    LocalModes::ECHOK,
    LocalModes::ECHONL,
    LocalModes::NOFLSH,
    LocalModes::TOSTOP,
    LocalModes::IEXTEN,
    LocalModes::ECHOCTL,
    LocalModes::ECHOKE,
    LocalModes::PENDIN,
];

/// Opcodes from 70.
const OUTPUT: [OutputModes; 6] = [
    OutputModes::OPOST,
    OutputModes::OLCUC,
    OutputModes::ONLCR,
    OutputModes::OCRNL,
    OutputModes::ONOCR,
    OutputModes::ONLRET,
];

/// Applies encoded modes; ends at opcode 0, at one that may be longer (160 and above), and where bytes are missing.
pub fn apply(modes: &mut Termios, mut encoded: &[u8]) {
    while let Some((&[opcode, a, b, c, d], rest)) = encoded.split_first_chunk::<5>() {
        let value = u32::from_be_bytes([a, b, c, d]);
        let is_on = value != 0;
        let at = |from: u8| usize::from(opcode.wrapping_sub(from));
        match opcode {
            0 | 160.. => return,
            1..30 => {
                if let Some(&Some(code)) = CODES.get(at(1)) {
                    modes.special_codes[code] = if value == OFF { 0 } else { value as u8 };
                }
            }
            30..50 => INPUT.get(at(30)).into_iter().for_each(|&mode| modes.input_modes.set(mode, is_on)),
            50..70 => LOCAL.get(at(50)).into_iter().for_each(|&mode| modes.local_modes.set(mode, is_on)),
            70..90 => OUTPUT.get(at(70)).into_iter().for_each(|&mode| modes.output_modes.set(mode, is_on)),
            _ => {}
        }
        encoded = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Termios {
        let size = vsock_shell_proto::frame::WindowSize::default();
        let (_master, terminal) = crate::terminal::open(size, b"").unwrap();
        rustix::termios::tcgetattr(&terminal).unwrap()
    }

    fn encoded(list: &[(u8, u32)]) -> Vec<u8> {
        list.iter().flat_map(|(opcode, value)| [&[*opcode][..], &value.to_be_bytes()].concat()).collect()
    }

    #[test]
    fn modes_are_set_and_cleared_by_their_numbers() {
        let mut modes = terminal();
        apply(&mut modes, &encoded(&[(3, 8), (9, OFF), (42, 1), (38, 0), (53, 0), (72, 0), (128, 9600)]));
        assert_eq!(modes.special_codes[Code::VERASE], 8);
        assert_eq!(modes.special_codes[Code::VSTOP], 0);
        assert!(
            modes.input_modes.contains(InputModes::IUTF8) && !modes.input_modes.contains(InputModes::IXON)
        );
        assert!(
            !modes.local_modes.contains(LocalModes::ECHO) && modes.local_modes.contains(LocalModes::ICANON)
        );
        assert!(!modes.output_modes.contains(OutputModes::ONLCR));
    }

    #[test]
    fn nothing_is_applied_behind_the_end() {
        let mut modes = terminal();
        apply(&mut modes, &[&[0][..], &encoded(&[(3, 8)])].concat());
        apply(&mut modes, &encoded(&[(200, 0), (3, 8)]));
        apply(&mut modes, &encoded(&[(3, 8)])[..4]);
        assert_ne!(modes.special_codes[Code::VERASE], 8);
    }

    #[test]
    fn any_bytes_are_modes() {
        let mut modes = terminal();
        for byte in 0..=255 {
            apply(&mut modes, &[byte; 64]);
        }
    }
}
