//! Forwarding into and out of a guest that has no network: its vsock, its loopback device, and the host's ports.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{DEADLINE, boot, run, setup, succeeds, wanted};
use xtask::arch::Arch;
use xtask::vm::Machine;
use xtask::workspace;

/// A client that forwards until it is dropped.
struct Forwarding(Child);

impl Forwarding {
    fn start(machine: &Machine, options: &[&str]) -> Self {
        let words: Vec<_> = options.iter().copied().chain(["-N", "<target>"]).collect();
        Self(machine.client(&words).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The client on the host, with another target than the guest's.
fn client(words: &[&str]) -> Command {
    let mut client = Command::new(workspace::client());
    client.args(words).stdin(Stdio::null());
    client
}

fn there(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_port_of_the_guests_vsock_is_reached_from_the_host() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    // A session through a session: another agent, which only the guest itself may reach.
    succeeds(&machine, &["<target>", "/init -p 5001 --allow-cid 1 -d"]);
    let here = machine.path("here");
    let _forwarding = Forwarding::start(&machine, &["-L", &format!("{}:vsock:5001", there(&here))]);
    until(|| here.exists());
    let target = format!("unix:{}", there(&here));
    let output = client(&["--timeout", "30", &target, "echo through; exit 4"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b"through\n"[..]), "{output:?}");
    let refused = run(&machine, &["-W", "vsock:5999", "<target>"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(255) && told.contains("cannot connect: "), "{told}");
}

#[test]
fn a_guest_without_a_network_reaches_a_port_of_the_host() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom the host\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        asked
    });
    let _forwarding = Forwarding::start(&machine, &["-R", &format!("8080:127.0.0.1:{port}")]);
    let fetched = succeeds(
        &machine,
        &["<target>", "for i in $(seq 100); do wget -qO- http://127.0.0.1:8080/ && break; sleep 0.1; done"],
    );
    assert_eq!(fetched, "from the host\n");
    assert_eq!(&serving.join().unwrap(), b"GET ");
}

#[test]
fn a_port_of_the_guests_vsock_leads_to_a_socket_of_the_host() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let here = machine.path("waits");
    let _forwarding = Forwarding::start(&machine, &["-R", &format!("vsock:7000:{}", there(&here))]);
    // An agent that calls the port from inside serves who waits outside.
    succeeds(&machine, &["<target>", "/init --connect vsock:1:7000 -d"]);
    let on = format!("unix:{}", there(&here));
    let output = client(&["--listen", &on, "--timeout", "60", "--", "echo", "called"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"called\n"[..]), "{output:?}");
}
