//! Owns the command line of what the client tells of itself: `manual`. Pure.

use super::{ArgsError, Words, fail, shown};
use crate::flags::Use;
use crate::invocation::Invocation;

impl Words<'_> {
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
    fn the_manual_takes_no_word() {
        assert_eq!(parse(["manual"]), Ok(Invocation::Manual));
        refused(&["manual", "3"], &["`3`", "manual"]);
        refused(&["manual", "-t"], &["-t", "manual"]);
    }
}
