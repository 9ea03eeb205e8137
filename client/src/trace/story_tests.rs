use vsock_shell_proto::frame::Header as FrameHeader;

use super::*;

struct Told(Story);

impl Told {
    /// What is said about a frame on channel 2; times are taken out.
    fn frame(
        &mut self,
        direction: Direction,
        kind: FrameType,
        flow: u8,
        length: u32,
        payload: &[u8],
    ) -> String {
        let header = FrameHeader { kind: Some(kind), flow, channel: 2, length };
        let seen = Seen::Frame(Frame { number: kind as u8, header, payload });
        let line = self.0.handle(direction, &seen).unwrap_or_default();
        let Some((head, rest)) = line.split_once(" after ") else { return line };
        format!("{head}{}", &rest[rest.find(',').unwrap()..])
    }

    fn received(&mut self, kind: FrameType, payload: &[u8]) -> String {
        self.frame(Direction::Received, kind, 0, payload.len() as u32, payload)
    }

    fn opened() -> Self {
        let mut told = Self(Story::default());
        let line = told.frame(Direction::Sent, FrameType::Open, 0, 8, &[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(line, "channel 2: we opened it, exec");
        told
    }
}

#[test]
fn a_channel_is_told_from_its_opening_to_its_end_with_the_bytes_of_its_flows() {
    let mut told = Told::opened();
    assert_eq!(told.frame(Direction::Sent, FrameType::Data, 3, 50, &[]), "");
    assert_eq!(
        told.received(FrameType::Accepted, &77_u64.to_le_bytes()),
        "channel 2: accepted as process 77"
    );
    for (direction, flow, length) in [
        (Direction::Sent, 0, 10),
        (Direction::Sent, 0, 20),
        (Direction::Received, 1, 300),
        (Direction::Received, 2, 4),
    ] {
        assert_eq!(told.frame(direction, FrameType::Data, flow, length, &[]), "");
    }
    assert_eq!(
        told.received(FrameType::Exit, &[0, 0, 0, 0, 3, 0, 0, 0]),
        "channel 2: exited with status 3, 30 bytes sent, 304 received"
    );
    assert_eq!(told.received(FrameType::Release, &[]), "");
}

#[test]
fn every_way_to_end_is_told() {
    for (payload, expected) in [
        (&[1, 0, 0, 0, 9, 0, 0, 0][..], "killed by signal 9"),
        (&[1, 1, 0, 0, 11, 0, 0, 0], "killed by signal 11 with a core dump"),
        (b"\x02\0\0\0\x1c\0\0\0write", "failed, cannot write: No space left on device"),
        (&[3, 0, 0, 0, 5, 0, 0, 0], "goes on as job 5"),
        (&[9, 0, 0, 0, 0, 0, 0, 0], "ended in an unknown way"),
    ] {
        let line = Told::opened().received(FrameType::Exit, payload);
        assert_eq!(line, format!("channel 2: {expected}, 0 bytes sent, 0 received"));
    }
    assert_eq!(
        Told::opened().received(FrameType::Refused, b"\x07\0\0\0\x02\0\0\0a\x1bb"),
        "channel 2: refused: a\\x1bb"
    );
    assert_eq!(
        Told::opened().received(FrameType::Reset, &[4, 0, 0, 0]),
        "channel 2: the agent aborted it: internal error, 0 bytes sent, 0 received"
    );
    let close = |direction, code| Told::opened().frame(direction, FrameType::Close, 0, 4, &[code, 0, 0, 0]);
    assert_eq!(close(Direction::Sent, 0), "we closed the session");
    assert_eq!(close(Direction::Received, 1), "the agent closed the session: the agent is shutting down");
    let bye = |code| Story::default().handle(Direction::Received, &Seen::Control(Control::Bye(code)));
    assert_eq!(bye(CloseCode::Normal), None);
    assert_eq!(
        bye(CloseCode::TakenOver).unwrap(),
        "the agent left the session: another connection took the session over"
    );
}

#[test]
fn the_hello_of_the_agent_is_told_and_ours_is_not() {
    let hello = Hello { denied: 5, ..Hello::new("agent\x1b 2", 512, 1024, 1500) };
    let bytes = [
        &hello.features.to_le_bytes()[..],
        &hello.required.to_le_bytes(),
        &hello.channels.to_le_bytes(),
        &hello.request_max.to_le_bytes(),
        &hello.grace_ms.to_le_bytes(),
        &hello.denied.to_le_bytes(),
        &hello.software,
    ]
    .concat();
    let mut told = Told(Story::default());
    assert_eq!(
        told.received(FrameType::Hello, &bytes),
        "agent agent\\x1b 2: features JOBS, denied: exec, put, 512 channels, requests of 1024 bytes, \
         1.5 s without a connection"
    );
    assert_eq!(told.frame(Direction::Sent, FrameType::Hello, 0, bytes.len() as u32, &bytes), "");
    assert_eq!(
        told.received(FrameType::Hello, &[0; 32]),
        "agent without a name: no features, nothing denied, 0 channels, requests of 0 bytes, \
         0 s without a connection"
    );
}
