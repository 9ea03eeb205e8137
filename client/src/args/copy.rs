//! Owns the command line of copies: `cp`, and `-u` and `-d`, which are copies of one file. Pure.

use std::ffi::OsStr;

use super::{ArgsError, Words, fail, shown};
use crate::flags::Use;
use crate::invocation::{Copy, CopyOptions, Invocation};
use crate::operand::{Operand, split_pair};
use crate::options::Options;
use crate::target::{Target, TargetError};

impl Words<'_> {
    pub(super) fn into_transfer(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Transfer)?;
        let target = self.target()?;
        if let Some(word) = self.command.first() {
            return fail(format!(
                "`{}` is one word too many: -u and -d move one file and run no command",
                shown(word)
            ));
        }
        let settings = self.options.settings();
        let pair = |option: &str, form: &str, word: &OsStr| {
            split_pair(word).map_err(|error| {
                ArgsError(format!("cannot use {option} `{}`: {error}; write {form}", shown(word)))
            })
        };
        let remote = |path| Operand::Remote { target, path };
        let (source, destination) = match (&self.options.upload, &self.options.download) {
            (Some(_), Some(_)) => {
                return fail("-u and -d exclude each other; run them one after the other, or use cp");
            }
            (Some(word), _) => {
                let (here, there) = pair("-u", "LOCAL:REMOTE", word)?;
                (Operand::local(here), remote(there))
            }
            (None, word) => {
                let (there, here) = pair("-d", "REMOTE:LOCAL", word.as_deref().unwrap_or_default())?;
                (remote(there), Operand::local(here))
            }
        };
        let options = CopyOptions { is_synced: self.options.copy.is_synced, ..CopyOptions::default() };
        let sources = vec![source];
        Ok(Invocation::Copy(Copy { sources, destination, options, is_json: false, settings }))
    }

    pub(super) fn into_copy(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Copy)?;
        let mut operands = Vec::with_capacity(self.operands.len());
        for word in &self.operands {
            let operand = Operand::parse_with(word, |before| {
                let advice = format!("; a local name with a colon is ./{}", shown(word));
                if Target::is_scheme_alone(before) {
                    return fail(format!(
                        "cannot use target `{}`: {}{advice}",
                        shown(before),
                        TargetError::SchemeAlone
                    ));
                }
                self.resolve(before).map_err(|unresolved| unresolved.complaint(before, &advice))
            });
            operands.push(operand?);
        }
        let (Some(destination), false) = (operands.pop(), operands.is_empty()) else {
            return fail("cp needs a source and a destination; write cp SRC... DST");
        };
        let is_remote = |operand: &Operand| matches!(operand, Operand::Remote { .. });
        if !is_remote(&destination) && !operands.iter().all(is_remote) {
            return fail(
                "cp copies from or to a guest, and one of these sources and the destination are both local; write TARGET:PATH",
            );
        }
        if operands.iter().filter(|operand| **operand == Operand::Stream).count() > 1 {
            return fail("`-` stands twice among the sources, and there is one standard input; name it once");
        }
        let settings = self.options.settings();
        let Options { copy: options, is_json, .. } = self.options;
        let compares = [
            (options.is_resumed, "--resume"),
            (options.is_checked, "--checksum"),
            (options.deletes, "--delete"),
        ];
        if let Some((_, option)) = compares.iter().find(|(is_given, _)| *is_given)
            && is_remote(&destination)
            && operands.iter().any(is_remote)
        {
            return fail(format!(
                "{option} compares this side with a guest, and not two guests; copy in two steps, or leave it out"
            ));
        }
        if options.deletes && !options.is_recursive {
            return fail("--delete removes what a directory has too much; write -r beside it");
        }
        if options.is_in_place && (!is_remote(&destination) || options.is_recursive || options.is_resumed) {
            return fail(
                "--in-place writes one file into what is there in a guest; it goes with a guest as the destination, and neither with -r nor with --resume",
            );
        }
        if is_json && destination == Operand::Stream {
            return fail(
                "--json prints a summary where `-` prints the content; name a file, or leave it out",
            );
        }
        Ok(Invocation::Copy(Copy { sources: operands, destination, options, is_json, settings }))
    }
}
