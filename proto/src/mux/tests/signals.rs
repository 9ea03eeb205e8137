//! Signals and sizes.

use super::*;

#[test]
fn r_6_9_signals_are_1_to_64() {
    acceptors(|kit| {
        for number in [1u32, 15, 64] {
            let event = Event::Signal { channel: C0, number };
            assert_eq!(kit.feed(&frame(Signal, 0, 0, &number.to_le_bytes())), [Seen::Event(event)]);
        }
    });
    for number in [0u32, 65, u32::MAX] {
        acceptors(|kit| kit.breaks(&frame(Signal, 0, 0, &number.to_le_bytes()), CloseCode::Value));
    }
    openers(|kit| {
        kit.session.signal(C0, 64);
        kit.session.signal(C0, 1);
        kit.session.signal(C0, 0);
        kit.session.signal(C0, 65);
        assert_eq!(
            kit.sent(),
            [frame(Signal, 0, 0, &[1, 0, 0, 0]), frame(Signal, 0, 0, &[64, 0, 0, 0])].concat()
        );
    });
}

#[test]
fn r_6_9_signals_and_sizes_from_an_acceptor_are_ignored() {
    accepted_openers(|kit| {
        let both = [frame(Signal, 0, 0, &[1, 0, 0, 0]), frame(Resize, 0, 0, &[1; 8])].concat();
        assert_eq!(kit.feed(&both), []);
        kit.alive();
    });
}

#[test]
fn r_6_9_the_last_size_counts() {
    openers(|kit| {
        for rows in [24, 25] {
            kit.session.resize(C0, WindowSize { rows, columns: 80, width: 0, height: 3 });
        }
        assert_eq!(kit.sent(), frame(Resize, 0, 0, &[25, 0, 80, 0, 0, 0, 3, 0]));
    });
    acceptors(|kit| {
        let size = WindowSize { rows: 25, columns: 80, width: 0, height: 3 };
        let resize = frame(Resize, 0, 0, &[25, 0, 80, 0, 0, 0, 3, 0]);
        assert_eq!(kit.feed(&resize), [Seen::Event(Event::Resized { channel: C0, size })]);
    });
}
