//! Owns how a record or a frame is written as one line, with the names and fields of `docs/PROTOCOL.md` §4 and §5. Frames stand
//! two columns behind the records that carry them.

use std::fmt::Debug;

use vsock_shell_proto::ability;
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelKind, FEATURE_JOBS, FrameType, Header, Hello, Outcome, WindowSize};
use vsock_shell_proto::record::Control;

use super::reader::{Frame, Seen};
use crate::text::escape;

/// The line; none for payload.
pub(super) fn line(seen: &Seen<'_>) -> Option<String> {
    Some(match seen {
        Seen::Data { length, repeated: 0 } => format!("DATA {length}"),
        Seen::Data { length, repeated } => format!("DATA {length} repeated={repeated}"),
        Seen::Control(Control::Ack(offset)) => format!("ACK offset={offset}"),
        Seen::Control(Control::Ping(token)) => format!("PING token={token}"),
        Seen::Control(Control::Pong(token)) => format!("PONG token={token}"),
        Seen::Control(Control::Bye(code)) => format!("BYE code={}", name(code)),
        Seen::UnknownRecord { number, length } => format!("record of type {number:#04x}, {length} skipped"),
        Seen::Frame(frame) => format!("  {}", frame_line(frame)),
        Seen::Broken(code) => format!("{}: nothing behind it is read", name(code)),
        Seen::Payload { .. } => return None,
    })
}

fn frame_line(frame: &Frame<'_>) -> String {
    let Frame { number, header: Header { kind, flow, channel, length }, payload } = frame;
    let Some(kind) = kind else { return format!("frame of type {number:#04x}, {length} skipped") };
    let head = || format!("{} ch={channel}", name(kind));
    let number = || u32_at(payload, 0);
    match kind {
        FrameType::Hello => hello(payload),
        FrameType::Close => format!("{} code={}", name(kind), close_code(number())),
        FrameType::Open => {
            format!("{} kind={}", head(), kind_name(payload.first().copied().unwrap_or_default()))
        }
        FrameType::Accepted => format!("{} value={}", head(), u64_at(payload, 0)),
        FrameType::Refused => refused(&head(), payload),
        FrameType::Data => format!("{} flow={flow} {length}", head()),
        FrameType::Finish | FrameType::Stop => format!("{} flow={flow}", head()),
        FrameType::Credit => format!("{} flow={flow} limit={}", head(), u64_at(payload, 0)),
        FrameType::Signal => format!("{} number={}", head(), number()),
        FrameType::Resize => format!("{} {}", head(), size(payload)),
        FrameType::Exit => format!("{} {}", head(), exit(payload)),
        FrameType::Reset => format!("{} code={}", head(), close_code(number())),
        FrameType::Release => head(),
        FrameType::Detach => format!("{} value={}", head(), number()),
    }
}

fn hello(payload: &[u8]) -> String {
    let Ok(hello) = Hello::parse(payload) else {
        return format!("HELLO required={:#x}", u64_at(payload, 8));
    };
    let Hello { features, required, channels, request_max, grace_ms, denied, software } = hello;
    format!(
        "HELLO features={} required={} channels={channels} request_max={request_max} grace_ms={grace_ms} \
         denied={} software=\"{}\"",
        feature_names(features),
        feature_names(required),
        denied_names(denied, ","),
        escape(&software),
    )
}

/// Features by their names; 0 for none, and a number for those that have no name here.
pub(super) fn feature_names(bits: u64) -> String {
    let others = bits & !FEATURE_JOBS;
    match (bits & FEATURE_JOBS != 0, others) {
        (false, 0) => "0".to_owned(),
        (false, others) => format!("{others:#x}"),
        (true, 0) => "JOBS".to_owned(),
        (true, others) => format!("JOBS,{others:#x}"),
    }
}

/// What is denied, by the words for it; 0 for nothing.
pub(crate) fn denied_names(bits: u32, between: &str) -> String {
    let mut names: Vec<String> = ability::names(bits).map(str::to_owned).collect();
    let others = bits & !ability::names(bits).filter_map(|name| ability::find(name.as_bytes())).sum::<u32>();
    if others != 0 || names.is_empty() {
        names.push(if others == 0 { "0".to_owned() } else { format!("{others:#x}") });
    }
    names.join(between)
}

fn refused(head: &str, payload: &[u8]) -> String {
    let number = u32_at(payload, 0);
    let known = RefusalCode::ALL.iter().find(|code| code.number() == number);
    let code = known.map_or_else(|| number.to_string(), name);
    format!("{head} code={code} errno={}{}", u32_at(payload, 4), text(payload))
}

fn exit(payload: &[u8]) -> String {
    match Outcome::parse(payload) {
        Ok(Outcome::Exited(status)) => format!("exited {status}{}", text(payload)),
        Ok(Outcome::Killed { signal, core_dumped: false }) => format!("killed {signal}{}", text(payload)),
        Ok(Outcome::Killed { signal, core_dumped: true }) => format!("killed {signal} core{}", text(payload)),
        Ok(Outcome::Failed(errno)) => format!("failed {errno}{}", text(payload)),
        Ok(Outcome::Detached(job)) => format!("detached {job}{}", text(payload)),
        Err(_) => format!("how={}", payload.first().copied().unwrap_or_default()),
    }
}

/// The text of REFUSED and EXIT, where there is one.
fn text(payload: &[u8]) -> String {
    match payload.get(8..).unwrap_or_default() {
        [] => String::new(),
        text => format!(" \"{}\"", escape(text)),
    }
}

/// The size of a terminal.
pub(super) fn size(bytes: &[u8]) -> String {
    let WindowSize { rows, columns, width, height } = WindowSize::parse(bytes);
    format!("rows={rows} columns={columns} width={width} height={height}")
}

/// The name of a kind of channel; its number where it has none.
pub(super) fn kind_name(number: u8) -> String {
    match ChannelKind::from_number(number) {
        ChannelKind::Unknown(number) => number.to_string(),
        kind => name(kind).to_lowercase(),
    }
}

fn close_code(number: u32) -> String {
    let known = CloseCode::ALL.iter().find(|code| code.number() == number);
    known.map_or_else(|| number.to_string(), name)
}

/// The name in the specification of what Rust calls `FrameType`: `FRAME_TYPE`.
pub(super) fn name(value: impl Debug) -> String {
    let mut name = String::new();
    for character in format!("{value:?}").chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

/// The number at this place; 0 where there is none.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The same, of eight bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
