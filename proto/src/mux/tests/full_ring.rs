//! What waits while the ring is full.

use super::*;

/// A client with channel 0 whose ring of 128 bytes is full, and how many bytes it has sent.
fn full_ring() -> (Kit, u64) {
    let mut kit = Kit::with_ring(Side::Client, Way::Whole, 4, 0, 128);
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C0));
    kit.feed(&hello(4));
    let free = kit.session.link().free();
    assert_eq!(kit.session.send(C0, Flow::Request, &[0; 200]), free - 8);
    kit.transmit();
    assert_eq!(kit.session.link().free(), 0);
    (kit, 128)
}

#[test]
fn r_6_13_nothing_comes_for_a_channel_whose_open_was_not_sent() {
    let (mut kit, _) = full_ring();
    assert_eq!(kit.session.open(ChannelKind::Exec), Ok(C2));
    kit.breaks(&accepted(2), CloseCode::ChannelState);
}

#[test]
fn r_6_14_control_that_waits_for_room_is_not_overtaken_by_bulk() {
    let (mut kit, _) = full_ring();
    kit.session.signal(C0, 2);
    kit.acknowledge(11);
    assert_eq!(kit.session.send(C0, Flow::Input, &[1; 100]), 0, "SIGNAL needs 12 bytes");
    assert_eq!(kit.session.writable(C0, Flow::Input), 0);
    kit.acknowledge(22);
    assert_eq!(kit.session.send(C0, Flow::Input, &[1; 100]), 0, "bulk does not go out in crumbs");
    let stream = unwrap_records(&kit.transmit()).0;
    assert_eq!(stream, frame(Signal, 0, 0, &[2, 0, 0, 0]));
}
