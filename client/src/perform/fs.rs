//! Owns what the verbs of `fs` do.

use std::ffi::{OsStr, OsString};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::print;
use super::tally::{Tally, in_session};
use crate::client::Client;
use crate::error::{Error, Failure};
use crate::fs::Listed;
use crate::fs::listing::{self, Entry};
use crate::fs::space::Space;
use crate::invocation::{Asked, FsVerb};
use crate::text::escape;

/// Does something with files of a guest; the status to exit with.
#[must_use]
pub fn fs(asked: &Asked<FsVerb>) -> u8 {
    in_session(asked, |client, verb, tally| perform(client, verb, tally, asked.is_json))
}

fn perform(client: &mut Client, verb: &FsVerb, mut tally: Tally, is_json: bool) -> Result<u8, Error> {
    match verb {
        FsVerb::List { paths, is_long, is_itself } => {
            return list(client, &mut tally, paths, (*is_long, *is_itself), is_json);
        }
        FsVerb::Describe { paths } => {
            let mut entries = Vec::new();
            for path in paths {
                entries.extend(tally.note(path, client.list(path, true))?.unwrap_or_default().entries);
            }
            print(&if is_json {
                let values: Value = entries.iter().map(Entry::to_value).collect();
                format!("{values}\n")
            } else {
                let zone = TimeZone::system();
                entries.iter().map(|entry| entry.describe(&zone)).collect::<Vec<_>>().join("\n")
            })?;
            return Ok(tally.status());
        }
        FsVerb::Print { paths } => {
            let mut files = Vec::new();
            for path in paths {
                if is_json {
                    let content = tally.note(path, client.read_file(path))?;
                    files.extend(content.map(|content| file_value(path, &content)));
                } else {
                    let printed = client.print_file(path).map_err(|error| refused_as_failure(path, error));
                    tally.note(path, printed)?;
                }
            }
            if is_json {
                print(&format!("{}\n", Value::Array(files)))?;
            }
            return Ok(tally.status());
        }
        FsVerb::MakeDirectories { paths, with_parents } => {
            for path in paths {
                let made =
                    if *with_parents { client.make_directories(path) } else { client.make_directory(path) };
                tally.note(path, made)?;
            }
        }
        FsVerb::Remove { paths, is_tree } => {
            for path in paths {
                if !*is_tree {
                    tally.note(path, client.remove(path))?;
                    continue;
                }
                let left = tally.note(path, client.remove_tree(path, None))?.unwrap_or_default();
                tally.note_inside(path, "remove", left);
            }
        }
        FsVerb::Rename { from, to } => _ = tally.note(from, client.rename(from, to))?,
        FsVerb::Link { target, path } => _ = tally.note(path, client.make_link(target, path))?,
        FsVerb::SetMode { mode, paths } => {
            for path in paths {
                tally.note(path, client.set_mode(path, *mode))?;
            }
        }
        FsVerb::Space { paths } => {
            let mut spaces = Vec::new();
            for path in paths {
                spaces.extend(tally.note(path, client.space(path))?);
            }
            let values = || spaces.iter().map(Space::to_value).collect::<Value>();
            if is_json {
                print(&format!("{}\n", values()))?;
            } else if !spaces.is_empty() {
                print(&Space::table(&spaces))?;
            }
            return Ok(tally.status());
        }
    }
    tally.finish()
}

/// Lists directories, each under its name where there are several, behind what is none.
fn list(
    client: &mut Client,
    tally: &mut Tally,
    paths: &[OsString],
    (is_long, is_itself): (bool, bool),
    is_json: bool,
) -> Result<u8, Error> {
    let home = [OsString::from(".")];
    let paths = if paths.is_empty() { &home[..] } else { paths };
    let zone = TimeZone::system();
    let (mut text, mut values) = (String::new(), Vec::new());
    for path in paths {
        let Some(Listed { entries, problems }) = tally.note(path, client.list(path, is_itself))? else {
            continue;
        };
        let problems = tally.note_inside(path, "look at", problems);
        if is_json {
            values.push(json!({
                "path": escape(path.as_encoded_bytes()),
                "entries": listing::to_value(&entries),
                "problems": problems,
            }));
            continue;
        }
        if paths.len() > 1 && !is_itself {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{}:\n", escape(path.as_encoded_bytes())));
        }
        text.push_str(&if is_long { listing::long(&entries, &zone) } else { listing::short(&entries) });
    }
    print(&if is_json { format!("{}\n", Value::Array(values)) } else { text })?;
    Ok(tally.status())
}

/// A file for programs: what is no UTF-8 in base64.
fn file_value(path: &OsStr, content: &[u8]) -> Value {
    let path = escape(path.as_encoded_bytes());
    match std::str::from_utf8(content) {
        Ok(text) => json!({"path": path, "content": text}),
        Err(_) => json!({"path": path, "content_base64": STANDARD.encode(content)}),
    }
}

fn refused_as_failure(path: &OsStr, error: Error) -> Error {
    match error {
        Error::Refused(refusal) if refusal.errno != 0 => {
            Failure { errno: refusal.errno, text: [b"read ", path.as_encoded_bytes()].concat() }.into()
        }
        error => error,
    }
}
