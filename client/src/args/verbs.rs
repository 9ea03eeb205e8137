//! Owns the command line of `fs` and `sys`: `fs VERB TARGET …`, where each verb has options of its own. Pure.
//!
//! Behind the verb stand its own options, those that go for every way of reaching an agent and have no letter that a verb
//! uses, the target, and what the verb is about, in any order of options and words. The port and the user of other options stand
//! before `fs`, or in the target.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use lexopt::Arg;

use super::{ArgsError, Words, fail, is_signal, shown};
use crate::invocation::{Action, Asked, FsVerb, Invocation, Power, SystemVerb};
use crate::suggest::nearest;
use crate::system::log::Since;
use crate::system::mount::Mount;

/// A verb as it is written.
struct Form {
    name: &'static str,
    /// What stands behind the target.
    usage: &'static str,
    /// Its options: letter, word, and whether it takes a value.
    options: &'static [(Option<char>, &'static str, bool)],
    /// How many words it takes.
    least: usize,
    most: usize,
}

const MANY: usize = usize::MAX;
const FORCE: (Option<char>, &str, bool) = (None, "force", false);

const fn form(
    name: &'static str,
    usage: &'static str,
    options: &'static [(Option<char>, &'static str, bool)],
    least: usize,
    most: usize,
) -> Form {
    Form { name, usage, options, least, most }
}

const FS: [Form; 9] = [
    form(
        "ls",
        "[-l] [-d] [PATH...]",
        &[(Some('l'), "long", false), (Some('d'), "directory", false), (Some('a'), "all", false)],
        0,
        MANY,
    ),
    form("cat", "PATH...", &[], 1, MANY),
    form("stat", "PATH...", &[], 1, MANY),
    form("mkdir", "[-p] PATH...", &[(Some('p'), "parents", false)], 1, MANY),
    form("rm", "[-r] PATH...", &[(Some('r'), "recursive", false)], 1, MANY),
    form("mv", "FROM TO", &[], 2, 2),
    form("ln", "-s TEXT PATH", &[(Some('s'), "symbolic", false)], 2, 2),
    form("chmod", "MODE PATH...", &[], 2, MANY),
    form("df", "[PATH...]", &[], 0, MANY),
];

const SYSTEM: [Form; 14] = [
    form("ps", "", &[], 0, 0),
    form("kill", "[-SIGNAL] PID...", &[], 1, MANY),
    form("dmesg", "[-f] [--since TIME]", &[(Some('f'), "follow", false), (None, "since", true)], 0, 0),
    form(
        "mount",
        "[-t TYPE] [-o OPTIONS] SOURCE DIR",
        &[(Some('t'), "types", true), (Some('o'), "options", true)],
        0,
        2,
    ),
    form("umount", "[-l] [-f] DIR...", &[(Some('l'), "lazy", false), (Some('f'), "force", false)], 1, MANY),
    form("modules", "", &[], 0, 0),
    form("load", "PATH [PARAMETER=VALUE]...", &[], 1, MANY),
    form("unload", "NAME", &[], 1, 1),
    form("env", "", &[], 0, 0),
    form("sysctl", "NAME[=VALUE]...", &[], 1, MANY),
    form("date", "[--sync]", &[(None, "sync", false)], 0, 0),
    form("sync", "", &[], 0, 0),
    form("poweroff", "[--force]", &[FORCE], 0, 0),
    form("reboot", "[--force]", &[FORCE], 0, 0),
];

/// What stood behind `fs` or `sys`.
struct Said {
    group: &'static str,
    form: &'static Form,
    words: Words,
    /// The verb's own options, by their words, with their values.
    own: Vec<(&'static str, OsString)>,
    /// What stands behind the target.
    operands: Vec<OsString>,
}

/// Reads what stands behind `fs`.
pub(super) fn fs(words: Words) -> Result<Invocation, ArgsError> {
    let Some(mut said) = Said::read("fs", &FS, words)? else { return Ok(Invocation::Help) };
    let mut paths = std::mem::take(&mut said.operands);
    let verb = match said.form.name {
        "ls" => FsVerb::List { paths, is_long: said.has("long"), is_itself: said.has("directory") },
        "cat" => FsVerb::Print { paths },
        "stat" => FsVerb::Describe { paths },
        "mkdir" => FsVerb::MakeDirectories { paths, with_parents: said.has("parents") },
        "rm" => FsVerb::Remove { paths, is_tree: said.has("recursive") },
        "chmod" => {
            let word = paths.remove(0);
            let digits = word.to_str().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
            let mode = digits.and_then(|word| u32::from_str_radix(word, 8).ok());
            let Some(mode) = mode.filter(|&mode| mode <= 0o7777) else {
                return fail(format!("`{}` is no mode: write it in octal, such as 644", shown(&word)));
            };
            FsVerb::SetMode { mode, paths }
        }
        "df" => FsVerb::Space { paths: if paths.is_empty() { vec!["/".into()] } else { paths } },
        name => {
            let second = paths.pop().unwrap_or_default();
            let first = paths.pop().unwrap_or_default();
            if name == "mv" {
                FsVerb::Rename { from: first, to: second }
            } else if said.has("symbolic") {
                FsVerb::Link { target: first, path: second }
            } else {
                return fail(format!("ln makes symbolic links only; write {}", said.usage()));
            }
        }
    };
    said.asked(verb).map(Invocation::Fs)
}

/// Reads what stands behind `sys`.
pub(super) fn system(words: Words) -> Result<Invocation, ArgsError> {
    let Some(mut said) = Said::read("sys", &SYSTEM, words)? else { return Ok(Invocation::Help) };
    let mut operands = std::mem::take(&mut said.operands);
    let verb = match said.form.name {
        "kill" => {
            const SIGTERM: u32 = 15;
            let process = |word: &OsString| {
                let number = word.to_str().and_then(|word| word.parse().ok()).filter(|&number| number > 0);
                number.ok_or_else(|| {
                    ArgsError(format!("`{}` is no process: a process is a number", shown(word)))
                })
            };
            let processes = operands.iter().map(process).collect::<Result<_, _>>()?;
            SystemVerb::Kill { signal: said.words.signal.unwrap_or(SIGTERM), processes }
        }
        "dmesg" => {
            let since = said.value("since").map(|word| {
                word.to_str().and_then(Since::parse).ok_or_else(|| {
                    let form = "30s, 5m, 2h or 2026-01-31T12:00:00Z";
                    ArgsError(format!("cannot use --since `{}`: give a time such as {form}", shown(word)))
                })
            });
            SystemVerb::Log { follows: said.has("follow"), since: since.transpose()? }
        }
        "ps" => SystemVerb::Processes,
        "modules" => SystemVerb::Modules,
        "sysctl" => SystemVerb::Settings { settings: operands.iter().map(setting).collect() },
        "mount" if operands.is_empty() => SystemVerb::Mounts,
        "mount" if operands.len() < 2 => {
            return fail(format!("something is missing behind the target; write {}", said.usage()));
        }
        "mount" => {
            let lists = said.own.iter().filter(|(name, _)| *name == "options");
            let mount = Mount::parse(
                said.value("types").map(OsStr::to_owned),
                lists.map(|(_, list)| list.as_os_str()),
            );
            if mount.lacks_kind() {
                return fail("mount needs the type of the file system, -t TYPE, or -o bind or remount");
            }
            let target = operands.pop().unwrap_or_default();
            SystemVerb::Mount { source: operands.pop().unwrap_or_default(), target, mount }
        }
        "umount" => {
            SystemVerb::Unmount { targets: operands, is_lazy: said.has("lazy"), is_forced: said.has("force") }
        }
        "load" => SystemVerb::Load { path: operands.remove(0), parameters: operands },
        "unload" => SystemVerb::Unload { name: operands.remove(0) },
        "env" => SystemVerb::Environment,
        "date" => SystemVerb::Date { is_set: said.has("sync") },
        "sync" => SystemVerb::Sync,
        name => {
            let action = if name == "poweroff" { Action::PowerOff } else { Action::Reboot };
            let is_forced = said.has("force");
            let Asked { target, settings, is_json, .. } = said.asked(())?;
            return Ok(Invocation::Power(Power { target, action, is_forced, is_json, settings }));
        }
    };
    said.asked(verb).map(Invocation::System)
}

impl Said {
    /// Sorts the words; `None` where help is wanted.
    fn read(
        group: &'static str,
        forms: &'static [Form],
        mut words: Words,
    ) -> Result<Option<Self>, ArgsError> {
        let command = std::mem::take(&mut words.command);
        let Some((verb, rest)) = command.split_first() else {
            return fail(format!("{group} needs a verb: {}; write {group} VERB TARGET", names(forms)));
        };
        if verb == "-h" || verb == "--help" {
            return Ok(None);
        }
        let Some(form) = forms.iter().find(|form| verb == form.name) else {
            let near = verb.to_str().and_then(|verb| nearest(verb, forms.iter().map(|form| form.name)));
            let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            return fail(format!(
                "{group} knows no verb `{}`{hint}; its verbs are {}",
                shown(verb),
                names(forms)
            ));
        };
        let mut said = Self { group, form, words, own: Vec::new(), operands: Vec::new() };
        said.read_rest(rest)?;
        if said.words.options.is_help {
            return Ok(None);
        }
        let allowed =
            ["-p", "-l", "-q", "-v", "--timeout", "--reconnect", "--dead-after", "--listen", "--json"];
        said.words.options.refuse_except(group, &allowed)?;
        if said.words.options.listen.is_none() {
            if said.operands.is_empty() {
                return fail(format!("no target is named; write {}", said.usage()));
            }
            said.words.operands = vec![said.operands.remove(0)];
        }
        if said.operands.len() < form.least {
            return fail(format!("something is missing behind the target; write {}", said.usage()));
        }
        if let Some(word) = said.operands.get(form.most) {
            return fail(format!("`{}` is one word too many; write {}", shown(word), said.usage()));
        }
        if let Some(word) = said.operands.iter().find(|word| word.is_empty()) {
            return fail(format!("`{}` is empty; write {}", shown(word), said.usage()));
        }
        Ok(Some(said))
    }

    fn read_rest(&mut self, rest: &[OsString]) -> Result<(), ArgsError> {
        let mut parser = lexopt::Parser::from_args(rest);
        parser.set_short_equals(false);
        loop {
            if self.form.name == "kill"
                && let Some(mut raw) = parser.try_raw_args()
                && let Some(word) = raw.peek().filter(|word| is_signal(word))
            {
                self.words.read_signal(word)?;
                raw.next();
                continue;
            }
            let argument = parser.next().map_err(|error| super::complaint(&error))?;
            let own = match &argument {
                None => return Ok(()),
                Some(Arg::Value(word)) => {
                    self.operands.push(word.clone());
                    continue;
                }
                Some(Arg::Short(letter)) => self.form.options.iter().find(|option| option.0 == Some(*letter)),
                Some(Arg::Long(word)) => self.form.options.iter().find(|option| option.1 == *word),
            };
            if let Some(&(_, name, takes)) = own {
                let value = if takes {
                    parser.value().map_err(|error| super::complaint(&error))?
                } else {
                    OsString::new()
                };
                self.own.push((name, value));
                continue;
            }
            let common = match argument {
                Some(Arg::Short('q')) => "-q",
                Some(Arg::Short('v')) => "-v",
                Some(Arg::Short('h') | Arg::Long("help")) => "-h",
                Some(Arg::Long("json")) => "--json",
                Some(Arg::Long("timeout")) => "--timeout",
                Some(Arg::Long("reconnect")) => "--reconnect",
                Some(Arg::Long("dead-after")) => "--dead-after",
                Some(Arg::Long("listen")) => "--listen",
                Some(Arg::Long("key")) => "--key",
                Some(Arg::Long("expect-boot-id")) => "--expect-boot-id",
                Some(Arg::Long("expect-machine-id")) => "--expect-machine-id",
                Some(Arg::Short(letter)) => return fail(self.unknown(&format!("-{letter}"))),
                Some(Arg::Long(word)) => return fail(self.unknown(&format!("--{word}"))),
                _ => continue,
            };
            self.words.options.set(common, &mut parser)?;
        }
    }

    fn unknown(&self, option: &str) -> String {
        format!("unknown option `{}`; write {}", shown(OsStr::new(option)), self.usage())
    }

    fn usage(&self) -> String {
        let text = format!("vsock-shell {} {} TARGET {}", self.group, self.form.name, self.form.usage);
        text.trim_end().to_owned()
    }

    fn has(&self, option: &str) -> bool {
        self.value(option).is_some()
    }

    /// The value of an option of the verb, the last one where it stands more often.
    fn value(&self, option: &str) -> Option<&OsStr> {
        self.own.iter().rfind(|(name, _)| *name == option).map(|(_, value)| value.as_os_str())
    }

    fn asked<V>(self, verb: V) -> Result<Asked<V>, ArgsError> {
        let target = self.words.target()?;
        let options = self.words.options;
        Ok(Asked { target, verb, is_json: options.is_json, settings: options.settings() })
    }
}

/// A name, and its value where there is one.
fn setting(word: &OsString) -> (OsString, Option<OsString>) {
    let bytes = word.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => {
            let part = |bytes| OsStr::from_bytes(bytes).to_owned();
            (part(&bytes[..at]), Some(part(&bytes[at + 1..])))
        }
        None => (word.clone(), None),
    }
}

fn names(forms: &[Form]) -> String {
    forms.iter().map(|form| form.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "verbs_tests.rs"]
mod tests;
