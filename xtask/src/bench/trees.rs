//! Row 8: many small files, one that is larger than any memory of ours, and one that is nearly all hole.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::bulk::{Noise, remove, touch_free_pages, write_source};
use super::contender::{Contender, Job, Task};
use super::latency::timed;
use super::rig::Rig;
use super::stats::{Series, interleave};
use super::table::{Goal, Row, Unit};
use super::way::Way;
use super::{Options, digest, memory, rig};

/// What a small file holds.
const SMALL_BYTES: usize = 4096;
/// How many of them are in a folder.
const FOLDER_FILES: usize = 100;
/// The most that either side may need of memory that is nobody's file.
const RSS_ANON_BYTES: u64 = 4 << 20;

/// The size of the sparse file, how much of it is data, and in how many places.
const SPARSE_BYTES: u64 = 10 << 30;
const DATA_BYTES: usize = 1 << 20;
const PLACES: usize = 16;
const PLACE_BYTES: usize = DATA_BYTES / PLACES;

/// Measures one part of the group.
type Part = fn(&Rig, &Options) -> Result<Vec<Row>>;

/// The rows. What fails does not keep the others from being measured.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let parts: [(&str, Part); 3] =
        [("8 small files", small_files), ("8 large file", large_file), ("8 sparse file", sparse_file)];
    let measured = parts.into_iter().map(|(what, part)| {
        part(rig, options).unwrap_or_else(|error| vec![Row::failed(what.to_owned(), &error)])
    });
    Ok(measured.flatten().collect())
}

/// Files of a page each, a hundred in a folder. The destination is a new folder each time, and what came of it is looked at
/// and removed while nobody's watch is running.
fn small_files(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let count = if options.quick { 1_000 } else { 10_000 };
    let (from, to) = (rig.scratch.path("tree"), rig.scratch.path("trees"));
    write_tree(&from, count)?;
    let mut rows = Vec::new();
    for (direction, task) in [
        ("up", Task::UploadTree { from: &from, to: &to }),
        ("down", Task::DownloadTree { from: &from, to: &to }),
    ] {
        let what = format!("8 {count} files of 4 KiB {direction}");
        let mut digests = Vec::new();
        let series = interleave(&what, options.rounds(9, 3), &rig.contenders, |contender| {
            fs::create_dir(&to)?;
            let measured = rig.job(contender, &task).and_then(|job| {
                let Some(job) = job else { return Ok(None) };
                let seconds = timed(rig, job, Stdio::null(), |_| Ok(()))?;
                let arrived = count_whole(&to.join("tree"))?;
                ensure!(arrived == count, "{arrived} of {count} files arrived");
                if contender == Contender::Ours {
                    digests.push(digest::seconds(count, SMALL_BYTES as u64)?);
                }
                Ok(Some(seconds))
            });
            fs::remove_dir_all(&to)?;
            measured
        });
        let cost = digest::row(&what, &series, digests.get(1..).unwrap_or_default());
        let goals = vec![Goal::Faster(Contender::OpenSsh, 5.0), Goal::Faster(Contender::Socat, 1.0)];
        rows.push(Row { what, unit: Unit::Seconds, series, goals });
        rows.push(cost);
    }
    fs::remove_dir_all(&from)?;
    Ok(rows)
}

/// Folders of small files that are all different.
fn write_tree(tree: &Path, count: usize) -> Result<()> {
    let mut noise = Noise::new();
    let mut content = [0; SMALL_BYTES];
    for number in 0..count {
        let folder = tree.join(format!("{:03}", number / FOLDER_FILES));
        if number % FOLDER_FILES == 0 {
            fs::create_dir_all(&folder)?;
        }
        noise.fill(&mut content);
        fs::write(folder.join(format!("file-{number:05}")), content)?;
    }
    Ok(())
}

/// How many files of the right size are in the folders of a tree.
fn count_whole(tree: &Path) -> Result<usize> {
    let mut count = 0;
    for folder in fs::read_dir(tree).context("the tree did not arrive")? {
        for file in fs::read_dir(folder?.path())? {
            count += usize::from(file?.metadata()?.len() == SMALL_BYTES as u64);
        }
    }
    Ok(count)
}

/// Four times the bulk of other rows, against those who copy without a protocol; and what ours needs for it. As in row 2, pages
/// are touched before, and the destination of the one before is gone.
fn large_file(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let wanted = 4 * options.bulk_bytes();
    // For source and copy, and a fifth to breathe.
    let mebibytes = (rig::room()? >> 20) * 2 / 5;
    let bytes = wanted.min(mebibytes << 20);
    let size = match bytes >> 20 {
        size if bytes < wanted => format!("{size} MiB (no room for {})", wanted >> 20),
        size => format!("{size} MiB"),
    };
    let (from, to) = (rig.scratch.path("source"), rig.scratch.path("copy"));
    write_source(&from, bytes)?;
    let raw = [Contender::Floor, Contender::Ours, Contender::Socat];
    let who: Vec<_> = raw.into_iter().filter(|who| rig.contenders.contains(who)).collect();
    let mut rows = Vec::new();
    for (direction, task) in
        [("up", Task::Upload { from: &from, to: &to }), ("down", Task::Download { from: &from, to: &to })]
    {
        let what = format!("8 {size} file {direction}");
        let mut digests = Vec::new();
        let series = interleave(&what, options.rounds(7, 3), &who, |contender| {
            touch_free_pages(&to, bytes)?;
            let Some(job) = rig.job(contender, &task)? else { return Ok(None) };
            let measured = timed(rig, job, Stdio::null(), |_| Ok(()));
            let arrived = fs::metadata(&to).map_or(0, |found| found.len());
            remove(&to)?;
            let seconds = measured?;
            ensure!(arrived == bytes, "{arrived} of {bytes} bytes arrived");
            if contender == Contender::Ours {
                digests.push(digest::seconds(1, bytes)?);
            }
            Ok(Some(seconds))
        });
        let cost = digest::row(&what, &series, digests.get(1..).unwrap_or_default());
        rows.push(Row { what, unit: Unit::Rate(bytes), series, goals: vec![Goal::FloorRate(0.9)] });
        rows.push(cost);
        let what = format!("8 RssAnon, {size} {direction}");
        rows.extend(memory::while_moving(rig, &[Contender::Ours], &what, &task, &to, RSS_ANON_BYTES));
    }
    remove(&from)?;
    Ok(rows)
}

/// A file with data in a few places; the others would take the room that it says it has. Once it goes through a relay that counts.
fn sparse_file(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let (from, to) = (rig.scratch.path("source"), rig.scratch.path("copy"));
    write_sparse(&from)?;
    let mut rows = Vec::new();
    for (direction, task) in
        [("up", Task::Upload { from: &from, to: &to }), ("down", Task::Download { from: &from, to: &to })]
    {
        let what = format!("8 {} GiB sparse file {direction}", SPARSE_BYTES >> 30);
        let run = |command: Command| -> Result<f64> {
            let seconds = timed(rig, Job::from(command), Stdio::null(), |_| Ok(()))?;
            is_same_sparse(&from, &to)?;
            remove(&to)?;
            Ok(seconds)
        };
        let series = interleave(&what, options.rounds(9, 3), &[Contender::Ours], |_| {
            run(rig.our_job(&rig.scratch.path("agent.sock"), &task)).map(Some)
        });
        let counted = || -> Result<Vec<f64>> {
            let way = Way::open(rig)?;
            run(rig.our_job(&way.socket, &task))?;
            Ok(vec![way.passed() as f64])
        };
        let outcome = counted().map_err(|error| format!("{error:#}"));
        let crossed = vec![Series { contender: Contender::Ours, outcome }];
        let name = format!("{what}, bytes that crossed");
        rows.push(Row { what, unit: Unit::Seconds, series, goals: vec![Goal::AtMostSeconds(3.0)] });
        rows.push(Row { what: name, unit: Unit::Bytes, series: crossed, goals: vec![] });
    }
    remove(&from)?;
    Ok(rows)
}

/// Where the data of the sparse file is.
fn places() -> impl Iterator<Item = u64> {
    (0..PLACES as u64).map(|place| place * (SPARSE_BYTES / PLACES as u64))
}

fn write_sparse(file: &Path) -> Result<()> {
    let mut noise = Noise::new();
    let mut data = vec![0; PLACE_BYTES];
    let file = File::create(file)?;
    file.set_len(SPARSE_BYTES)?;
    for place in places() {
        noise.fill(&mut data);
        file.write_all_at(&data, place)?;
    }
    Ok(())
}

/// Whether the copy has the size, the data and the holes.
fn is_same_sparse(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (File::open(from)?, File::open(to).context("the file did not arrive")?);
    let found = to.metadata()?;
    ensure!(found.len() == SPARSE_BYTES, "{} of {SPARSE_BYTES} bytes arrived", found.len());
    ensure!(found.blocks() * 512 <= 2 * DATA_BYTES as u64, "{} KiB arrived for holes", found.blocks() / 2);
    let (mut sent, mut arrived) = (vec![0; PLACE_BYTES], vec![0; PLACE_BYTES]);
    for place in places() {
        from.read_exact_at(&mut sent, place)?;
        to.read_exact_at(&mut arrived, place)?;
        ensure!(sent == arrived, "the data at {place} is another");
    }
    Ok(())
}
