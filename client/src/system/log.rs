//! Owns the records of a guest's kernel log, as /dev/kmsg gives them, and how they are shown: `dmesg`. Pure.
//!
//! A record is a line `prefix[,…];text` whose prefix is priority, sequence number, microseconds since the start, and flags;
//! lines behind it that begin with a blank are its dictionary (the kernel's `Documentation/ABI/testing/dev-kmsg`). The text is
//! the guest's: what its kernel escaped is taken back, and escaped again for the terminal.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::text::escape;

/// The longest line that is kept; the kernel's own have at most 8 KiB.
const LINE_MAX: usize = 64 * 1024;

/// The names of the levels, syslog(2).
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
/// The names of the facilities, syslog(3).
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How urgent, 0 the most.
    pub level: u8,
    /// Who wrote it; 0 is the kernel.
    pub facility: u32,
    /// Its number since the start.
    pub sequence: u64,
    /// Since the start.
    pub time: Duration,
    /// What it says; hostile bytes.
    pub text: Vec<u8>,
    /// What else is said of it: names and values, hostile bytes.
    pub dictionary: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Makes records of bytes as they come.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    record: Option<Record>,
}

impl Reader {
    /// Takes bytes, and gives the records that are complete: a record is when the next one begins, or with `is_at_end` of its
    /// line.
    pub fn take(&mut self, bytes: &[u8], is_at_end: bool) -> Vec<Record> {
        let mut records = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_MAX.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.take_line(line.strip_suffix(b"\n").unwrap_or(&line), &mut records);
            }
        }
        // The kernel gives whole records: what is between two reads is complete.
        if is_at_end && self.line.is_empty() {
            records.extend(self.record.take());
        }
        records
    }

    fn take_line(&mut self, line: &[u8], records: &mut Vec<Record>) {
        if let Some(entry) = line.strip_prefix(b" ") {
            let mut parts = entry.splitn(2, |&byte| byte == b'=');
            if let (Some(record), Some(name), Some(value)) = (&mut self.record, parts.next(), parts.next()) {
                record.dictionary.push((unescape(name), unescape(value)));
            }
            return;
        }
        records.extend(self.record.take());
        self.record = Record::parse(line);
    }
}

impl Record {
    /// Reads a record's line; `None` for what is none.
    fn parse(line: &[u8]) -> Option<Self> {
        let at = line.iter().position(|&byte| byte == b';')?;
        let mut fields = std::str::from_utf8(&line[..at]).ok()?.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        let sequence = fields.next()?.parse().ok()?;
        let time = Duration::from_micros(fields.next()?.parse().ok()?);
        Some(Self {
            level: (priority & 7) as u8,
            facility: priority >> 3,
            sequence,
            time,
            text: unescape(&line[at + 1..]),
            dictionary: Vec::new(),
        })
    }

    /// The name of its level.
    #[must_use]
    pub fn level_name(&self) -> &'static str {
        LEVELS[usize::from(self.level & 7)]
    }

    fn facility_name(&self) -> String {
        let name = FACILITIES.get(self.facility as usize).map(|name| (*name).to_owned());
        name.unwrap_or_else(|| match self.facility {
            16..=23 => format!("local{}", self.facility - 16),
            other => other.to_string(),
        })
    }

    /// When it was written, in a guest that started at `started`.
    #[must_use]
    pub fn written(&self, started: Timestamp) -> Option<Timestamp> {
        started.checked_add(self.time).ok()
    }

    /// A line for people, as `dmesg -T --decode` has it, and milliseconds.
    #[must_use]
    pub fn to_text(&self, started: Timestamp, zone: &TimeZone) -> String {
        let time = match self.written(started) {
            Some(time) => {
                time.to_zoned_datetime(zone.clone()).strftime("%a %b %e %H:%M:%S%.3f %Y").to_string()
            }
            None => format!("{:.6}", self.time.as_secs_f64()),
        };
        let text = escape(&self.text);
        format!("{:<6}:{:<6}: [{time}] {text}\n", self.facility_name(), self.level_name())
    }

    /// One object.
    #[must_use]
    pub fn to_value(&self, started: Timestamp) -> Value {
        let text = |bytes: &[u8]| escape(bytes).into_owned();
        let pair = |(name, value): &(Vec<u8>, Vec<u8>)| (text(name), Value::from(text(value)));
        json!({
            "level": self.level_name(),
            "facility": self.facility_name(),
            "sequence": self.sequence,
            "since_start_us": u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX),
            "time": self.written(started).map(|time| time.to_string()),
            "text": text(&self.text),
            "dictionary": self.dictionary.iter().map(pair).collect::<Map<_, _>>(),
        })
    }
}

/// The bytes of a text in which the kernel wrote some as `\x1b`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.strip_prefix(b"x").and_then(<[u8]>::split_first_chunk::<2>);
        let escaped = digits.filter(|_| byte == b'\\').and_then(|(digits, tail)| {
            let value = |digit: u8| char::from(digit).to_digit(16);
            Some(((value(digits[0])? << 4 | value(digits[1])?) as u8, tail))
        });
        let (byte, tail) = escaped.unwrap_or((byte, tail));
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

/// From when on records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// This moment.
    At(Timestamp),
}

impl Since {
    /// Reads `30s`, `5m`, `2h`, `1d`, or a time such as `2026-01-31T12:00:00Z`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let unit = match word.as_bytes().last()? {
            b's' => Some(1),
            b'm' => Some(60),
            b'h' => Some(3600),
            b'd' => Some(86_400),
            _ => None,
        };
        match unit {
            Some(unit) => {
                let digits = &word[..word.len() - 1];
                let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                let count: u64 = digits.parse().ok().filter(|_| is_plain)?;
                count.checked_mul(unit).map(|seconds| Self::Ago(Duration::from_secs(seconds)))
            }
            None => word.parse().ok().map(Self::At),
        }
    }

    /// The moment, where it is `now` in the guest.
    #[must_use]
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(time) => now.checked_sub(time).unwrap_or(Timestamp::MIN),
            Self::At(moment) => moment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"6,339,5140900,-;NET: Registered \\x1b[31m\\x5c protocol\n\
        30,340,5690716,-;udevd: starting\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n\
        not a record\n3,341,9000000,c,caller=T1;\xff\n";

    fn all(pieces: &[&[u8]]) -> Vec<Record> {
        let mut reader = Reader::default();
        let mut records: Vec<_> = pieces.iter().flat_map(|piece| reader.take(piece, false)).collect();
        records.extend(reader.take(b"", true));
        records
    }

    #[test]
    fn records_are_read_whole_byte_by_byte_and_cut_anywhere() {
        let whole = all(&[LOG]);
        assert_eq!(whole.len(), 3);
        assert_eq!(all(&LOG.chunks(1).collect::<Vec<_>>()), whole);
        for cut in 0..LOG.len() {
            let (first, rest) = LOG.split_at(cut);
            assert_eq!(all(&[first, rest]), whole, "cut at {cut}");
            let _ = all(&[first]);
        }
    }

    #[test]
    fn a_record_is_a_line_and_an_object() {
        let records = all(&[LOG]);
        let started = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(
            records[0].to_text(started, &TimeZone::UTC),
            "kern  :info  : [Tue Nov 14 22:13:25.140 2023] NET: Registered \\x1b[31m\\ protocol\n"
        );
        assert_eq!(
            records[2].to_text(started, &TimeZone::UTC),
            "kern  :err   : [Tue Nov 14 22:13:29.000 2023] \\xff\n"
        );
        let value = records[1].to_value(started);
        assert_eq!((&value["facility"], &value["level"]), (&"daemon".into(), &"info".into()));
        assert_eq!(value["dictionary"], json!({"SUBSYSTEM": "acpi", "DEVICE": "+acpi:PNP0A03:00"}));
        assert_eq!(value["time"], "2023-11-14T22:13:25.690716Z");
    }

    #[test]
    fn times_beyond_all_calendars_and_endless_lines_are_survived() {
        let mut log = format!("0,0,{},-;far\n", u64::MAX).into_bytes();
        log.extend(vec![b'x'; 3 * LINE_MAX]);
        log.extend_from_slice(b"\n999999,1,1,-;x\n");
        let records = all(&[&log]);
        assert_eq!(records.len(), 2);
        for record in records {
            let _ = (record.to_text(Timestamp::MAX, &TimeZone::UTC), record.to_value(Timestamp::MAX));
        }
    }

    #[test]
    fn since_is_a_while_ago_or_a_moment() {
        let ago = |seconds| Some(Since::Ago(Duration::from_secs(seconds)));
        assert_eq!(
            (Since::parse("30s"), Since::parse("5m"), Since::parse("2h")),
            (ago(30), ago(300), ago(7200))
        );
        let moment = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(Since::parse("2023-11-14T22:13:20Z"), Some(Since::At(moment)));
        assert_eq!(Since::parse("2023-11-14T23:13:20+01:00"), Some(Since::At(moment)));
        for wrong in ["", "s", "5", "-5m", "+5m", "5w", "yesterday", "99999999999999999999d", "é"] {
            assert_eq!(Since::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Since::Ago(Duration::MAX).moment(moment), Timestamp::MIN);
        assert_eq!(Since::Ago(Duration::from_secs(20)).moment(moment).as_second(), 1_699_999_980);
    }
}
