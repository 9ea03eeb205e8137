//! Programs that run as somebody who is not root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Directory;

/// A copy of a program where everybody may execute it. Made by another process: one of ours that starts meanwhile would hold it
/// open for writing, and then nobody could.
#[track_caller]
pub fn program_for_all(directory: &Directory, program: &Path) -> PathBuf {
    let copy = directory.path(program.file_name().unwrap());
    assert!(Command::new("cp").arg(program).arg(&copy).status().unwrap().success());
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    copy
}

/// A copy of a program in this directory as a command of nobody's.
#[track_caller]
pub fn as_nobody(directory: &Directory, program: &Path) -> Command {
    as_nobody_here(&program_for_all(directory, program))
}

/// A program as a command of nobody's, who may execute it.
pub fn as_nobody_here(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program);
    command
}
