//! Owns what is worth a plain line in what goes over the wire: the agent's hello, and the life of each channel.

use std::collections::BTreeMap;
use std::time::Instant as Clock;

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelKind, Flow, FrameType, Header, Hello, Outcome};
use vsock_shell_proto::record::Control;

use super::lines::{denied_names, feature_names, kind_name, u32_at, u64_at};
use super::reader::{Frame, Seen};
use super::transcript::Direction;
use super::voice::took;
use crate::error::{Failure, Refusal};
use crate::text::escape;

/// What is known of the channels that are open.
#[derive(Debug, Default)]
pub(super) struct Story(BTreeMap<u16, Channel>);

#[derive(Debug)]
struct Channel {
    kind: ChannelKind,
    since: Clock,
    /// Bytes of payload in each direction, the request not among them.
    sent: u64,
    received: u64,
}

impl Story {
    /// What is to be said about it.
    pub(super) fn handle(&mut self, direction: Direction, seen: &Seen<'_>) -> Option<String> {
        match seen {
            Seen::Frame(frame) => self.handle_frame(direction, frame),
            // What answers our CLOSE says nothing new.
            Seen::Control(Control::Bye(code)) if *code != CloseCode::Normal => {
                Some(format!("{} left the session: {}", direction.who(), code.text()))
            }
            _ => None,
        }
    }

    fn handle_frame(&mut self, direction: Direction, frame: &Frame<'_>) -> Option<String> {
        let Frame { header: Header { kind, flow, channel, length }, payload, .. } = *frame;
        let (who, number) = (direction.who(), u32_at(payload, 0));
        match kind? {
            FrameType::Hello if direction == Direction::Received => hello(payload),
            FrameType::Close => Some(match CloseCode::from_number(number) {
                CloseCode::Normal => format!("{who} closed the session"),
                code => format!("{who} closed the session: {}", code.text()),
            }),
            FrameType::Open => {
                let kind = payload.first().copied().unwrap_or_default();
                let begun = Channel {
                    kind: ChannelKind::from_number(kind),
                    since: Clock::now(),
                    sent: 0,
                    received: 0,
                };
                self.0.insert(channel, begun);
                Some(format!("channel {channel}: {who} opened it, {}", kind_name(kind)))
            }
            FrameType::Accepted => Some(match self.0.get(&channel)?.kind {
                ChannelKind::Exec => format!("channel {channel}: accepted as process {}", u64_at(payload, 0)),
                _ => format!("channel {channel}: accepted"),
            }),
            FrameType::Refused => {
                let text = payload.get(8..).unwrap_or_default().to_vec();
                let code = RefusalCode::from_number(number);
                let refusal = Refusal { code, errno: u32_at(payload, 4), text };
                self.0.remove(&channel);
                Some(format!("channel {channel}: refused: {refusal}"))
            }
            FrameType::Data if flow != Flow::Request as u8 => {
                let of = self.0.get_mut(&channel)?;
                let count = direction.of(&mut of.sent, &mut of.received);
                *count += u64::from(length);
                None
            }
            FrameType::Exit => {
                let ended = self.0.remove(&channel)?;
                Some(format!("channel {channel}: {}{}", outcome(payload), ended.sum()))
            }
            FrameType::Reset => {
                let sum = self.0.remove(&channel).map(|ended| ended.sum()).unwrap_or_default();
                let code = CloseCode::from_number(number);
                Some(format!("channel {channel}: {who} aborted it: {}{sum}", code.text()))
            }
            _ => None,
        }
    }
}

impl Channel {
    fn sum(&self) -> String {
        let Self { since, sent, received, .. } = self;
        format!(" after {}, {sent} bytes sent, {received} received", took(since.elapsed()))
    }
}

fn hello(payload: &[u8]) -> Option<String> {
    let Hello { features, channels, request_max, grace_ms, denied, software, .. } =
        Hello::parse(payload).ok()?;
    let features = match features {
        0 => "no features".to_owned(),
        bits => format!("features {}", feature_names(bits)),
    };
    let denied = match denied {
        0 => "nothing denied".to_owned(),
        bits => format!("denied: {}", denied_names(bits, ", ")),
    };
    let software = match escape(&software) {
        nothing if nothing.is_empty() => "agent without a name".to_owned(),
        name => format!("agent {name}"),
    };
    Some(format!(
        "{software}: {features}, {denied}, {channels} channels, requests of {request_max} bytes, \
         {} s without a connection",
        f64::from(grace_ms) / 1000.0
    ))
}

fn outcome(payload: &[u8]) -> String {
    match Outcome::parse(payload) {
        Ok(Outcome::Exited(status)) => format!("exited with status {status}"),
        Ok(Outcome::Killed { signal, core_dumped }) => {
            format!("killed by signal {signal}{}", if core_dumped { " with a core dump" } else { "" })
        }
        Ok(Outcome::Failed(errno)) => {
            let text = payload.get(8..).unwrap_or_default().to_vec();
            format!("failed, {}", Failure { errno, text })
        }
        Ok(Outcome::Detached(job)) => format!("goes on as job {job}"),
        Err(_) => "ended in an unknown way".to_owned(),
    }
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
