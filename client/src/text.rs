//! Owns how text that others chose (a guest's names and messages, a path, an error) is shown on a terminal.
//!
//! A guest that names a file `\x1b]0;…` must not set the window's title, and one that uses a right-to-left override
//! must not turn a name around. The result is for eyes, not for a parser: a backslash stands for itself.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// The same text with everything escaped that a terminal would obey and an eye would not see: control characters
/// (`\n`, `\t`, `\x1b`), bytes that are no UTF-8 (`\xff`), invisible and direction-changing characters (`\u{202e}`).
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(is_hidden)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_character(&mut shown, character);
        }
        for byte in chunk.invalid() {
            push_byte(&mut shown, *byte);
        }
    }
    Cow::Owned(shown)
}

/// One line of ours on standard error.
pub fn say(line: &str) {
    // At once, so that lines of several clients do not mix. Where even this cannot be said nobody listens.
    _ = io::Write::write_all(&mut io::stderr(), format!("vsock-shell: {line}\n").as_bytes());
}

/// What an error says, without the `(os error 2)` that the standard library appends.
pub fn reason(error: &io::Error) -> String {
    let full = error.to_string();
    match full.rfind(" (os error ") {
        Some(end) if full.ends_with(')') => full[..end].to_owned(),
        _ => full,
    }
}

fn push_character(shown: &mut String, character: char) {
    match character {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        control if control.is_ascii_control() => push_byte(shown, control as u8),
        // Writing to a `String` cannot fail.
        hidden if is_hidden(hidden) => _ = write!(shown, "\\u{{{:x}}}", u32::from(hidden)),
        plain => shown.push(plain),
    }
}

fn push_byte(shown: &mut String, byte: u8) {
    _ = write!(shown, "\\x{byte:02x}");
}

/// Controls (C0, DEL, C1), separators that break a line, and the format characters of Unicode's category Cf that
/// change direction or are not seen at all.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0x00ad | 0x061c
                | 0x180e
                | 0x200b..=0x200f
                | 0x2028..=0x202e
                | 0x2060..=0x206f
                | 0xfeff
                | 0xfff9..=0xfffb
                | 0xe0000..=0xe007f
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        for text in ["", "plain", "Grüße, 世界 🙂", r"C:\dir", "a b"] {
            assert!(matches!(escape(text.as_bytes()), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn controls_are_escaped() {
        assert_eq!(escape(b"a\x1b]0;x\x07\n\r\t\x7f"), r"a\x1b]0;x\x07\n\r\t\x7f");
        assert_eq!(escape("\u{9b}31m".as_bytes()), r"\u{9b}31m");
        assert_eq!(escape(b"\0"), r"\x00");
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped_and_what_follows_is_kept() {
        assert_eq!(escape(b"a\xffb\xc3"), r"a\xffb\xc3");
        // A C1 control as a bare byte is what an 8-bit terminal would obey.
        assert_eq!(escape(b"\x9b31m"), r"\x9b31m");
    }

    #[test]
    fn direction_and_invisible_characters_are_escaped() {
        assert_eq!(escape("exe.\u{202e}gpj".as_bytes()), r"exe.\u{202e}gpj");
        assert_eq!(
            escape("\u{2066}\u{200b}\u{feff}\u{2028}".as_bytes()),
            r"\u{2066}\u{200b}\u{feff}\u{2028}"
        );
    }

    #[test]
    fn nothing_escaped_holds_a_character_that_is_hidden() {
        let every: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(!escape(every.as_bytes()).chars().any(is_hidden));
        let bytes: Vec<u8> = (0..=255).collect();
        assert!(!escape(&bytes).chars().any(is_hidden));
    }

    #[test]
    fn a_reason_has_no_error_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("plain")), "plain");
    }
}
