//! Owns what `ssh-config` prints: blocks of `ssh_config(5)` with which `ssh vsock%3` reaches the sshd of a guest through its
//! agent. Pure.
//!
//! ssh hands the name of a host on as it was typed, in `%h`; the shell that starts a ProxyCommand gets it in single quotes,
//! which no name that ssh takes can hold.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::invocation::{SshConfig, SshName};
use crate::name;

/// What is said before all of it.
const ABOUT: &str = "\
# What vsock-shell reaches, ssh reaches through the agent there: the guest needs an sshd, and no network.
# Made by `vsock-shell ssh-config`.
";

/// Targets that end on this machine.
const NEAR: &str = "vsock%* vsock/* mux%* unix%* serial%*";

/// Targets that may be anywhere.
const FAR: &str = "tcp%*";

/// For those that end on this machine. The next guest with the same context id or socket is another one, with a key that was
/// made at its first boot; and between ssh and the guest there is nothing but this machine.
const EPHEMERAL: &str = "    # Guests come and go, and nothing stands between them and this machine: their keys are neither asked for nor kept.
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
";

/// Why there is no such text: this word cannot stand in a line of ssh_config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable(String);

impl std::fmt::Display for Unwritable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a line of ssh_config cannot hold `{}`", self.0)
    }
}

impl std::error::Error for Unwritable {}

/// The blocks. `program` is how this program was called, and `here` the directory from which what is relative leads on.
///
/// # Errors
/// A name has a line break in it, or what is no text.
pub fn text(wish: &SshConfig, program: &OsStr, here: &Path) -> Result<String, Unwritable> {
    let program = quoted(&called(program, here))?;
    let mut command = program.clone();
    if let Some(port) = wish.port {
        command.push_str(&format!(" -p {port}"));
    }
    if let Some(timeout) = wish.timeout {
        command.push_str(&format!(" --timeout {}", timeout.as_secs_f64()));
    }
    if let Some(key) = &wish.key {
        command.push_str(&format!(" --key {}", quoted(here.join(key).as_os_str())?));
    }
    let user = match &wish.user {
        Some(user) => format!("    User {}\n", word(user)?),
        None => String::new(),
    };
    let mut text = ABOUT.to_owned();
    let mut block = |hosts: &str, command: &str, is_near: bool| {
        if !hosts.is_empty() {
            let more = if is_near { EPHEMERAL } else { "" };
            text.push_str(&format!(
                "\nHost {hosts}\n    ProxyCommand {command} -W 127.0.0.1:%p '%h'\n{user}{more}"
            ));
        }
    };
    block(NEAR, &command, true);
    block(FAR, &command, false);
    // Of a name the configuration says how it is reached.
    let [names, patterns, far] = groups(&wish.names);
    block(&names, &program, true);
    block(&patterns, &program, true);
    block(&far, &program, false);
    Ok(text)
}

/// The hosts of three blocks: near names, near patterns, and what is far. ssh puts together what all matching blocks say, and
/// knows no entry that counts before others: so a near pattern leaves out whatever a far entry matches as well.
fn groups(all: &[SshName]) -> [String; 3] {
    let these = |is_wanted: &dyn Fn(&SshName) -> bool| {
        let names = all.iter().filter(|name| is_wanted(name)).map(|name| name.name.as_str());
        names.collect::<Vec<_>>()
    };
    let names = these(&|name| name.is_near && !name::is_pattern(&name.name));
    let patterns = these(&|name| name.is_near && name::is_pattern(&name.name));
    let far = these(&|name| !name.is_near);
    let mut near = patterns.join(" ");
    if !near.is_empty() {
        near.extend(far.iter().map(|name| format!(" !{name}")));
    }
    [names.join(" "), near, far.join(" ")]
}

/// What finds the program also from elsewhere. A name without a slash was found in PATH, and is again.
fn called(program: &OsStr, here: &Path) -> std::ffi::OsString {
    let is_path = program.as_bytes().contains(&b'/');
    if is_path { here.join(program).into() } else { program.to_owned() }
}

/// A word for the shell, in a line in which ssh expands percent signs.
fn quoted(word: &OsStr) -> Result<String, Unwritable> {
    let text = printable(word)?.replace('%', "%%");
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+%".contains(letter);
    Ok(if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) })
}

/// A word for ssh itself.
fn word(word: &OsStr) -> Result<String, Unwritable> {
    let text = printable(word)?;
    if text.contains('"') {
        return Err(unwritable(word));
    }
    Ok(if text.contains([' ', '\'', '\\', '#', '=']) { format!("\"{text}\"") } else { text.to_owned() })
}

fn printable(word: &OsStr) -> Result<&str, Unwritable> {
    word.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| unwritable(word))
}

fn unwritable(word: &OsStr) -> Unwritable {
    Unwritable(crate::text::escape(word.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn printed(wish: &SshConfig, program: &str) -> String {
        text(wish, OsStr::new(program), Path::new("/here")).unwrap()
    }

    /// The value of a keyword in the block whose first pattern is this one.
    fn value(text: &str, block: &str, keyword: &str) -> Option<String> {
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("Host {block}")));
        lines.next().expect("the block is there");
        let mut block = lines.take_while(|line| !line.starts_with("Host "));
        block.find_map(|line| line.trim_start().strip_prefix(keyword)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn each_kind_of_target_is_reached_by_the_same_command() {
        let text = printed(&SshConfig::default(), "vsock-shell");
        for block in ["vsock%*", "tcp%*"] {
            let command = value(&text, block, "ProxyCommand");
            assert_eq!(command.as_deref(), Some("vsock-shell -W 127.0.0.1:%p '%h'"), "{block}");
            assert_eq!(value(&text, block, "User"), None);
        }
    }

    #[test]
    fn keys_of_hosts_are_ignored_where_nothing_lies_between_and_nowhere_else() {
        let text = printed(&SshConfig::default(), "vsock-shell");
        assert_eq!(value(&text, "vsock%*", "StrictHostKeyChecking").as_deref(), Some("no"));
        assert_eq!(value(&text, "vsock%*", "UserKnownHostsFile").as_deref(), Some("/dev/null"));
        assert_eq!(value(&text, "tcp%*", "StrictHostKeyChecking"), None);
        assert_eq!(value(&text, "tcp%*", "UserKnownHostsFile"), None);
    }

    #[test]
    fn what_reaches_the_agent_is_handed_on_with_paths_that_hold_everywhere() {
        let wish = SshConfig {
            user: Some("root".into()),
            port: Some(7),
            timeout: Some(Duration::from_millis(1500)),
            key: Some("keys/it's 100%".into()),
            names: Vec::new(),
        };
        let text = printed(&wish, "./bin/vsock-shell");
        let expected = r"/here/./bin/vsock-shell -p 7 --timeout 1.5 --key '/here/keys/it'\''s 100%%' -W 127.0.0.1:%p '%h'";
        assert_eq!(value(&text, "vsock%*", "ProxyCommand").as_deref(), Some(expected));
        assert_eq!(value(&text, "tcp%*", "User").as_deref(), Some("root"));
        let absolute = SshConfig { key: Some("/k".into()), ..SshConfig::default() };
        assert!(printed(&absolute, "/bin/v").contains("ProxyCommand /bin/v --key /k -W "));
    }

    #[test]
    fn names_are_reached_as_the_configuration_has_it() {
        let name = |name: &str, is_near| SshName { name: name.to_owned(), is_near };
        let names = vec![name("box", true), name("far", false), name("ci-*", true), name("lab-?", false)];
        let text = printed(&SshConfig { port: Some(7), names, ..SshConfig::default() }, "vsock-shell");
        for (block, is_near) in [("box", true), ("ci-* !far !lab-?", true), ("far lab-?", false)] {
            let command = value(&text, block, "ProxyCommand");
            assert_eq!(command.as_deref(), Some("vsock-shell -W 127.0.0.1:%p '%h'"), "{block}");
            assert_eq!(value(&text, block, "UserKnownHostsFile").is_some(), is_near, "{block}");
        }
        assert_eq!(text.matches("\nHost ").count(), 5, "{text}");
    }

    #[test]
    fn what_would_break_a_line_is_refused() {
        let key = |key: &OsStr| SshConfig { key: Some(key.into()), ..SshConfig::default() };
        let user = |user: &str| SshConfig { user: Some(user.into()), ..SshConfig::default() };
        for wish in
            [key(OsStr::new("a\nHost *")), key(OsStr::from_bytes(b"\xff")), user("a\"b"), user("a\nb")]
        {
            assert!(text(&wish, OsStr::new("v"), Path::new("/")).is_err(), "{wish:?}");
        }
        assert!(printed(&user("a b"), "v").contains("    User \"a b\"\n"));
    }
}
