//! One side of a port: the connections in what comes, and records for what goes (`R-8.2`, `R-8.3`).
//!
//! A driver reads the port into [`Port::places`], takes what [`Port::poll`] tells, gives the bytes of its connection to
//! [`Port::send`] and writes [`Port::transmit`] to the port. It knows nothing of what the connection carries.

use super::{SERIAL_HEADER_LEN, SERIAL_RECORD_MAX, Scanned, SerialHeader, scan, seal};
use crate::limits::SERIAL_PAYLOAD_MAX;
use crate::wire::put;

/// Bytes that came and wait: a record that is being taken, and one that is not complete.
const INPUT_LEN: usize = 2 * SERIAL_RECORD_MAX;
/// Records that are written together: a write of up to 32 KiB is one buffer for virtio-serial (`port_fops_write`).
const RECORDS: usize = 7;

/// What came on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<'p> {
    /// A client begins a connection, which ends the one before. Agents only; told again until it is
    /// [accepted](Port::accept).
    Begun,
    /// Bytes of the connection, told again until all of them are [consumed](Port::consume).
    Bytes(&'p [u8]),
    /// The other side has ended the connection; told again until it is [left](Port::leave), or another accepted.
    Ended,
}

/// One side of a port.
#[derive(Debug, Clone)]
pub struct Port {
    is_client: bool,
    connection: Option<u32>,
    /// The next record that we send is the first of its connection.
    start_due: bool,
    /// The record that was taken last ended the connection.
    has_ended: bool,

    input: [u8; INPUT_LEN],
    from: usize,
    to: usize,
    /// Bytes at `from` that belong to the connection.
    payload: usize,

    /// Records, or the zeros that begin a connection (`R-8.4`).
    output: [u8; RECORDS * SERIAL_RECORD_MAX],
    sent: usize,
    length: usize,
}

impl Port {
    const fn new(is_client: bool, connection: Option<u32>) -> Self {
        Self {
            is_client,
            connection,
            start_due: is_client,
            has_ended: false,
            input: [0; INPUT_LEN],
            from: 0,
            to: 0,
            payload: 0,
            output: [0; RECORDS * SERIAL_RECORD_MAX],
            sent: 0,
            length: if is_client { SERIAL_RECORD_MAX } else { 0 },
        }
    }

    /// The side that waits for connections. All zero.
    #[must_use]
    pub const fn agent() -> Self {
        Self::new(false, None)
    }

    /// The side that begins one, with an id that it draws.
    #[must_use]
    pub const fn client(connection: u32) -> Self {
        Self::new(true, Some(connection))
    }

    /// Places for bytes of the port; none while [`Self::poll`] has something to tell.
    pub fn places(&mut self) -> &mut [u8] {
        self.input.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        self.input.get_mut(self.to..).unwrap_or_default()
    }

    /// The first `length` places are filled.
    pub fn fill(&mut self, length: usize) {
        self.to = self.input.len().min(self.to + length);
    }

    /// What came, one thing after the other. Work is bounded by the bytes that were filled, and a checksum for each place
    /// where a record could begin.
    pub fn poll(&mut self) -> Option<Arrival<'_>> {
        while self.payload == 0 {
            if self.has_ended {
                return Some(Arrival::Ended);
            }
            match scan(self.input.get(self.from..self.to).unwrap_or_default()) {
                Scanned::Partial => return None,
                Scanned::Garbage(length) => self.from += length,
                Scanned::Record(length, header, payload) => {
                    if header.start && !self.is_client {
                        return Some(Arrival::Begun);
                    }
                    let (length, payload) = (length, payload.len());
                    self.take(header, length, payload);
                }
            }
        }
        self.input.get(self.from..self.from + self.payload).map(Arrival::Bytes)
    }

    /// Steps into a record, where it belongs to the connection, or over it.
    fn take(&mut self, header: SerialHeader, length: usize, payload: usize) {
        if self.connection == Some(header.connection) {
            self.payload = payload;
            self.has_ended = header.end;
            self.from += length - payload;
        } else {
            self.from += length;
        }
    }

    /// Goes over to the connection that was [begun](Arrival::Begun).
    pub fn accept(&mut self) {
        let input = self.input.get(self.from..self.to).unwrap_or_default();
        if let Scanned::Record(length, header, payload) = scan(input) {
            let payload = payload.len();
            self.begin(header.connection);
            self.take(header, length, payload);
        }
    }

    /// An agent's side of a connection that was accepted elsewhere, where nothing of it came after its preamble.
    pub fn take_over(&mut self, connection: u32) {
        (self.from, self.to, self.payload) = (0, 0, 0);
        self.begin(connection);
    }

    fn begin(&mut self, connection: u32) {
        self.connection = Some(connection);
        self.has_ended = false;
        (self.sent, self.length) = (0, SERIAL_RECORD_MAX);
        self.output.get_mut(..SERIAL_RECORD_MAX).unwrap_or_default().fill(0);
    }

    /// The id of the connection, where there is one.
    #[must_use]
    pub fn connection(&self) -> Option<u32> {
        self.connection
    }

    /// Moves bytes of the connection into `buffer`: how many, and whether the connection is over behind them.
    pub fn read(&mut self, buffer: &mut [u8]) -> (usize, bool) {
        let mut have = 0;
        while let Some(arrival) = self.poll() {
            let Arrival::Bytes(bytes) = arrival else { return (have, true) };
            let rest = buffer.get_mut(have..).unwrap_or_default();
            let length = bytes.len().min(rest.len());
            if length == 0 {
                break;
            }
            put(rest, 0, bytes.get(..length).unwrap_or_default());
            self.consume(length);
            have += length;
        }
        (have, false)
    }

    /// The same, going on with what `read` gives of the port; 0 when the connection is over. Nothing is left behind that a
    /// wait for the port would not tell of, if `buffer` has two records' room.
    ///
    /// # Errors
    /// Of `read`, where nothing came before.
    pub fn read_with<E>(
        &mut self,
        buffer: &mut [u8],
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut have = 0;
        loop {
            let (length, is_over) = self.read(buffer.get_mut(have..).unwrap_or_default());
            have += length;
            if is_over || (have > 0 && buffer.len() - have < INPUT_LEN) {
                return Ok(have);
            }
            match read(self.places()) {
                Ok(0) => return Ok(have),
                Ok(length) => self.fill(length),
                Err(_) if have > 0 => return Ok(have),
                Err(error) => return Err(error),
            }
        }
    }

    /// The connection is over for us too: what still comes of it is dropped.
    pub fn leave(&mut self) {
        self.connection = None;
        self.has_ended = false;
    }

    /// What came and was not taken: for another that takes the port over and [fills](Self::fill) it in.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.input.get(self.from..self.to).unwrap_or_default()
    }

    /// The first `length` bytes of the latest [`Arrival::Bytes`] were taken.
    #[inline(never)]
    pub fn consume(&mut self, length: usize) {
        let length = length.min(self.payload);
        self.payload -= length;
        self.from += length;
    }

    /// Records can be made: those before have left.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.sent == self.length
    }

    /// Makes records of the first bytes of the pieces, as many as fit and at most `most`; says how many. Without a
    /// connection they are dropped.
    #[inline(never)]
    pub fn send(&mut self, pieces: &[&[u8]], most: usize) -> usize {
        if !self.can_send() {
            return 0;
        }
        (self.sent, self.length) = (0, 0);
        let mut left = most.min(RECORDS * SERIAL_PAYLOAD_MAX);
        let mut payload = 0;
        let mut taken = 0;
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() && left > 0 {
                let length = left.min(SERIAL_PAYLOAD_MAX - payload);
                let (part, rest) = piece.split_at_checked(length).unwrap_or((piece, &[]));
                put(&mut self.output, self.length + SERIAL_HEADER_LEN + payload, part);
                piece = rest;
                left -= part.len();
                taken += part.len();
                payload += part.len();
                if payload == SERIAL_PAYLOAD_MAX {
                    self.make(payload, false);
                    payload = 0;
                }
            }
        }
        if payload > 0 {
            self.make(payload, false);
        }
        taken
    }

    /// Makes the record that ends our side of the connection; whether it could.
    pub fn finish(&mut self) -> bool {
        let can = self.can_send();
        if can {
            (self.sent, self.length) = (0, 0);
            self.make(0, true);
            if !self.is_client {
                self.connection = None;
            }
        }
        can
    }

    /// One more record, of the payload that is in its place.
    #[inline(never)]
    fn make(&mut self, payload: usize, end: bool) {
        let Some(connection) = self.connection else { return };
        let header = SerialHeader { connection, start: core::mem::take(&mut self.start_due), end };
        let from = self.length;
        self.length += SERIAL_HEADER_LEN + payload;
        seal(header, self.output.get_mut(from..self.length).unwrap_or_default());
    }

    /// What is to be written to the port.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.output.get(self.sent..self.length).unwrap_or_default()
    }

    /// The port took the first `length` bytes of it.
    pub fn handle_transmitted(&mut self, length: usize) {
        self.sent = self.length.min(self.sent.saturating_add(length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that `port` tells of `bytes`, which come in pieces.
    fn arrivals(port: &mut Port, bytes: &[u8], piece: usize) -> Vec<Result<&'static str, Vec<u8>>> {
        let mut told: Vec<Result<&'static str, Vec<u8>>> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let places = port.places();
            let length = piece.min(rest.len()).min(places.len());
            places[..length].copy_from_slice(&rest[..length]);
            port.fill(length);
            rest = &rest[length..];
            while let Some(arrival) = port.poll() {
                let taken = match arrival {
                    Arrival::Begun => {
                        told.push(Ok("begun"));
                        port.accept();
                        0
                    }
                    Arrival::Ended => {
                        told.push(Ok("ended"));
                        port.leave();
                        0
                    }
                    Arrival::Bytes(bytes) => {
                        let part = &bytes[..bytes.len().min(3)];
                        match told.last_mut() {
                            Some(Err(before)) => before.extend_from_slice(part),
                            _ => told.push(Err(part.to_vec())),
                        }
                        part.len()
                    }
                };
                port.consume(taken);
            }
        }
        told
    }

    /// The records in which a port sends `bytes`, and its end.
    fn sends(port: &mut Port, bytes: &[u8], ends: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = port.send(&[rest], usize::MAX);
            rest = &rest[taken..];
            while !port.transmit().is_empty() {
                out.push(port.transmit()[0]);
                port.handle_transmitted(1);
            }
        }
        if ends && port.finish() {
            out.extend_from_slice(port.transmit());
            port.handle_transmitted(usize::MAX);
        }
        out
    }

    #[test]
    fn r_8_2_the_bytes_of_a_connection_arrive_whole_whatever_the_pieces() {
        let content: Vec<u8> = (0..10_000).map(|at: u32| at.wrapping_mul(31) as u8).collect();
        let wire = sends(&mut Port::client(7), &content, true);
        for piece in [1, 5, 4000, SERIAL_RECORD_MAX, usize::MAX] {
            let told = arrivals(&mut Port::agent(), &wire, piece);
            assert_eq!(told, [Ok("begun"), Err(content.clone()), Ok("ended")], "pieces of {piece}");
        }
    }

    #[test]
    fn several_records_leave_together_and_no_more_than_asked_for() {
        let content: Vec<u8> =
            (0..2 * SERIAL_PAYLOAD_MAX as u32 + 5).map(|at| at.wrapping_mul(31) as u8).collect();
        let (head, rest) = content.split_at(100);
        let mut port = Port::client(7);
        let begin = sends(&mut port, b"begin", false);
        for (most, records) in [(256, 1), (SERIAL_PAYLOAD_MAX + 1, 2), (usize::MAX, 3)] {
            let taken = port.send(&[head, &[], rest], most);
            assert_eq!(taken, content.len().min(most));
            assert_eq!(port.transmit().len(), taken + records * SERIAL_HEADER_LEN);
            let told = arrivals(&mut Port::agent(), &[&begin, port.transmit()].concat(), usize::MAX);
            assert_eq!(told, [Ok("begun"), Err([b"begin", &content[..taken]].concat())]);
            port.handle_transmitted(usize::MAX);
        }
        let plenty = vec![1; 1 << 20];
        assert_eq!(port.send(&[&plenty], usize::MAX), RECORDS * SERIAL_PAYLOAD_MAX);
        assert_eq!(port.transmit().len(), RECORDS * SERIAL_RECORD_MAX);
    }

    #[test]
    fn r_8_2_a_client_that_was_killed_leaves_nothing_to_the_next() {
        let dead = sends(&mut Port::client(1), &[1; 9000], false);
        for cut in (1..dead.len()).step_by(97).chain([4111, 4112, 4113, 8223, 8224, 8225]) {
            let next = sends(&mut Port::client(2), b"next", false);
            let mut agent = Port::agent();
            let told = arrivals(&mut agent, &[&dead[..cut], &next].concat(), 64);
            let begun = told.iter().rposition(|one| *one == Ok("begun")).unwrap();
            assert_eq!(told[begun..], [Ok("begun"), Err(b"next".to_vec())], "cut at {cut}");
            // An agent's answer is found as well, behind a record of another's that was cut.
            let mut killed = Port::agent();
            arrivals(&mut killed, &dead, 64);
            let cut_answer = sends(&mut killed, &[3; 9000], false);
            let answer = sends(&mut agent, b"answer", false);
            let mut client = Port::client(2);
            let told = arrivals(&mut client, &[&cut_answer[..cut], &answer].concat(), 64);
            assert_eq!(told, [Err(b"answer".to_vec())], "cut at {cut}");
        }
    }

    #[test]
    fn r_8_2_records_of_another_connection_are_dropped_by_both_sides() {
        let mut agent = Port::agent();
        arrivals(&mut agent, &sends(&mut Port::client(1), b"one", false), 64);
        let late = sends(&mut agent, b"for one", false);
        arrivals(&mut agent, &sends(&mut Port::client(2), b"two", false), 64);
        let mut client = Port::client(2);
        assert_eq!(arrivals(&mut client, &late, 64), []);
        assert_eq!(
            arrivals(&mut client, &sends(&mut agent, b"for two", true), 64),
            [Err(b"for two".to_vec()), Ok("ended")]
        );
        // A client takes no beginning from anybody.
        assert_eq!(arrivals(&mut client, &sends(&mut Port::client(3), b"three", false), 64), []);
    }

    #[test]
    fn r_8_2_a_beginning_that_is_not_accepted_is_there_for_the_next() {
        let record =
            |id, payload: &[u8]| sends(&mut Port::client(id), payload, false).split_off(SERIAL_RECORD_MAX);
        let wire = record(2, b"second");
        let mut first = Port::agent();
        let there = [&record(1, b"first")[..], &wire].concat();
        first.places()[..there.len()].copy_from_slice(&there);
        first.fill(there.len());
        assert_eq!(first.poll(), Some(Arrival::Begun));
        first.accept();
        assert_eq!(first.poll(), Some(Arrival::Bytes(b"first")));
        first.consume(5);
        assert_eq!(first.poll(), Some(Arrival::Begun));
        assert_eq!(first.poll(), Some(Arrival::Begun));
        assert_eq!(first.unread(), wire);
        assert_eq!(arrivals(&mut Port::agent(), first.unread(), 64), [Ok("begun"), Err(b"second".to_vec())]);
    }

    #[test]
    fn r_8_3_the_end_is_told_behind_the_last_byte_and_until_it_was_heard() {
        let wire = sends(&mut Port::client(1), &[7; 5000], true);
        let mut agent = Port::agent();
        let (mut fed, mut have, mut over) = (0, 0, false);
        let mut buffer = [0; 3000];
        while !over {
            let places = agent.places();
            let length = places.len().min(wire.len() - fed);
            places[..length].copy_from_slice(&wire[fed..fed + length]);
            agent.fill(length);
            fed += length;
            if agent.poll() == Some(Arrival::Begun) {
                agent.accept();
            }
            let (length, is_over) = agent.read(&mut buffer);
            assert!(buffer[..length].iter().all(|&byte| byte == 7));
            have += length;
            over = is_over;
        }
        assert_eq!((have, agent.read(&mut buffer), agent.poll()), (5000, (0, true), Some(Arrival::Ended)));
        agent.leave();
        assert_eq!(agent.poll(), None);
    }

    #[test]
    fn without_a_connection_an_agent_sends_nothing() {
        let mut agent = Port::agent();
        assert_eq!(agent.send(&[b"to ", b"nobody"], usize::MAX), 9);
        assert!(agent.transmit().is_empty());
        arrivals(&mut agent, &sends(&mut Port::client(1), b"one", true), 64);
        agent.handle_transmitted(usize::MAX);
        assert_eq!(agent.send(&[b"to ", b"nobody"], usize::MAX), 9);
        assert!(agent.transmit().is_empty());
    }
}
