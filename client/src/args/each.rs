//! Owns the command line of what is about several guests: `each` and `targets`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::{ArgsError, Words, fail, shown};
use crate::flags::Use;
use crate::invocation::{DEFAULT_PARALLEL, Each, Invocation, Known, Targets};
use crate::name;
use crate::target::{Target, TargetError};

impl Words<'_> {
    pub(super) fn into_each(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Each)?;
        if self.command.is_empty() || self.command[0].is_empty() {
            return fail("each needs a command; write each TARGET... -- COMMAND");
        }
        let mut targets = Vec::new();
        for word in &self.operands {
            for target in self.expand(word)? {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        if targets.is_empty() {
            return fail("each needs targets; write each TARGET... -- COMMAND");
        }
        let (flags, parallel) = (self.options.words_for(Use::Run), self.options.parallel);
        let is_json = self.options.is_json;
        let is_job = self.options.is_detached;
        if is_json && is_job {
            return fail("--detach and --json exclude each other: a job has no result yet; see jobs --json");
        }
        let command = match self.command.as_slice() {
            [line] if is_line(line) && self.options.with.is_none() => self.command,
            _ => [vec!["--".into()], self.command].concat(),
        };
        let parallel = parallel.unwrap_or(DEFAULT_PARALLEL);
        Ok(Invocation::Each(Each { targets, flags, command, parallel, is_json }))
    }

    /// The targets that a word means: all whose names match, where it is a pattern. What is no target is an error before
    /// anything is run.
    fn expand(&self, word: &OsStr) -> Result<Vec<OsString>, ArgsError> {
        let (user, name) = Target::split_user(word);
        let is_name = Target::parse(word, 0).err() == Some(TargetError::Name);
        let Some(pattern) = name.to_str().filter(|name| is_name && name::is_pattern(name)) else {
            let resolved = self.resolve(word);
            return resolved
                .map(|_| vec![word.to_owned()])
                .map_err(|unresolved| unresolved.complaint(word, ""));
        };
        let complaint = |reason: String| ArgsError(format!("cannot use target `{}`: {reason}", shown(word)));
        let names = self.names.matching(pattern).map_err(|error| complaint(error.to_string()))?;
        let is_there = |name: &&str| self.names.find(name).is_ok();
        let targets: Vec<OsString> =
            names.into_iter().filter(is_there).map(|name| with_user(user, name)).collect();
        if targets.is_empty() {
            return Err(complaint("no name that is known here matches; see vsock-shell targets".to_owned()));
        }
        Ok(targets)
    }

    pub(super) fn into_targets(self) -> Result<Invocation, ArgsError> {
        const CONFIGURATION: &str = "configuration";
        self.options.refuse_except(Use::Targets)?;
        if let Some(word) = self.operands.first() {
            return fail(format!("`{}` is one word too many: targets takes no more", shown(word)));
        }
        let config = self.names.config().map_err(|error| ArgsError(error.to_string()))?;
        let patterns = config.entries().iter().filter(|entry| entry.is_pattern()).map(|entry| Known {
            name: entry.name.clone(),
            source: CONFIGURATION,
            pid: None,
            written: entry.address.clone(),
            target: Ok(None),
        });
        let names = self.names.all().map_err(|error| ArgsError(error.to_string()))?;
        let known = names.into_iter().map(|name| {
            let guest = self.names.find(name).ok().and_then(|named| named.guest);
            let target = self.resolve(name.as_ref()).map(Some);
            Known {
                name: name.to_owned(),
                source: guest.map_or(CONFIGURATION, |guest| guest.monitor.word()),
                pid: guest.map(|guest| guest.pid),
                written: config.find(name).and_then(|entry| entry.address_of(name)),
                target: target.map_err(|unresolved| unresolved.complaint(name.as_ref(), "").to_string()),
            }
        });
        let known = known.chain(patterns).collect();
        Ok(Invocation::Targets(Targets { known, is_json: self.options.is_json }))
    }
}

fn with_user(user: Option<&OsStr>, name: &str) -> OsString {
    let mut word = OsString::new();
    if let Some(user) = user {
        word.push(user);
        word.push("@");
    }
    word.push(name);
    word
}

/// A single word that can only be meant for a shell: no program has such a name.
fn is_line(word: &OsStr) -> bool {
    let is_shells = |byte: &u8| byte.is_ascii_whitespace() || b"|&;<>()$`\\\"'".contains(byte);
    word.as_bytes().iter().any(is_shells)
}
