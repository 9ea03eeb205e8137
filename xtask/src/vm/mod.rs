//! `cargo xtask vm`: a guest of a moment, with the agent in it.
//!
//! `machine` is the guest, `hardware` what QEMU is told to be, `transport` the host's side of vsock, `accelerator` what
//! executes it, `qmp` the conversation with QEMU. This file reads the command line and runs the client.

mod accelerator;
mod hardware;
mod machine;
mod qmp;
mod transport;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::{Arg, Parser, ValueExt};

pub use self::machine::{Machine, Setup};
pub use self::qmp::Qmp;
pub use self::transport::{PORT_NAME, Transport};
use crate::arch::Arch;
use crate::kernel::Kernel;
use crate::{build, packages, scratch};

const USAGE: &str =
    "usage: cargo xtask vm [--arch x86_64|aarch64] [--kernel FILE] [--snapshot] [--vhost] [-- COMMAND...]";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    arch: Arch,
    kernel: Option<PathBuf>,
    /// Save the machine and go on from the file before anything is run.
    snapshot: bool,
    /// Use the kernel's vhost-vsock, if it is there.
    vhost: bool,
    /// What is run; a shell where it is empty.
    command: Vec<String>,
}

/// `cargo xtask vm`; the status is the command's, or the shell's.
///
/// # Errors
/// The guest cannot be had.
pub fn main(arguments: Vec<OsString>) -> Result<ExitCode> {
    let options = parse(arguments)?;
    build::client()?;
    build::agent_for(options.arch)?;
    let kernel = Kernel::find(options.arch, options.kernel.as_deref())?;
    let setup = Setup::new(options.arch, kernel, Transport::choose(options.vhost));
    let mut machine = Machine::boot(&setup)?;
    if options.snapshot {
        machine = machine.snapshot_and_restore()?;
    }
    let mut words = vec!["<target>".to_owned()];
    if !options.command.is_empty() {
        words.push("--".to_owned());
        words.extend(options.command);
    }
    let status = scratch::run_in_foreground(&mut machine.client(words))?;
    drop(machine);
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Gets all that guests of every architecture need, so that what follows can boot them: QEMU, kernels, agents, the backend.
///
/// # Errors
/// Something cannot be had.
pub fn prepare() -> Result<()> {
    transport::backend()?;
    for arch in Arch::ALL {
        packages::require(packages::machines(arch))?;
        build::agent_for(arch)?;
        Kernel::find(arch, None)?;
    }
    Ok(())
}

fn parse(arguments: Vec<OsString>) -> Result<Options> {
    let mut options =
        Options { arch: Arch::host()?, kernel: None, snapshot: false, vhost: false, command: Vec::new() };
    let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let mut ours = arguments;
    let command = ours.split_off(end);
    for word in command.into_iter().skip(1) {
        options.command.push(word.string()?);
    }
    let mut parser = Parser::from_args(ours);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("arch") => options.arch = Arch::parse(&parser.value()?.string()?)?,
            Arg::Long("kernel") => options.kernel = Some(parser.value()?.into()),
            Arg::Long("snapshot") => options.snapshot = true,
            Arg::Long("vhost") => options.vhost = true,
            other => bail!("{}\n{USAGE}", other.unexpected()),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn what_follows_two_dashes_is_the_guests() {
        let options = parsed("--arch aarch64 --snapshot -- ls -- --vhost").unwrap();
        assert_eq!((options.arch, options.snapshot, options.vhost), (Arch::Aarch64, true, false));
        assert_eq!(options.command, ["ls", "--", "--vhost"]);
    }

    #[test]
    fn a_word_without_dashes_is_refused() {
        assert!(parsed("ls").is_err());
        assert!(parsed("--nonsense").is_err());
        assert_eq!(parsed("").unwrap().command, [""; 0]);
    }
}
