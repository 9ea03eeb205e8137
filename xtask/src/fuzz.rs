//! `cargo xtask fuzz`: the targets of `fuzz/`, one on each processor, for as long as one wants; and whether that finds anything.
//!
//! Targets are built by a pinned cargo-fuzz with the [nightly](crate::nightly) toolchain; where it is missing it is installed,
//! and where that fails the chore does. What a run comes upon is kept in `target/fuzz/corpus/`, where the next one goes on;
//! `--keep` makes the committed corpus of it, as few inputs as reach the same. `coverage` measures what that reaches.

mod corpus;
mod coverage;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::nightly::{nightly, require_nightly};
use crate::scratch::Scratch;
use crate::{packages, workspace};

const CARGO_FUZZ: &str = "cargo-fuzz";
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// The target with a bug on purpose.
const CANARY: &str = "canary";
/// Seconds of a target where nobody says: all of them, with their builds, are then a matter of minutes.
const SECONDS: u32 = 15;
/// Seconds in which the canary's bug has to be found; it takes one or two.
const CANARY_SECONDS: u32 = 60;
/// Bytes of an input: grammars turn each into several on the wire.
const INPUT_MAX: usize = 2048;
/// Seconds that one input may take.
const PATIENCE: u32 = 10;
/// Lines of a failed run that are shown.
const TAIL: usize = 40;

/// What is to be done.
#[derive(Default)]
struct Wish {
    target: Option<String>,
    seconds: Option<u32>,
    keeps: bool,
    measures: bool,
}

impl Wish {
    fn read(arguments: Vec<OsString>) -> Result<Self> {
        use lexopt::prelude::{Long, Value, ValueExt as _};
        let mut wish = Self::default();
        let mut words = lexopt::Parser::from_args(arguments);
        while let Some(word) = words.next()? {
            match word {
                Long("seconds") => wish.seconds = Some(words.value()?.parse()?),
                Long("keep") => wish.keeps = true,
                Long("coverage") => wish.measures = true,
                Value(name) if wish.target.is_none() => wish.target = Some(name.string()?),
                word => return Err(word.unexpected().into()),
            }
        }
        // To libFuzzer 0 is for ever.
        ensure!(wish.seconds != Some(0), "a target takes a second at least");
        Ok(wish)
    }
}

/// `cargo xtask fuzz [TARGET] [--seconds N] [--keep]`, `cargo xtask fuzz --coverage`.
pub fn main(arguments: Vec<OsString>) -> Result<()> {
    let wish = Wish::read(arguments)?;
    if wish.measures {
        return coverage::main();
    }
    let fuzzer = Fuzzer::find()?;
    if wish.target.as_deref() == Some(CANARY) {
        return fuzzer.find_the_canarys_bug(wish.seconds.unwrap_or(CANARY_SECONDS));
    }
    let all = targets()?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| wish.target.as_ref().is_none_or(|wanted| wanted == *name)).collect();
    ensure!(!chosen.is_empty(), "no such target; there are {} and {CANARY}", all.join(", "));
    fuzzer.build()?;
    let seconds = wish.seconds.unwrap_or(SECONDS);
    let found = on_each_processor(&chosen, |target| {
        let is_fine = fuzzer.look(target, seconds)?;
        if is_fine && wish.keeps {
            fuzzer.keep(target)?;
        }
        Ok(if is_fine { None } else { Some(target.as_str()) })
    })?;
    let found: Vec<&str> = found.into_iter().flatten().collect();
    ensure!(found.is_empty(), "found something in {}; see above", found.join(", "));
    Ok(())
}

/// Does something with each of `all`, as many at once as there are processors: the results, in no order.
fn on_each_processor<A: Sync, R: Send>(all: &[A], work: impl Fn(&A) -> Result<R> + Sync) -> Result<Vec<R>> {
    let rest = Mutex::new(all.iter());
    let next = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work_on = || std::iter::from_fn(next).map(&work).collect::<Result<Vec<R>>>();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work_on)).collect();
        let mut results = Vec::with_capacity(all.len());
        for worker in workers {
            results.extend(worker.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(results)
    })
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

/// The names of all targets but the canary.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder().join("fuzz_targets"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a target has a name")?.to_string_lossy().into_owned();
        if name != CANARY {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// cargo-fuzz, and what it builds.
struct Fuzzer {
    program: PathBuf,
    /// What builds and runs leave behind.
    work: PathBuf,
}

impl Fuzzer {
    fn find() -> Result<Self> {
        require_nightly()?;
        // It only calls cargo: not worth optimising.
        let program = packages::tool(CARGO_FUZZ, CARGO_FUZZ_VERSION, &["--debug"])?;
        Ok(Self { program, work: workspace::target_dir().join("fuzz") })
    }

    /// A subcommand of cargo-fuzz.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = nightly(&self.program);
        command.arg(subcommand).arg("--fuzz-dir").arg(folder()).arg("--target-dir").arg(&self.work);
        command.env_remove("CARGO_TARGET_DIR");
        command
    }

    fn build(&self) -> Result<()> {
        workspace::run(&mut self.command("build"))
    }

    /// Where a target's inputs are found anew.
    fn corpus(&self, target: &str) -> PathBuf {
        self.work.join("corpus").join(target)
    }

    /// Runs a target from what is known; its words go to `log`.
    fn run(&self, target: &str, corpora: &[&Path], options: &[String], log: &Path) -> Result<ExitStatus> {
        // Some targets make dozens of files for each input, which a disk would have them wait for.
        let memory = Path::new("/dev/shm");
        let scratch =
            Scratch::new(memory, "fuzz").or_else(|_| Scratch::new(&std::env::temp_dir(), "fuzz"))?;
        let mut command = self.command("run");
        command.arg(target).args(corpora).arg("--").args(options);
        command.args([
            format!("-max_len={INPUT_MAX}"),
            format!("-timeout={PATIENCE}"),
            "-print_final_stats=1".into(),
        ]);
        let words = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.env("TMPDIR", scratch.path("")).stdout(words.try_clone()?).stderr(words);
        command.status().context("cannot run rustup")
    }

    /// Looks for something for some seconds; whether all went well.
    fn look(&self, target: &str, seconds: u32) -> Result<bool> {
        let (corpus, known) = (self.corpus(target), folder().join("corpus").join(target));
        let found = folder().join("artifacts").join(target);
        for folder in [&corpus, &known, &found] {
            fs::create_dir_all(folder)?;
        }
        let log = self.work.join(format!("{target}.log"));
        let options = [format!("-max_total_time={seconds}")];
        let status = self.run(target, &[&corpus, &known], &options, &log)?;
        let words = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let statistic = |name: &str| {
            let line = words.lines().rev().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
            line.map_or("?", str::trim).to_owned()
        };
        if status.success() {
            let (runs, rate) = (statistic("number_of_executed_units"), statistic("average_exec_per_sec"));
            println!("{target:16} {seconds} s, {runs} inputs, {rate} in a second: nothing");
            return Ok(true);
        }
        let lines: Vec<&str> = words.lines().collect();
        let mut told = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        _ = write!(
            told,
            "\n{target:16} FOUND SOMETHING ({status}); all of its words are in {}",
            log.display()
        );
        let input = words.lines().rev().find_map(|line| line.split_once("Test unit written to "));
        if let Some((_, input)) = input {
            _ = write!(told, "\nagain: cargo run --manifest-path fuzz/Cargo.toml --bin {target} -- {input}");
        }
        println!("{told}");
        Ok(false)
    }

    /// The harness finds the bug that is there on purpose.
    fn find_the_canarys_bug(&self, seconds: u32) -> Result<()> {
        let scratch = Scratch::new(&std::env::temp_dir(), "canary")?;
        let (corpus, log) = (scratch.path("corpus"), scratch.path("log"));
        fs::create_dir(&corpus)?;
        let prefix = format!("{}/", scratch.path("found").display());
        fs::create_dir(&prefix)?;
        let options = [format!("-max_total_time={seconds}"), format!("-artifact_prefix={prefix}")];
        let status = self.run(CANARY, &[&corpus], &options, &log)?;
        let found = fs::read_dir(&prefix)?.flatten().map(|entry| entry.path()).next();
        let Some(input) = found.filter(|_| !status.success()) else {
            print!("{}", fs::read_to_string(&log).unwrap_or_default());
            bail!("the canary's bug was not found within {seconds} s: the harness finds nothing");
        };
        println!("the canary's bug was found: {:?}", String::from_utf8_lossy(&fs::read(input)?));
        Ok(())
    }
}
