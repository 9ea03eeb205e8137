//! Owns the line that shows how far a transfer is, on standard error.
//!
//! Only where standard error is a terminal and `-q` was not given; otherwise every call does nothing and costs next
//! to nothing. The name is shown escaped: it may be a guest's.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::text;

/// Columns that the name may take.
const NAME_COLUMNS: usize = 32;

/// `{msg}` is padded to [`NAME_COLUMNS`].
const KNOWN: &str = "{msg:32} {prefix}{wide_bar} {percent:>3}% {bytes:>10} {bytes_per_sec:>12} {eta:>5}";
const UNKNOWN: &str = "{msg:32} {prefix}{spinner} {bytes:>10} {bytes_per_sec:>12} {elapsed:>5}";

/// The progress of one file. Dropped without [`Progress::finish`], it leaves the line as far as it came.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A line for a file of `size` bytes; `None` when that is not known (a stream).
    pub fn new(name: &OsStr, size: Option<u64>, is_quiet: bool) -> Self {
        if is_quiet || !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        Self::on(ProgressDrawTarget::stderr(), name, size)
    }

    fn on(target: ProgressDrawTarget, name: &OsStr, size: Option<u64>) -> Self {
        let template = if size.is_some() { KNOWN } else { UNKNOWN };
        // A template that does not parse is a mistake in this file; the default style is a fine answer to it.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(size, target).with_style(style).with_message(shorten(name));
        Self { bar }
    }

    /// Nothing is shown.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Nobody sees it: what it would show need not be found out.
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// The same line, for another thread.
    pub fn handle(&self) -> Handle {
        Handle(self.bar.clone())
    }

    /// So many files are complete.
    pub fn count(&self, files: u64) {
        if files > 1 && !self.bar.is_hidden() {
            self.bar.set_prefix(format!("{files} files "));
        }
    }

    /// `bytes` more have been moved. Draws at most 20 times a second.
    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// The size became known, or another one.
    pub fn set_size(&self, size: u64) {
        self.handle().set_size(size);
    }

    /// A line of ours, above it.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| text::say(line));
    }

    /// The file is there: the line stays, complete.
    pub fn finish(self) {
        self.bar.finish();
    }
}

/// Somebody who finds out how much there is.
pub struct Handle(ProgressBar);

impl Handle {
    /// It is so much.
    pub fn set_size(&self, size: u64) {
        if !self.0.is_hidden() {
            self.0.set_length(size);
            self.0.set_style(
                ProgressStyle::with_template(KNOWN).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
        }
    }
}

impl Progress {
    /// The line goes.
    pub fn clear(self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Leaves the line, so that an error that follows begins on one of its own. Does nothing after `finish`.
        self.bar.abandon();
    }
}

/// The name, escaped, its end where it is too long: the end tells more of a path.
fn shorten(name: &OsStr) -> String {
    let shown = text::escape(name.as_bytes());
    let excess = shown.chars().count().saturating_sub(NAME_COLUMNS);
    if excess == 0 {
        return shown.into_owned();
    }
    let tail = shown.chars().skip(excess + 1);
    std::iter::once('…').chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal of one line that remembers what it shows.
    #[derive(Clone, Debug, Default)]
    struct Line(Arc<Mutex<String>>);

    impl Line {
        fn contents(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Line {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn screen() -> (Line, ProgressDrawTarget) {
        let line = Line::default();
        (line.clone(), ProgressDrawTarget::term_like(Box::new(line)))
    }

    #[test]
    fn the_line_shows_name_percentage_bytes_rate_and_time_left() {
        let (term, target) = screen();
        let progress = Progress::on(target, OsStr::new("disk.img"), Some(1 << 20));
        progress.advance(1 << 19);
        progress.bar.force_draw();
        let line = term.contents();
        for part in ["disk.img", "50%", "512.00 KiB", "/s"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
        progress.advance(1 << 19);
        progress.finish();
        assert!(term.contents().contains("100%"), "{}", term.contents());
    }

    #[test]
    fn an_unknown_size_shows_bytes_without_a_percentage_until_it_is_known() {
        let (term, target) = screen();
        let progress = Progress::on(target, OsStr::new("-"), None);
        progress.advance(2048);
        progress.bar.force_draw();
        assert!(
            term.contents().contains("2.00 KiB") && !term.contents().contains('%'),
            "{}",
            term.contents()
        );
        progress.set_size(4096);
        progress.bar.force_draw();
        assert!(term.contents().contains("50%"), "{}", term.contents());
    }

    #[test]
    fn both_templates_are_valid() {
        assert!(ProgressStyle::with_template(KNOWN).is_ok());
        assert!(ProgressStyle::with_template(UNKNOWN).is_ok());
    }

    #[test]
    fn a_name_is_escaped_and_a_long_one_keeps_its_end() {
        assert_eq!(shorten(OsStr::from_bytes(b"a\x1b[31m\xff")), r"a\x1b[31m\xff");
        let long = format!("{}/disk.img", "d".repeat(100));
        let short = shorten(OsStr::new(&long));
        assert_eq!(short.chars().count(), NAME_COLUMNS);
        assert!(short.starts_with('…') && short.ends_with("/disk.img"), "{short}");
    }

    #[test]
    fn quiet_is_hidden() {
        let progress = Progress::new(OsStr::new("x"), Some(1), true);
        assert!(progress.bar.is_hidden());
        progress.advance(1);
        progress.finish();
    }
}
