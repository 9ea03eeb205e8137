//! Records, the units of the link (`PROTOCOL.md` §4): their headers, read and written.

use arrayvec::ArrayVec;

use crate::code::CloseCode;
use crate::limits::{HEADER_LEN, RECORD_PAYLOAD_MAX, RECORD_SKIP_MAX};
use crate::wire::{array, u32_at};

const DATA: u8 = 1;
const ACK: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const BYE: u8 = 5;
const FLAG_MANDATORY: u8 = 1;

/// The longest record but DATA.
pub(crate) const CONTROL_LEN: usize = HEADER_LEN + 8;

/// What a record's header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Header {
    /// That many bytes of the stream follow.
    Data(u32),
    /// A control record; its payload of that many bytes follows.
    Control(ControlType, u32),
    /// That many bytes follow that we skip.
    Skip(u32),
}

/// The records that are not DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// The peer holds everything before an offset.
    Ack,
    /// A question.
    Ping,
    /// Its answer.
    Pong,
    /// The sender has forgotten the session.
    Bye,
}

/// A control record with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// The offset.
    Ack(u64),
    /// The token.
    Ping(u64),
    /// The token of the latest PING.
    Pong(u64),
    /// Why.
    Bye(CloseCode),
}

impl Header {
    /// Reads a header (`R-4.1`, `R-4.2`).
    ///
    /// # Errors
    /// RECORD_TYPE and RECORD_LENGTH.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, CloseCode> {
        let length = u32_at(bytes, 4);
        let (kind, expected) = match bytes[0] {
            DATA => {
                let fits = (1..=RECORD_PAYLOAD_MAX).contains(&(length as usize));
                return if fits { Ok(Self::Data(length)) } else { Err(CloseCode::RecordLength) };
            }
            ACK => (ControlType::Ack, 8),
            PING => (ControlType::Ping, 8),
            PONG => (ControlType::Pong, 8),
            BYE => (ControlType::Bye, 4),
            _ if bytes[1] & FLAG_MANDATORY == 0 && length as usize <= RECORD_SKIP_MAX => {
                return Ok(Self::Skip(length));
            }
            _ => return Err(CloseCode::RecordType),
        };
        if length == expected { Ok(Self::Control(kind, length)) } else { Err(CloseCode::RecordLength) }
    }
}

impl ControlType {
    /// The record of this type with the payload `bytes`, and zeros behind it.
    #[must_use]
    pub fn with(self, bytes: &[u8; 8]) -> Control {
        let value = u64::from_le_bytes(*bytes);
        match self {
            Self::Ack => Control::Ack(value),
            Self::Ping => Control::Ping(value),
            Self::Pong => Control::Pong(value),
            Self::Bye => Control::Bye(CloseCode::from_number(u32::from_le_bytes(array(bytes, 0)))),
        }
    }
}

/// The header of a DATA record of `length` bytes.
pub(crate) fn data_header(length: u32) -> [u8; HEADER_LEN] {
    header(DATA, length)
}

fn header(kind: u8, length: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = length.to_le_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

impl Control {
    /// The whole record.
    pub(crate) fn encode(self) -> ArrayVec<u8, CONTROL_LEN> {
        let (kind, value, length) = match self {
            Self::Ack(offset) => (ACK, offset, 8),
            Self::Ping(token) => (PING, token, 8),
            Self::Pong(token) => (PONG, token, 8),
            Self::Bye(code) => (BYE, u64::from(code.number()), 4),
        };
        let mut record = ArrayVec::from([0; CONTROL_LEN]);
        let (head, payload) = record.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header(kind, length));
        payload.copy_from_slice(&value.to_le_bytes());
        record.truncate(HEADER_LEN + length as usize);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_4_1_unknown_types_are_skipped_unless_mandatory_or_long() {
        assert_eq!(Header::parse(&[9, 0, 0, 0, 4, 0, 0, 0]), Ok(Header::Skip(4)));
        assert_eq!(Header::parse(&[9, 1, 0, 0, 4, 0, 0, 0]), Err(CloseCode::RecordType));
        assert_eq!(Header::parse(&[9, 0, 0, 0, 1, 0, 1, 0]), Err(CloseCode::RecordType));
    }

    #[test]
    fn r_4_2_every_type_has_its_length() {
        assert_eq!(Header::parse(&[DATA, 0, 0, 0, 0, 0, 0, 0]), Err(CloseCode::RecordLength));
        assert_eq!(Header::parse(&[DATA, 0, 0, 0, 1, 0, 4, 0]), Err(CloseCode::RecordLength));
        assert_eq!(Header::parse(&[DATA, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]), Err(CloseCode::RecordLength));
        assert_eq!(Header::parse(&[DATA, 0, 0, 0, 0, 0, 4, 0]), Ok(Header::Data(1 << 18)));
        for kind in [ACK, PING, PONG, BYE] {
            assert_eq!(Header::parse(&[kind, 0, 0, 0, 7, 0, 0, 0]), Err(CloseCode::RecordLength));
        }
    }

    #[test]
    fn a_control_record_survives_its_encoding() {
        for record in
            [Control::Ack(u64::MAX), Control::Ping(1), Control::Pong(2), Control::Bye(CloseCode::Normal)]
        {
            let bytes = record.encode();
            let (head, payload) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
            let mut value = [0; 8];
            value[..payload.len()].copy_from_slice(payload);
            let Ok(Header::Control(kind, length)) = Header::parse(head) else { panic!("{bytes:?}") };
            assert_eq!((kind.with(&value), length as usize), (record, payload.len()));
        }
    }
}
