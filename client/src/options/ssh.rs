//! Owns `-o KEYWORD=VALUE`, with which programs that call ssh give it lines of `ssh_config(5)`. Pure.
//!
//! What means something here is taken, and has no effect where one of our own flags says the same. Of two lines with the
//! same keyword the first counts, as in ssh, except where it makes a list. Every other keyword is ignored: ssh has a
//! hundred, and most are about keys, hosts and networks that are not there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use super::{Options, values};
use crate::args::{ArgsError, fail, shown};
use crate::invocation::{ForwardKind, Pty};

/// What a line says.
struct Line<'l> {
    /// As messages have it: `-o Port`.
    name: String,
    /// The words behind the keyword, without their quotes; at least one.
    words: Vec<OsString>,
    /// The same as it was written.
    rest: &'l OsStr,
}

/// A keyword in small letters, whether several lines of it make a list, and what it does.
type Keyword = (&'static str, bool, fn(&mut Options, &Line<'_>) -> Result<(), ArgsError>);

const KEYWORDS: &[Keyword] = &[
    ("port", false, |options, line| default(&mut options.port, values::port(&line.name, line.word()))),
    ("user", false, |options, line| {
        default(&mut options.default_user, values::not_empty(&line.name, line.word().to_owned()))
    }),
    ("requesttty", false, |options, line| {
        let pty = line.choice(&[
            ("yes", Pty::Always),
            ("force", Pty::Always),
            ("no", Pty::Never),
            ("auto", Pty::Auto),
        ]);
        default(&mut options.pty, pty)
    }),
    ("sessiontype", false, |options, line| {
        match line.choice(&[("none", 0), ("subsystem", 1), ("default", 2)])? {
            0 => options.is_idle = true,
            1 => options.is_subsystem = true,
            _ => {}
        }
        Ok(())
    }),
    ("remotecommand", false, |options, line| {
        if line.word() != "none" {
            options.remote_command = Some(line.rest.to_owned());
        }
        Ok(())
    }),
    ("setenv", true, |options, line| {
        for word in &line.words {
            let variable = values::variable(&line.name, word)?;
            if variable.value.is_none() {
                return fail(format!("cannot use {} `{}`: write NAME=VALUE", line.name, shown(word)));
            }
            options.environment.push(variable);
        }
        Ok(())
    }),
    ("sendenv", true, |options, line| {
        options.sent.extend_from_slice(&line.words);
        Ok(())
    }),
    ("connecttimeout", false, |options, line| match line.word().as_bytes() {
        b"none" => Ok(()),
        _ => default(&mut options.timeout, line.time()),
    }),
    ("escapechar", false, |options, line| {
        default(&mut options.escape, values::escape_character(&line.name, line.word()))
    }),
    ("stdinnull", false, |options, line| {
        options.is_stdin_null |= line.is_yes()?;
        Ok(())
    }),
    ("loglevel", false, |options, line| {
        const QUIET: u8 = u8::MAX;
        let level = line.choice(&[
            ("quiet", QUIET),
            ("fatal", QUIET),
            ("error", QUIET),
            ("info", 0),
            ("verbose", 1),
            ("debug", 1),
            ("debug1", 1),
            ("debug2", 2),
            ("debug3", 2),
        ])?;
        match level {
            QUIET => options.is_quiet = true,
            level => options.verbosity = options.verbosity.max(level),
        }
        Ok(())
    }),
    ("localforward", true, |options, line| options.forward(ForwardKind::Local, &line.name, line.joined())),
    ("remoteforward", true, |options, line| options.forward(ForwardKind::Remote, &line.name, line.joined())),
    ("dynamicforward", true, |options, line| {
        options.forward(ForwardKind::Dynamic, &line.name, line.joined())
    }),
    ("clearallforwardings", false, |options, line| {
        options.clears_forwards = line.is_yes()?;
        Ok(())
    }),
    ("forwardagent", false, |options, line| default(&mut options.agent_forwarding, line.is_yes())),
    ("hostname", false, |_, line| {
        fail(format!("{} names whom to reach, which TARGET does here; leave it out", line.name))
    }),
];

/// Takes one line; `name` is how the flag was spelled.
pub(crate) fn take(options: &mut Options, name: &str, value: OsString) -> Result<(), ArgsError> {
    let bytes = value.as_bytes();
    let start = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    let length = bytes[start..].iter().position(|&byte| is_space(byte) || byte == b'=');
    let (keyword, rest) = bytes[start..].split_at(length.unwrap_or(bytes.len() - start));
    // Blanks, with one `=` among them.
    let rest = rest.trim_ascii();
    let rest = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii();
    let words = split(rest).filter(|words| !keyword.is_empty() && !words.is_empty());
    let Some(words) = words else {
        return fail(format!("cannot use {name} `{}`: write KEYWORD=VALUE, as in ssh_config", shown(&value)));
    };
    let small = keyword.to_ascii_lowercase();
    let Some(&(known, is_list, take)) = KEYWORDS.iter().find(|(known, ..)| known.as_bytes() == small) else {
        return Ok(());
    };
    if !is_list && options.keywords.contains(&known) {
        return Ok(());
    }
    options.keywords.push(known);
    let name = format!("{name} {}", shown(OsStr::from_bytes(keyword)));
    take(options, &Line { name, words, rest: OsStr::from_bytes(rest) })
}

impl Line<'_> {
    fn word(&self) -> &OsStr {
        self.words.first().map(OsString::as_os_str).unwrap_or_default()
    }

    /// A forward as `-L` has it, where ssh_config has two words.
    fn joined(&self) -> OsString {
        self.words.join(OsStr::new(":"))
    }

    fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ArgsError> {
        match choices.iter().find(|(word, _)| self.word().eq_ignore_ascii_case(word)) {
            Some((_, chosen)) => Ok(*chosen),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                let list = words.join(", ");
                fail(format!("cannot use {} `{}`: it can be {list}", self.name, shown(self.word())))
            }
        }
    }

    fn is_yes(&self) -> Result<bool, ArgsError> {
        self.choice(&[("yes", true), ("no", false), ("true", true), ("false", false)])
    }

    /// A time of ssh_config: seconds, or numbers with units.
    fn time(&self) -> Result<Duration, ArgsError> {
        match self.word().to_str().and_then(seconds) {
            Some(seconds) => Ok(Duration::from_secs(seconds)),
            None => fail(format!(
                "cannot use {} `{}`: give a time such as 30 or 1m30s",
                self.name,
                shown(self.word())
            )),
        }
    }
}

/// Fills what nobody has said yet.
fn default<T>(slot: &mut Option<T>, value: Result<T, ArgsError>) -> Result<(), ArgsError> {
    slot.get_or_insert(value?);
    Ok(())
}

/// `90`, `1m30s`; at most what 32 bits hold, so that nothing overflows that adds it to a clock.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let mut behind = rest[digits..].chars();
        let unit = match behind.next().map(|letter| letter.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = behind.as_str();
    }
    (!text.is_empty() && total <= u64::from(u32::MAX)).then_some(total)
}

/// The words of a line; quotes of either kind hold one together, and a backslash takes its meaning from a quote, from
/// another backslash and, outside of quotes, from a blank. `None` where a quote has no end.
fn split(line: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if quote.is_none() && is_space(byte) {
            words.extend(word.take().map(OsString::from_vec));
            continue;
        }
        let current = word.get_or_insert_default();
        match byte {
            b'\\' => {
                let is_taken =
                    |next: &u8| matches!(next, b'"' | b'\'' | b'\\') || (quote.is_none() && is_space(*next));
                current.push(bytes.next_if(is_taken).unwrap_or(byte));
            }
            _ if quote == Some(byte) => quote = None,
            b'"' | b'\'' if quote.is_none() => quote = Some(byte),
            _ => current.push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    quote.is_none().then_some(words)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
