//! Section 5: what begins and ends a session, and which frames there are.

use super::*;

#[test]
fn r_5_1_hello_comes_first_and_once() {
    for way in WAYS {
        Kit::with(Side::Agent, way, 4, 0).breaks(&open(0), CloseCode::Hello);
        Kit::with(Side::Agent, way, 4, 0).breaks(&SKIPPED, CloseCode::Hello);
    }
    agents(|kit| kit.breaks(&hello(4), CloseCode::Hello));
}

#[test]
fn r_5_1_neither_side_waits_for_the_others_hello() {
    for side in [Side::Client, Side::Agent] {
        let sent = Kit::with(side, Way::Whole, 4, 0).sent();
        assert_eq!(sent[0], Hello as u8);
    }
}

#[test]
fn r_5_2_unknown_frames_are_skipped_when_optional() {
    agents(|kit| {
        let unknown = [&[0xC7, 9, 9, 9, 3, 0, 0, 0, 1, 2, 3][..], &open(0)].concat();
        assert_eq!(kit.feed(&unknown).len(), 1);
        kit.alive();
        kit.breaks(&[0x47, 0, 0, 0, 0, 0, 0, 0], CloseCode::FrameType);
    });
}

#[test]
fn r_5_2_every_type_has_its_lengths() {
    let wrong: [(FrameType, &[usize]); 14] = [
        (Hello, &[31, 513]),
        (Close, &[3, 5]),
        (Open, &[7, 9]),
        (Accepted, &[7, 9]),
        (Refused, &[7, 265]),
        (Data, &[0, FRAME_PAYLOAD_MAX + 1]),
        (Finish, &[1]),
        (Stop, &[1]),
        (Credit, &[7, 9]),
        (Signal, &[3, 5]),
        (Resize, &[7, 9]),
        (Exit, &[7, 265]),
        (Reset, &[3, 5]),
        (Release, &[1]),
    ];
    for (kind, lengths) in wrong {
        for &length in lengths {
            // The header alone is enough.
            let header = &frame(kind, 0, 0, &vec![0; length])[..8];
            acceptors(|kit| kit.breaks(header, CloseCode::FrameLength));
        }
    }
}

#[test]
fn r_5_3_a_required_feature_ends_the_session() {
    let mut required = hello(4);
    required[8 + 8] = 2;
    Kit::with(Side::Agent, Way::Whole, 4, 0).breaks(&required, CloseCode::Feature);
}

#[test]
fn r_5_3_the_peers_channels_are_not_exceeded() {
    let mut kit = Kit::with(Side::Client, Way::Whole, 4, 0);
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany), "one before the agent has said how many");
    kit.feed(&hello(2));
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2));
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany));
    let mut kit = Kit::with(Side::Agent, Way::Whole, 4, 0);
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany), "an agent waits for HELLO");
    kit.feed(&hello(1));
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C1));
    assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany));
}

#[test]
fn r_5_4_close_is_answered_with_its_code_after_what_came_before() {
    acceptors(|kit| {
        let input = [frame(Data, 0, 0, b"last"), frame(Close, 0, 0, &1u32.to_le_bytes())].concat();
        let closed = Seen::Event(Event::Closed { code: CloseCode::ShuttingDown });
        assert_eq!(kit.feed(&input), [Seen::Data(C0, Flow::Input, b"last".to_vec()), closed]);
        assert_eq!(kit.feed(&open(2)), []);
        assert_eq!(kit.sent_with_bye().1, Some(1));
        assert_eq!(kit.session.end(), Some(End::Own(CloseCode::ShuttingDown)));
    });
}

#[test]
fn r_5_4_who_closed_drops_what_still_comes() {
    acceptors(|kit| {
        kit.session.close(CloseCode::Normal);
        assert_eq!(kit.sent(), frame(Close, 0, 0, &[0; 4]));
        let late = [open(2), frame(Data, 0, 0, b"late"), frame(Finish, 40, 0, b"")].concat();
        assert_eq!(kit.feed(&late), []);
        assert_eq!(kit.session.open(ChannelKind::Exec), Err(TooMany));
        kit.alive();
    });
}

#[test]
fn r_5_4_two_that_close_at_once_answer_each_other() {
    agents(|kit| {
        kit.session.close(CloseCode::Normal);
        assert_eq!(kit.sent(), frame(Close, 0, 0, &[0; 4]));
        let closed = Seen::Event(Event::Closed { code: CloseCode::Cancelled });
        assert_eq!(kit.feed(&frame(Close, 0, 0, &[3, 0, 0, 0])), [closed]);
        assert_eq!(kit.sent_with_bye(), (vec![], Some(3)));
    });
}
