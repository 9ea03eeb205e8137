//! Terminal modes as the client's terminal has them, applied to a new pseudoterminal: RFC 4254 section 8, with IUTF8 of
//! RFC 8160. Opcodes that are unknown, or of no meaning to a pseudoterminal (speed, parity), are passed over.

use linux_raw_sys::general as raw;

use crate::sys::terminal::Modes;

/// A special character that is switched off.
const OFF: u32 = 255;

/// One that Linux does not have.
const NOWHERE: u8 = u8::MAX;

/// Opcodes 1 to 18: places among the special characters.
const CODES: [u8; 18] = [
    raw::VINTR as u8,
    raw::VQUIT as u8,
    raw::VERASE as u8,
    raw::VKILL as u8,
    raw::VEOF as u8,
    raw::VEOL as u8,
    raw::VEOL2 as u8,
    raw::VSTART as u8,
    raw::VSTOP as u8,
    raw::VSUSP as u8,
    NOWHERE,
    raw::VREPRINT as u8,
    raw::VWERASE as u8,
    raw::VLNEXT as u8,
    NOWHERE,
    raw::VSWTC as u8,
    NOWHERE,
    raw::VDISCARD as u8,
];

/// Opcodes from 30.
const INPUT: [u32; 13] = [
    raw::IGNPAR,
    raw::PARMRK,
    raw::INPCK,
    raw::ISTRIP,
    raw::INLCR,
    raw::IGNCR,
    raw::ICRNL,
    raw::IUCLC,
    raw::IXON,
    raw::IXANY,
    raw::IXOFF,
    raw::IMAXBEL,
    raw::IUTF8,
];

/// Opcodes from 50.
const LOCAL: [u32; 13] = [
    raw::ISIG,
    raw::ICANON,
    raw::XCASE,
    raw::ECHO,
    raw::ECHOE,
    raw::ECHOK,
    raw::ECHONL,
    raw::NOFLSH,
    raw::TOSTOP,
    raw::IEXTEN,
    raw::ECHOCTL,
    raw::ECHOKE,
    raw::PENDIN,
];

/// Opcodes from 70.
const OUTPUT: [u32; 6] = [raw::OPOST, raw::OLCUC, raw::ONLCR, raw::OCRNL, raw::ONOCR, raw::ONLRET];

/// Applies encoded modes; ends at opcode 0, at one that may be longer (160 and above), and where bytes are missing.
#[inline(never)]
pub fn apply(modes: &mut Modes, mut encoded: &[u8]) {
    while let Some((&[opcode, a, b, c, d], rest)) = encoded.split_first_chunk::<5>() {
        let value = u32::from_be_bytes([a, b, c, d]);
        let at = |from: u8| usize::from(opcode.wrapping_sub(from));
        let (flags, bit) = match opcode {
            0 | 160.. => return,
            1..30 => {
                let place = CODES.get(at(1)).and_then(|&place| modes.c_cc.get_mut(usize::from(place)));
                if let Some(character) = place {
                    *character = if value == OFF { 0 } else { value as u8 };
                }
                (&mut modes.c_iflag, None)
            }
            30..50 => (&mut modes.c_iflag, INPUT.get(at(30))),
            50..70 => (&mut modes.c_lflag, LOCAL.get(at(50))),
            _ => (&mut modes.c_oflag, OUTPUT.get(at(70))),
        };
        if let Some(bit) = bit {
            *flags = if value == 0 { *flags & !bit } else { *flags | bit };
        }
        encoded = rest;
    }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;

    use super::*;

    fn terminal() -> Modes {
        let size = vsock_shell_proto::frame::WindowSize::default();
        let (_master, terminal) = crate::terminal::open(size, b"").unwrap();
        crate::sys::terminal::modes(terminal.as_fd()).unwrap()
    }

    fn encoded(list: &[(u8, u32)]) -> Vec<u8> {
        list.iter().flat_map(|(opcode, value)| [&[*opcode][..], &value.to_be_bytes()].concat()).collect()
    }

    #[test]
    fn modes_are_set_and_cleared_by_their_numbers() {
        let mut modes = terminal();
        apply(&mut modes, &encoded(&[(3, 8), (9, OFF), (42, 1), (38, 0), (53, 0), (72, 0), (128, 9600)]));
        assert_eq!(modes.c_cc[raw::VERASE as usize], 8);
        assert_eq!(modes.c_cc[raw::VSTOP as usize], 0);
        assert_eq!(modes.c_iflag & (raw::IUTF8 | raw::IXON), raw::IUTF8);
        assert_eq!(modes.c_lflag & (raw::ECHO | raw::ICANON), raw::ICANON);
        assert_eq!(modes.c_oflag & raw::ONLCR, 0);
    }

    #[test]
    fn nothing_is_applied_behind_the_end() {
        let mut modes = terminal();
        apply(&mut modes, &[&[0][..], &encoded(&[(3, 8)])].concat());
        apply(&mut modes, &encoded(&[(200, 0), (3, 8)]));
        apply(&mut modes, &encoded(&[(3, 8)])[..4]);
        assert_ne!(modes.c_cc[raw::VERASE as usize], 8);
    }

    #[test]
    fn any_bytes_are_modes() {
        let mut modes = terminal();
        for byte in 0..=255 {
            apply(&mut modes, &[byte; 64]);
        }
    }
}
