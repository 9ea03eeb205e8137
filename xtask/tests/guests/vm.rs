//! The agent in real kernels, over real AF_VSOCK.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::guest::{DEADLINE, boot, first_word, run, send_and_fetch, setup, sha256, succeeds, wanted};
use xtask::arch::Arch;
use xtask::image::{Addition, Format};
use xtask::terminal::Terminal;
use xtask::vm::{Setup, Transport};

/// A file of this machine: this one.
const THIS_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/vm.rs");
const MIB: u64 = 1 << 20;

#[test]
fn a_booted_guest_answers_and_commands_have_their_status() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    succeeds(&machine, &["wait", "--timeout", "10", "<target>"]);
    let status = |words: &[&str]| run(&machine, &[&["<target>", "--"], words].concat()).status.code();
    assert_eq!(status(&["true"]), Some(0));
    assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"]), Some(128 + 15));
    assert_eq!(status(&["/no/such/program"]), Some(127));
    let both = run(&machine, &["<target>", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
}

#[test]
fn compressed_images_boot_and_bring_what_was_added() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    setup.recipe.additions.push(Addition { source: THIS_FILE.into(), place: "/opt/added".to_owned() });
    for format in [Format::Gzip, Format::Zstd] {
        setup.format = format;
        let machine = boot(&setup);
        let digest = first_word(&succeeds(&machine, &["<target>", "--", "sha256sum", "/opt/added"]));
        assert_eq!(digest, sha256(THIS_FILE.as_ref()));
    }
}

#[test]
fn a_shell_has_the_size_of_its_terminal_also_when_that_changes() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let mut terminal = Terminal::start(&machine.client(["<target>"])).unwrap();
    terminal.write(b"stty size\n").unwrap();
    terminal.until("24 80", DEADLINE).unwrap();
    // The shell is told before it runs the command that asks.
    terminal.write(b"trap 'echo changed' WINCH; echo tra''pped\n").unwrap();
    terminal.until("trapped", DEADLINE).unwrap();
    terminal.resize(50, 132).unwrap();
    terminal.write(b"while [ \"$(stty size)\" != '50 132' ]; do :; done; stty size\n").unwrap();
    terminal.until("50 132\r\n", DEADLINE).unwrap();
    // A shell's status is that of its last command.
    terminal.write(b"exit 9\n").unwrap();
    assert_eq!(terminal.ends(DEADLINE).unwrap().code(), Some(9));
}

#[test]
fn files_of_64_mib_go_up_and_down_over_vsock() {
    if wanted() {
        send_and_fetch(&boot(&setup(Arch::X86_64)), 64 * MIB);
    }
}

#[test]
fn files_of_64_mib_go_up_and_down_over_virtio_serial() {
    if !wanted() {
        return;
    }
    let machine = boot(&Setup { transport: Transport::Serial, ..setup(Arch::X86_64) });
    send_and_fetch(&machine, 64 * MIB);
}

#[test]
fn a_client_of_virtio_serial_that_was_killed_is_followed_by_another_at_once() {
    if !wanted() {
        return;
    }
    let machine = boot(&Setup { transport: Transport::Serial, ..setup(Arch::X86_64) });
    for round in 0..10 {
        let mut flood = machine.client(["--reconnect", "0", "<target>", "exec tee /dev/null"]);
        let mut flood = flood.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Both directions are full of its bytes, and it is cut somewhere in a record.
        flood.stdin.as_mut().unwrap().write_all(&vec![b'!'; 100_000 + 977 * round]).unwrap();
        flood.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        flood.kill().unwrap();
        flood.wait().unwrap();
        assert_eq!(succeeds(&machine, &["<target>", "--", "echo", "after"]), "after\n", "round {round}");
    }
    assert_eq!(succeeds(&machine, &["<target>", "pidof tee || echo none"]), "none\n");
}

#[test]
fn on_a_serial_line_control_c_is_answered_at_once_while_bulk_flows() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let line = machine.target_on_line();
    let flood = "n=0; trap 'n=$((n+1)); echo stop''ped $n; [ $n = 5 ] && exit 3' INT
        echo be''gun; while :; do echo ........; done";
    let mut terminal = Terminal::start(&machine.client(["-t", &line, "--", "sh", "-c", flood])).unwrap();
    terminal.until("begun", DEADLINE).unwrap();
    // What stands in queues delays each of them, and the machine's other work only some.
    let press = |number: u32| {
        // So much that everything on the way is full of it.
        for _ in 0..500 {
            terminal.read(&mut [0; 4096], DEADLINE).unwrap();
        }
        let typed = Instant::now();
        terminal.write(b"\x03").unwrap();
        terminal.until(&format!("stopped {number}"), DEADLINE).unwrap();
        typed.elapsed()
    };
    let answered = (1..=5).map(press).min().unwrap();
    assert_eq!(terminal.ends(DEADLINE).unwrap().code(), Some(3));
    assert!(answered < Duration::from_millis(200), "{answered:?}");
    eprintln!("Ctrl-C on a line: {answered:?}");
}

#[test]
fn a_guest_goes_on_from_a_snapshot_in_a_new_qemu() {
    if !wanted() {
        return;
    }
    for transport in [Transport::VhostUser, Transport::Serial] {
        let machine = boot(&Setup { transport, ..setup(Arch::X86_64) });
        succeeds(&machine, &["<target>", "echo kept > /tmp/file"]);
        let machine = machine.snapshot_and_restore().unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(succeeds(&machine, &["<target>", "cat /tmp/file"]), "kept\n", "{transport:?}");
    }
}

#[test]
fn an_aarch64_guest_runs_a_command_and_moves_a_file() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::Aarch64));
    assert_eq!(succeeds(&machine, &["<target>", "--", "uname", "-m"]), "aarch64\n");
    send_and_fetch(&machine, 4 * MIB);
}

#[test]
fn a_guest_that_switches_itself_off_ends_qemu_with_success() {
    if !wanted() {
        return;
    }
    let mut machine = boot(&setup(Arch::X86_64));
    // The connection goes with the guest, and does not come back.
    run(&machine, &["--reconnect", "0", "<target>", "--", "busybox", "poweroff", "-f"]);
    assert!(machine.ends(Duration::from_secs(20)).unwrap().success());
}
