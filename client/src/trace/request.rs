//! Owns how the fields of requests (`docs/PROTOCOL.md` §9) are shown as they go by: one line each, of a long value the beginning,
//! and of a variable its name alone.

use std::collections::BTreeMap;

use vsock_shell_proto::fields::{FIELD_HEADER_LEN, flag, tag};
use vsock_shell_proto::frame::Flow;
use vsock_shell_proto::job::{JOB_REQUEST_LEN, JobRequest};
use vsock_shell_proto::limits::CHANNEL_IDS;

use super::lines::{name, size, u32_at, u64_at};
use crate::text::escape;

/// Bytes of a value that are shown.
const SHOWN_MAX: usize = 256;

/// The requests of one direction that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Requests(BTreeMap<u16, Request>);

/// A request, as far as it came.
#[derive(Debug, Default)]
struct Request {
    header: Vec<u8>,
    /// The beginning of a value, and how many bytes of it are still to come.
    value: Vec<u8>,
    left: usize,
}

impl Requests {
    /// The channel begins or ends: what was not complete will not be.
    pub(super) fn forget(&mut self, channel: u16) {
        self.0.remove(&channel);
    }

    /// Takes payload of a channel; tells each field that is complete.
    pub(super) fn handle(&mut self, channel: u16, flow: u8, bytes: &[u8], tell: &mut dyn FnMut(String)) {
        // Ids beyond are a mistake of the peer, for which nothing is kept.
        if flow == Flow::Request as u8 && usize::from(channel) < CHANNEL_IDS {
            self.0.entry(channel).or_default().handle(bytes, tell);
        }
    }
}

impl Request {
    fn handle(&mut self, mut rest: &[u8], tell: &mut dyn FnMut(String)) {
        while !rest.is_empty() {
            if self.header.len() < FIELD_HEADER_LEN {
                let missing = (FIELD_HEADER_LEN - self.header.len()).min(rest.len());
                let (part, behind) = rest.split_at(missing);
                self.header.extend_from_slice(part);
                rest = behind;
                self.left = match *self.header {
                    [_, a, b, c] => u32::from_le_bytes([a, b, c, 0]) as usize,
                    _ => return,
                };
            }
            let (part, behind) = rest.split_at(self.left.min(rest.len()));
            let room = SHOWN_MAX.saturating_sub(self.value.len());
            self.value.extend(part.iter().take(room));
            self.left -= part.len();
            rest = behind;
            if self.left == 0
                && let [tag, a, b, c] = *std::mem::take(&mut self.header)
            {
                let length = u32::from_le_bytes([a, b, c, 0]) as usize;
                tell(format!("    {}", line(tag, &std::mem::take(&mut self.value), length)));
            }
        }
    }
}

/// A field whose value has `length` bytes, of which `value` are the first.
fn line(tag: u8, value: &[u8], length: usize) -> String {
    let string = |name: &str| format!("{name} {}", string(value, length));
    match tag {
        tag::ARG => string("ARG"),
        tag::SHELL => string("SHELL"),
        tag::ENV => format!("ENV \"{}\"=…", escape(variable(value))),
        tag::CWD => string("CWD"),
        tag::USER => string("USER"),
        tag::PTY => format!("PTY {}", size(value)),
        tag::TERM => string("TERM"),
        tag::MODES => format!("MODES {length}"),
        tag::DETACH => format!("DETACH {:#x}", u32_at(value, 0)),
        tag::PROGRAM => format!("PROGRAM {}", u32_at(value, 0)),
        tag::PATH => string("PATH"),
        tag::NAME => string("NAME"),
        tag::FLAGS => flags(u32_at(value, 0)),
        tag::EXCLUDE => string("EXCLUDE"),
        tag::VALUE => format!("VALUE {}", u64_at(value, 0)),
        tag::VERB => string("VERB"),
        tag::JOB => job(value),
        tag::HOST => string("HOST"),
        tag::PORT => format!("PORT {}", u32_at(value, 0)),
        tag::CID => format!("CID {}", u32_at(value, 0)),
        tag::LISTENER => format!("LISTENER {}", u32_at(value, 0)),
        other => format!("field {other:#04x}, {length} bytes"),
    }
}

fn string(value: &[u8], length: usize) -> String {
    if length > value.len() {
        return format!("\"{}\"… {length} bytes", escape(value));
    }
    format!("\"{}\"", escape(value.strip_suffix(b"\0").unwrap_or(value)))
}

/// The name before the first `=`, or nothing where none has come: what there is may be the value.
fn variable(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|&byte| byte == b'=');
    end.and_then(|end| value.get(..end)).unwrap_or_default()
}

fn flags(bits: u32) -> String {
    let names = [
        (flag::SYNC, "SYNC"),
        (flag::DIRECTORY, "DIRECTORY"),
        (flag::FORCE, "FORCE"),
        (flag::TREE, "TREE"),
        (flag::PRESERVE, "PRESERVE"),
        (flag::META, "META"),
        (flag::DIGEST, "DIGEST"),
        (flag::LIST, "LIST"),
        (flag::RESUME, "RESUME"),
        (flag::IN_PLACE, "IN_PLACE"),
        (flag::MEMORY, "MEMORY"),
        (flag::FOLLOW, "FOLLOW"),
        (flag::SHALLOW, "SHALLOW"),
        (flag::NO_FOLLOW, "NO_FOLLOW"),
        (flag::PARTIAL, "PARTIAL"),
        (flag::KEEP_TIME, "KEEP_TIME"),
        (flag::PRIVATE, "PRIVATE"),
    ];
    let set = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| format!(" {name}"));
    format!("FLAGS {bits:#x}{}", set.collect::<String>())
}

fn job(value: &[u8]) -> String {
    let request = value.first_chunk::<JOB_REQUEST_LEN>().and_then(JobRequest::parse);
    request.map_or_else(
        || format!("JOB {}", u32_at(value, 0)),
        |JobRequest { job, verb, flags, signal }| {
            format!("JOB {job} {} flags={flags:#x} signal={signal}", name(verb))
        },
    )
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
