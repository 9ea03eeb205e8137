//! Owns the object that `--json` prints for a command, and the bound on what is kept for it.
//!
//! ```json
//! {"exit": 0, "signal": null, "timed_out": false, "stdout": "…", "stderr": "", "truncated": false, "duration_ms": 12}
//! ```
//!
//! | key | value |
//! |---|---|
//! | `exit` | exit status of the command; `null` when a signal killed it |
//! | `signal` | name of the signal that killed it, such as `"SIGKILL"` (`"SIGRTMIN+3"`; `"SIG99"` where it has no name); `null` otherwise |
//! | `timed_out` | whether `--kill-after` ended it |
//! | `stdout`, `stderr` | what it wrote, as a string; where that is not UTF-8, `stdout_base64` or `stderr_base64` stands instead |
//! | `truncated` | whether more was written to either than [`KEPT_BYTES_MAX`], of which the beginning is kept |
//! | `duration_ms` | milliseconds from the request to the end |
//!
//! The exit status of the client is the same as without `--json`. When there is no result (the guest cannot be
//! reached, the command cannot be started), nothing is printed but a line on standard error.

use std::time::Duration;

use crate::signal_name;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// How many bytes of a command's standard output are kept, and as many of its standard error: 16 MiB.
pub const KEPT_BYTES_MAX: usize = 16 << 20;

/// Beginning of a stream, at most [`KEPT_BYTES_MAX`] of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    bytes: Vec<u8>,
    is_truncated: bool,
}

impl Kept {
    /// Takes more of the stream; what is over the bound is counted as lost.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.is_truncated |= bytes.len() > room;
    }

    /// What was kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether something was not.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exit(u8),
    /// By a signal: its number on Linux.
    Signal(u8),
}

/// The result of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReport {
    /// How it ended.
    pub ended: Ended,
    /// Whether `--kill-after` ended it.
    pub is_timed_out: bool,
    /// What it wrote to standard output.
    pub stdout: Kept,
    /// What it wrote to standard error.
    pub stderr: Kept,
    /// From the request to the end.
    pub duration: Duration,
}

impl CommandReport {
    /// The object as the module describes it.
    pub fn to_value(&self) -> Value {
        let (exit, signal) = match self.ended {
            Ended::Exit(status) => (Value::from(status), Value::Null),
            Ended::Signal(number) => (Value::Null, Value::from(signal_name::of(number))),
        };
        let mut object = Map::new();
        object.insert("exit".to_owned(), exit);
        object.insert("signal".to_owned(), signal);
        object.insert("timed_out".to_owned(), self.is_timed_out.into());
        insert_bytes(&mut object, "stdout", self.stdout.bytes());
        insert_bytes(&mut object, "stderr", self.stderr.bytes());
        let is_truncated = self.stdout.is_truncated() || self.stderr.is_truncated();
        object.insert("truncated".to_owned(), is_truncated.into());
        let milliseconds = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        object.insert("duration_ms".to_owned(), milliseconds.into());
        Value::Object(object)
    }
}

fn insert_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(key.to_owned(), text.into()),
        Err(_) => object.insert(format!("{key}_base64"), STANDARD.encode(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(ended: Ended, stdout: &[u8], stderr: &[u8]) -> CommandReport {
        let mut report = CommandReport {
            ended,
            is_timed_out: false,
            stdout: Kept::default(),
            stderr: Kept::default(),
            duration: Duration::from_micros(12_900),
        };
        report.stdout.push(stdout);
        report.stderr.push(stderr);
        report
    }

    #[test]
    fn an_exit_and_a_signal_exclude_each_other() {
        assert_eq!(
            report(Ended::Exit(3), b"out\n", b"").to_value(),
            json!({"exit": 3, "signal": null, "timed_out": false, "stdout": "out\n", "stderr": "",
                   "truncated": false, "duration_ms": 12})
        );
        let killed = report(Ended::Signal(9), b"", b"").to_value();
        assert_eq!((&killed["exit"], &killed["signal"]), (&Value::Null, &json!("SIGKILL")));
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_under_another_key() {
        let value = report(Ended::Exit(0), b"\xff\x00", "é\0\x1b".as_bytes()).to_value();
        assert_eq!((value.get("stdout"), &value["stdout_base64"]), (None, &json!("/wA=")));
        assert_eq!((&value["stderr"], value.get("stderr_base64")), (&json!("é\0\u{1b}"), None));
    }

    #[test]
    fn a_stream_is_kept_up_to_the_bound_and_the_rest_is_told() {
        let mut kept = Kept::default();
        let piece: Vec<u8> = (0..=250).collect();
        while kept.bytes().len() + piece.len() < KEPT_BYTES_MAX {
            kept.push(&piece);
        }
        kept.push(&vec![7; KEPT_BYTES_MAX - kept.bytes().len()]);
        assert_eq!((kept.bytes().len(), kept.is_truncated()), (KEPT_BYTES_MAX, false));
        kept.push(b"");
        assert!(!kept.is_truncated());
        kept.push(b"x");
        assert_eq!((kept.bytes().len(), kept.is_truncated()), (KEPT_BYTES_MAX, true));
        assert!(kept.bytes().starts_with(&piece));
    }

    #[test]
    fn truncation_of_either_stream_and_a_timeout_are_told() {
        let mut report = report(Ended::Signal(15), b"", b"");
        report.is_timed_out = true;
        report.stderr.is_truncated = true;
        let value = report.to_value();
        assert_eq!((&value["truncated"], &value["timed_out"]), (&json!(true), &json!(true)));
    }
}
