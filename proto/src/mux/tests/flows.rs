//! Directions of flows, and their two ends: FINISH and STOP.

use super::*;

#[test]
fn r_6_2_flows_have_their_directions() {
    for flow in [1, 2, 4, 255] {
        acceptors(|kit| kit.breaks(&frame(Data, 0, flow, b"x"), CloseCode::Flow));
        acceptors(|kit| kit.breaks(&frame(Finish, 0, flow, b""), CloseCode::Flow));
    }
    for flow in [0, 3, 9] {
        acceptors(|kit| kit.breaks(&frame(Stop, 0, flow, b""), CloseCode::Flow));
        acceptors(|kit| kit.breaks(&credit(0, flow, 9000), CloseCode::Flow));
        accepted_openers(|kit| kit.breaks(&frame(Data, 0, flow, b"x"), CloseCode::Flow));
        accepted_openers(|kit| kit.breaks(&frame(Finish, 0, flow, b""), CloseCode::Flow));
    }
    for flow in [1, 2] {
        openers(|kit| kit.breaks(&frame(Stop, 0, flow, b""), CloseCode::Flow));
        openers(|kit| kit.breaks(&credit(0, flow, 9000), CloseCode::Flow));
    }
}

#[test]
fn r_6_2_nothing_follows_finish() {
    let finish = frame(Finish, 0, 0, b"");
    acceptors(|kit| {
        assert_eq!(kit.feed(&finish), [Seen::Event(Event::Finished { channel: C0, flow: Flow::Input })]);
        kit.breaks(&frame(Data, 0, 0, b"x"), CloseCode::Flow);
    });
    acceptors(|kit| kit.breaks(&[&finish[..], &finish].concat(), CloseCode::Flow));
}

#[test]
fn r_6_3_an_opener_sends_at_once_and_an_acceptor_when_it_has_accepted() {
    openers(|kit| {
        assert_eq!(kit.session.send(C0, Flow::Request, b"req"), 3);
        kit.session.finish(C0, Flow::Request);
        assert_eq!(kit.session.send(C0, Flow::Input, b"in"), 2);
        let want = [frame(Data, 0, 3, b"req"), frame(Finish, 0, 3, b""), frame(Data, 0, 0, b"in")].concat();
        assert_eq!(kit.sent(), want);
    });
    acceptors(|kit| {
        assert_eq!(kit.session.writable(C0, Flow::Output), 0);
        kit.session.finish(C0, Flow::Error);
        assert_eq!(kit.sent(), NONE);
        kit.session.accept(C0, 7);
        assert_eq!(kit.session.send(C0, Flow::Output, b"out"), 3);
        let want = [accepted(0), frame(Finish, 0, 2, b""), frame(Data, 0, 1, b"out")].concat();
        assert_eq!(kit.sent(), want);
    });
}

#[test]
fn r_6_7_finish_needs_no_credit() {
    openers(|kit| {
        assert_eq!(kit.session.send(C0, Flow::Input, &[1; INITIAL_CREDIT]), INITIAL_CREDIT);
        kit.session.finish(C0, Flow::Input);
        assert!(kit.sent().ends_with(&frame(Finish, 0, 0, b"")));
    });
}

#[test]
fn r_6_8_stop_leads_to_finish() {
    openers(|kit| {
        let stopped = Event::Stopped { channel: C0, flow: Flow::Input };
        assert_eq!(kit.feed(&frame(Stop, 0, 0, b"")), [Seen::Event(stopped)]);
        assert_eq!(kit.session.send(C0, Flow::Input, b"more"), 0);
        assert_eq!(kit.sent(), frame(Finish, 0, 0, b""));
        assert_eq!(kit.feed(&frame(Stop, 0, 0, b"")), [], "once is enough");
        assert_eq!(kit.sent(), NONE);
    });
}

#[test]
fn r_6_8_what_comes_after_stop_is_dropped_and_gets_no_credit() {
    acceptors(|kit| {
        kit.session.stop(C0, Flow::Input);
        assert_eq!(kit.sent(), frame(Stop, 0, 0, b""));
        assert_eq!(kit.feed(&frame(Data, 0, 0, &[1; INITIAL_CREDIT])), []);
        assert_eq!(kit.feed(&frame(Finish, 0, 0, b"")), []);
        assert!(kit.session.is_drained(C0, Flow::Input));
        assert_eq!(kit.sent(), NONE);
    });
    acceptors(|kit| {
        kit.session.stop(C0, Flow::Input);
        kit.breaks(&frame(Data, 0, 0, &[1; INITIAL_CREDIT + 1]), CloseCode::CreditExceeded);
    });
}
