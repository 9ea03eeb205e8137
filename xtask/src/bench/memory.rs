//! Row 5: what the agent weighs on disk and in memory, idle, with sixteen shells, and while a gibibyte goes by.
//!
//! Memory is read from `/proc/PID/smaps_rollup`, which counts pages; the counters in `status` are per-CPU sums that may be off
//! by more than the agent has. The agent's processes are known by a program file that nobody else runs, those of the peers by
//! descent and program. A page that two processes share counts twice in RSS, as it does in `ps`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Options;
use super::bulk::write_source;
use super::contender::{Contender, Job, Task};
use super::latency::timed;
use super::rig::Rig;
use super::stats::Series;
use super::table::{Goal, Row, Unit};
use crate::terminal::Terminal;
use crate::{packages, size};

const SESSIONS: usize = 16;

/// Who has two sides whose memory says something.
const MEASURED: [Contender; 3] = [Contender::Ours, Contender::OpenSsh, Contender::Dropbear];

/// How long processes get to become idle.
const CALM: Duration = Duration::from_millis(500);

/// Every figure of the row; those that cannot be had say why.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let mut rows = vec![file_size(rig)];
    rows.extend(idle(rig));
    rows.extend(sessions(rig));
    rows.extend(moving(rig, options)?);
    Ok(rows)
}

fn file_size(rig: &Rig) -> Row {
    let files = [
        (Contender::Ours, Some(rig.agent_program.clone())),
        (Contender::OpenSsh, packages::program("sshd")),
        (Contender::Dropbear, packages::program("dropbear")),
    ];
    let mut series = Vec::new();
    for (contender, file) in files {
        if let Some(size) = file.and_then(|file| fs::metadata(file).ok()).map(|found| found.len() as f64) {
            series.push(Series { contender, outcome: Ok(vec![size]) });
        }
    }
    let goals = vec![Goal::AtMostBytes(size::LIMIT_BYTES)];
    Row { what: "5 server's file".into(), unit: Unit::Bytes, series, goals }
}

/// An agent of its own, after one command and a moment of calm. The peers have no process while nobody is connected.
fn idle(rig: &Rig) -> Vec<Row> {
    let measured = || -> Result<Memory> {
        let program = rig.scratch.path("agent-idle");
        fs::copy(&rig.agent_program, &program)?;
        let _agent = rig.start_agent(&program, "idle.sock")?;
        let mut command = std::process::Command::new(&rig.client);
        command.arg(format!("unix:{}", rig.scratch.path("idle.sock").display())).args(["--", "true"]);
        timed(rig, Job::from(command), Stdio::null(), |_| Ok(()))?;
        thread::sleep(CALM);
        let processes = Processes::read();
        Memory::of(&processes.running(&program))
    };
    let outcome = measured().map_err(|error| format!("{error:#}"));
    memory_rows("5 idle, all processes", vec![(Contender::Ours, outcome)], Some(256 << 10))
}

/// The guest's side with shells that wait at their prompts.
fn sessions(rig: &Rig) -> Vec<Row> {
    let mut outcomes = Vec::new();
    for contender in MEASURED {
        if !rig.contenders.contains(&contender) {
            continue;
        }
        eprintln!("5 {SESSIONS} idle sessions: {}", contender.name());
        let measured = || -> Result<Memory> {
            let shells: Vec<Terminal> =
                (0..SESSIONS).map(|_| shell(rig, contender)).collect::<Result<_>>()?;
            thread::sleep(CALM);
            let memory = Memory::of(&guest(rig, contender, &Processes::read()));
            drop(shells);
            memory
        };
        outcomes.push((contender, measured().map_err(|error| format!("{error:#}"))));
    }
    memory_rows(&format!("5 {SESSIONS} idle shells, guest side"), outcomes, None)
}

fn shell(rig: &Rig, contender: Contender) -> Result<Terminal> {
    let job = rig.job(contender, &Task::Shell)?.context("has no shell")?;
    let mut terminal = Terminal::start(&job.command)?;
    // The quotes keep the echo of what we type from being taken for its output.
    terminal.write(b"echo rea''dy\n")?;
    terminal.until("ready", Duration::from_secs(10)).context("the shell never was ready")?;
    Ok(terminal)
}

/// The largest anonymous memory of either side while a file goes up and down.
fn moving(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let bytes = options.bulk_bytes();
    let (from, to) = (rig.scratch.path("source"), rig.scratch.path("copy"));
    write_source(&from, bytes)?;
    let mut rows = Vec::new();
    let tasks =
        [("up", Task::Upload { from: &from, to: &to }), ("down", Task::Download { from: &from, to: &to })];
    for (direction, task) in tasks {
        let what = format!("5 RssAnon, {} MiB {direction}", bytes >> 20);
        rows.extend(while_moving(rig, &MEASURED, &what, &task, &to, 2 << 20));
    }
    fs::remove_file(&from)?;
    Ok(rows)
}

/// The largest anonymous memory of either side during a task that leaves a file at `to`, which is removed.
pub fn while_moving(
    rig: &Rig,
    who: &[Contender],
    what: &str,
    task: &Task<'_>,
    to: &Path,
    most_bytes: u64,
) -> [Row; 2] {
    let (mut host, mut guest) = (Vec::new(), Vec::new());
    for &contender in who.iter().filter(|contender| rig.contenders.contains(contender)) {
        eprintln!("{what}: {}", contender.name());
        let peaks = peaks(rig, contender, task).map_err(|error| format!("{error:#}"));
        let series = |outcome| Series { contender, outcome };
        host.push(series(peaks.clone().map(|(host, _)| vec![host as f64])));
        guest.push(series(peaks.map(|(_, guest)| vec![guest as f64])));
        let _ = fs::remove_file(to);
    }
    [("host", host), ("guest", guest)].map(|(side, series)| Row {
        what: format!("{what}, {side} side"),
        unit: Unit::Bytes,
        series,
        goals: vec![Goal::AtMostBytes(most_bytes)],
    })
}

fn peaks(rig: &Rig, contender: Contender, task: &Task<'_>) -> Result<(u64, u64)> {
    let job = rig.job(contender, task)?.context("has no such task")?;
    let mut peaks = (0, 0);
    timed(rig, job, Stdio::null(), |child: &mut Child| {
        while child.try_wait()?.is_none() {
            let processes = Processes::read();
            // A process may end between being seen and being read: the next sample is near.
            if let Ok(host) = Memory::of(&processes.tree(child.id())) {
                peaks.0 = peaks.0.max(host.anonymous);
            }
            if let Ok(guest) = Memory::of(&guest(rig, contender, &processes)) {
                peaks.1 = peaks.1.max(guest.anonymous);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })?;
    ensure!(peaks.0 > 0 && peaks.1 > 0, "it was over before a sample was taken");
    Ok(peaks)
}

/// The processes of a contender's server, without the commands that it runs.
fn guest(rig: &Rig, contender: Contender, processes: &Processes) -> BTreeSet<u32> {
    let descend = |root: u32, program: &str| -> BTreeSet<u32> {
        let tree = processes.tree(root);
        let named = |process: &&Process| process.program.file_name().is_some_and(|name| name == program);
        processes.0.iter().filter(named).map(|process| process.pid).filter(|pid| tree.contains(pid)).collect()
    };
    match contender {
        Contender::OpenSsh => rig.openssh.as_ref().map(|peer| descend(peer.server.pid(), "sshd")),
        Contender::Dropbear => rig.dropbear.as_ref().map(|peer| descend(peer.server.pid(), "dropbear")),
        _ => Some(processes.running(&rig.agent_program)),
    }
    .unwrap_or_default()
}

fn memory_rows(
    what: &str,
    outcomes: Vec<(Contender, Result<Memory, String>)>,
    most_bytes: Option<u64>,
) -> Vec<Row> {
    let row = |name: &str, figure: fn(&Memory) -> u64, goals| {
        let series = outcomes.iter().map(|(contender, outcome)| Series {
            contender: *contender,
            outcome: outcome.as_ref().map(|memory| vec![figure(memory) as f64]).map_err(Clone::clone),
        });
        Row { what: format!("{what}: {name}"), unit: Unit::Bytes, series: series.collect(), goals }
    };
    let goals = most_bytes.map(Goal::AtMostBytes).into_iter().collect();
    vec![row("RSS", |memory| memory.resident, goals), row("RssAnon", |memory| memory.anonymous, vec![])]
}

/// Bytes of a set of processes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    resident: u64,
    anonymous: u64,
}

impl Memory {
    fn of(pids: &BTreeSet<u32>) -> Result<Self> {
        ensure!(!pids.is_empty(), "no process was found");
        let mut sum = Self { resident: 0, anonymous: 0 };
        for pid in pids {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            sum.resident += kibibytes(&rollup, "Rss:")?;
            sum.anonymous += kibibytes(&rollup, "Anonymous:")?;
        }
        Ok(sum)
    }
}

/// A figure of `smaps_rollup`, in bytes.
fn kibibytes(rollup: &str, name: &str) -> Result<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    let figure =
        line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name} there"))?;
    Ok(figure.parse::<u64>()? << 10)
}

struct Process {
    pid: u32,
    parent: u32,
    program: PathBuf,
}

/// All processes of the machine at one moment.
struct Processes(Vec<Process>);

impl Processes {
    fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(process).collect())
    }

    /// Those that run this very file.
    fn running(&self, program: &Path) -> BTreeSet<u32> {
        self.0.iter().filter(|process| process.program == program).map(|process| process.pid).collect()
    }

    /// `root` and its descendants.
    fn tree(&self, root: u32) -> BTreeSet<u32> {
        let mut tree = BTreeSet::from([root]);
        loop {
            let before = tree.len();
            tree.extend(
                self.0
                    .iter()
                    .filter(|process| tree.contains(&process.parent))
                    .map(|p| p.pid)
                    .collect::<Vec<_>>(),
            );
            if tree.len() == before {
                return tree;
            }
        }
    }
}

fn process(pid: u32) -> Option<Process> {
    // proc(5): `pid (name) state parent …`, and a name may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(Process { pid, parent, program })
}
