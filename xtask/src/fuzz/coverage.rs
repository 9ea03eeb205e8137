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
    export.args(["export", "-summary-only", "-instr-profile"]).arg(&merged).arg(&program);
    print(&serde_json::from_str(&workspace::output(&mut export)?)?)
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

/// A line for each file, and one for all.
fn print(report: &Value) -> Result<()> {
    let files = report["data"][0]["files"].as_array().context("llvm-cov names no files")?;
    let root = workspace::root();
    let (mut all, mut reached) = (0, 0);
    for file in files {
        let name = Path::new(file["filename"].as_str().unwrap_or_default());
        let Some(name) = name.strip_prefix(&root).ok().filter(|name| name.starts_with(MEASURED)) else {
            continue;
        };
        let lines = &file["summary"]["lines"];
        let (count, covered) = (lines["count"].as_u64().unwrap_or(0), lines["covered"].as_u64().unwrap_or(0));
        println!("{:32} {}", name.display(), share(covered, count));
        (all, reached) = (all + count, reached + covered);
    }
    ensure!(all > 0, "nothing of {MEASURED} was measured");
    println!("{:32} {}", "all", share(reached, all));
    Ok(())
}

fn share(covered: u64, count: u64) -> String {
    format!("{covered:5} of {count:5} lines  {:5.1} %", covered as f64 * 100.0 / count.max(1) as f64)
}
