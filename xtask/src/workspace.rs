//! Where things are, and how cargo is called from inside a chore.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::arch::Arch;

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The client, once `build` has run.
pub fn client() -> PathBuf {
    target_dir().join("release/vsock-shell")
}

/// The static agent, once `build` has run.
pub fn agent() -> PathBuf {
    target_dir().join("release/vsock-shell-agent")
}

/// The static agent for an architecture, once `build` has made it.
pub fn agent_of(arch: Arch) -> PathBuf {
    match Arch::host() {
        Ok(host) if host == arch => agent(),
        _ => target_dir().join(format!("release/vsock-shell-agent-{arch}")),
    }
}

/// The cargo that runs this xtask, in the workspace's root and without a standard input.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Options for cargo, for optimised tests: link-time optimisation of each of their programs takes longer than it saves them.
pub const QUICKLY_LINKED: [&str; 4] =
    ["--config", "profile.release.lto=false", "--config", "profile.release.codegen-units=16"];

/// Does two things at once: compilers spend much of their time on one processor.
///
/// # Errors
/// Either of them failed.
pub fn at_once<A: Send, B>(
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        Ok((first.join().map_err(|_| anyhow!("a thread panicked"))??, second?))
    })
}

/// Says what is run, runs it, and makes any status but zero an error of one line.
pub fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}; its own words are above");
    }
    Ok(())
}

/// What a command prints on standard output, trimmed.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command as one would type it, with its folder left out.
fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
