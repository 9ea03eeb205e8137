//! Serial records (`PROTOCOL.md` §8): what makes connections out of a transport that has none, such as
//! virtio-serial or a UART. Bytes of a client that was killed can still be in the pipe; a checksum and the id of the
//! connection keep them out of the next client's stream.

mod port;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32};

use crate::limits::SERIAL_PAYLOAD_MAX;
use crate::wire::{put, u16_at, u32_at};
pub use port::{Arrival, Port};

/// Bytes before the payload of a serial record.
pub const SERIAL_HEADER_LEN: usize = 16;
/// The longest serial record.
pub const SERIAL_RECORD_MAX: usize = SERIAL_HEADER_LEN + SERIAL_PAYLOAD_MAX;

const MAGIC: [u8; 4] = [0xA5, 0x56, 0x5A, 0x53];
const FLAG_START: u8 = 1;
const FLAG_END: u8 = 2;
const CRC_AT: usize = 12;

/// What a serial record says besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialHeader {
    /// The connection, drawn by the client.
    pub connection: u32,
    /// The first record of the connection.
    pub start: bool,
    /// The connection is over.
    pub end: bool,
}

/// Writes a whole record into `out` and says how long it is. `None` when the payload is too long, or `out` too short.
#[must_use]
pub fn encode(header: SerialHeader, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let length = SERIAL_HEADER_LEN + payload.len();
    if payload.len() > SERIAL_PAYLOAD_MAX {
        return None;
    }
    let record = out.get_mut(..length)?;
    put(record, SERIAL_HEADER_LEN, payload);
    seal(header, record);
    Some(length)
}

/// Writes the header of a record whose payload is in its place.
fn seal(header: SerialHeader, record: &mut [u8]) {
    put(record, 0, &MAGIC);
    put(record, 4, &header.connection.to_le_bytes());
    put(record, 8, &(record.len().saturating_sub(SERIAL_HEADER_LEN) as u16).to_le_bytes());
    let start = if header.start { FLAG_START } else { 0 };
    let end = if header.end { FLAG_END } else { 0 };
    put(record, 10, &[start | end, 0]);
    let crc = checksum(record);
    put(record, CRC_AT, &crc.to_le_bytes());
}

/// What stands at the front of the bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned<'b> {
    /// That many bytes belong to no record and are to be dropped.
    Garbage(usize),
    /// A record of that many bytes.
    Record(usize, SerialHeader, &'b [u8]),
    /// More bytes are needed; there are never more than [`SERIAL_RECORD_MAX`] to wait for.
    Partial,
}

/// Looks at the front of `bytes` (`R-8.1`). The caller keeps at least [`SERIAL_RECORD_MAX`] bytes, and drops what is said
/// to be garbage or was a record before it asks again. Work is bounded by the length of `bytes`, and one checksum.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scanned<'_> {
    let candidate = (0..bytes.len()).find(|&at| {
        let rest = bytes.get(at..).unwrap_or_default();
        MAGIC.iter().zip(rest).all(|(want, have)| want == have)
    });
    match candidate {
        Some(0) => {}
        Some(at) => return Scanned::Garbage(at),
        None if bytes.is_empty() => return Scanned::Partial,
        None => return Scanned::Garbage(bytes.len()),
    }
    if bytes.len() < SERIAL_HEADER_LEN {
        return Scanned::Partial;
    }
    let length = usize::from(u16_at(bytes, 8));
    let (flags, zero) = match bytes.get(10..12) {
        Some(&[flags, zero]) => (flags, zero),
        _ => return Scanned::Partial,
    };
    if length > SERIAL_PAYLOAD_MAX || zero != 0 || flags & !(FLAG_START | FLAG_END) != 0 {
        return Scanned::Garbage(1);
    }
    let Some((record, _)) = bytes.split_at_checked(SERIAL_HEADER_LEN + length) else {
        return Scanned::Partial;
    };
    if checksum(record) != u32_at(record, CRC_AT) {
        return Scanned::Garbage(1);
    }
    let header = SerialHeader {
        connection: u32_at(record, 4),
        start: flags & FLAG_START != 0,
        end: flags & FLAG_END != 0,
    };
    Scanned::Record(record.len(), header, record.get(SERIAL_HEADER_LEN..).unwrap_or_default())
}

/// CRC-32 of a record without its checksum.
fn checksum(record: &[u8]) -> u32 {
    let head = record.get(..CRC_AT).unwrap_or_default();
    let payload = record.get(SERIAL_HEADER_LEN..).unwrap_or_default();
    !crc32(crc32(!0, head), payload)
}

/// What each byte makes of the CRC of IEEE 802.3. All zero until the first checksum: the agent pays for tables in its file.
static TABLE: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
static IS_FILLED: AtomicBool = AtomicBool::new(false);

#[cold]
#[inline(never)]
fn fill_table() {
    for (byte, place) in TABLE.iter().enumerate() {
        let mut crc = byte as u32;
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0xEDB8_8320 };
        }
        place.store(crc, Relaxed);
    }
    IS_FILLED.store(true, Release);
}

fn crc32(mut crc: u32, bytes: &[u8]) -> u32 {
    if !IS_FILLED.load(Acquire) {
        fill_table();
    }
    for byte in bytes {
        let place = TABLE.get(usize::from(crc as u8 ^ byte));
        crc = crc >> 8 ^ place.map_or(0, |crc| crc.load(Relaxed));
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(connection: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; SERIAL_RECORD_MAX];
        let length = encode(SerialHeader { connection, start: true, end: false }, payload, &mut out).unwrap();
        out.truncate(length);
        out
    }

    /// All payloads found in `bytes`, that come in pieces of `piece`.
    fn payloads(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                let used = match scan(&buffer) {
                    Scanned::Garbage(used) => used,
                    Scanned::Record(used, _, payload) => {
                        found.push(payload.to_vec());
                        used
                    }
                    Scanned::Partial => break,
                };
                assert!(used > 0);
                buffer.drain(..used);
            }
        }
        found
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(!crc32(!0, b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn r_8_1_records_are_found_whatever_stands_between() {
        let garbage = [&MAGIC[..], &[0xA5; 9], b"noise", &MAGIC[..2]].concat();
        let bytes =
            [&garbage[..], &record(1, b"one"), &garbage, &record(2, b""), &record(3, b"three")].concat();
        for piece in [1, 2, 3, 7, 64, bytes.len()] {
            assert_eq!(payloads(&bytes, piece), [&b"one"[..], b"", b"three"], "pieces of {piece}");
        }
    }

    #[test]
    fn r_8_1_a_record_cut_in_the_middle_does_not_swallow_the_next() {
        let first = record(1, &[7; 100]);
        for cut in 0..first.len() {
            let bytes = [&first[..cut], &record(2, b"next"), &[0; SERIAL_RECORD_MAX]].concat();
            assert_eq!(payloads(&bytes, 64), [b"next"], "cut at {cut}");
        }
    }

    #[test]
    fn r_8_1_any_flipped_bit_is_found() {
        let good = record(1, b"payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad.extend_from_slice(&[0; SERIAL_RECORD_MAX]);
            assert!(payloads(&bad, 1 << 20).is_empty(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_encoded() {
        let header = SerialHeader { connection: 1, start: false, end: true };
        assert_eq!(encode(header, &[0; SERIAL_PAYLOAD_MAX + 1], &mut [0; 2 * SERIAL_RECORD_MAX]), None);
        assert_eq!(encode(header, b"xy", &mut [0; SERIAL_HEADER_LEN + 1]), None);
    }
}
