//! Frames that are spoken by hand.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// A frame.
pub fn frame(kind: u8, flow: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, flow, channel, 0], &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

/// Says these frames behind a HELLO, and reads until the agent has said `expected`.
#[track_caller]
pub fn is_answered(stream: &mut UnixStream, frames: &[Vec<u8>], expected: &[u8]) {
    let frames = frames.concat();
    let record = [&[1, 0, 0, 0], &(frames.len() as u32).to_le_bytes()[..], &frames].concat();
    stream.write_all(&record).unwrap();
    stream.set_read_timeout(Some(super::DEADLINE)).unwrap();
    let mut heard = Vec::new();
    while !heard.windows(expected.len()).any(|window| window == expected) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap_or_else(|error| panic!("{error}: {heard:?}"));
        assert!(count > 0, "closed after {heard:?}");
        heard.extend_from_slice(&buffer[..count]);
    }
}

pub fn hello() -> Vec<u8> {
    let mut payload = [0; 32];
    payload[16] = 64;
    frame(0x01, 0, 0, &payload)
}

pub fn request(channel: u8, kind: u8, request: &[u8]) -> Vec<u8> {
    let open = frame(0x10, 0, channel, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    let data = if request.is_empty() { Vec::new() } else { frame(0x13, 3, channel, request) };
    [open, data, frame(0x14, 3, channel, b"")].concat()
}
