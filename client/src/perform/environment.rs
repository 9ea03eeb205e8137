//! Owns which variables a command gets from this side.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use vsock_shell_proto::glob;

use crate::invocation::Run;

/// The variables that the invocation asks for, with their values, those of patterns first: the last one of a name counts.
pub(super) fn variables(
    invocation: &Run,
    ours: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let ours: Vec<_> = ours.into_iter().collect();
    let mut sent: Vec<_> = ours.iter().filter(|(name, _)| is_sent(&invocation.sent, name)).cloned().collect();
    for variable in &invocation.environment {
        let here = || ours.iter().find(|(name, _)| *name == variable.name).map(|(_, value)| value.clone());
        if let Some(value) = variable.value.clone().or_else(here) {
            sent.push((variable.name.clone(), value));
        }
    }
    sent
}

/// A pattern behind a `-` takes back what those before it chose.
fn is_sent(patterns: &[OsString], name: &OsString) -> bool {
    patterns.iter().fold(false, |is_sent, pattern| {
        let (pattern, is_wanted) = match pattern.as_bytes() {
            [b'-', rest @ ..] => (rest, false),
            pattern => (pattern, true),
        };
        if glob::matches(pattern, name.as_bytes()) { is_wanted } else { is_sent }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;
    use crate::invocation::Invocation;

    fn sent(line: &[&str]) -> Vec<String> {
        let ours = ["LANG=de", "LC_ALL=C", "LC_TIME=en", "GIT_PROTOCOL=version=2"];
        let ours = ours.map(|word| word.split_once('=').expect("each has a value"));
        let Ok(Invocation::Run(run)) = parse(line.iter().chain(&["3"])) else { panic!("{line:?}") };
        let variables = variables(&run, ours.map(|(name, value)| (name.into(), value.into())));
        variables.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect()
    }

    #[test]
    fn patterns_choose_variables_of_ours_and_take_them_back() {
        assert_eq!(sent(&["-o", "SendEnv=GIT_PROTOCOL"]), ["GIT_PROTOCOL=version=2"]);
        assert_eq!(sent(&["-o", "SendEnv LANG LC_*"]), ["LANG=de", "LC_ALL=C", "LC_TIME=en"]);
        assert_eq!(sent(&["-o", "SendEnv=L*", "-o", "SendEnv=-LC_?IME"]), ["LANG=de", "LC_ALL=C"]);
        assert_eq!(sent(&["-o", "SendEnv=NONE"]), [""; 0]);
    }

    #[test]
    fn what_is_set_comes_behind_what_is_sent() {
        let line = ["-E", "LANG", "-o", "SendEnv=LANG", "-o", "SetEnv=LANG=x", "-E", "HERE", "-E", "A="];
        assert_eq!(sent(&line), ["LANG=de", "LANG=de", "LANG=x", "A="]);
    }
}
