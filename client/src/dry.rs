//! Owns what `-G` prints: what a run would use, a line each, as `ssh -G` writes it. Nobody is connected to.
//!
//! git asks a program in the place of ssh for it (`-G HOST`), and takes one that answers with status 0 for one that
//! understands the flags of ssh.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::invocation::{Pty, Run};
use crate::target::Address;
use crate::text;

/// The lines.
#[must_use]
pub fn text(run: &Run) -> String {
    let mut lines = String::new();
    let mut line = |keyword: &str, value: &str| lines.push_str(&format!("{keyword} {value}\n"));
    // Without one it is the agent's own, whose name is not known here.
    if let Some(user) = &run.target.user {
        line("user", &shown(user));
    }
    line("hostname", &run.target.address.to_string());
    if let Some(port) = port(&run.target.address) {
        line("port", &port.to_string());
    }
    let pty = match run.pty {
        Pty::Auto => "auto",
        Pty::Always => "true",
        Pty::Never => "false",
    };
    line("requesttty", pty);
    line("connecttimeout", &run.settings.patience.connect.as_secs().to_string());
    line("escapechar", &run.escape.map_or_else(|| "none".to_owned(), escape));
    line("stdinnull", yes_or_no(run.is_stdin_null));
    line("forwardagent", yes_or_no(run.agent_forwarding));
    run.sent.iter().for_each(|pattern| line("sendenv", &shown(pattern)));
    for variable in &run.environment {
        if let Some(value) = &variable.value {
            line("setenv", &format!("{}={}", shown(&variable.name), shown(value)));
        }
    }
    for forward in &run.forwards {
        line(forward.kind.keyword(), &shown(&forward.spec));
    }
    lines
}

/// The port of the agent, where there is such a thing.
fn port(address: &Address) -> Option<u32> {
    match address {
        Address::Vsock { port, .. } | Address::Mux { port, .. } => Some(*port),
        Address::Tcp { port, .. } => Some(u32::from(*port)),
        Address::Unix(_) | Address::Serial(_) | Address::Exec(_) | Address::Listen(_) => None,
    }
}

/// As `-e` has it.
fn escape(character: u8) -> String {
    match character {
        0x7f => "^?".to_owned(),
        0..0x20 => format!("^{}", char::from(character | 0x40)),
        _ => text::escape(&[character]).into_owned(),
    }
}

fn yes_or_no(is_yes: bool) -> &'static str {
    if is_yes { "yes" } else { "no" }
}

fn shown(word: &OsStr) -> std::borrow::Cow<'_, str> {
    text::escape(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;
    use crate::invocation::Invocation;

    fn printed(line: &[&str]) -> String {
        match parse(line) {
            Ok(Invocation::Dry(run)) => text(&run),
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn git_asks_so_and_is_answered_with_what_would_be_used() {
        let lines = printed(&["-G", "-o", "SendEnv=GIT_PROTOCOL", "-4", "-p", "7", "git@vsock%3"]);
        for line in
            ["user git\n", "hostname vsock:3:7\n", "port 7\n", "sendenv GIT_PROTOCOL\n", "requesttty auto\n"]
        {
            assert!(lines.contains(line), "{line}: {lines}");
        }
    }

    #[test]
    fn what_is_not_there_has_no_line() {
        let lines = printed(&["-G", "unix:/run/a.sock", "-T", "-e", "^b"]);
        assert!(
            lines.starts_with("hostname unix:/run/a.sock\nrequesttty false\nconnecttimeout 2\n"),
            "{lines}"
        );
        assert!(lines.contains("escapechar ^B\n"), "{lines}");
    }

    #[test]
    fn a_line_is_a_line_whatever_is_in_a_value() {
        let lines = printed(&["-G", "-E", "A=b\nc", "-L", "1:/\x1b", "3"]);
        assert!(lines.contains("setenv A=b\\nc\n") && lines.contains("localforward 1:/\\x1b\n"), "{lines}");
    }
}
