//! The agent as process 1 of real kernels: what it keeps, reaps, hands over and ends.

mod guest;

use std::time::Duration;

use guest::{DEADLINE, boot, run, setup, succeeds, wanted};
use xtask::arch::Arch;
use xtask::image::Addition;
use xtask::kernel;
use xtask::terminal::Terminal;
use xtask::vm::{Setup, Transport};

/// A real init; it is told to go on by a file.
const HANDOVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/handover.sh");
/// How long a machine may take to end.
const ENDING: Duration = Duration::from_secs(20);

#[test]
fn every_orphan_is_reaped() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    // Each is left by its parent, and ends at once.
    succeeds(&machine, &["<target>", "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done"]);
    let zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    let count = "until [ $(ZOMBIES) = 0 ]; do sleep 0.1; done; echo none".replace("ZOMBIES", zombies);
    assert_eq!(succeeds(&machine, &["<target>", &count]), "none\n");
}

#[test]
fn a_listener_that_was_killed_comes_back() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let listener = "cat /proc/1/task/1/children";
    let before = succeeds(&machine, &["<target>", listener]);
    // The session goes on without it, and says so.
    succeeds(&machine, &["<target>", &format!("kill -9 {}", before.trim())]);
    succeeds(&machine, &["wait", "--timeout", "20", "<target>"]);
    let after = succeeds(&machine, &["<target>", listener]);
    assert_ne!(before, after);
}

#[test]
fn poweroff_and_reboot_end_the_machine() {
    if !wanted() {
        return;
    }
    for words in
        [&["poweroff", "<target>"][..], &["reboot", "<target>"], &["poweroff", "--force", "<target>"]]
    {
        let mut machine = boot(&setup(Arch::X86_64));
        let output = run(&machine, words);
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        assert!(machine.ends(ENDING).unwrap().success(), "{words:?}");
    }
}

#[test]
fn after_switch_root_commands_run_in_the_new_root_and_a_shell_of_before_goes_on() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    setup.recipe.additions.push(Addition { source: HANDOVER.into(), place: "/sbin/handover".to_owned() });
    setup.words = "vsock_shell.init=/sbin/handover".to_owned();
    let machine = boot(&setup);
    let shell = Terminal::start(&machine.client(["-t", "<target>", "--", "sh"])).unwrap();
    shell.write(b"echo be''fore\n").unwrap();
    shell.until("before", DEADLINE).unwrap();
    let one = "tr '\\0' ' ' < /proc/1/cmdline";
    assert!(succeeds(&machine, &["<target>", one]).contains("/sbin/handover"), "it is not process 1");
    succeeds(&machine, &["<target>", "echo > /run/go"]);
    // Each command looks at the root that process 1 has when it begins.
    let arrived = (0..100).any(|_| {
        run(&machine, &["<target>", "cat", "/where"]).stdout == b"new\n" || {
            std::thread::sleep(Duration::from_millis(100));
            false
        }
    });
    assert!(arrived, "no command came to the new root");
    // Its terminal comes from there too.
    assert_eq!(succeeds(&machine, &["-t", "<target>", "--", "cat", "/where"]), "new\r\n");
    shell.write(b"echo af''ter; exit 4\n").unwrap();
    shell.until("after", DEADLINE).unwrap();
    assert_eq!(shell.ends(DEADLINE).unwrap().code(), Some(4));
}

#[test]
fn modules_are_loaded_plain_and_compressed_and_their_absence_is_told_in_one_line() {
    if !wanted() {
        return;
    }
    let plain = setup(Arch::X86_64);
    let mut compressed = plain.clone();
    compressed.kernel = kernel::with_compressed_modules(Arch::X86_64).unwrap();
    compressed.recipe.modules = compressed.kernel.modules.clone();
    for (setup, ending) in [(plain.clone(), ".ko"), (compressed, ".ko.xz")] {
        let machine = boot(&setup);
        let list = succeeds(&machine, &["<target>", "cat /etc/vsock-shell/modules"]);
        assert!(list.lines().all(|path| path.ends_with(ending)), "{list}");
        succeeds(&machine, &["<target>", "grep -q ^vmw_vsock_virtio_transport /proc/modules"]);
    }
    // Over the line alone there is an answer without any module.
    let mut without = Setup { transport: Transport::Line, ..plain };
    without.recipe.modules = None;
    let machine = boot(&without);
    let told = machine.console();
    let about: Vec<&str> =
        told.lines().filter(|line| line.contains("vsock-shell-agent: this kernel")).collect();
    assert_eq!(about.len(), 1, "{told}");
    assert!(about[0].contains("has no vsock; no modules virtio_pci"), "{about:?}");
}

#[test]
fn the_hypervisor_can_hand_settings_over_and_the_command_line_wins() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    setup.hardware = [
        "-smbios",
        "type=11,value=io.systemd.credential:vsock_shell.hostname=of-smbios",
        "-smbios",
        "type=11,value=io.systemd.credential:vsock_shell.listen=vsock:6000",
        "-fw_cfg",
        "name=opt/io.systemd.credentials/vsock_shell.hostname,string=of-fw_cfg",
    ]
    .map(str::to_owned)
    .to_vec();
    assert_eq!(succeeds(&boot(&setup), &["<target>", "hostname"]), "of-fw_cfg\n");
    setup.hardware.truncate(4);
    // The port of the credential is replaced as well, or nobody would answer.
    assert_eq!(succeeds(&boot(&setup), &["<target>", "hostname"]), "of-smbios\n");
    setup.words = "vsock_shell.hostname=of-kernel".to_owned();
    assert_eq!(succeeds(&boot(&setup), &["<target>", "hostname"]), "of-kernel\n");
}

#[test]
fn when_memory_runs_out_the_agent_a_shell_and_poweroff_still_work() {
    if !wanted() {
        return;
    }
    let mut machine = boot(&setup(Arch::X86_64));
    let shell = Terminal::start(&machine.client(["<target>"])).unwrap();
    shell.write(b"echo be''fore\n").unwrap();
    shell.until("before", DEADLINE).unwrap();
    // The listener and the session are exempt and locked, what they run is neither.
    let scores = "cat /proc/$(cat /proc/1/task/1/children | tr -d ' ')/oom_score_adj /proc/$PPID/oom_score_adj \
        /proc/self/oom_score_adj; grep -c '^VmLck:.* 0 kB' /proc/1/status /proc/$PPID/status /proc/self/status | cut -d: -f2";
    assert_eq!(
        succeeds(&machine, &["<target>", scores]).split_whitespace().collect::<Vec<_>>(),
        ["-1000", "-1000", "0", "0", "0", "1"]
    );
    // Each of them takes all there is, until the kernel kills it.
    let hog = machine.client(["<target>", "echo eating; while :; do tail /dev/zero; done"]);
    let hog = Terminal::start(&hog).unwrap();
    hog.until("eating", DEADLINE).unwrap();
    let killed = "dmesg | grep -c 'Killed process'";
    let mut kills = 0;
    while kills < 5 {
        succeeds(&machine, &["info", "<target>"]);
        shell.write(b"echo du''ring\n").unwrap();
        shell.until("during", DEADLINE).unwrap();
        kills = run(&machine, &["<target>", killed])
            .stdout
            .trim_ascii()
            .escape_ascii()
            .to_string()
            .parse()
            .unwrap();
    }
    let victims = succeeds(&machine, &["<target>", "dmesg | grep 'Killed process'"]);
    assert!(victims.lines().all(|line| line.contains("(tail)")), "{victims}");
    shell.write(b"exit 5\n").unwrap();
    assert_eq!(shell.ends(DEADLINE).unwrap().code(), Some(5));
    succeeds(&machine, &["poweroff", "<target>"]);
    assert!(machine.ends(ENDING).unwrap().success());
}
