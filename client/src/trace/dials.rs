//! Owns what is told of dialling: each failed try and its reason, but the same reason once, with how often it came.

use std::time::{Duration, Instant as Clock};

use super::voice::{Voice, took};
use crate::dial::{DialError, Stream, dial, dial_watched};
use crate::target::Address;
use crate::text::{escape, reason};

/// Dials, and tells of it where somebody listens.
///
/// # Errors
/// As [`dial`].
pub(crate) fn dial_told(
    address: &Address,
    timeout: Duration,
    voice: Option<&Voice>,
) -> Result<Stream, DialError> {
    let Some(voice) = voice else { return dial(address, timeout) };
    let start = Clock::now();
    voice.say(match address {
        Address::Listen(_) => "waiting for a call",
        _ => "dialling",
    });
    let mut failures = Failures::default();
    let dialled = dial_watched(address, timeout, &mut |error| {
        let reason = escape(reason(error).as_bytes()).into_owned();
        failures.handle(reason).into_iter().for_each(|line| voice.say(line));
    });
    failures.finish().into_iter().for_each(|line| voice.say(line));
    if dialled.is_ok() {
        voice.say(format_args!("connected after {}", took(start.elapsed())));
    }
    dialled
}

/// The failed tries of one dial.
#[derive(Default)]
struct Failures {
    reason: String,
    repeats: u32,
}

impl Failures {
    /// The lines to say now.
    fn handle(&mut self, reason: String) -> Vec<String> {
        if reason == self.reason {
            self.repeats += 1;
            return Vec::new();
        }
        let mut lines: Vec<String> = self.finish().into_iter().collect();
        lines.push(format!("failed: {reason}"));
        self.reason = reason;
        lines
    }

    fn finish(&mut self) -> Option<String> {
        match std::mem::take(&mut self.repeats) {
            0 => None,
            1 => Some("failed once more for this reason".to_owned()),
            repeats => Some(format!("failed {repeats} times more for this reason")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_when_it_is_another_and_counted_while_it_is_the_same() {
        let mut failures = Failures::default();
        assert_eq!(failures.handle("a".to_owned()), ["failed: a"]);
        assert!(failures.handle("a".to_owned()).is_empty());
        let told = failures.handle("b".to_owned());
        assert_eq!(told, ["failed once more for this reason", "failed: b"]);
        for _ in 0..41 {
            assert!(failures.handle("b".to_owned()).is_empty());
        }
        assert_eq!(failures.finish().unwrap(), "failed 41 times more for this reason");
        assert_eq!(failures.finish(), None);
    }
}
