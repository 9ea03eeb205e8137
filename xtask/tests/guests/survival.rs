//! Sessions that outlive what becomes of a guest and of the way to it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{boot, setup, succeeds, wanted, write_payload};
use xtask::arch::Arch;
use xtask::terminal::Terminal;
use xtask::vm::{Machine, Setup, Transport};

const UPLOAD: u64 = 256 << 20;
/// What takes longer than this has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// A guest that has room for the upload.
fn roomy(transport: Transport) -> Machine {
    boot(&Setup { transport, memory_mib: 768, ..setup(Arch::X86_64) })
}

/// A shell that counts, and what it has said.
struct Counter(Terminal, Vec<u8>);

const COUNT: usize = 50;

impl Counter {
    fn start(machine: &Machine) -> Self {
        let count =
            format!("i=0; while [ $i -lt {COUNT} ]; do i=$((i+1)); echo \"<$i>\"; sleep 0.1; done; exit 5");
        let mut shell =
            Terminal::start(&machine.client(["-q", "-t", "<target>", "--", "sh", "-c", &count])).unwrap();
        let seen = shell.until("<3>", DEADLINE).unwrap();
        Self(shell, seen)
    }

    /// Every number comes once, and in order.
    #[track_caller]
    fn ends(mut self) {
        let last = format!("<{COUNT}>");
        let mut seen = self.1;
        seen.extend(self.0.until(&last, DEADLINE).unwrap());
        let numbers = (1..=COUNT).map(|number| format!("<{number}>\r\n")).collect::<String>();
        assert_eq!(String::from_utf8(seen).unwrap().trim_end(), numbers.trim_end());
        assert_eq!(self.0.ends(DEADLINE).unwrap().code(), Some(5));
    }
}

/// A file that is on its way.
struct Upload(Child);

impl Upload {
    fn start(machine: &Machine) -> Self {
        let sent: PathBuf = machine.path("sent");
        if !sent.exists() {
            write_payload(&sent, UPLOAD);
        }
        let words = ["-q", "<target>", "-u", &format!("{}:/tmp/file", sent.display())];
        let upload = machine.client(words).stdin(Stdio::null()).spawn().unwrap();
        // Some of it has arrived.
        std::thread::sleep(Duration::from_secs(1));
        Self(upload)
    }

    /// It arrives; the agent has compared its digest.
    #[track_caller]
    fn ends(mut self, machine: &Machine) {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the upload does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}");
        let size = "busybox stat -c %s /tmp/file; rm /tmp/file";
        assert_eq!(succeeds(machine, &["<target>", size]), format!("{UPLOAD}\n"));
    }
}

/// A command without a client that counts.
struct Job(String);

impl Job {
    fn start(machine: &Machine) -> Self {
        let count = "i=0; until [ -e /tmp/stop ]; do i=$((i+1)); echo \"<$i>\"; sleep 0.1; done; exit 6";
        Self(succeeds(machine, &["--detach", "<target>", "--", "sh", "-c", count]).trim().to_owned())
    }

    /// How far it has counted.
    #[track_caller]
    fn count(&self, machine: &Machine) -> usize {
        let seen = succeeds(machine, &["logs", "<target>", &self.0]);
        let count = seen.lines().count();
        let numbers = (1..=count).map(|number| format!("<{number}>\n")).collect::<String>();
        assert_eq!(seen, numbers);
        count
    }

    /// It goes on.
    #[track_caller]
    fn lives(&self, machine: &Machine) {
        let before = self.count(machine);
        std::thread::sleep(Duration::from_millis(500));
        assert!(self.count(machine) > before, "it stands still at {before}");
    }

    /// A client that is attached is killed, and another one sees the end.
    #[track_caller]
    fn ends(self, machine: &Machine) {
        let attach = ["attach", "<target>", &self.0];
        let mut killed = machine.client(attach).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut seen = [0; 4];
        killed.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
        killed.kill().unwrap();
        killed.wait().unwrap();
        self.lives(machine);
        succeeds(machine, &["<target>", "touch /tmp/stop"]);
        let attached = machine.client(attach).stdin(Stdio::null()).output().unwrap();
        assert_eq!(attached.status.code(), Some(6), "{attached:?}");
        succeeds(machine, &["<target>", "rm /tmp/stop"]);
        assert_eq!(succeeds(machine, &["jobs", "--json", "<target>"]), "[]\n");
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell, an upload and a job go on through what `happens`.
#[track_caller]
fn survives(mut machine: Machine, job: &Job, happens: impl FnOnce(Machine) -> Machine) -> Machine {
    let (counter, mut upload) = (Counter::start(&machine), Upload::start(&machine));
    assert_eq!(upload.0.try_wait().unwrap(), None, "the upload has ended too early");
    machine = happens(machine);
    counter.ends();
    upload.ends(&machine);
    job.lives(&machine);
    machine
}

#[test]
fn a_shell_an_upload_and_a_job_survive_snapshot_and_pause_over_virtio_serial() {
    if !wanted() {
        return;
    }
    // A port serves one client at a time.
    let machine = roomy(Transport::Serial);
    let job = Job::start(&machine);
    let counter = Counter::start(&machine);
    let mut machine = machine.restored().unwrap();
    machine.qmp().stop().unwrap();
    std::thread::sleep(Duration::from_secs(10));
    machine.qmp().cont().unwrap();
    counter.ends();
    let upload = Upload::start(&machine);
    let machine = machine.restored().unwrap();
    upload.ends(&machine);
    job.ends(&machine);
}

#[test]
fn a_shell_an_upload_and_a_job_survive_a_pause_of_a_minute_over_vsock() {
    if !wanted() {
        return;
    }
    let machine = roomy(Transport::VhostUser);
    let job = Job::start(&machine);
    let machine = survives(machine, &job, |machine| {
        machine.freeze(Duration::from_secs(60)).unwrap();
        machine
    });
    job.ends(&machine);
}

#[test]
fn a_shell_an_upload_and_a_job_survive_snapshot_backend_and_listener_over_vsock() {
    if !wanted() {
        return;
    }
    let machine = roomy(Transport::VhostUser);
    let job = Job::start(&machine);
    let machine = survives(machine, &job, |machine| machine.restored().unwrap());
    let machine = survives(machine, &job, |mut machine| {
        machine.exchange_backend().unwrap();
        machine
    });
    let machine = survives(machine, &job, |machine| {
        let listener = succeeds(&machine, &["<target>", "cat /proc/1/task/1/children"]);
        succeeds(&machine, &["<target>", &format!("kill -9 {}", listener.trim())]);
        machine
    });
    job.ends(&machine);
}
