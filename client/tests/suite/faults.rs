//! What the kernel refuses the agent: no descriptor, no memory for a process. It says so, goes on, and does not spin.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::guest::processes::{ticks, tracer};
use crate::guest::{Guest, Running, TARGET, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use vsock_shell::client::Client;
use vsock_shell::command::Program;
use vsock_shell::error::Error;
use vsock_shell::target::Target;

/// The calls that make a process, by whatever libc.
const FORKS: &str = "?fork,?vfork,clone,clone3";

/// strace at a process, as long as it lives.
struct Tracer(Running);

impl Tracer {
    fn attach(pid: i32, arguments: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        strace.arg("-qq").args(arguments).arg("-p").arg(pid.to_string());
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let tracer = Self(Running::start(&mut strace));
        until("strace is attached", || tracer_of(pid) == Some(tracer.0.pid()));
        tracer
    }

    /// Lets go of the process.
    fn detach(mut self) {
        self.0.signal(Signal::INT);
        self.0.end();
    }
}

fn tracer_of(pid: i32) -> Option<Pid> {
    tracer(pid).and_then(Pid::from_raw)
}

fn connect(guest: &Guest) -> Client {
    let target = Target::parse(guest.target().as_ref(), 5000).unwrap();
    Client::connect(&target, Duration::from_secs(2)).unwrap()
}

#[track_caller]
fn assert_runs(client: &mut Client) {
    let output =
        client.command(Program::Argv(vec!["echo".into(), "here".into()])).output(Vec::new()).unwrap();
    assert_eq!(output.stdout.bytes(), b"here\n");
}

#[track_caller]
fn assert_refused(client: &mut Client, errno: rustix::io::Errno) {
    match client.command(Program::Argv(vec!["true".into()])).output(Vec::new()) {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.errno, errno.raw_os_error() as u32, "{refusal:?}"),
        other => panic!("{:?}", other.map(|output| output.status.exit_code())),
    }
}

/// It computes nothing while nothing happens.
#[track_caller]
fn assert_idle(pid: i32) {
    let mut before = ticks(pid);
    // Ten quiet looks in a row; one that spins never has them.
    let mut quiet = 0;
    until("the process is idle", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = ticks(pid);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        quiet == 10
    });
}

#[test]
fn a_session_without_descriptors_refuses_and_goes_on() {
    let guest = Guest::start();
    let mut client = connect(&guest);
    assert_runs(&mut client);
    let session = guest.sessions()[0];
    let pid = Pid::from_raw(session);
    let own = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir(format!("/proc/{session}/fd")).unwrap().count() as u64;
    // One more than there is: a pipe needs two.
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(open + 1), maximum: own.maximum }).unwrap();
    assert_refused(&mut client, rustix::io::Errno::MFILE);
    assert_idle(session);
    prlimit(pid, Resource::Nofile, own).unwrap();
    assert_runs(&mut client);
}

#[test]
fn a_session_without_memory_for_a_process_refuses_and_goes_on() {
    let guest = Guest::start();
    let mut client = connect(&guest);
    assert_runs(&mut client);
    let session = guest.sessions()[0];
    let tracer = Tracer::attach(session, &["-e", &format!("inject={FORKS}:error=ENOMEM")]);
    assert_refused(&mut client, rustix::io::Errno::NOMEM);
    assert_refused(&mut client, rustix::io::Errno::NOMEM);
    tracer.detach();
    assert_idle(session);
    assert_runs(&mut client);
}

#[test]
fn a_listener_without_memory_for_a_session_says_so_and_goes_on() {
    let guest = Guest::start();
    let agent = guest.agent.0.id() as i32;
    let tracer = Tracer::attach(agent, &["-e", &format!("inject={FORKS}:error=ENOMEM")]);
    for _ in 0..3 {
        guest.run(["--timeout", "0", TARGET, "true"]).failed(255, &["no memory"]);
    }
    tracer.detach();
    assert_idle(agent);
    assert_eq!(guest.run([TARGET, "echo here"]).succeeded(), "here\n");
}

#[test]
fn with_sync_and_only_then_the_file_system_is_flushed_once() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"content");
    let log = guest.directory.path("strace");
    let agent = guest.agent.0.id() as i32;
    let arguments = [
        "-f",
        "-y",
        "-e",
        "signal=none",
        "-e",
        "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2",
        "-o",
        log.to_str().unwrap(),
    ];
    let tracer = Tracer::attach(agent, &arguments);
    let to = guest.directory.path("to");
    let copy = |options: &[&str]| {
        let words = options.iter().map(OsString::from).chain([from.clone().into(), guest.remote(&to)]);
        guest.cp(words).succeeded();
        // Their order is the kernel's: a session that has ended has called all that it calls.
        guest.is_idle();
    };
    copy(&[]);
    assert!(!std::fs::read_to_string(&log).unwrap().contains("sync"));
    copy(&["--sync"]);
    tracer.detach();
    let calls = std::fs::read_to_string(&log).unwrap();
    let calls: Vec<_> = calls.lines().filter(|line| line.contains('(')).collect();
    let [_, renamed, flushed] = calls[..] else { panic!("{calls:?}") };
    assert!(renamed.contains("rename") && renamed.ends_with("= 0"), "{calls:?}");
    assert!(flushed.contains("syncfs(") && flushed.ends_with("= 0"), "{calls:?}");
    assert!(flushed.contains(&format!("{}>", to.parent().unwrap().display())), "{calls:?}");
}
