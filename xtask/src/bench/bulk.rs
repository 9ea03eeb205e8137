//! Rows 2 and 3: a gibibyte as a file up and down, and through standard output.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::contender::{Contender, Task};
use super::latency::timed;
use super::rig::Rig;
use super::stats;
use super::table::{Goal, Row, Unit};

/// What the reader at the end of a pipe asks for at once.
const READ_BYTES: usize = 256 * 1024;

/// Row 2. Source and destination are on the same tmpfs. Before each run the destination of the one before is removed and as many pages
/// are touched and freed again: nobody pays for that removal, nor for pages that the host of a virtual machine took back meanwhile.
pub fn files(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let bytes = options.bulk_bytes();
    let (from, to) = (rig.scratch.path("source"), rig.scratch.path("copy"));
    write_source(&from, bytes)?;
    let goals = || vec![Goal::FloorRate(0.85), Goal::Faster(Contender::OpenSsh, 3.0)];
    let measure = |task: &Task<'_>, what: &str| {
        stats::interleave(what, options.rounds(9, 3), &rig.contenders, |contender| {
            remove(&to)?;
            touch_free_pages(&to, bytes)?;
            let Some(job) = rig.job(contender, task)? else { return Ok(None) };
            let seconds = timed(rig, job, Stdio::null(), |_| Ok(()))?;
            let arrived = fs::metadata(&to).context("the file did not arrive")?.len();
            ensure!(arrived == bytes, "{arrived} of {bytes} bytes arrived");
            Ok(Some(seconds))
        })
    };
    let size = bytes >> 20;
    let mut rows = Vec::new();
    for (direction, task) in
        [("up", Task::Upload { from: &from, to: &to }), ("down", Task::Download { from: &from, to: &to })]
    {
        rows.push(Row {
            what: format!("2 {size} MiB file {direction}"),
            unit: Unit::Rate(bytes),
            series: measure(&task, &format!("2 file {direction}")),
            goals: goals(),
        });
    }
    remove(&to)?;
    remove(&from)?;
    Ok(rows)
}

/// Row 3: zeros through a remote command's standard output, into a pipe that is read and into /dev/null.
pub fn stdout(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let bytes = options.bulk_bytes();
    let task = Task::Stdout(bytes);
    let rounds = options.rounds(9, 3);
    let pipe = stats::interleave("3 stdout to a pipe", rounds, &rig.contenders, |contender| {
        let Some(job) = rig.job(contender, &task)? else { return Ok(None) };
        timed(rig, job, Stdio::piped(), |child| drain(child, bytes)).map(Some)
    });
    let null = stats::interleave("3 stdout to /dev/null", rounds, &rig.contenders, |contender| {
        let Some(job) = rig.job(contender, &task)? else { return Ok(None) };
        timed(rig, job, Stdio::null(), |_| Ok(())).map(Some)
    });
    let row = |what: &str, series| Row {
        what: format!("3 {} MiB stdout, {what}", bytes >> 20),
        unit: Unit::Rate(bytes),
        series,
        goals: vec![Goal::FloorRate(0.85)],
    };
    Ok(vec![row("pipe", pipe), row("/dev/null", null)])
}

fn drain(child: &mut Child, bytes: u64) -> Result<()> {
    let mut pipe = child.stdout.take().context("no pipe")?;
    let mut buffer = vec![0; READ_BYTES];
    let mut total = 0;
    loop {
        match pipe.read(&mut buffer)? {
            0 => break,
            count => total += count as u64,
        }
    }
    ensure!(total == bytes, "{total} of {bytes} bytes came out");
    Ok(())
}

/// Bytes that no hole, no page of zeros and no compression makes cheaper.
pub struct Noise(u64);

impl Noise {
    /// The same each time.
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// The next bytes, in words of eight.
    pub fn fill(&mut self, block: &mut [u8]) {
        for word in block.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
    }
}

/// A file of noise.
pub fn write_source(file: &Path, bytes: u64) -> Result<()> {
    let mut noise = Noise::new();
    let mut block = vec![0_u8; 1 << 20];
    let mut file = File::create(file)?;
    for _ in 0..bytes >> 20 {
        noise.fill(&mut block);
        file.write_all(&block)?;
    }
    Ok(())
}

/// Lets the machine, often a virtual one, really have the pages that a copy will take.
pub fn touch_free_pages(file: &Path, bytes: u64) -> Result<()> {
    let block = vec![0; 1 << 20];
    let mut touched = File::create(file)?;
    for _ in 0..(bytes + bytes / 16) >> 20 {
        touched.write_all(&block)?;
    }
    remove(file)
}

pub fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
