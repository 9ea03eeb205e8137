//! Who reaches whom: calls from the guest, peers in the guest, several clients at once, and word that the agent listens.

use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::guest::{DEADLINE, boot, run, send_and_fetch, setup, succeeds, wanted, with_client};
use xtask::arch::Arch;
use xtask::terminal::Terminal;
use xtask::vm::Machine;
use xtask::workspace;

const MIB: u64 = 1 << 20;

/// Where a guest's call to this port of its host arrives.
fn host_port(machine: &Machine, port: u32) -> PathBuf {
    machine.path(&format!("vsock.sock_{port}"))
}

#[test]
fn a_guest_that_calls_serves_whoever_waits() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    setup.words = "vsock_shell.connect=vsock:2:7777".to_owned();
    let machine = boot(&setup);
    let on = format!("unix:{}", host_port(&machine, 7777).display());
    for round in 0..2 {
        let mut client = Command::new(workspace::client());
        client.args(["--listen", &on, "--timeout", "60", "--", "sh", "-c", "echo called; exit $0"]);
        let output = client.arg(round.to_string()).stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(round), &b"called\n"[..]));
    }
}

#[test]
fn whoever_is_to_be_notified_hears_that_the_agent_listens() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    setup.words = "vsock_shell.notify=vsock:2:8888".to_owned();
    let machine = boot(&setup);
    // Nobody heard the first time, and that ends nothing. The next time is when the listener was started again.
    let manager = UnixListener::bind(host_port(&machine, 8888)).unwrap();
    succeeds(&machine, &["<target>", "kill -9 $(cat /proc/1/task/1/children)"]);
    let (mut stream, _) = manager.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert_eq!(told, "READY=1\n");
}

#[test]
fn a_peer_that_is_not_the_host_is_refused_unless_it_is_allowed() {
    if !wanted() {
        return;
    }
    let machine = boot(&with_client());
    let from_inside = |port: &str| {
        let words = ["<target>", "--", "/bin/vsock-shell", "-p", port, "--timeout", "0", "1", "echo inside"];
        run(&machine, &words)
    };
    let refused = from_inside("5000");
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    assert!(refused.stdout.is_empty());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("the agent does not accept this peer"), "{told}");
    succeeds(&machine, &["<target>", "/init -p 5001 --allow-cid 1 -d && /init -p 5002 --allow-cid=9 -d"]);
    assert_eq!(from_inside("5001").stdout, b"inside\n");
    assert_eq!(from_inside("5002").status.code(), Some(255), "another one is allowed");
    // Files as well, and the host is served by the same agent.
    let transfer = "head -c 1000000 /dev/urandom > /tmp/a && vsock-shell -p 5001 1 -u /tmp/a:/tmp/b && \
        vsock-shell -p 5001 1 -d /tmp/b:/tmp/c && cmp /tmp/a /tmp/c";
    succeeds(&machine, &["<target>", transfer]);
    assert_eq!(succeeds(&machine, &["-p", "5001", "<target>", "echo outside"]), "outside\n");
}

#[test]
fn two_shells_and_a_transfer_go_on_at_once() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let mut shells: Vec<Terminal> =
        (0..2).map(|_| Terminal::start(&machine.client(["<target>"])).unwrap()).collect();
    std::thread::scope(|scope| {
        let transfer = scope.spawn(|| send_and_fetch(&machine, 16 * MIB));
        for round in 0.. {
            for (number, shell) in shells.iter_mut().enumerate() {
                shell.write(format!("echo shell$((40 + {number}))-$(({round} * 10))\n").as_bytes()).unwrap();
                shell.until(&format!("shell4{number}-{}", round * 10), DEADLINE).unwrap();
            }
            if transfer.is_finished() {
                assert!(round > 0, "nothing was typed meanwhile");
                break;
            }
        }
    });
    for (number, shell) in shells.into_iter().enumerate() {
        shell.write(format!("exit {}\n", 3 + number).as_bytes()).unwrap();
        assert_eq!(shell.ends(DEADLINE).unwrap().code(), Some(3 + number as i32));
    }
}

#[test]
fn a_guest_that_runs_is_found_and_its_name_is_a_target() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let socket = format!("mux:{}:5000", machine.path("vsock.sock").display());
    let client = |words: &[&str]| {
        let mut client = Command::new(workspace::client());
        // The person's own configuration is not asked.
        client.args(words).env("VSOCK_SHELL_CONFIG", "/dev/null").stdin(Stdio::null());
        let output = client.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, listed) = client(&["targets", "--json"]);
    assert_eq!(status, Some(0), "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let found = listed.as_array().unwrap().iter().find(|guest| guest["address"] == *socket);
    let found = found.unwrap_or_else(|| panic!("{socket} is not in {listed}"));
    assert_eq!((&found["agent"], &found["source"]), (&true.into(), &"qemu".into()), "{found}");
    let name = found["name"].as_str().unwrap();
    assert_eq!(client(&[name, "echo by name; exit 5"]), (Some(5), "by name\n".to_owned()));
}
