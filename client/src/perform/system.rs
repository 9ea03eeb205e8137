//! Owns what the verbs of `sys` do.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::print;
use super::tally::{Tally, in_session};
use crate::client::Client;
use crate::error::Error;
use crate::invocation::{Asked, SystemVerb};
use crate::run::Output;
use crate::signals::{Caught, Signals};
use crate::stdio::Sink;
use crate::system::log::{Reader, Record, Since};
use crate::system::{modules, mounts, processes};
use crate::text::escape;

/// Does something with the system of a guest; the status to exit with.
#[must_use]
pub fn system(asked: &Asked<SystemVerb>) -> u8 {
    in_session(asked, |client, verb, tally| perform(client, verb, tally, asked.is_json))
}

fn perform(client: &mut Client, verb: &SystemVerb, mut tally: Tally, is_json: bool) -> Result<u8, Error> {
    match verb {
        SystemVerb::Processes => {
            let all = client.processes()?;
            let text = if is_json { line(&processes::to_value(&all)) } else { processes::table(&all) };
            return print(&text).map(|()| 0);
        }
        SystemVerb::Modules => {
            let all = modules::parse(&client.read_file(OsStr::new("/proc/modules"))?);
            let text = if is_json { line(&modules::to_value(&all)) } else { modules::table(&all) };
            return print(&text).map(|()| 0);
        }
        SystemVerb::Mounts => {
            let all = mounts::parse(&client.mounts()?);
            let text = if is_json { line(&mounts::to_value(&all)) } else { mounts::table(&all) };
            return print(&text).map(|()| 0);
        }
        SystemVerb::Settings { settings: wanted } => return settings(client, wanted, tally, is_json),
        SystemVerb::Kill { signal, processes } => {
            for process in processes {
                let number = OsString::from(process.to_string());
                tally.note(&number, client.kill(*process, *signal))?;
            }
        }
        SystemVerb::Mount { source, target, mount } => {
            tally.note(target, client.mount(source, target, mount))?;
        }
        SystemVerb::Unmount { targets, is_lazy, is_forced } => {
            for target in targets {
                tally.note(target, client.umount(target, *is_lazy, *is_forced))?;
            }
        }
        SystemVerb::Load { path, parameters } => {
            tally.note(path, client.load_module(path, parameters))?;
        }
        SystemVerb::Unload { name } => _ = tally.note(name, client.unload_module(name))?,
        SystemVerb::Sync => _ = tally.note("sync".as_ref(), client.sync())?,
        SystemVerb::Environment => return environment(client, is_json).map(|()| 0),
        SystemVerb::Date { is_set } => return date(client, *is_set, is_json).map(|()| 0),
        SystemVerb::Log { follows, since } => return log(client, *follows, *since, is_json).map(|()| 0),
    }
    tally.finish()
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// Sets settings of the kernel, and shows what they then are.
fn settings(
    client: &mut Client,
    settings: &[(OsString, Option<OsString>)],
    mut tally: Tally,
    is_json: bool,
) -> Result<u8, Error> {
    let mut object = Map::new();
    let mut text = String::new();
    for (name, value) in settings {
        let path = setting_path(name);
        if let Some(value) = value {
            let value = [value.as_encoded_bytes(), b"\n"].concat();
            if tally.note(name, client.write_file(&path, &value))?.is_none() {
                continue;
            }
        }
        let Some(value) = tally.note(name, client.read_file(&path))? else { continue };
        let value = value.strip_suffix(b"\n").unwrap_or(&value);
        let shown = value.split(|&byte| byte == b'\n').map(escape).collect::<Vec<_>>();
        let name = escape(name.as_encoded_bytes());
        for part in &shown {
            text.push_str(&format!("{name} = {part}\n"));
        }
        object.insert(name.into_owned(), shown.join("\n").into());
    }
    print(&if is_json { line(&Value::Object(object)) } else { text })?;
    Ok(tally.status())
}

/// Where a setting is: dots are slashes where the name has no slash, `sysctl(8)`.
fn setting_path(name: &OsStr) -> OsString {
    let bytes = name.as_encoded_bytes();
    let separator = if bytes.contains(&b'/') { b'/' } else { b'.' };
    let path = bytes.iter().map(|&byte| if byte == separator { b'/' } else { byte });
    OsString::from_vec(b"/proc/sys/".iter().copied().chain(path).collect())
}

fn environment(client: &mut Client, is_json: bool) -> Result<(), Error> {
    let strings = client.environment()?;
    let strings: Vec<_> = strings.iter().map(|string| escape(string)).collect();
    if is_json {
        let pair = |string: &str| string.split_once('=').map(|(name, value)| (name.to_owned(), value.into()));
        let object: Map<String, Value> = strings.iter().filter_map(|string| pair(string)).collect();
        return print(&format!("{}\n", Value::Object(object)));
    }
    print(&strings.iter().map(|string| format!("{string}\n")).collect::<String>())
}

fn date(client: &mut Client, is_set: bool, is_json: bool) -> Result<(), Error> {
    let before = if is_set { Some(client.set_time()?) } else { None };
    let now = client.time()?;
    let time = timestamp(now.time);
    if is_json {
        let value = json!({
            "time": time.to_string(),
            "seconds": now.time.as_secs(),
            "nanoseconds": now.time.subsec_nanos(),
            "behind_seconds": now.behind,
            "moved_seconds": before.map(|before| before.behind),
        });
        return print(&format!("{value}\n"));
    }
    let shown = time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f %:z");
    let moved = before.map(|before| format!(" (moved by {:+.3} s)", before.behind)).unwrap_or_default();
    print(&format!("{shown}{moved}\n"))
}

/// A time of the guest's clock; one beyond the calendar is its end.
fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(since_1970).unwrap_or(Timestamp::MAX)
}

/// How records are printed.
struct Printer {
    reader: Reader,
    started: Timestamp,
    zone: TimeZone,
    wanted_from: Option<Timestamp>,
    is_json: bool,
}

impl Printer {
    fn print(&mut self, bytes: &[u8], is_at_end: bool) -> io::Result<()> {
        let records = self.reader.take(bytes, is_at_end);
        let is_wanted = |record: &&Record| match (self.wanted_from, record.written(self.started)) {
            (Some(from), Some(written)) => written >= from,
            _ => true,
        };
        let line = |record: &Record| match self.is_json {
            true => format!("{}\n", record.to_value(self.started)),
            false => record.to_text(self.started, &self.zone),
        };
        let text: String = records.iter().filter(is_wanted).map(line).collect();
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes())?;
        output.flush()
    }
}

fn log(client: &mut Client, follows: bool, since: Option<Since>, is_json: bool) -> Result<(), Error> {
    let now = timestamp(client.time()?.time);
    let started = now.checked_sub(client.uptime()?).unwrap_or(Timestamp::UNIX_EPOCH);
    let printer = Rc::new(RefCell::new(Printer {
        reader: Reader::default(),
        started,
        zone: TimeZone::system(),
        wanted_from: since.map(|since| since.moment(now)),
        is_json,
    }));
    let mut signals = Signals::new(Caught::ENDS);
    let of_channel = Rc::clone(&printer);
    // Who follows wants each record now, and not when the next one comes.
    let take = move |bytes: &[u8]| of_channel.borrow_mut().print(bytes, follows);
    let output = Sink::stdout().map_err(Error::local("use", "standard output"))?;
    client.kernel_log(follows, Output::each_into(output, take), Some(&mut signals))?;
    match printer.borrow_mut().print(b"", true) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::local("write to", "standard output")(error))
        }
        _ => Ok(()),
    }
}
