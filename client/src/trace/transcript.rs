//! Owns what is told of the bytes of a session's connections, both ways, as lines. It writes none of them.

use vsock_shell_proto::frame::{Flow, FrameType};

use super::Detail;
use super::lines;
use super::reader::{Reader, Seen};
use super::request::Requests;
use super::story::Story;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the agent.
    Sent,
    /// From it.
    Received,
}

impl Direction {
    /// What this direction has of the two.
    pub(super) fn of<T>(self, sent: T, received: T) -> T {
        match self {
            Self::Sent => sent,
            Self::Received => received,
        }
    }

    pub(super) fn arrow(self) -> char {
        self.of('>', '<')
    }

    pub(super) fn who(self) -> &'static str {
        self.of("we", "the agent")
    }
}

/// A line without its end: nothing in it is obeyed by a terminal, whatever the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What became of the session or one of its channels (`-v`).
    Story(String),
    /// A record, a frame, or a field of a request (`-vv`).
    Wire(Direction, String),
}

/// What both directions have carried, as far as the lines that follow depend on it.
#[derive(Debug)]
pub struct Transcript {
    detail: Detail,
    sent: Side,
    received: Side,
    story: Story,
}

#[derive(Debug)]
struct Side {
    reader: Reader,
    requests: Requests,
}

impl Side {
    fn new() -> Self {
        Self { reader: Reader::new(), requests: Requests::default() }
    }
}

impl Transcript {
    /// That of a session, from its first byte.
    #[must_use]
    pub fn new(detail: Detail) -> Self {
        Self { detail, sent: Side::new(), received: Side::new(), story: Story::default() }
    }

    /// Another connection begins, over which the stream of this direction goes on at `offset`: how many bytes come again.
    pub fn resume(&mut self, direction: Direction, offset: u64) -> u64 {
        direction.of(&mut self.sent, &mut self.received).reader.resume(offset)
    }

    /// Takes bytes of a connection, cut anywhere, and tells what is complete by them. Whether payload was among them.
    pub fn read(&mut self, direction: Direction, bytes: &[u8], tell: &mut dyn FnMut(Line)) -> bool {
        let Self { detail, story, sent, received } = self;
        let Side { reader, requests } = direction.of(sent, received);
        let mut has_payload = false;
        reader.read(bytes, &mut |seen| {
            if *detail == Detail::Frames {
                let mut wire = |line| tell(Line::Wire(direction, line));
                lines::line(&seen).into_iter().for_each(&mut wire);
                tell_request(requests, &seen, &mut wire);
            }
            story.handle(direction, &seen).map(Line::Story).into_iter().for_each(&mut *tell);
            has_payload |= matches!(seen, Seen::Payload { .. });
        });
        has_payload
    }
}

/// Tells the fields of requests.
fn tell_request(requests: &mut Requests, seen: &Seen<'_>, tell: &mut dyn FnMut(String)) {
    match *seen {
        Seen::Payload { channel, flow, bytes } => requests.handle(channel, flow, bytes, tell),
        Seen::Frame(frame) => match frame.header.kind {
            Some(FrameType::Open | FrameType::Reset | FrameType::Release) => {
                requests.forget(frame.header.channel);
            }
            Some(FrameType::Finish) if frame.header.flow == Flow::Request as u8 => {
                requests.forget(frame.header.channel);
            }
            _ => {}
        },
        _ => {}
    }
}
