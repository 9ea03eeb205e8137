//! Sessions that outlive what becomes of a guest and of the way to it.

mod guest;

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use guest::{boot, setup, succeeds, wanted, write_payload};
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
        let shell =
            Terminal::start(&machine.client(["-q", "-t", "<target>", "--", "sh", "-c", &count])).unwrap();
        let seen = shell.until("<3>", DEADLINE).unwrap();
        Self(shell, seen)
    }

    /// Every number comes once, and in order.
    #[track_caller]
    fn ends(self) {
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

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell and an upload go on through what `happens`.
#[track_caller]
fn survives(mut machine: Machine, happens: impl FnOnce(Machine) -> Machine) -> Machine {
    let (counter, mut upload) = (Counter::start(&machine), Upload::start(&machine));
    assert_eq!(upload.0.try_wait().unwrap(), None, "the upload has ended too early");
    machine = happens(machine);
    counter.ends();
    upload.ends(&machine);
    machine
}

#[test]
fn a_shell_and_an_upload_survive_snapshot_and_pause_over_virtio_serial() {
    if !wanted() {
        return;
    }
    // A port serves one client at a time.
    let machine = roomy(Transport::Serial);
    let counter = Counter::start(&machine);
    let mut machine = machine.restored().unwrap();
    machine.qmp().stop().unwrap();
    std::thread::sleep(Duration::from_secs(10));
    machine.qmp().cont().unwrap();
    counter.ends();
    let upload = Upload::start(&machine);
    let machine = machine.restored().unwrap();
    upload.ends(&machine);
}

#[test]
fn a_shell_and_an_upload_survive_snapshot_backend_pause_and_listener_over_vsock() {
    if !wanted() {
        return;
    }
    let machine = roomy(Transport::VhostUser);
    let machine = survives(machine, |machine| machine.restored().unwrap());
    let machine = survives(machine, |mut machine| {
        machine.exchange_backend().unwrap();
        machine
    });
    let machine = survives(machine, |machine| {
        machine.freeze(Duration::from_secs(60)).unwrap();
        machine
    });
    survives(machine, |machine| {
        let listener = succeeds(&machine, &["<target>", "cat /proc/1/task/1/children"]);
        succeeds(&machine, &["<target>", &format!("kill -9 {}", listener.trim())]);
        machine
    });
}
