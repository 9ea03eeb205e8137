//! EXIT, RESET and RELEASE: how a channel ends.

use super::*;

fn finishes() -> Vec<u8> {
    [frame(Finish, 0, 1, b""), frame(Finish, 0, 2, b"")].concat()
}

#[test]
fn r_6_10_exit_follows_accepted_and_both_finishes() {
    accepted_openers(|kit| kit.breaks(&exit(0, 0, 0, b""), CloseCode::ChannelState));
    let half = [frame(Finish, 0, 1, b""), exit(0, 0, 0, b"")].concat();
    accepted_openers(|kit| kit.breaks(&half, CloseCode::ChannelState));
    accepted_openers(|kit| {
        let event = Event::Exited { channel: C0, outcome: Outcome::Exited(3) };
        assert_eq!(kit.feed(&[finishes(), exit(0, 0, 3, b"why")].concat())[2], Seen::Event(event));
        assert_eq!(kit.session.text(), b"why");
        kit.breaks(&exit(0, 0, 3, b""), CloseCode::ChannelState);
    });
}

#[test]
fn r_6_10_how_is_one_of_four() {
    for (how, value) in [(4, 0), (255, 1), (1, 0), (1, 65)] {
        let bad = [finishes(), exit(0, how, value, b"")].concat();
        accepted_openers(|kit| kit.breaks(&bad, CloseCode::Value));
    }
}

#[test]
fn r_6_11_reset_is_answered_release_and_the_id_is_free() {
    acceptors(|kit| {
        let event = Event::Reset { channel: C0, code: CloseCode::Cancelled };
        assert_eq!(kit.feed(&frame(Reset, 0, 0, &[3, 0, 0, 0])), [Seen::Event(event)]);
        assert_eq!(kit.sent(), frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 0);
        assert_eq!(kit.feed(&open(0)).len(), 1, "the id is used again");
    });
}

#[test]
fn r_6_11_resets_that_cross_free_the_id() {
    acceptors(|kit| {
        kit.session.reset(C0, CloseCode::Internal);
        assert_eq!(kit.sent(), frame(Reset, 0, 0, &[4, 0, 0, 0]));
        assert_eq!(kit.feed(&frame(Reset, 0, 0, &[3, 0, 0, 0])), []);
        assert_eq!((kit.sent(), kit.session.open_count()), (vec![], 0));
    });
    acceptors(|kit| {
        kit.session.reset(C0, CloseCode::Internal);
        assert_eq!(kit.feed(&frame(Reset, 0, 0, &[3, 0, 0, 0])), [], "before ours was written");
        assert_eq!(kit.sent(), frame(Reset, 0, 0, &[4, 0, 0, 0]));
        assert_eq!(kit.session.open_count(), 0);
    });
}

#[test]
fn r_6_11_what_comes_after_our_reset_is_dropped() {
    acceptors(|kit| {
        kit.session.reset(C0, CloseCode::Internal);
        kit.sent();
        let late = [frame(Data, 0, 0, b"late"), frame(Finish, 0, 0, b""), frame(Signal, 0, 0, &[2, 0, 0, 0])];
        assert_eq!(kit.feed(&late.concat()), []);
        assert_eq!(kit.session.open_count(), 1, "until the peer has released it");
        kit.feed(&frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 0);
        kit.breaks(&frame(Finish, 0, 3, b""), CloseCode::ChannelState);
    });
}

#[test]
fn r_6_12_the_id_is_free_when_both_have_released() {
    accepted_openers(|kit| {
        kit.feed(&[finishes(), exit(0, 0, 3, b""), frame(Release, 0, 0, b"")].concat());
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2), "id 0 is ours until we release it");
        kit.session.release(C0);
        assert!(kit.sent().ends_with(&frame(Release, 0, 0, b"")));
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    });
    accepted_openers(|kit| {
        kit.feed(&[finishes(), exit(0, 0, 3, b"")].concat());
        kit.session.release(C0);
        kit.sent();
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2), "the acceptor has not released id 0");
        kit.feed(&frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    });
}

#[test]
fn r_6_12_an_acceptor_releases_only_after_refused_or_exit() {
    accepted_openers(|kit| kit.breaks(&frame(Release, 0, 0, b""), CloseCode::ChannelState));
    accepted_openers(|kit| {
        kit.breaks(&[finishes(), frame(Release, 0, 0, b"")].concat(), CloseCode::ChannelState);
    });
}

#[test]
fn r_6_12_an_acceptor_says_nothing_between_its_last_word_and_release() {
    let refused = frame(Refused, 0, 0, &[1, 0, 0, 0, 0, 0, 0, 0]);
    let ended = [accepted(0), finishes(), exit(0, 0, 0, b"")].concat();
    for last in [refused, ended] {
        for more in [
            frame(Data, 0, 1, b"x"),
            frame(Finish, 0, 1, b""),
            frame(Stop, 0, 0, b""),
            credit(0, 0, 9000),
            exit(0, 0, 0, b""),
            frame(Reset, 0, 0, &[0; 4]),
        ] {
            openers(|kit| kit.breaks(&[&last[..], &more].concat(), CloseCode::ChannelState));
        }
        openers(|kit| {
            kit.feed(&last);
            kit.feed(&frame(Release, 0, 0, b""));
            kit.alive();
        });
    }
}

#[test]
fn r_6_12_an_openers_early_release_is_a_reset() {
    acceptors(|kit| {
        kit.session.accept(C0, 7);
        let event = Event::Reset { channel: C0, code: CloseCode::Cancelled };
        assert_eq!(kit.feed(&frame(Release, 0, 0, b"")), [Seen::Event(event)]);
        assert!(kit.sent().ends_with(&frame(Release, 0, 0, b"")));
        assert_eq!(kit.session.open_count(), 0);
    });
}

#[test]
fn r_6_13_nothing_comes_for_a_channel_that_is_not_open() {
    for bad in [
        frame(Data, 2, 0, b"x"),
        frame(Finish, 2, 0, b""),
        frame(Stop, 2, 1, b""),
        credit(2, 1, 9000),
        frame(Signal, 2, 0, &[1, 0, 0, 0]),
        frame(Resize, 2, 0, &[0; 8]),
        frame(Reset, 2, 0, &[0; 4]),
        frame(Release, 2, 0, b""),
        frame(Data, 4000, 0, b"x"),
    ] {
        acceptors(|kit| kit.breaks(&bad, CloseCode::ChannelState));
    }
}

#[test]
fn r_6_13_nothing_follows_release() {
    for bad in [
        frame(Data, 0, 0, b"x"),
        frame(Finish, 0, 0, b""),
        frame(Release, 0, 0, b""),
        frame(Reset, 0, 0, &[0; 4]),
    ] {
        acceptors(|kit| {
            kit.feed(&frame(Reset, 0, 0, &[0; 4]));
            kit.breaks(&bad, CloseCode::ChannelState);
        });
    }
    accepted_openers(|kit| {
        kit.feed(&[finishes(), exit(0, 0, 0, b""), frame(Release, 0, 0, b"")].concat());
        kit.breaks(&credit(0, 0, 9000), CloseCode::ChannelState);
    });
}
