//! Row 6: the agent in a guest. What it and its images weigh, what it costs until it listens, and its streams against a bare loop.
//!
//! Guests run in an emulator where nothing better works, so only ratios within this row mean something; the time until the agent
//! listens is measured on this machine, in namespaces in which it is process 1.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::bulk::write_source;
use super::contender::Contender;
use super::rig::Rig;
use super::stats::{Series, interleave, percentile};
use super::table::{Goal, Row, Unit};
use crate::arch::Arch;
use crate::image::{Addition, Format, Recipe};
use crate::kernel::Kernel;
use crate::scratch::{Scratch, Server};
use crate::vm::{self, Machine, Setup, Transport};
use crate::{size, workspace};

/// Where the bare loop lies in the guest, its port of vsock, and the name of its virtio-serial port.
const FLOOR: &str = "/bin/floor";
const FLOOR_PORT: u32 = 7000;
const FLOOR_PORT_NAME: &str = "floor.0";

/// What the agent may cost before it listens.
const START_SECONDS: f64 = 5e-3;

/// A bare stream that has moved nothing for so long has failed.
const STALLED: Duration = Duration::from_secs(20);

/// Bytes of which one p50 is taken.
const KEYS: usize = 200;

const BOTH: [Contender; 2] = [Contender::Floor, Contender::Ours];

/// Gets what the row needs: guests, agents, and the bare loop as a static program.
///
/// # Errors
/// There are no guests here.
pub fn prepare() -> Result<()> {
    vm::prepare()?;
    let mut cargo = workspace::cargo();
    cargo.args(["rustc", "--release", "-p", "xtask", "--bin", "xtask-floor", "--target-dir"]);
    workspace::run(cargo.arg(floor_folder()).args(["--", "-Ctarget-feature=+crt-static"]))
}

fn floor_folder() -> PathBuf {
    workspace::target_dir().join("floor")
}

/// Every figure of the row.
pub fn rows(rig: &Rig, options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for arch in Arch::ALL {
        let bytes = fs::metadata(workspace::agent_of(arch))?.len() as f64;
        rows.push(ours(
            &format!("agent for {arch}"),
            Unit::Bytes,
            vec![bytes],
            vec![Goal::AtMostBytes(size::LIMIT_BYTES)],
        ));
    }
    rows.push(start(rig, options));
    let kernel = Kernel::find(Arch::X86_64, None)?;
    rows.extend(images(&kernel)?);
    rows.extend(streams(rig, options, kernel)?);
    Ok(rows)
}

/// A row in which nobody else takes part.
fn ours(what: &str, unit: Unit, values: Vec<f64>, goals: Vec<Goal>) -> Row {
    Row {
        what: format!("6 {what}"),
        unit,
        series: vec![Series { contender: Contender::Ours, outcome: Ok(values) }],
        goals,
    }
}

/// CPU time of process 1 and of the listener, from the fork of the one to the first connection that the other could take.
fn start(rig: &Rig, options: &Options) -> Row {
    let what = "process 1 until it listens, CPU time";
    let series = interleave(&format!("6 {what}"), options.rounds(30, 5), &[Contender::Ours], |_| {
        let socket = rig.scratch.path("init.sock");
        let mut unshare = Command::new("unshare");
        unshare.args(
            "--user --map-root-user --pid --fork --kill-child --mount --mount-proc --uts --net".split(' '),
        );
        unshare.arg(&rig.agent_program).arg(format!("--listen=unix:{}", socket.display()));
        let mut server = Server::start("process 1", &mut unshare, &rig.log())?;
        server.binds(&socket)?;
        let init = children(server.pid())?;
        let listener = children(*init.first().context("no process 1")?)?;
        let seconds = init.iter().chain(&listener).map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>()?;
        drop(server);
        // Whoever had the time has removed it.
        let _ = fs::remove_file(&socket);
        Ok(Some(seconds))
    });
    Row {
        what: format!("6 {what}"),
        unit: Unit::Seconds,
        series,
        goals: vec![Goal::AtMostSeconds(START_SECONDS)],
    }
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    listed.split_whitespace().map(|pid| pid.parse().map_err(Into::into)).collect()
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let told = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(told.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}

/// Images with the agent alone, and with the modules that it needs of Debian's kernel.
fn images(kernel: &Kernel) -> Result<Vec<Row>> {
    let agent = workspace::agent_of(Arch::X86_64);
    let mut rows = Vec::new();
    for (what, modules) in [("without modules", None), ("with modules", kernel.modules.clone())] {
        for (format, name) in [(Format::Cpio, "cpio"), (Format::Zstd, "cpio.zst")] {
            let recipe = Recipe { modules: modules.clone(), ..Recipe::new(Arch::X86_64) };
            let bytes = recipe.pack(&agent, format)?.len() as f64;
            rows.push(ours(&format!("initramfs {what}, {name}"), Unit::Bytes, vec![bytes], vec![]));
        }
    }
    Ok(rows)
}

/// A stream into the guest, by the agent and by the bare loop.
struct Stream {
    name: &'static str,
    target: String,
    floor: UnixStream,
}

fn streams(rig: &Rig, options: &Options, kernel: Kernel) -> Result<Vec<Row>> {
    let files = Scratch::new(&std::env::temp_dir(), "bench")?;
    let socket = files.path("floor.sock");
    let mut setup = Setup::new(Arch::X86_64, kernel, Transport::VhostUser);
    let floor = floor_folder().join("release/xtask-floor");
    setup.recipe.additions.push(Addition { source: floor, place: FLOOR.to_owned() });
    let device = format!("virtserialport,bus=serial.0,chardev=floor,name={FLOOR_PORT_NAME}");
    let backend = format!("socket,id=floor,path={},server=on,wait=off", socket.display());
    setup.hardware = ["-chardev", &backend, "-device", &device].map(str::to_owned).to_vec();
    let machine = Machine::boot(&setup)?;
    let mut rows = vec![memory(&machine)?];
    let by_name = format!(
        "for port in /sys/class/virtio-ports/*; do test $(cat $port/name) = {FLOOR_PORT_NAME} && \
        exec {FLOOR} serve-guest /dev/${{port##*/}}; done"
    );
    // A port that nobody holds on this side is at its end.
    let port_of_floor = patient(UnixStream::connect(&socket)?)?;
    let _loops = [
        start_in(&machine, &format!("exec {FLOOR} serve-guest vsock:{FLOOR_PORT}"))?,
        start_in(&machine, &by_name)?,
    ];
    let over_vsock =
        Stream { name: "vsock", target: machine.target(), floor: call(&machine.path("vsock.sock"))? };
    let port = format!("serial:{}", machine.path("port.sock").display());
    let over_port = Stream { name: "virtio-serial", target: port, floor: port_of_floor };
    for mut stream in [over_vsock, over_port] {
        rows.extend(bulk(rig, options, &mut stream)?);
        rows.push(echo(options, &mut stream)?);
    }
    Ok(rows)
}

/// What process 1 and the listener hold in a guest, where nothing is shared with a host.
fn memory(machine: &Machine) -> Result<Row> {
    let line = "cat /proc/1/smaps_rollup /proc/$(cat /proc/1/task/1/children | cut -d ' ' -f 1)/smaps_rollup";
    let told = workspace::output(&mut machine.client(["<target>", line]))?;
    let kib = told
        .lines()
        .filter_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(ours("process 1 and the listener, RSS", Unit::Bytes, vec![kib.sum::<f64>() * 1024.0], vec![]))
}

fn start_in(machine: &Machine, line: &str) -> Result<Running> {
    let mut client = machine.client(["-n", "<target>", line]);
    Ok(Running(client.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
}

/// A client that is ended with the value, and what it runs with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stream that fails where it stands still.
fn patient(stream: UnixStream) -> Result<UnixStream> {
    stream.set_read_timeout(Some(STALLED))?;
    stream.set_write_timeout(Some(STALLED))?;
    Ok(stream)
}

/// Calls the bare loop's port of vsock, which it may be about to open.
fn call(socket: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // Before somebody listens, a call ends in many ways.
        let error = match greet(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        ensure!(Instant::now() < deadline, "the bare loop does not listen: {error:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn greet(socket: &Path) -> Result<UnixStream> {
    let mut stream = patient(UnixStream::connect(socket)?)?;
    stream.write_all(format!("CONNECT {FLOOR_PORT}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::with_capacity(1, &stream).read_line(&mut line)?;
    ensure!(line.starts_with("OK"), "it answered {line:?}");
    Ok(stream)
}

fn bulk(rig: &Rig, options: &Options, stream: &mut Stream) -> Result<Vec<Row>> {
    // The old file, the new one and that of the loop have to find room in half of the guest's memory.
    let bytes: u64 = if options.quick { 4 << 20 } else { 16 << 20 };
    let (from, to) = (rig.scratch.path("source"), rig.scratch.path("copy"));
    write_source(&from, bytes)?;
    let mut rows = Vec::new();
    for (direction, what, pair) in [
        ("up", b'u', ["-u".to_owned(), format!("{}:/tmp/ours", from.display())]),
        ("down", b'd', ["-d".to_owned(), format!("/tmp/ours:{}", to.display())]),
    ] {
        let name = format!("6 {} MiB file {direction}, {}", bytes >> 20, stream.name);
        let series = interleave(&name, options.rounds(7, 2), &BOTH, |contender| {
            let start = Instant::now();
            if contender == Contender::Ours {
                let client = Command::new(&rig.client).arg(&stream.target).args(&pair).arg("-q").status()?;
                ensure!(client.success(), "the client ended with {client}");
            } else {
                ask(&mut stream.floor, what, bytes)?;
                if what == b'u' {
                    std::io::copy(&mut fs::File::open(&from)?, &mut stream.floor)?;
                    stream.floor.read_exact(&mut [0])?;
                } else {
                    std::io::copy(&mut (&stream.floor).take(bytes), &mut fs::File::create(&to)?)?;
                }
            }
            Ok(Some(start.elapsed().as_secs_f64()))
        });
        rows.push(Row { what: name, unit: Unit::Rate(bytes), series, goals: vec![] });
    }
    Ok(rows)
}

fn ask(floor: &mut UnixStream, what: u8, count: u64) -> Result<()> {
    let request = [u64::from(what).to_le_bytes(), count.to_le_bytes()].concat();
    floor.write_all(&request).map_err(Into::into)
}

/// A byte there and back, through `cat` and through the bare loop.
fn echo(options: &Options, stream: &mut Stream) -> Result<Row> {
    let mut command = Command::new(workspace::client());
    command.args([stream.target.as_str(), "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut cat = Running(command.spawn()?);
    let (Some(mut input), Some(mut output)) = (cat.0.stdin.take(), cat.0.stdout.take()) else {
        anyhow::bail!("no pipes");
    };
    let name = format!("6 byte there and back, {}, p50", stream.name);
    let series = interleave(&name, options.rounds(7, 2), &BOTH, |contender| {
        if contender == Contender::Floor {
            ask(&mut stream.floor, b'e', KEYS as u64)?;
        }
        let mut seconds = Vec::with_capacity(KEYS);
        for _ in 0..KEYS {
            let start = Instant::now();
            if contender == Contender::Ours {
                input.write_all(b"x")?;
                output.read_exact(&mut [0])?;
            } else {
                stream.floor.write_all(b"x")?;
                stream.floor.read_exact(&mut [0])?;
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        Ok(Some(percentile(&seconds, 0.5)))
    });
    Ok(Row { what: name, unit: Unit::Seconds, series, goals: vec![] })
}
