//! Owns the command line of `fs` and `sys`: `fs VERB TARGET …`, where each verb has options of its own. Pure.
//!
//! Behind the verb stand its own options, those that go for every way of reaching an agent and have no letter that a verb
//! uses, the target, and what the verb is about, in any order of options and words. The port and the user of other options stand
//! before `fs`, or in the target.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use lexopt::Arg;

use super::{ArgsError, Words, fail, is_signal, shown};
use crate::flags::{Flag, Form, Verb, all, by_letter, by_word};
use crate::invocation::{Action, Asked, FsVerb, Invocation, Power, SystemVerb};
use crate::options::unknown;
use crate::suggest::nearest;
use crate::system::log::Since;
use crate::system::mount::Mount;

/// What stood behind `fs` or `sys`.
struct Said<'n> {
    group: &'static Verb,
    form: &'static Form,
    words: Words<'n>,
    /// The verb's own options, by their words, with their values.
    own: Vec<(&'static str, OsString)>,
    /// What stands behind the target.
    operands: Vec<OsString>,
}

/// Reads what stands behind `fs`.
pub(super) fn fs(words: Words) -> Result<Invocation, ArgsError> {
    let mut said = match Said::read(words)? {
        Ok(said) => said,
        Err(help) => return Ok(help),
    };
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
    let mut said = match Said::read(words)? {
        Ok(said) => said,
        Err(help) => return Ok(help),
    };
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

impl<'n> Said<'n> {
    /// Sorts the words, over what the configuration says of the target; the inner error is that help is wanted.
    fn read(words: Words<'n>) -> Result<Result<Self, Invocation>, ArgsError> {
        let said = match Self::sort(words)? {
            Ok(said) => said,
            help => return Ok(help),
        };
        let target = said.words.operands.first().map(OsString::as_os_str);
        match said.words.beneath(said.group.of, target.into_iter())? {
            options if options.is_empty() => Ok(Ok(said)),
            options => Self::sort(said.words.again(options)?),
        }
    }

    fn sort(mut words: Words<'n>) -> Result<Result<Self, Invocation>, ArgsError> {
        let Some(group) = words.verb else { return Ok(Err(words.help())) };
        let command = std::mem::take(&mut words.command);
        let Some((verb, rest)) = command.split_first() else {
            let (name, list) = (group.name, names(group.forms));
            return fail(format!("{name} needs a verb: {list}; write {name} VERB TARGET"));
        };
        if verb == "-h" || verb == "--help" {
            words.options.is_full_help = verb == "--help";
            return Ok(Err(words.help()));
        }
        let Some(form) = group.forms.iter().find(|form| verb == form.name) else {
            let near = verb.to_str().and_then(|verb| nearest(verb, group.forms.iter().map(|form| form.name)));
            let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            return fail(format!(
                "{} knows no verb `{}`{hint}; its verbs are {}",
                group.name,
                shown(verb),
                names(group.forms)
            ));
        };
        let mut said = Self { group, form, words, own: Vec::new(), operands: Vec::new() };
        said.read_rest(rest)?;
        if said.words.options.is_asking_for_help() {
            return Ok(Err(said.words.help()));
        }
        said.words.options.refuse_except(group.of)?;
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
        Ok(Ok(said))
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
                Some(Arg::Short(letter)) => self.form.flags.iter().find(|flag| flag.letter == Some(*letter)),
                Some(Arg::Long(word)) => self.form.flags.iter().find(|flag| flag.long == *word),
            };
            if let Some(flag) = own {
                let value = if flag.value.is_some() {
                    parser.value().map_err(|error| super::complaint(&error))?
                } else {
                    OsString::new()
                };
                self.own.push((flag.long, value));
                continue;
            }
            let (spelled, common) = match argument {
                Some(Arg::Short(letter)) => (format!("-{letter}"), by_letter(letter, self.group.of)),
                Some(Arg::Long(word)) => (format!("--{word}"), by_word(word)),
                _ => continue,
            };
            let Some(flag) = common.filter(|flag| self.has_use(flag)) else {
                return fail(self.unknown(&spelled));
            };
            self.words.options.take(flag, spelled, &mut parser)?;
        }
    }

    fn has_use(&self, flag: &Flag) -> bool {
        flag.uses.contains(self.group.of)
    }

    fn unknown(&self, spelled: &str) -> String {
        let common = all().filter(|flag| self.has_use(flag)).filter_map(|flag| flag.long);
        let known = self.form.flags.iter().map(|flag| flag.long).chain(common);
        unknown(spelled, known, &format!("write {}", self.usage()))
    }

    fn usage(&self) -> String {
        let text = format!("vsock-shell {} {} TARGET {}", self.group.name, self.form.name, self.form.words);
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
