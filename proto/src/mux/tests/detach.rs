//! Commands that become jobs.

use super::*;

#[test]
fn r_11_1_an_acceptor_is_asked_and_answers_where_it_cannot() {
    let ask = frame(Detach, 0, 0, &[1, 0, 0, 0]);
    acceptors(|kit| {
        assert_eq!(kit.feed(&ask), [Seen::Event(Event::Detach { channel: C0, value: 1 })]);
        kit.session.accept(C0, u64::MAX);
        kit.session.detach_channel(C0, 11);
        let accepted = frame(Accepted, 0, 0, &[0xFF; 8]);
        assert_eq!(kit.sent(), [accepted, frame(Detach, 0, 0, &[11, 0, 0, 0])].concat());
        kit.session.exit(C0, Outcome::Detached(3), b"");
        let sent = kit.sent();
        assert!(sent.ends_with(&[exit(0, 3, 3, b""), frame(Release, 0, 0, b"")].concat()), "{sent:?}");
    });
}

#[test]
fn r_11_1_an_opener_hears_why_not_and_the_channel_goes_on() {
    openers(|kit| {
        kit.session.detach_channel(C0, 1);
        assert_eq!(kit.sent(), frame(Detach, 0, 0, &[1, 0, 0, 0]));
        kit.breaks(&frame(Detach, 0, 0, &[11, 0, 0, 0]), CloseCode::ChannelState);
    });
    accepted_openers(|kit| {
        let event = Event::Detach { channel: C0, value: 11 };
        assert_eq!(kit.feed(&frame(Detach, 0, 0, &[11, 0, 0, 0])), [Seen::Event(event)]);
        kit.alive();
    });
}
