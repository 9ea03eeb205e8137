//! Programs of others that take an rsh, with the client as theirs.
//!
//! rsync, scp and git take a name with a slash before its first colon for a local path. So the guest has a name in a
//! configuration; and they run in its directory, where its socket has a name without one, too.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Finished, Guest, Running, client_binary};

/// What they call the guest.
pub const HOST: &str = "box";

/// The same as an address, in the guest's directory.
pub const ADDRESS: &str = "unix%socket";

impl Guest {
    /// A program with these words in the guest's directory, its standard streams piped.
    pub fn program<W: AsRef<OsStr>>(&self, name: &str, words: impl IntoIterator<Item = W>) -> Command {
        let configuration = format!("[targets.{HOST}]\naddress = \"{}\"\n", self.target());
        let file = self.directory.file("config.toml", configuration.as_bytes());
        let mut command = Command::new(name);
        command.args(words).current_dir(self.directory.path("")).env("VSOCK_SHELL_CONFIG", file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it with an empty standard input. A program that is not there fails the test.
    #[track_caller]
    pub fn run_program<W: AsRef<OsStr>>(&self, name: &str, words: impl IntoIterator<Item = W>) -> Finished {
        Running::start(&mut self.program(name, words)).finish(b"")
    }

    /// A script that is the client with these options before all words.
    pub fn rsh_with(&self, name: &str, options: &str) -> PathBuf {
        let line = format!("#!/bin/sh\nexec '{}' {options} \"$@\"\n", client_binary().display());
        let script = self.directory.file(name, line.as_bytes());
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        script
    }
}

/// Our own name, which an agent of ours takes for a user.
#[track_caller]
pub fn own_user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
