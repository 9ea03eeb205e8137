//! Records that break a rule of the link, whichever side sends them.

use vsock_shell_proto::code::CloseCode::{self, AckRange, RecordLength, RecordType};

use super::wire::{ACK, BYE, PING, PONG, record};

/// A record's header alone.
pub fn header(kind: u8, flags: u8, length: u32) -> Vec<u8> {
    [[kind, flags, 0, 0], length.to_le_bytes()].concat()
}

/// Each ends the session with its code.
pub fn fatal() -> [(&'static str, Vec<u8>, CloseCode); 11] {
    [
        (
            "R-1.1: the length of a PING in big endian",
            [&[PING, 0, 0, 0, 0, 0, 0, 8][..], &[0; 8]].concat(),
            RecordLength,
        ),
        ("R-2.1: one byte more than a record has", header(1, 0, 262_145), RecordLength),
        ("R-4.1: an unknown type that is mandatory", record(9, 1, b""), RecordType),
        ("R-4.1: an unknown type that is too long to be skipped", header(9, 0, 65_537), RecordType),
        ("R-4.2: DATA without a byte", header(1, 0, 0), RecordLength),
        ("R-4.2: an ACK that is too short", record(ACK, 0, &[0; 7]), RecordLength),
        ("R-4.2: a PING that is too long", record(PING, 0, &[0; 9]), RecordLength),
        ("R-4.2: a PONG of nothing", record(PONG, 0, b""), RecordLength),
        ("R-4.2: a BYE that is too short", record(BYE, 0, &[0; 3]), RecordLength),
        ("R-4.6: an ACK of what was never sent", record(ACK, 0, &(1_u64 << 40).to_le_bytes()), AckRange),
        (
            "R-5.5: the first of two mistakes counts",
            [record(9, 1, b""), header(1, 0, 0)].concat(),
            RecordType,
        ),
    ]
}

/// Each ends nothing.
pub fn ignored() -> [(&'static str, Vec<u8>); 3] {
    [
        (
            "R-1.2: the zero field of a record is not zero",
            vec![PONG, 0, 0xFF, 0xFF, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        ("R-4.1: unknown records that may be skipped", record(9, 0, &[7; 65_536])),
        ("R-4.8: a PONG that nobody asked for", record(PONG, 0, &[7; 8])),
    ]
}
