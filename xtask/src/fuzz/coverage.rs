//! `cargo xtask fuzz --coverage`: which lines of the protocol's core the committed corpus reaches.
//!
//! The test that replays the corpus is built with `-Cinstrument-coverage` by the nightly toolchain, whose own LLVM tools then
//! read what it has written: those of Debian are older than what rustc writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::folder;
use crate::nightly::{NIGHTLY, nightly, require_nightly};
use crate::scratch::Scratch;
use crate::workspace;

/// What is measured, below the workspace.
const MEASURED: &str = "proto/src/";

pub fn main() -> Result<()> {
    require_nightly()?;
    let tools = tools()?;
    let target_dir = workspace::target_dir().join("fuzz-coverage");
    let scratch = Scratch::new(&std::env::temp_dir(), "coverage")?;
    let replay = |options: &[&str]| {
        let mut cargo = nightly(Path::new("cargo"));
        cargo.args(["test", "--test", "replay", "--manifest-path"]).arg(folder().join("Cargo.toml"));
        cargo.arg("--target-dir").arg(&target_dir).args(options);
        cargo.env("RUSTFLAGS", "-Cinstrument-coverage").env("TMPDIR", scratch.path(""));
        // Build scripts are instrumented too: what they write is told apart by its place.
        cargo.env("LLVM_PROFILE_FILE", scratch.path("%p-%m.profraw"));
        cargo
    };
    let built = workspace::output(&mut replay(&["--no-run", "--message-format=json", "--quiet"]))?;
    let program = executable(&built).context("cargo names no test that it has built")?;
    for leftover in profiles(&scratch)? {
        fs::remove_file(leftover)?;
    }
    workspace::run(&mut replay(&["--quiet"]))?;
    let merged = scratch.path("merged.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    workspace::run(merge.args(["merge", "-sparse", "-o"]).arg(&merged).args(profiles(&scratch)?))?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "-format=lcov", "-instr-profile"]).arg(&merged).arg(&program);
    print(&workspace::output(&mut export)?)
}

/// The folder of the LLVM tools that belong to the nightly toolchain, installed where they are not there.
fn tools() -> Result<PathBuf> {
    let rustc = || nightly(Path::new("rustc"));
    let libraries = workspace::output(rustc().args(["--print", "target-libdir"]))?;
    let tools = Path::new(&libraries).with_file_name("bin");
    if !tools.join("llvm-cov").is_file() {
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "llvm-tools", "--toolchain", NIGHTLY]);
        workspace::run(&mut rustup).context("the nightly toolchain's llvm-tools cannot be had")?;
    }
    Ok(tools)
}

fn profiles(scratch: &Scratch) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(scratch.path(""))?.flatten().map(|entry| entry.path());
    Ok(entries.filter(|path| path.extension().is_some_and(|extension| extension == "profraw")).collect())
}

/// The program of the test, among what cargo says of a build.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| {
        let is_replay = message["target"]["name"] == "replay";
        message["executable"].as_str().filter(|_| is_replay).map(PathBuf::from)
    });
    programs.next()
}

/// A line for each file, with the numbers of the lines that were not reached, and one for all.
fn print(records: &str) -> Result<()> {
    let root = workspace::root();
    let (mut all, mut reached) = (0, 0);
    for record in records.split("end_of_record") {
        let file = record.lines().find_map(|line| line.strip_prefix("SF:"));
        let name = file.and_then(|file| Path::new(file).strip_prefix(&root).ok());
        let Some(name) = name.filter(|name| name.starts_with(MEASURED)) else { continue };
        let lines = lines(record);
        let missed: Vec<u32> = lines.iter().filter(|(_, times)| *times == 0).map(|(line, _)| *line).collect();
        let covered = lines.len() - missed.len();
        println!("{:32} {}  {}", name.display(), share(covered, lines.len()), ranges(&missed));
        (all, reached) = (all + lines.len(), reached + covered);
    }
    ensure!(all > 0, "nothing of {MEASURED} was measured");
    println!("{:32} {}", "all", share(reached, all));
    Ok(())
}

/// The lines of a file that have code, and how often they ran.
fn lines(record: &str) -> Vec<(u32, u64)> {
    let entries = record.lines().filter_map(|line| line.strip_prefix("DA:"));
    entries
        .filter_map(|entry| entry.split_once(','))
        .filter_map(|(line, times)| Some((line.parse().ok()?, times.parse().ok()?)))
        .collect()
}

/// Ascending numbers, with `3-5` for those that follow each other.
fn ranges(numbers: &[u32]) -> String {
    let follow = |a: &u32, b: &u32| a + 1 == *b;
    let of = |run: &[u32]| match run {
        [first, .., last] => format!("{first}-{last}"),
        alone => alone.iter().map(u32::to_string).collect(),
    };
    numbers.chunk_by(follow).map(of).collect::<Vec<_>>().join(" ")
}

fn share(covered: usize, count: usize) -> String {
    format!("{covered:5} of {count:5} lines  {:5.1} %", covered as f64 * 100.0 / count.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_from_a_record_and_told_as_ranges() {
        let lines = lines("SF:/a.rs\nFN:1,f\nDA:1,3\nDA:2,0\nDA:3,0\nDA:7,0\nLH:1\n");
        assert_eq!(lines, [(1, 3), (2, 0), (3, 0), (7, 0)]);
        assert_eq!(ranges(&[2, 3, 7, 9, 10, 11]), "2-3 7 9-11");
        assert_eq!(ranges(&[]), "");
    }
}
