//! Serial records and the two sides of a port.

use vsock_shell_proto::limits::SERIAL_PAYLOAD_MAX;
use vsock_shell_proto::serial::{Arrival, Port, SERIAL_RECORD_MAX, Scanned, encode, scan};

use crate::input::{Input, ways};

/// Bytes on a port, and what a port makes of bytes.
pub fn serial(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    if chosen & 1 == 0 {
        let bytes = input.rest();
        scanned(bytes);
        let fresh = || if chosen & 2 == 0 { Port::agent() } else { Port::client(0) };
        let [whole, single, pieces] = ways(bytes, chosen).map(|piece| arrivals(&mut fresh(), bytes, piece));
        assert_eq!(whole, single);
        assert_eq!(whole, pieces);
        read(bytes, chosen.into());
    } else {
        pair(&mut input);
    }
}

/// What a client reads into room of its own is what came before the end.
fn read(bytes: &[u8], room: usize) {
    let told = arrivals(&mut Port::client(0), bytes, usize::MAX);
    let mut port = Port::client(0);
    let mut buffer = vec![0; room + 1];
    let (mut rest, mut heard) = (bytes, Vec::new());
    loop {
        let mut next = |places: &mut [u8]| {
            let (piece, tail) = rest.split_at(places.len().min(rest.len()));
            places[..piece.len()].copy_from_slice(piece);
            rest = tail;
            Ok::<usize, ()>(piece.len())
        };
        match port.read_with(&mut buffer, &mut next) {
            Ok(length @ 1..) => heard.extend_from_slice(&buffer[..length]),
            _ => break,
        }
    }
    assert_eq!(heard, told.into_iter().flatten().next().unwrap_or_default());
}

fn scanned(bytes: &[u8]) {
    let mut rest = bytes;
    while let Scanned::Garbage(used) | Scanned::Record(used, ..) = scan(rest) {
        assert!(used > 0 && used <= rest.len());
        if let Scanned::Record(_, header, payload) = scan(rest) {
            assert!(payload.len() <= SERIAL_PAYLOAD_MAX);
            // There is one way to write it.
            let mut again = vec![0; SERIAL_RECORD_MAX];
            assert_eq!(encode(header, payload, &mut again), Some(used));
            assert_eq!(again[..used], rest[..used]);
        }
        rest = &rest[used..];
    }
}

/// What a port told: `None` for the beginning of a connection, and no bytes for its end.
type Told = Vec<Option<Vec<u8>>>;

fn arrivals(port: &mut Port, bytes: &[u8], piece: usize) -> Told {
    let mut told: Told = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let places = port.places();
        assert!(!places.is_empty(), "a port that has told everything has room");
        let length = piece.min(rest.len()).min(places.len());
        places[..length].copy_from_slice(&rest[..length]);
        port.fill(length);
        rest = &rest[length..];
        while let Some(arrival) = port.poll() {
            match arrival {
                Arrival::Begun => {
                    told.push(None);
                    port.accept();
                }
                Arrival::Ended => {
                    told.push(Some(Vec::new()));
                    port.leave();
                }
                Arrival::Bytes(bytes) => {
                    let length = bytes.len();
                    match told.last_mut() {
                        Some(Some(before)) if !before.is_empty() => before.extend_from_slice(bytes),
                        _ => told.push(Some(bytes.to_vec())),
                    }
                    port.consume(length);
                }
            }
        }
    }
    told
}

/// What one side sends, the other hears, whatever stood on the line before; and a flipped bit makes no byte wrong.
fn pair(input: &mut Input<'_>) {
    let before = input.piece();
    let mut client = Port::client(input.number());
    let content: Vec<u8> =
        (0..input.short() % 10_000).map(|at| at.wrapping_mul(31) as u8 ^ (at >> 8) as u8).collect();
    let mut wire = before.to_vec();
    let mut rest = &content[..];
    while !rest.is_empty() {
        let taken = client.send(&[rest], usize::from(input.short()) + 1);
        rest = &rest[taken..];
        wire.extend_from_slice(client.transmit());
        client.handle_transmitted(usize::MAX);
    }
    if client.finish() {
        wire.extend_from_slice(client.transmit());
    }
    // An agent that knows the connection alone says the same to the client.
    let mut agent = Port::agent();
    agent.take_over(client.connection().expect("a client has one"));
    let mut answer = agent.transmit().to_vec();
    agent.handle_transmitted(usize::MAX);
    let taken = agent.send(&[before, &content], usize::MAX);
    answer.extend_from_slice(agent.transmit());
    let heard: Vec<u8> = arrivals(&mut client, &answer, usize::MAX).into_iter().flatten().flatten().collect();
    assert!(heard.len() == taken && [before, &content].concat().starts_with(&heard));
    let is_flipped = input.once_in(2);
    if is_flipped {
        let (at, bit) = (before.len() + usize::from(input.short()), input.byte() % 8);
        if let Some(byte) = wire.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
    let told = arrivals(&mut Port::agent(), &wire, usize::from(input.short()) + 16);
    let heard: Vec<u8> = told.into_iter().flatten().flatten().collect();
    // What stood before may be a whole connection of somebody else.
    if !is_flipped && !content.is_empty() {
        assert!(heard.ends_with(&content), "{} bytes of {}", heard.len(), content.len());
    }
    if before.is_empty() && !content.is_empty() {
        let mut sent = content.iter();
        assert!(heard.iter().all(|byte| sent.any(|other| other == byte)), "a byte that nobody sent");
    }
}
