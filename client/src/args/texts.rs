//! Owns the command line of what the client tells of itself: `completions` and `manual`. Pure.

use super::{ArgsError, Words, fail, shown};
use crate::completions::{SHELLS, Shell};
use crate::flags::Use;
use crate::invocation::Invocation;
use crate::suggest::nearest;

impl Words<'_> {
    pub(super) fn into_completions(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Completions)?;
        match (&self.operands[..], self.is_argv) {
            ([], true) => Ok(Invocation::Complete(self.command)),
            ([word], false) => match word.to_str().and_then(Shell::find) {
                Some(shell) => Ok(Invocation::Script(shell)),
                None => {
                    let near = word.to_str().and_then(|word| nearest(word, SHELLS.iter().copied()));
                    let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
                    fail(format!("there is no script for `{}`{hint}; write bash, zsh or fish", shown(word)))
                }
            },
            _ => fail("completions takes the name of a shell; write completions bash, zsh or fish"),
        }
    }

    pub(super) fn into_manual(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::Manual)?;
        match self.operands.first() {
            Some(word) => fail(format!("`{}` is one word too many: manual takes none", shown(word))),
            None => Ok(Invocation::Manual),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[track_caller]
    fn refused(words: &[&str], said: &[&str]) {
        let error = parse(words).expect_err("it is refused").to_string();
        assert!(said.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn a_shell_has_a_script_and_a_near_name_is_suggested() {
        for (name, shell) in [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)] {
            assert_eq!(parse(["completions", name]), Ok(Invocation::Script(shell)));
        }
        refused(&["completions", "bsah"], &["`bsah`", "did you mean `bash`?"]);
        refused(&["completions", "csh\n"], &["csh\\n", "zsh"]);
        refused(&["completions"], &["name of a shell"]);
        refused(&["completions", "bash", "zsh"], &["name of a shell"]);
        refused(&["completions", "bash", "--json"], &["--json", "completions"]);
    }

    #[test]
    fn words_behind_dashes_are_those_of_another_command_line() {
        let complete = |words: &[&str]| Ok(Invocation::Complete(words.iter().map(Into::into).collect()));
        assert_eq!(parse(["completions", "--", "cp", "-r", "--", ""]), complete(&["cp", "-r", "--", ""]));
        assert_eq!(parse(["completions", "--"]), complete(&[]));
        refused(&["completions", "bash", "--", "x"], &["name of a shell"]);
    }

    #[test]
    fn the_manual_takes_no_word() {
        assert_eq!(parse(["manual"]), Ok(Invocation::Manual));
        refused(&["manual", "3"], &["`3`", "manual"]);
        refused(&["manual", "-t"], &["-t", "manual"]);
    }
}
