//! Owns what a copy tells: problems as they come, a summary at the end, and how far it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, errno_text};
use crate::progress::Progress;
use crate::text::{self, escape};

/// Problems that are kept for the summary, and bytes of them; a guest may have any number, of any length.
const KEPT_PROBLEMS_MAX: usize = 10_000;
const KEPT_BYTES_MAX: usize = 8 << 20;

/// What is said of what was left out or taken away.
pub(super) mod note {
    pub(in super::super) const SOCKET: &str = "a socket was left out, as nobody would serve it";
    pub(in super::super) const DEVICE: &str = "a device was left out; -p copies devices";
    pub(in super::super) const DEVICE_OF_GUEST: &str =
        "a device was left out; --trust-guest takes devices from a guest";
    pub(in super::super) const SET_ID: &str = "set-id bits were taken away; --trust-guest keeps them";
    pub(in super::super) const ATTRIBUTE: &str =
        "attributes that give rights were left out; --trust-guest keeps them";
}

/// What went wrong with one entry.
struct Problem {
    path: String,
    text: String,
}

/// What a copy has done so far.
pub struct Report {
    progress: Progress,
    is_quiet: bool,
    /// What paths are shown behind: the operand that is being copied.
    operand: String,
    begun: Instant,
    files: u64,
    directories: u64,
    others: u64,
    bytes: u64,
    unchanged: u64,
    removed: u64,
    problems: Vec<Problem>,
    kept_bytes: usize,
    problem_count: u64,
    /// Of those, the ones that operands before this one had.
    earlier_problems: u64,
    /// What was left out or taken away, and how often.
    notes: BTreeMap<&'static str, u64>,
}

impl Report {
    /// A report of nothing yet. When it `is_quiet`, only problems are told.
    #[must_use]
    pub fn new(is_quiet: bool) -> Self {
        Self {
            progress: Progress::hidden(),
            is_quiet,
            operand: String::new(),
            begun: Instant::now(),
            files: 0,
            directories: 0,
            others: 0,
            bytes: 0,
            unchanged: 0,
            removed: 0,
            problems: Vec::new(),
            kept_bytes: 0,
            problem_count: 0,
            earlier_problems: 0,
            notes: BTreeMap::new(),
        }
    }

    /// Begins with another operand, with a line of progress of its own.
    pub(crate) fn begin(&mut self, operand: &OsStr, size: Option<u64>, is_drawn: bool) {
        self.earlier_problems = self.problem_count;
        self.operand = escape(operand.as_bytes()).into_owned();
        let name = operand.as_bytes().rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
        let name = name.map_or(operand, OsStr::from_bytes);
        self.progress = Progress::new(name, size, self.is_quiet || !is_drawn);
    }

    /// The line of progress.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The operand was copied.
    pub(crate) fn end(&mut self) {
        std::mem::replace(&mut self.progress, Progress::hidden()).finish();
    }

    /// Nothing more is shown of it.
    pub(crate) fn clear(&mut self) {
        std::mem::replace(&mut self.progress, Progress::hidden()).clear();
    }

    /// So many bytes more were moved.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.progress.advance(bytes);
    }

    /// A regular file is complete.
    pub(crate) fn file(&mut self) {
        self.files += 1;
        self.progress.count(self.files);
    }

    /// A directory is complete.
    pub(crate) fn directory(&mut self) {
        self.directories += 1;
    }

    /// A link, a FIFO or a device was made.
    pub(crate) fn other(&mut self) {
        self.others += 1;
    }

    /// A file of so many bytes was the same already: they need not come.
    pub(crate) fn unchanged(&mut self, size: u64) {
        self.unchanged += 1;
        self.progress.advance(size);
    }

    /// Something was removed that the source has not.
    pub(crate) fn removed(&mut self) {
        self.removed += 1;
    }

    /// Something of this kind was left out or taken away. `what` is a sentence behind a number.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.notes.entry(what).or_default() += 1;
    }

    /// A line of ours.
    pub(crate) fn say(&self, line: &str) {
        self.progress.say(line);
    }

    /// What could not be copied, by its path inside the operand; told at once.
    pub(crate) fn problem(&mut self, path: &[u8], text: String) {
        self.problem_count += 1;
        let path = match (path, self.operand.as_str()) {
            ([], operand) => operand.to_owned(),
            (path, operand) => format!("{}/{}", operand.trim_end_matches('/'), escape(path)),
        };
        self.progress.say(&format!("{path}: {text}"));
        self.keep(Problem { path, text });
    }

    fn keep(&mut self, problem: Problem) {
        let bytes = self.kept_bytes + problem.path.len() + problem.text.len();
        if self.problems.len() < KEPT_PROBLEMS_MAX && bytes <= KEPT_BYTES_MAX {
            self.kept_bytes = bytes;
            self.problems.push(problem);
        }
    }

    /// So many problems besides, of which nothing was kept.
    pub(crate) fn more_problems(&mut self, count: u64) {
        if count > 0 {
            self.problem_count += count;
            self.progress.say(&format!("{}: {count} more problems", self.operand));
        }
    }

    /// The same, of an error.
    pub(crate) fn failed(&mut self, path: &[u8], what: &str, errno: rustix::io::Errno) {
        self.problem(path, format!("cannot {what}: {}", errno_text(errno.raw_os_error().unsigned_abs())));
    }

    /// What the guest says of an entry: errno 0 where the text is all. Hostile bytes.
    pub(crate) fn told(&mut self, errno: u32, path: &[u8], text: &[u8]) {
        /// What the agent leaves out is no failure.
        const LEFT_OUT: [(&[u8], &str); 2] =
            [(b"a socket is left out", note::SOCKET), (b"a device is left out", note::DEVICE)];
        match LEFT_OUT.iter().find(|(said, _)| *said == text) {
            Some((_, note)) if errno == 0 => self.note(note),
            _ if errno == 0 => self.problem(path, escape(text).into_owned()),
            _ => self.problem(path, format!("cannot {}: {}", escape(text), errno_text(errno))),
        }
    }

    /// An operand failed as a whole; whoever calls tells it.
    pub(crate) fn operand_failed(&mut self, operand: &OsStr, error: &Error) {
        self.problem_count += 1;
        let path = escape(operand.as_bytes()).into_owned();
        self.keep(Problem { path, text: error.to_string() });
    }

    /// Nothing went wrong.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.problem_count == 0
    }

    /// Nothing went wrong with the operand that is being copied.
    pub(crate) fn is_operand_fine(&self) -> bool {
        self.problem_count == self.earlier_problems
    }

    /// Tells, once, what was left out or taken away.
    pub fn tell_notes(&self) {
        if self.is_quiet {
            return;
        }
        for (what, count) in &self.notes {
            let times = if *count == 1 { String::new() } else { format!(" ({count} times)") };
            text::say(&format!("{what}{times}"));
        }
    }

    /// The summary, for programs: one object on one line.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let problem = |problem: &Problem| json!({"path": problem.path, "error": problem.text});
        let notes = |(what, count): (&&str, &u64)| json!({"note": what, "count": count});
        json!({
            "files": self.files,
            "directories": self.directories,
            "others": self.others,
            "bytes": self.bytes,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "problem_count": self.problem_count,
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "notes": self.notes.iter().map(notes).collect::<Vec<_>>(),
            "duration_ms": u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}
