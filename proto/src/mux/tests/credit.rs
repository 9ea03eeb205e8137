//! Credit and the windows behind it.

use super::*;

#[test]
fn r_6_5_credit_begins_at_4096_and_is_not_exceeded() {
    for flow in [0, 3] {
        acceptors(|kit| {
            assert_eq!(kit.feed(&frame(Data, 0, flow, &[0; INITIAL_CREDIT])).len(), 1);
            kit.alive();
        });
        // At the header, before a byte of it came.
        let beyond = &frame(Data, 0, flow, &[0; INITIAL_CREDIT + 1])[..8];
        acceptors(|kit| kit.breaks(beyond, CloseCode::CreditExceeded));
        acceptors(|kit| {
            kit.appetite = 0;
            kit.feed(&frame(Data, 0, flow, &[0; INITIAL_CREDIT]));
            assert_eq!(kit.sent(), NONE, "what is not consumed gives no credit");
            kit.breaks(&frame(Data, 0, flow, b"x"), CloseCode::CreditExceeded);
        });
    }
}

#[test]
fn r_6_5_what_we_send_keeps_to_the_credit() {
    openers(|kit| {
        let bytes = [5; 9000];
        assert_eq!(kit.session.send(C0, Flow::Input, &bytes), INITIAL_CREDIT);
        assert_eq!(kit.session.send(C0, Flow::Input, &bytes), 0);
        assert_eq!(
            kit.feed(&credit(0, 0, 4100)),
            [Seen::Event(Event::Credit { channel: C0, flow: Flow::Input })]
        );
        assert_eq!(kit.session.send(C0, Flow::Input, &bytes), 4);
        assert_eq!(kit.session.writable(C0, Flow::Request), INITIAL_CREDIT, "flows do not share it");
    });
}

#[test]
fn r_6_5_credit_never_goes_back() {
    openers(|kit| kit.breaks(&credit(0, 0, 4095), CloseCode::CreditRange));
    openers(|kit| {
        kit.feed(&[credit(0, 0, u64::MAX), credit(0, 0, u64::MAX)].concat());
        kit.alive();
        kit.breaks(&credit(0, 0, u64::MAX - 1), CloseCode::CreditRange);
    });
}

#[test]
fn r_6_5_credit_of_what_we_send_is_the_peers_and_takes_no_room_of_ours() {
    openers(|kit| {
        kit.feed(&credit(0, 0, u64::MAX));
        kit.session.consume(C0, Flow::Input, 0);
        assert_eq!(kit.session.charged(), 0);
        kit.alive();
    });
}

#[test]
fn r_6_5_credit_is_what_was_consumed() {
    acceptors(|kit| {
        kit.appetite = 0;
        kit.feed(&frame(Data, 0, 0, &[7; INITIAL_CREDIT]));
        assert_eq!(kit.session.parked(C0, Flow::Input).len(), BLOCK_LEN);
        let mut consumed = 0;
        while !kit.session.parked(C0, Flow::Input).is_empty() {
            kit.session.consume(C0, Flow::Input, 512);
            consumed += 512;
        }
        assert_eq!(consumed, INITIAL_CREDIT);
        let sent = kit.sent();
        assert_eq!(sent[..8], credit(0, 0, 0)[..8]);
        let limit = u64::from_le_bytes(sent[8..16].try_into().unwrap());
        assert!((INITIAL_CREDIT + 2048..=INITIAL_CREDIT * 3).contains(&(limit as usize)), "{limit}");
    });
}

/// The limit in the last CREDIT of `stream` for channel 0's flow.
fn last_credit(stream: &[u8], flow: u8) -> Option<u64> {
    let head = &credit(0, flow, 0)[..8];
    stream
        .windows(16)
        .filter(|w| w[..8] == *head)
        .map(|w| u64::from_le_bytes(w[8..].try_into().unwrap()))
        .next_back()
}

#[test]
fn r_6_6_the_window_of_a_fast_sink_grows_to_its_largest_and_no_further() {
    let mut kit = Kit::with(Side::Agent, Way::Whole, 4, SURPLUS_BLOCKS);
    kit.feed(&[hello(4), open(0)].concat());
    let (mut sent, mut limit, mut widest) = (0u64, INITIAL_CREDIT as u64, 0);
    for _ in 0..400 {
        let length = (limit - sent).min(FRAME_PAYLOAD_MAX as u64);
        kit.feed(&frame(Data, 0, 0, &vec![1; length as usize]));
        sent += length;
        limit = last_credit(&kit.sent(), 0).unwrap_or(limit);
        widest = widest.max(limit - sent);
    }
    assert_eq!(widest, WINDOW_MAX as u64);
    kit.alive();
}

#[test]
fn r_6_6_a_slow_sink_costs_no_more_than_its_window() {
    acceptors(|kit| {
        kit.appetite = 0;
        let (mut sent, mut limit) = (0u64, INITIAL_CREDIT as u64);
        for _ in 0..200 {
            kit.feed(&frame(Data, 0, 0, &vec![1; (limit - sent).max(1) as usize]));
            sent = limit;
            while last_credit(&kit.sent(), 0).inspect(|&raised| limit = raised).is_none() {
                let length = kit.session.parked(C0, Flow::Input).len().min(100);
                kit.session.consume(C0, Flow::Input, length);
            }
            assert!(limit - sent <= (64 * BLOCK_LEN / 4) as u64, "a quarter of the surplus at the most");
        }
        kit.alive();
    });
}

#[test]
fn r_6_6_512_channels_with_full_initial_windows_lose_nothing() {
    let mut kit = Kit::with(Side::Agent, Way::Whole, CHANNELS_MAX, SURPLUS_BLOCKS);
    assert_eq!(POOL_BLOCKS, crate::limits::pool_blocks(CHANNELS_MAX, SURPLUS_BLOCKS));
    kit.feed(&hello(4));
    let byte = |id: u16, flow: u8, at: usize| (at as u16 ^ id.wrapping_mul(31) ^ u16::from(flow)) as u8;
    let window = |id, flow| (0..INITIAL_CREDIT).map(|at| byte(id, flow, at)).collect::<Vec<_>>();
    // The first flow has taken all the surplus that it can before the others come.
    let mut limit = INITIAL_CREDIT as u64;
    let mut sent = 0;
    kit.feed(&open(0));
    for _ in 0..100 {
        kit.feed(&frame(Data, 0, 0, &vec![0; (limit - sent).min(60_000) as usize]));
        sent += (limit - sent).min(60_000);
        limit = last_credit(&kit.sent(), 0).unwrap_or(limit);
    }
    kit.appetite = 0;
    while sent < limit {
        let length = (limit - sent).min(60_000);
        kit.feed(&frame(Data, 0, 0, &vec![0; length as usize]));
        sent += length;
    }
    for id in (2..1024).step_by(2) {
        kit.feed(&open(id));
        for flow in [0, 3] {
            kit.feed(&frame(Data, id, flow, &window(id, flow)));
        }
    }
    kit.alive();
    assert_eq!(kit.session.open_count(), CHANNELS_MAX);
    for id in (2..1024).step_by(2) {
        for flow in [Flow::Input, Flow::Request] {
            let mut have = Vec::new();
            while !kit.session.parked(ChannelId(id), flow).is_empty() {
                let piece = kit.session.parked(ChannelId(id), flow).to_vec();
                kit.session.consume(ChannelId(id), flow, piece.len());
                have.extend(piece);
            }
            assert!(have == window(id, flow as u8), "channel {id} {flow:?}");
        }
    }
}

#[test]
fn r_6_6_what_is_dropped_is_not_charged() {
    acceptors(|kit| {
        for leave in 0..4 {
            let (id, channel) = (2, ChannelId(2));
            kit.feed(&open(id));
            kit.appetite = usize::MAX;
            let mut limit = INITIAL_CREDIT as u64;
            let mut sent = 0;
            for _ in 0..6 {
                kit.feed(&frame(Data, id, 0, &vec![0; (limit - sent) as usize]));
                sent = limit;
                let stream = kit.sent();
                let head = &credit(id, 0, 0)[..8];
                let raised = stream.windows(16).filter(|w| w[..8] == *head);
                limit = raised
                    .map(|w| u64::from_le_bytes(w[8..].try_into().unwrap()))
                    .next_back()
                    .unwrap_or(limit);
            }
            kit.appetite = 0;
            kit.feed(&frame(Data, id, 0, &vec![0; (limit - sent) as usize]));
            assert!(kit.session.charged() > 0);
            match leave {
                0 => kit.session.stop(channel, Flow::Input),
                1 => kit.session.refuse(channel, RefusalCode::Denied, 0, b""),
                2 => kit.session.reset(channel, CloseCode::Cancelled),
                _ => kit.session.stop(channel, Flow::Input),
            }
            // What a driver may still do, and what may still come.
            kit.session.consume(channel, Flow::Input, 0);
            assert_eq!(kit.session.charged(), 0, "{leave}");
            kit.feed(&frame(Finish, id, 0, b""));
            kit.session.consume(channel, Flow::Input, 0);
            assert_eq!(kit.session.charged(), 0, "{leave}");
            kit.session.reset(channel, CloseCode::Cancelled);
            kit.sent();
            kit.feed(&frame(Release, id, 0, b""));
            assert_eq!((kit.session.charged(), kit.session.open_count()), (0, 1));
        }
    });
}
