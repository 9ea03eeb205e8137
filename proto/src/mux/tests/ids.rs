//! Ids of channels: who gives them, and how many there are.

use super::*;

#[test]
fn r_6_1_ids_have_the_parity_of_their_opener() {
    agents(|kit| kit.breaks(&open(1), CloseCode::ChannelId));
    openers(|kit| kit.breaks(&open(2), CloseCode::ChannelId));
    openers(|kit| assert_eq!(kit.feed(&open(1)).len(), 1));
}

#[test]
fn r_6_1_ids_are_below_what_was_announced() {
    agents(|kit| kit.breaks(&open(8), CloseCode::ChannelId));
    agents(|kit| kit.breaks(&open(1024), CloseCode::ChannelId));
    agents(|kit| kit.breaks(&open(65534), CloseCode::ChannelId));
    let mut kit = Kit::with(Side::Agent, Way::Whole, CHANNELS_MAX, 0);
    kit.feed(&hello(4));
    assert_eq!(kit.feed(&open(1022)).len(), 1);
    kit.breaks(&open(1024), CloseCode::ChannelId);
}

#[test]
fn r_6_1_an_id_in_use_is_not_opened() {
    acceptors(|kit| kit.breaks(&open(0), CloseCode::ChannelId));
}

#[test]
fn r_6_4_more_channels_than_there_is_memory_for_are_refused() {
    agents(|kit| {
        for _ in 0..2 {
            kit.session.open(ChannelKind::Listen).unwrap();
        }
        kit.sent();
        kit.feed(&[open(0), open(2)].concat());
        assert_eq!(kit.feed(&[open(4), frame(Data, 4, 3, &[0; INITIAL_CREDIT])].concat()), []);
        let refused = frame(Refused, 4, 0, &[4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kit.sent(), [refused, frame(Release, 4, 0, b"")].concat());
        assert_eq!(kit.session.open_count(), 5);
        kit.feed(&frame(Release, 4, 0, b""));
        assert_eq!(kit.session.open_count(), 4);
        kit.alive();
    });
}
