//! One end of a port without connections, record by record (`PROTOCOL.md` §8).

use std::io::{Read, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vsock_shell_proto::serial::{SERIAL_RECORD_MAX, Scanned, SerialHeader, encode, scan};

use super::DEADLINE;

/// What begins a connection.
pub const ZEROS: [u8; SERIAL_RECORD_MAX] = [0; SERIAL_RECORD_MAX];

/// A record that keeps to the rules.
pub fn record(connection: u32, start: bool, end: bool, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; SERIAL_RECORD_MAX];
    let length = encode(SerialHeader { connection, start, end }, payload, &mut record).unwrap();
    record.truncate(length);
    record
}

/// One end of a port.
pub struct PortEnd<F> {
    fd: F,
    came: Vec<u8>,
}

impl<F: Read + Write + std::os::fd::AsFd> PortEnd<F> {
    /// The end that we hold.
    pub fn over(fd: F) -> Self {
        Self { fd, came: Vec::new() }
    }

    /// Says these bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.fd.write_all(bytes).unwrap();
    }

    /// The next record: its connection, whether that begins or ends with it, and its payload.
    #[track_caller]
    pub fn hear(&mut self) -> (SerialHeader, Vec<u8>) {
        loop {
            match scan(&self.came) {
                Scanned::Garbage(length) => drop(self.came.drain(..length)),
                Scanned::Record(length, header, payload) => {
                    let payload = payload.to_vec();
                    self.came.drain(..length);
                    return (header, payload);
                }
                Scanned::Partial => {
                    let deadline = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
                    let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
                    assert_eq!(poll(&mut fds, Some(&deadline)), Ok(1), "nothing comes");
                    let mut piece = [0; 4096];
                    let count = self.fd.read(&mut piece).unwrap();
                    assert!(count > 0, "closed");
                    self.came.extend_from_slice(&piece[..count]);
                }
            }
        }
    }

    /// Waits until these bytes stand in what a connection brings.
    #[track_caller]
    pub fn wait_for(&mut self, connection: u32, bytes: &[u8]) {
        let mut came = Vec::new();
        while !came.windows(bytes.len()).any(|window| window == bytes) {
            let (header, payload) = self.hear();
            assert!(header.connection == connection && !header.end, "{header:?} behind {came:?}");
            came.extend(payload);
        }
    }
}
