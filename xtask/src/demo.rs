//! `cargo xtask demo`: the main job on real input, on this machine, with nothing left behind.
//!
//! The static agent serves a private Unix socket; the client runs a command, sends a file up and down, asks for information
//! and, where there is a terminal, opens a shell. Every command line is shown before it runs.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use xxhash_rust::xxh3::xxh3_128;

use crate::scratch::{Scratch, Server};
use crate::{build, workspace};

/// Size of the file that travels: not a multiple of anything.
const FILE_BYTES: usize = 16 * 1024 * 1024 + 4_321;

/// `cargo xtask demo`.
pub fn main() -> Result<()> {
    build::main()?;
    let scratch = Scratch::new(&std::env::temp_dir(), "demo")?;
    let socket = scratch.path("agent.sock");
    let target = format!("unix:{}", socket.display());

    println!("\n$ vsock-shell-agent --listen {target} &");
    let mut agent = Command::new(workspace::agent());
    agent.arg("--listen").arg(&target);
    let mut server = Server::start("the agent", &mut agent, &scratch.path("agent.log"))?;
    server
        .listens(&socket)
        .with_context(|| fs::read_to_string(scratch.path("agent.log")).unwrap_or_default())?;

    a_command(&target)?;
    a_file(&target, &scratch)?;
    a_job(&target)?;
    client("what the agent and its guest are", &["info", &target]).expect(0)?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        println!("\nA shell in the guest; `exit` or Ctrl-D ends it.");
        let status = client("", &[&target]).status()?;
        println!("the shell ended with {status}");
    }
    println!("\nThe demo is over; the agent is ended and its folder removed.");
    Ok(())
}

fn a_command(target: &str) -> Result<()> {
    let words = [target, "--", "sh", "-c", "echo hello; echo from standard error >&2; exit 7"];
    client("a command's output and its exit status", &words).expect(7)
}

fn a_file(target: &str, scratch: &Scratch) -> Result<()> {
    let (local, remote, back) = (scratch.path("local"), scratch.path("remote"), scratch.path("back"));
    fs::write(&local, payload())?;
    let pair = |a: &Path, b: &Path| format!("{}:{}", a.display(), b.display());
    client("a file up, and down again", &[target, "-u", &pair(&local, &remote)]).expect(0)?;
    client("", &[target, "-d", &pair(&remote, &back)]).expect(0)?;
    let digests = [local, remote, back].map(|file| fs::read(file).map(|bytes| xxh3_128(&bytes)));
    let [Ok(sent), Ok(arrived), Ok(returned)] = digests else { bail!("one of the three files is missing") };
    println!("XXH3 of what was sent, arrived, came back: {sent:032x} {arrived:032x} {returned:032x}");
    ensure!(sent == arrived && sent == returned, "the digests differ");
    Ok(())
}

fn a_job(target: &str) -> Result<()> {
    let words = ["--detach", target, "for i in 1 2 3; do echo $i; sleep 0.2; done; exit 4"];
    client("a command without a client, and its number", &words).expect(0)?;
    client("", &["jobs", target]).expect(0)?;
    client("its output to its end, and its exit status", &["attach", target, "1"]).expect(4)
}

/// Bytes that are a function of their offset.
fn payload() -> Vec<u8> {
    (0..FILE_BYTES as u64).map(|offset| (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The client with its arguments, shown as one would type it.
struct Shown(Command);

fn client(title: &str, words: &[&str]) -> Shown {
    if !title.is_empty() {
        println!("\n# {title}");
    }
    let quoted = words.iter().map(|word| match word.contains([' ', ';']) {
        true => format!("'{word}'"),
        false => (*word).to_owned(),
    });
    println!("$ vsock-shell {}", quoted.collect::<Vec<_>>().join(" "));
    let mut command = Command::new(workspace::client());
    command.args(words);
    Shown(command)
}

impl Shown {
    fn status(mut self) -> Result<i32> {
        let status = self.0.status().context("cannot run the client")?;
        status.code().with_context(|| format!("the client was ended by {status}"))
    }

    fn expect(self, expected: i32) -> Result<()> {
        let status = self.status()?;
        println!("(exit status {status})");
        ensure!(status == expected, "the client exited with {status}, {expected} was expected");
        Ok(())
    }
}
