//! The table on the terminal, and the page in `docs/`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Options;
use super::contender::Contender;
use super::rig::Rig;
use super::table::Row;
use crate::{build, features, packages, workspace};

/// Shows the table and who is not in it.
pub fn print(rows: &[Row], rig: &Rig) {
    println!("{}", table(rows));
    for line in omissions(rows, rig) {
        println!("{line}");
    }
}

/// Writes the page: the machine, the table, what the columns mean and how to repeat it. No date: the commit has one.
pub fn write(file: &Path, rows: &[Row], rig: &Rig, options: &Options) -> Result<()> {
    let mut page = String::from("# Benchmarks\n\n");
    let quick = if options.quick { " --quick" } else { "" };
    let _ = write!(
        page,
        "{}\n\nRepeat it with `cargo xtask bench{quick} --markdown docs/BENCHMARKS.md`. It needs no rights and no network, but \
         dropbear is measured only by root; peers that are not installed are left out.\n\n{}\n\n",
        machine(),
        table(rows).trim_end(),
    );
    for line in omissions(rows, rig) {
        let _ = writeln!(page, "{line}\n");
    }
    page.push_str(&parts()?);
    page.push_str(NOTES);
    let file = workspace::root().join(file);
    fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))
}

/// What the agent's bytes are for.
fn parts() -> Result<String> {
    let mut text = String::from("| of the agent's file on x86_64 | bytes |\n| --- | --- |\n");
    for (name, bytes) in
        features::weigh(&fs::read(build::symbols_place()).context("the agent with symbols")?)?
    {
        let _ = writeln!(text, "| {name} | {bytes} |");
    }
    Ok(text + "\n")
}

const NOTES: &str = "\
## How to read it

Everybody works over a Unix socket in one private tmpfs folder, in the same run, round by round in rotating order; the first
round is thrown away, and whoever needs more than five seconds for a round takes part in three only. A cell is the median of the rounds. *To floor* and the `×` in brackets (how many times vsock-shell is better
than that peer) are medians of the ratios within a round, followed by their 10th and 90th percentile.

* The **floor** is the least that the row's job can cost without any protocol (`xtask/src/floor/`): a Rust program that connects, asks,
  and copies with plain reads and writes of 256 KiB, against one that forks, execs, and does the same file work.
* **1** A fresh client process runs `true` and returns its status. ssh always goes through the user's shell. Its server is an
  `sshd -i` (`dropbear -i`) started per connection, because neither listens on a Unix socket, and its client connects through
  `socat` as a ProxyCommand. When root measures, the home folder that they see is empty: no `.bashrc` is read.
* **2** tmpfs to tmpfs, into a temporary name and renamed (except socat, which only writes). Pages are touched before, the destination
  is removed between rounds. The peers' column is `scp`, over sftp for OpenSSH and over its older protocol for dropbear.
* **3** `head -c` of `/dev/zero`, into a pipe that is read and into `/dev/null`. Through a pipe four processes share the
  processors. A relay in C that does nothing but put 16 bytes before each 64 KiB, and take them away again, reaches 0.80 of one
  that copies 256 KiB at a time (median of ten rounds in turns on two processors, 0.69 to 1.13).
* **4** All sessions are open at once and keys go to one after the other; the remote pty's line discipline echoes. p50 and p99 are
  taken over batches of 250 keys.
* **5** Pages counted by `/proc/PID/smaps_rollup`, summed over all processes of that side without the commands they run; while moving,
  the largest of samples taken every few milliseconds.
* **6** Of the agent in a guest. The time until it listens is measured on the machine itself, in namespaces of its own, without modules:
  what `/proc/PID/schedstat` says of process 1 and the listener once it listens, the start of the program included. Everything else
  is in a guest, whose processor may be emulated, so that only the ratios mean something: the floor there is a loop of reads and
  writes of 256 KiB on another port of the same device, with a file on the same tmpfs; a byte goes to `cat` and back.
* **7** The way to the agent is taken away for 0.2 to 0.3 s, from under a session that runs `cat`; the time is from when it is there
  again to the first byte that comes back. The file goes up with clients that would reconnect, and, in the floor's column, with ones
  that would not: what is kept to be sent again is the buffer that it is sent from, so both do the same. What an idle session costs
  is counted on the way, in the second minute.
* **8** The small files are a hundred in a folder, and go into a new folder each time: by `cp -r`, by `scp -r`, by `rsync -a` over
  OpenSSH, and, in socat's column, by `tar` into socat and out of it again. The large file is row 2 four times as long, without the
  protocols that encrypt, and RssAnon is that of row 5. The sparse file has 1 MiB of data in 16 places, and is compared afterwards; the
  peers would need all of the room that it says it has. What crossed is both ways together, counted once, by a relay. The part of
  the digests is the time that the slower of both sides' digests takes for as many files of bytes that lie in the cache, over that
  of the copy in the same round: both sides take it at the same time, so that, where each has a processor, the copy is slower by that
  part at most.
* **9** One client that only forwards, one `ssh -N -L` with the sshd of row 1, and two socats that fork, the second in the place of the
  agent; Unix sockets at both ends, and a far end in the bench itself that takes, sends or echoes. All are up all the time. Bulk goes through one connection, until
  the last byte was taken; a connection of those that are counted is made, brings a byte there and one back, and is closed. p50 is taken
  over 500 bytes on a connection that is open. There is no floor: socat is the least.
";

/// What is not in the table, and why.
fn omissions(rows: &[Row], rig: &Rig) -> Vec<String> {
    let absent = rig.absent.iter().map(|who| format!("absent: {who}"));
    absent.chain(rows.iter().flat_map(Row::failures)).collect()
}

fn table(rows: &[Row]) -> String {
    let mut heads =
        vec!["what".to_owned(), "vsock-shell".to_owned(), "floor".to_owned(), "to floor".to_owned()];
    heads.extend(Contender::PEERS.map(|peer| peer.name().to_owned()));
    heads.push("goal".to_owned());
    let mut lines = vec![heads];
    for row in rows {
        let mut cells =
            vec![row.what.clone(), row.cell(Contender::Ours), row.cell(Contender::Floor), row.to_floor()];
        cells.extend(Contender::PEERS.map(|peer| row.cell(peer)));
        cells.push(row.verdicts());
        // A server's words may hold anything.
        lines.push(cells.iter().map(|cell| cell.replace('|', "\\|")).collect());
    }
    let count = |line: &[String], column: usize| line[column].chars().count();
    let columns = lines[0].len();
    let widths: Vec<usize> =
        (0..columns).map(|column| lines.iter().map(|line| count(line, column)).max().unwrap_or(0)).collect();
    lines.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    }
    text
}

/// What it ran on, as far as that matters.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory =
        field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    format!(
        "Measured on {cores} × {}, {} GiB, Linux {}, with {}, {}, {}, {}, {}.",
        field(&read("/proc/cpuinfo"), "model name"),
        memory >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        rustc(),
        version("ssh", "-V", "OpenSSH"),
        version("dropbear", "-V", "Dropbear"),
        version("socat", "-V", "socat version"),
        version("rsync", "-V", "rsync"),
    )
}

/// The compiler, which the bench's PATH does not reach.
fn rustc() -> String {
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap_or_default());
    version(&cargo.with_file_name("rustc").to_string_lossy(), "-V", "rustc")
}

/// The line of a program's version that begins with its name.
fn version(program: &str, option: &str, name: &str) -> String {
    let output =
        Command::new(packages::program(program).unwrap_or_else(|| program.into())).arg(option).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or_else(|| format!("no {program}"), |line| line.trim().to_owned())
}
