//! ACCEPTED and REFUSED: once, from the acceptor, and before all else.

use super::*;

#[test]
fn r_6_4_an_acceptor_says_nothing_before_it_answers() {
    openers(|kit| kit.breaks(&frame(Data, 0, 1, b"x"), CloseCode::ChannelState));
    openers(|kit| kit.breaks(&frame(Finish, 0, 1, b""), CloseCode::ChannelState));
    openers(|kit| kit.breaks(&exit(0, 0, 0, b""), CloseCode::ChannelState));
    openers(|kit| kit.breaks(&frame(Release, 0, 0, b""), CloseCode::ChannelState));
    openers(|kit| {
        assert_eq!(kit.feed(&credit(0, 3, 9000)).len(), 1);
        assert_eq!(kit.feed(&frame(Stop, 0, 0, b"")).len(), 1);
        kit.alive();
    });
}

#[test]
fn r_6_4_an_answer_comes_once_and_from_the_acceptor() {
    let refused = frame(Refused, 0, 0, &[1, 0, 0, 0, 0, 0, 0, 0]);
    accepted_openers(|kit| kit.breaks(&accepted(0), CloseCode::ChannelState));
    accepted_openers(|kit| kit.breaks(&refused, CloseCode::ChannelState));
    openers(|kit| kit.breaks(&[&refused[..], &accepted(0)].concat(), CloseCode::ChannelState));
    for answer in [accepted(0), refused.clone(), exit(0, 0, 0, b"")] {
        acceptors(|kit| kit.breaks(&answer, CloseCode::ChannelState));
    }
}

#[test]
fn r_6_4_a_refusal_tells_why_and_frees_the_id() {
    openers(|kit| {
        let refused = frame(Refused, 0, 0, &[&[9, 0, 0, 0, 13, 0, 0, 0][..], b"open /x"].concat());
        let event = Event::Refused { channel: C0, code: RefusalCode::System, errno: 13 };
        assert_eq!(kit.feed(&refused), [Seen::Event(event)]);
        assert_eq!(kit.session.text(), b"open /x");
        assert_eq!(kit.sent(), frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 1);
        kit.feed(&frame(Release, 0, 0, b""));
        assert_eq!(kit.session.open_count(), 0);
    });
}

#[test]
fn r_6_4_a_text_is_kept_until_it_is_sent_and_cut_to_its_limit() {
    acceptors(|kit| {
        // The pool's place of the input is what the text gets.
        kit.appetite = 0;
        kit.feed(
            &[frame(Data, 0, 0, &[1; INITIAL_CREDIT]), frame(Data, 0, 3, &[2; INITIAL_CREDIT])].concat(),
        );
        kit.session.refuse(C0, RefusalCode::NoShell, 2, &[b't'; 300]);
        let want = frame(Refused, 0, 0, &[&[6, 0, 0, 0, 2, 0, 0, 0][..], &[b't'; 256]].concat());
        assert_eq!(kit.sent(), [want, frame(Release, 0, 0, b"")].concat());
    });
    acceptors(|kit| {
        kit.session.accept(C0, 7);
        kit.session.exit(C0, Outcome::Failed(5), b"write: x");
        let end = [exit(0, 2, 5, b"write: x"), frame(Release, 0, 0, b"")].concat();
        let flows = [frame(Finish, 0, 1, b""), frame(Finish, 0, 2, b"")].concat();
        assert_eq!(kit.sent(), [accepted(0), flows, end].concat());
    });
}
