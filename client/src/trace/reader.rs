//! Owns how the bytes of one direction are taken apart a second time, beside the protocol core: the records of each connection,
//! and the frames in the stream that their DATA carries, wherever they were cut.
//!
//! It judges nothing but what the core's own parsers refuse, and keeps no payload but that of short frames. What goes over
//! a connection again after a cut (`R-3.6`) is counted and not taken apart twice.

use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{FrameType, Header as FrameHeader};
use vsock_shell_proto::limits::HEADER_LEN;
use vsock_shell_proto::record::{Control, ControlType, Header as RecordHeader};

/// What stands in the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'s> {
    /// The header of a DATA record: its length in bytes, and how many of them a former connection has carried already.
    Data { length: u32, repeated: u64 },
    /// Another record.
    Control(Control),
    /// A record of a type that we do not know, and skip.
    UnknownRecord { number: u8, length: u32 },
    /// A frame.
    Frame(Frame<'s>),
    /// Bytes of the latest DATA frame of this channel and flow.
    Payload { channel: u16, flow: u8, bytes: &'s [u8] },
    /// What ends the session: nothing behind it is taken apart.
    Broken(CloseCode),
}

/// A frame: of DATA, and of types that we do not know, the header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'s> {
    /// The number of its type.
    pub number: u8,
    pub header: FrameHeader,
    pub payload: &'s [u8],
}

/// How far into a record we are.
#[derive(Debug, Clone, Copy)]
enum InRecord {
    Header,
    Data { left: u32 },
    Control { kind: ControlType, length: u32 },
    Skip { left: u32 },
    Broken,
}

/// How far into a frame we are.
#[derive(Debug, Clone, Copy)]
enum InFrame {
    Header,
    Data { channel: u16, flow: u8, left: u32 },
    Control { number: u8, header: FrameHeader },
    Skip { left: u32 },
    Broken,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    record: InRecord,
    frame: InFrame,
    /// The header or the payload of a record, and of a frame, as far as they came.
    record_part: Vec<u8>,
    frame_part: Vec<u8>,
    /// The offset in the stream of what comes next, and of what has never come.
    offset: u64,
    fresh: u64,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            record: InRecord::Header,
            frame: InFrame::Header,
            record_part: Vec::new(),
            frame_part: Vec::new(),
            offset: 0,
            fresh: 0,
        }
    }

    /// Another connection begins, whose stream goes on at this offset; how many bytes come again.
    pub(super) fn resume(&mut self, offset: u64) -> u64 {
        self.record = InRecord::Header;
        self.record_part.clear();
        // The core has refused an offset that lies beyond.
        self.offset = offset.min(self.fresh);
        self.fresh - self.offset
    }

    /// Takes bytes of the connection apart, and tells what stands in them.
    pub(super) fn read(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Seen<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.record {
                InRecord::Header => {
                    if let Some(header) = gather(&mut self.record_part, &mut rest, HEADER_LEN) {
                        let header = *header.first_chunk().unwrap_or(&[0; HEADER_LEN]);
                        self.begin_record(header, tell);
                    }
                }
                InRecord::Control { kind, length } => {
                    if let Some(payload) = gather(&mut self.record_part, &mut rest, length as usize) {
                        let mut value = [0; 8];
                        value.iter_mut().zip(payload).for_each(|(place, byte)| *place = byte);
                        self.record = InRecord::Header;
                        tell(Seen::Control(kind.with(&value)));
                    }
                }
                InRecord::Data { mut left } => {
                    let piece = cut(&mut left, &mut rest);
                    self.record = if left == 0 { InRecord::Header } else { InRecord::Data { left } };
                    self.read_stream(piece, tell);
                }
                InRecord::Skip { mut left } => {
                    cut(&mut left, &mut rest);
                    self.record = if left == 0 { InRecord::Header } else { InRecord::Skip { left } };
                }
                InRecord::Broken => return,
            }
        }
    }

    fn begin_record(&mut self, header: [u8; HEADER_LEN], tell: &mut dyn FnMut(Seen<'_>)) {
        self.record = match RecordHeader::parse(&header) {
            Ok(RecordHeader::Data(length)) => {
                let repeated = u64::from(length).min(self.fresh - self.offset);
                tell(Seen::Data { length, repeated });
                InRecord::Data { left: length }
            }
            Ok(RecordHeader::Control(kind, length)) => InRecord::Control { kind, length },
            Ok(RecordHeader::Skip(length)) => {
                tell(Seen::UnknownRecord { number: header[0], length });
                if length == 0 { InRecord::Header } else { InRecord::Skip { left: length } }
            }
            Err(code) => {
                tell(Seen::Broken(code));
                InRecord::Broken
            }
        };
    }

    /// Takes bytes of the stream, of which the first may have come before.
    fn read_stream(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Seen<'_>)) {
        let known = usize::try_from(self.fresh - self.offset).unwrap_or(usize::MAX);
        self.offset += bytes.len() as u64;
        self.fresh = self.fresh.max(self.offset);
        let mut rest = bytes.get(known..).unwrap_or_default();
        while !rest.is_empty() {
            match self.frame {
                InFrame::Header => {
                    if let Some(header) = gather(&mut self.frame_part, &mut rest, HEADER_LEN) {
                        let header = *header.first_chunk().unwrap_or(&[0; HEADER_LEN]);
                        self.begin_frame(header, tell);
                    }
                }
                InFrame::Control { number, header } => {
                    if let Some(payload) = gather(&mut self.frame_part, &mut rest, header.length as usize) {
                        self.frame = InFrame::Header;
                        tell(Seen::Frame(Frame { number, header, payload: &payload }));
                    }
                }
                InFrame::Data { channel, flow, mut left } => {
                    let bytes = cut(&mut left, &mut rest);
                    self.frame =
                        if left == 0 { InFrame::Header } else { InFrame::Data { channel, flow, left } };
                    tell(Seen::Payload { channel, flow, bytes });
                }
                InFrame::Skip { mut left } => {
                    cut(&mut left, &mut rest);
                    self.frame = if left == 0 { InFrame::Header } else { InFrame::Skip { left } };
                }
                InFrame::Broken => return,
            }
        }
    }

    fn begin_frame(&mut self, bytes: [u8; HEADER_LEN], tell: &mut dyn FnMut(Seen<'_>)) {
        let number = bytes[0];
        let header = match FrameHeader::parse(bytes) {
            Ok(header) => header,
            Err(code) => {
                self.frame = InFrame::Broken;
                tell(Seen::Broken(code));
                return;
            }
        };
        let FrameHeader { kind, flow, channel, length: left } = header;
        self.frame = match kind {
            _ if left == 0 => InFrame::Header,
            Some(FrameType::Data) => InFrame::Data { channel, flow, left },
            None => InFrame::Skip { left },
            // It is told with its payload.
            Some(_) => {
                self.frame = InFrame::Control { number, header };
                return;
            }
        };
        tell(Seen::Frame(Frame { number, header, payload: &[] }));
    }
}

/// Moves bytes from the front of `rest` to `part` until that has `length`; gives it away then.
fn gather(part: &mut Vec<u8>, rest: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let mut missing = u32::try_from(length.saturating_sub(part.len())).unwrap_or(u32::MAX);
    part.extend_from_slice(cut(&mut missing, rest));
    (missing == 0).then(|| std::mem::take(part))
}

/// Cuts up to `left` bytes off the front of `rest`.
fn cut<'b>(left: &mut u32, rest: &mut &'b [u8]) -> &'b [u8] {
    let length = rest.len().min(*left as usize);
    let (piece, behind) = rest.split_at(length);
    *left -= length as u32;
    *rest = behind;
    piece
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
