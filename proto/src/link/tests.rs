//! The rules of the link, on a ring of eight bytes.

use super::*;

type Small = Link<heapless::Vec<u8, 8>>;

const NOW: Instant = Instant::from_micros(0);

fn link() -> Small {
    let mut ring = heapless::Vec::new();
    ring.resize(8, 0).unwrap();
    Link::new(ring, None)
}

fn attached() -> Small {
    let mut link = link();
    link.attach(0, NOW).unwrap();
    link
}

/// What the link wants to send now, at most `max` bytes of it.
fn transmit(link: &mut Small, max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < max
        && let Some(Transmit { head, first, second }) = link.poll_transmit(NOW)
    {
        let bytes = [head, first, second].concat();
        let taken = bytes.len().min(max - out.len());
        out.extend_from_slice(&bytes[..taken]);
        link.handle_transmitted(taken, NOW);
    }
    out
}

/// The stream bytes that `input`, in pieces of `piece` bytes, brings.
fn receive(link: &mut Small, input: &[u8], piece: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for piece in input.chunks(piece) {
        let mut at = 0;
        loop {
            let (taken, data) = link.handle_received(&piece[at..], NOW);
            at += taken;
            stream.extend_from_slice(&piece[at..at + data]);
            link.accept(data);
            at += data;
            if data == 0 {
                assert_eq!(at, piece.len());
                break;
            }
        }
    }
    stream
}

#[test]
fn r_4_10_who_is_taken_over_is_told_between_records() {
    let mut a = attached();
    assert_eq!(a.farewell().unwrap()[..], [5, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0]);
    a.write(b"abc");
    assert!(a.farewell().is_some(), "nothing of it has left");
    let half = transmit(&mut a, 9);
    assert_eq!((half.len(), a.farewell()), (9, None));
    transmit(&mut a, 99);
    let mut b = attached();
    assert_eq!(receive(&mut b, &a.farewell().unwrap(), 5), []);
    assert_eq!(b.end(), Some(End::Peer(CloseCode::TakenOver)));
    a.detach();
    assert_eq!(a.farewell(), None);
}

#[test]
fn r_4_4_bytes_arrive_in_pieces_of_any_length() {
    for piece in 1..40 {
        let (mut a, mut b) = (attached(), attached());
        for round in 0..20u8 {
            let bytes = [round, round + 1, round + 2];
            a.write(&bytes);
            let sent = transmit(&mut a, usize::MAX);
            assert_eq!(receive(&mut b, &sent, piece), bytes);
            let back = transmit(&mut b, usize::MAX);
            receive(&mut a, &back, piece);
        }
        assert_eq!(b.received(), 60);
    }
}

#[test]
fn r_4_3_a_cut_at_any_byte_loses_nothing_and_repeats_nothing() {
    let sent = transmit(
        &mut {
            let mut a = attached();
            a.write(b"abcdef");
            a
        },
        usize::MAX,
    );
    for cut in 0..=sent.len() {
        let (mut a, mut b) = (attached(), attached());
        a.write(b"abcdef");
        let first = transmit(&mut a, cut);
        let mut stream = receive(&mut b, &first, 3);
        a.detach();
        b.detach();
        a.attach(b.received(), NOW).unwrap();
        b.attach(a.received(), NOW).unwrap();
        let rest = transmit(&mut a, usize::MAX);
        stream.extend(receive(&mut b, &rest, 5));
        assert_eq!(stream, b"abcdef", "cut at {cut}");
    }
}

#[test]
fn r_4_5_what_is_not_acknowledged_is_kept() {
    let mut a = attached();
    a.write(b"12345678");
    assert_eq!(a.free(), 0);
    transmit(&mut a, usize::MAX);
    assert_eq!(a.free(), 0);
    receive(&mut a, &Control::Ack(5).encode(), 100);
    assert_eq!((a.free(), a.resend_range()), (5, (5, 8)));
}

#[test]
fn r_4_6_an_acknowledgement_out_of_range_ends_the_session() {
    for bad in [1, 5] {
        let mut a = attached();
        a.write(b"1234");
        transmit(&mut a, usize::MAX);
        receive(&mut a, &Control::Ack(2).encode(), 100);
        receive(&mut a, &Control::Ack(bad).encode(), 100);
        assert_eq!(a.end(), Some(End::Own(CloseCode::AckRange)));
        let bye = transmit(&mut a, usize::MAX);
        assert_eq!(bye, Control::Bye(CloseCode::AckRange).encode().to_vec());
    }
}

#[test]
fn r_4_6_acknowledgements_come_late_or_with_other_records() {
    let (mut a, mut b) = (attached(), attached());
    a.write(b"123");
    receive(&mut b, &transmit(&mut a, usize::MAX), 100);
    assert!(!b.can_transmit(), "3 bytes of 8 can wait");
    b.write(b"x");
    receive(&mut a, &transmit(&mut b, usize::MAX), 100);
    assert!(a.is_settled());
    a.write(b"1234");
    receive(&mut b, &transmit(&mut a, usize::MAX), 100);
    assert!(b.can_transmit(), "half of a ring cannot");
}

#[test]
fn r_3_6_an_offset_out_of_range_was_rolled_back() {
    let mut a = attached();
    a.write(b"12345");
    transmit(&mut a, usize::MAX);
    receive(&mut a, &Control::Ack(3).encode(), 100);
    a.detach();
    assert_eq!(a.attach(2, NOW), Err(RolledBack));
    assert_eq!(a.attach(6, NOW), Err(RolledBack));
    assert_eq!(a.attach(5, NOW), Ok(()));
    assert!(a.is_settled());
}

#[test]
fn r_4_8_a_ping_is_answered_with_its_token() {
    let mut a = attached();
    receive(&mut a, &Control::Ping(77).encode(), 3);
    assert_eq!(transmit(&mut a, usize::MAX), Control::Pong(77).encode().to_vec());
}

#[test]
fn r_4_9_silence_is_asked_about_only_when_something_is_owed() {
    let mut a = attached();
    assert_eq!(a.poll_timeout(), None);
    a.write(b"1");
    transmit(&mut a, usize::MAX);
    let due = a.poll_timeout().unwrap();
    assert_eq!(due.micros(), PING_AFTER_MICROS);
    a.handle_timeout(due);
    assert_eq!(transmit(&mut a, usize::MAX), Control::Ping(1).encode().to_vec());
    assert_eq!(a.silence_micros(due.after(5)), PING_AFTER_MICROS + 5);
    let answer = [&Control::Ack(1).encode()[..], &Control::Pong(1).encode()].concat();
    receive(&mut a, &answer, 100);
    assert_eq!((a.silence_micros(due.after(9)), a.poll_timeout()), (0, None));
}

#[test]
fn r_4_10_bye_follows_what_is_unsent_and_ends_both_sides() {
    let (mut a, mut b) = (attached(), attached());
    a.write(b"last");
    a.close(CloseCode::Normal);
    let sent = transmit(&mut a, usize::MAX);
    assert_eq!(receive(&mut b, &sent, 1), b"last");
    assert_eq!(a.end(), Some(End::Own(CloseCode::Normal)));
    assert_eq!(b.end(), Some(End::Peer(CloseCode::Normal)));
    assert_eq!(transmit(&mut b, usize::MAX), []);
}

#[test]
fn an_abort_completes_the_record_that_has_begun() {
    let (mut a, mut b) = (attached(), attached());
    a.write(b"1234");
    let mut sent = transmit(&mut a, HEADER_LEN + 2);
    a.write(b"5678");
    a.abort(CloseCode::Internal);
    sent.extend(transmit(&mut a, usize::MAX));
    assert_eq!(receive(&mut b, &sent, 4), b"1234");
    assert_eq!(b.end(), Some(End::Peer(CloseCode::Internal)));
}

#[test]
fn r_3_6_what_an_abort_dropped_cannot_be_held_by_the_peer() {
    let mut a = attached();
    a.write(b"12345");
    transmit(&mut a, usize::MAX);
    a.attach(0, NOW).unwrap();
    a.abort(CloseCode::Internal);
    a.detach();
    assert_eq!(a.attach(3, NOW), Err(RolledBack));
    assert_eq!((a.attach(0, NOW), a.free()), (Ok(()), 8));
}

#[test]
fn r_4_1_records_to_skip_are_skipped_in_any_pieces() {
    let skipped = [&[200, 0, 0, 0, 11, 0, 0, 0][..], &[9; 11], &[201, 0, 0, 0, 0, 0, 0, 0]].concat();
    let input = [&skipped[..], &data_header(2), b"ok", &skipped, &data_header(1), b"!"].concat();
    for piece in 1..=input.len() {
        assert_eq!(receive(&mut attached(), &input, piece), b"ok!");
    }
}
