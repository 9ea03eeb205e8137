//! `cargo xtask bench`: vsock-shell beside its floors and its peers, one table.
//!
//! Everybody works over a Unix socket in the same private tmpfs folder, in the same run, round by round in rotating order;
//! a cell is the median of the rounds, a ratio is the median of the rounds' ratios, and the first round is thrown away.
//! `rig` sets the servers up, `contender` says how each contender does each task, `peers` keeps ssh and dropbear in their private
//! corner, `latency`, `bulk`, `echo`, `memory`, `guest`, `resume`, `trees`, `forward` and `digest` measure, `stats` and `table` condense, `report` writes it down.

mod bulk;
mod contender;
mod digest;
mod echo;
mod forward;
mod guest;
mod latency;
mod memory;
mod peers;
mod report;
mod resume;
mod rig;
mod stats;
mod table;
mod trees;
mod way;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;

use crate::{build, packages, workspace};
use rig::Rig;
use table::Row;

/// How many rows there are.
const ROWS: u8 = 9;

/// Where everybody looks for programs: what a login gives root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What was asked for.
pub struct Options {
    /// Small enough to be run while developing; the figures mean less.
    quick: bool,
    rows: Vec<u8>,
    rounds: Option<usize>,
    markdown: Option<PathBuf>,
}

impl Options {
    /// How often a row is measured: the command line's word, or what suits the row.
    fn rounds(&self, full: usize, quick: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { full })
    }

    /// How much bulk is moved.
    fn bulk_bytes(&self) -> u64 {
        if self.quick { 64 << 20 } else { 1 << 30 }
    }
}

/// `cargo xtask bench`. The development build of xtask prepares, then an optimised one takes its place and measures.
pub fn main(arguments: Vec<OsString>) -> Result<()> {
    let options = parse(arguments.clone())?;
    if !cfg!(debug_assertions) {
        return measure(&options);
    }
    packages::wish(packages::PEERS);
    build::main()?;
    build::agent_with_symbols()?;
    if options.rows.contains(&6)
        && let Err(error) = guest::prepare()
    {
        eprintln!("row 6 will say that it failed: {error:#}");
    }
    workspace::run(workspace::cargo().args(["build", "--release", "-p", "xtask"]))?;
    let measuring = workspace::target_dir().join("release/xtask");
    // cargo points LD_LIBRARY_PATH at its own folders, and every process measured would search them; it would also try every
    // folder of a long PATH, which the agent's commands do not have.
    let mut command = Command::new(&measuring);
    command.arg("bench").args(arguments).env_remove("LD_LIBRARY_PATH").env("PATH", PATH);
    command.current_dir(workspace::root());
    Err(command.exec()).with_context(|| format!("cannot run {}", measuring.display()))
}

fn parse(arguments: Vec<OsString>) -> Result<Options> {
    let mut options = Options { quick: false, rows: (1..=ROWS).collect(), rounds: None, markdown: None };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => options.quick = true,
            Long("rounds") => options.rounds = Some(parser.value()?.parse()?),
            Long("markdown") => options.markdown = Some(parser.value()?.into()),
            Long("rows") => {
                let rows = parser.value()?.string()?;
                options.rows =
                    rows.split(',').map(str::parse).collect::<Result<_, _>>().context("--rows 1,3")?;
            }
            other => bail!(
                "{}; usage: bench [--quick] [--rows 1,3] [--rounds N] [--markdown FILE]",
                other.unexpected()
            ),
        }
    }
    ensure!(options.rounds != Some(0), "--rounds must be at least 1");
    ensure!(options.rows.iter().all(|row| (1..=ROWS).contains(row)), "--rows are 1 to {ROWS}");
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    let rig = Rig::new(options.bulk_bytes())?;
    let mut rows = Vec::new();
    for number in &options.rows {
        let measured = match number {
            1 => latency::rows(&rig, options),
            2 => bulk::files(&rig, options),
            3 => bulk::stdout(&rig, options),
            4 => echo::rows(&rig, options),
            6 => guest::rows(&rig, options),
            7 => resume::rows(&rig, options),
            8 => trees::rows(&rig, options),
            9 => forward::rows(&rig, options),
            _ => memory::rows(&rig, options),
        };
        match measured {
            Ok(measured) => rows.extend(measured),
            // What was measured before is not lost.
            Err(error) => rows.push(Row::failed(format!("row {number}"), &error)),
        }
    }
    report::print(&rows, &rig);
    if let Some(file) = &options.markdown {
        report::write(file, &rows, &rig, options)?;
    }
    let unmeasured = rows.iter().filter(|row| !row.is_measured()).count();
    ensure!(
        unmeasured == 0,
        "vsock-shell itself could not be measured in {unmeasured} rows; the table says why"
    );
    Ok(())
}
