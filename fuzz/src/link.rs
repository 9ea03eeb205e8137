//! Two links over connections that are cut: the stream arrives whole, in order and once.

use vsock_shell_proto::link::Link;
use vsock_shell_proto::time::Instant;

use crate::input::Input;

struct End {
    link: Link<Vec<u8>>,
    /// Bytes of our stream.
    written: u64,
    /// What is on its way to the other end.
    pipe: Vec<u8>,
}

/// The byte at an offset of a stream.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// Writes, sends, delivers, cuts and waits, as the input says.
pub fn link(data: &[u8]) {
    let mut input = Input::new(data);
    let ring = 1 << (input.byte() % 10);
    let mut ends = [(); 2].map(|()| End {
        link: Link::new(vec![0; ring], Some(3_000_000)),
        written: 0,
        pipe: Vec::new(),
    });
    let mut now = Instant::default();
    connect(&mut ends, now);
    while let Some(action) = input.taken() {
        let (at, size) = (usize::from(action >> 7), input.short().into());
        let [one, other] = &mut ends;
        let (end, peer) = if at == 0 { (one, other) } else { (other, one) };
        match action % 8 {
            0 | 1 => end.write(size),
            2 | 3 => end.transmit(size, now),
            4 | 5 => end.deliver(peer, size, now),
            6 => {
                now = now.after(size as u64 * 1000);
                end.link.handle_timeout(now);
            }
            _ => {
                // What is on its way is lost, but for a beginning.
                end.deliver(peer, size, now);
                connect(&mut ends, now);
            }
        }
    }
    settle(&mut ends, now);
}

/// Another connection begins, as preambles would have it.
fn connect(ends: &mut [End; 2], now: Instant) {
    let [one, other] = ends;
    for end in [&mut *one, &mut *other] {
        end.link.detach();
        end.pipe.clear();
    }
    let received = [one.link.received(), other.link.received()];
    one.link.attach(received[1], now).expect("it was sent");
    other.link.attach(received[0], now).expect("it was sent");
}

impl End {
    fn write(&mut self, length: usize) {
        let length = length.min(self.link.free());
        let bytes: Vec<u8> = (self.written..).take(length).map(byte).collect();
        self.link.write(&bytes);
        self.written += length as u64;
    }

    fn transmit(&mut self, length: usize, now: Instant) {
        let can_transmit = self.link.can_transmit();
        let farewell = self.link.farewell();
        let Some(transmit) = self.link.poll_transmit(now) else {
            assert!(!can_transmit && farewell.is_some());
            return;
        };
        assert!(can_transmit);
        let mut said = [transmit.head, transmit.first, transmit.second].concat();
        said.truncate(length);
        self.link.handle_transmitted(said.len(), now);
        self.pipe.extend(said);
    }

    /// Bytes that this end has sent come to the other.
    fn deliver(&mut self, to: &mut Self, length: usize, now: Instant) {
        let length = length.min(self.pipe.len());
        let bytes: Vec<u8> = self.pipe.drain(..length).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (control, data) = to.link.handle_received(rest, now);
            for (offset, found) in (to.link.received()..).zip(&rest[control..control + data]) {
                assert_eq!(byte(offset), *found, "offset {offset}");
            }
            to.link.accept(data);
            rest = &rest[control + data..];
        }
        assert_eq!(to.link.end(), None);
        assert!(to.link.received() <= self.written);
    }
}

/// With a connection that lives, everything arrives.
fn settle(ends: &mut [End; 2], now: Instant) {
    for _ in 0..2 {
        let [one, other] = ends;
        for _ in 0..10_000 {
            one.transmit(usize::MAX, now);
            other.transmit(usize::MAX, now);
            if one.pipe.is_empty() && other.pipe.is_empty() {
                break;
            }
            one.deliver(other, usize::MAX, now);
            other.deliver(one, usize::MAX, now);
        }
        assert_eq!((one.written, other.written), (other.link.received(), one.link.received()));
        // Once more over another connection, which begins with what everybody holds: all of it.
        connect(ends, now);
        assert!(ends.iter().all(|end| end.link.is_settled()));
    }
}
