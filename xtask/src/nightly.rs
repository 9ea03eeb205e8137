//! rustup's nightly toolchain, for what stable does not have: sanitizers and the fuzzer.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{packages, workspace};

/// What rustup calls it.
pub const NIGHTLY: &str = "nightly";

/// A command of the toolchain, with the variables of the cargo that runs this chore taken away.
pub fn nightly(program: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(workspace::root()).args(["run", NIGHTLY]).arg(program).stdin(Stdio::null());
    for name in ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Installs the toolchain where it is not there.
pub fn require_nightly() -> Result<()> {
    const HINT: &str = "this needs rustup and a nightly toolchain: `rustup toolchain install nightly`";
    ensure!(packages::program("rustup").is_some(), HINT);
    if workspace::output(nightly(Path::new("rustc")).arg("-vV")).is_err() {
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
        workspace::run(&mut rustup).context(HINT)?;
    }
    Ok(())
}
