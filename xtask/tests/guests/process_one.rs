//! The agent as process 1 of real kernels: what it keeps, reaps, hands over and ends.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::guest::{DEADLINE, bare, boot, handover, run, setup, succeeds, wanted};
use xtask::arch::Arch;
use xtask::image::Addition;
use xtask::kernel;
use xtask::scratch::Scratch;
use xtask::terminal::Terminal;
use xtask::vm::{Setup, Transport};
use xtask::workspace;

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
fn a_port_that_a_session_still_holds_is_served_again_after_the_listener_was_killed() {
    if !wanted() {
        return;
    }
    let machine = boot(&setup(Arch::X86_64));
    let port = machine.target_on_port();
    let mut stubborn = Terminal::start(&machine.client([
        "--reconnect",
        "0",
        "-t",
        &port,
        "trap '' HUP; echo he''ld; sleep 30",
    ]))
    .unwrap();
    stubborn.until("held", DEADLINE).unwrap();
    let listener = succeeds(&machine, &["<target>", "cat /proc/1/task/1/children"]);
    succeeds(&machine, &["<target>", &format!("kill -9 {}", listener.trim())]);
    succeeds(&machine, &["wait", "--timeout", "20", &port]);
    assert_eq!(succeeds(&machine, &[&port, "--", "echo", "again"]), "again\n");
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
    handover::prepare(&mut setup);
    let machine = boot(&setup);
    let mut shell = Terminal::start(&machine.client(["-t", "<target>", "--", "sh"])).unwrap();
    shell.write(b"echo be''fore\n").unwrap();
    shell.until("before", DEADLINE).unwrap();
    // Each command looks at the root that process 1 has when it begins.
    handover::enter_the_new_root(&machine);
    // An agent that has to be started again is in it as a whole.
    handover::restart_agent(&machine);
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
    // The machine's number has a quote in it, which is none.
    setup.words = String::new();
    setup.hardware.truncate(2);
    setup.hardware.extend(["-uuid", "22111111-1111-4111-8111-111111111111"].map(str::to_owned));
    assert_eq!(succeeds(&boot(&setup), &["<target>", "hostname"]), "of-smbios\n");
}

#[test]
fn a_key_comes_with_the_image_or_from_the_hypervisor_and_then_nothing_works_without() {
    if !wanted() {
        return;
    }
    let files = Scratch::new(&std::env::temp_dir(), "key").unwrap();
    let (key, other) = (files.path("key"), files.path("other"));
    for path in [&key, &other] {
        let made = Command::new(workspace::client()).arg("keygen").arg(path).status().unwrap();
        assert!(made.success());
    }
    let text = std::fs::read_to_string(&key).unwrap();
    let digits = text.trim();
    let mut by_tables = bare();
    by_tables.hardware =
        ["-smbios".to_owned(), format!("type=11,value=io.systemd.credential:vsock-shell.key={digits}")]
            .to_vec();
    let mut by_file = bare();
    let name = "name=opt/io.systemd.credentials/vsock-shell.key";
    by_file.hardware = ["-fw_cfg".to_owned(), format!("{name},file={}", key.display())].to_vec();
    let mut by_image = bare();
    by_image.recipe.key = Some(key.clone());
    // Whoever writes it where the kernel shows it to everybody does not find it in a log at least.
    by_image.words = format!("vsock_shell.key={}", digits.replace('0', "1"));
    for mut setup in [by_tables, by_file, by_image] {
        setup.key = Some(key.clone());
        let machine = boot(&setup);
        let boot_id = succeeds(&machine, &["fs", "cat", "<target>", "/proc/sys/kernel/random/boot_id"]);
        succeeds(&machine, &["--expect-boot-id", boot_id.trim(), "info", "<target>"]);
        for (options, reason) in
            [(&[][..], "wants a key"), (&["--key", other.to_str().unwrap()][..], "not the agent's key")]
        {
            let mut client = Command::new(workspace::client());
            let refused = client.args(options).args(["info", &machine.target()]).output().unwrap();
            assert_eq!(refused.status.code(), Some(255));
            assert!(String::from_utf8_lossy(&refused.stderr).contains(reason), "{refused:?}");
        }
        let log = succeeds(&machine, &["sys", "dmesg", "<target>"]);
        let of_us: Vec<&str> = log.lines().filter(|line| line.contains("vsock-shell-agent: ")).collect();
        assert!(of_us.iter().any(|line| line.contains("the agent has another key")), "{log}");
        assert!(!of_us.iter().any(|line| line.contains(&digits[8..24])), "{log}");
    }
}

#[test]
fn the_file_in_the_image_sets_process_1_up_and_a_console_has_a_shell_that_comes_back() {
    if !wanted() {
        return;
    }
    let files = Scratch::new(&std::env::temp_dir(), "settings").unwrap();
    let (settings, console) = (files.path("settings"), files.path("console"));
    let text = "# Of the image.\nhostname=box\nconsole=ttyS2\nmodules=vsock_loopback\nlog=debug\n";
    std::fs::write(&settings, text).unwrap();
    let mut setup = setup(Arch::X86_64);
    setup.recipe.additions.push(Addition { source: settings, place: "/etc/vsock-shell.conf".to_owned() });
    // Without the image's own list the guest resolves dependencies itself.
    let modules = setup.recipe.modules.take().unwrap();
    let wanted = ["/virtio_pci.ko:", "/vmw_vsock_virtio_transport.ko:", "/vsock_loopback.ko:"];
    let index = std::fs::read_to_string(modules.join("modules.dep")).unwrap();
    let lines: Vec<&str> =
        index.lines().filter(|line| wanted.iter().any(|wanted| line.contains(wanted))).collect();
    assert_eq!(lines.len(), wanted.len());
    let place = |file: &str| format!("/lib/modules/{}/{file}", setup.kernel.release);
    let part = files.path("modules.dep");
    std::fs::write(&part, lines.join("\n") + "\n").unwrap();
    let mut additions = vec![Addition { source: part, place: place("modules.dep") }];
    for file in lines.iter().flat_map(|line| line.split([' ', ':'])).filter(|file| !file.is_empty()) {
        additions.push(Addition { source: modules.join(file), place: place(file) });
    }
    setup.recipe.additions.extend(additions);
    setup.words = "vsock_shell.log=warning".to_owned();
    let chardev = format!("socket,id=console,path={},server=on,wait=off", console.display());
    setup.hardware = ["-chardev", &chardev, "-serial", "chardev:console"].map(str::to_owned).to_vec();
    let machine = boot(&setup);
    let told =
        succeeds(&machine, &["<target>", "hostname; grep -c ^vsock_loopback /proc/modules; ip link show lo"]);
    assert!(told.starts_with("box\n1\n") && told.contains("UP"), "{told}");

    let mut console = UnixStream::connect(console).unwrap();
    console.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut seen = String::new();
    let mut until = |written: &str, expected: &str| {
        let deadline = Instant::now() + DEADLINE;
        while !seen.contains(expected) {
            assert!(Instant::now() < deadline, "no {expected} in {seen:?}");
            // What is typed before the shell is there is lost.
            let _ = console.write_all(written.as_bytes());
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = console.read(&mut bytes) {
                seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        }
        seen.clear();
    };
    until("echo on $(tt''y)\n", "on /dev/ttyS2");
    until("sleep 100\n", "sleep");
    until("\u{3}", "^C");
    until("exit\n", "exit");
    until("echo back on $(tt''y)\n", "back on /dev/ttyS2");
}

#[test]
fn control_alt_delete_and_halt_end_the_machine() {
    if !wanted() {
        return;
    }
    let mut machine = boot(&setup(Arch::X86_64));
    machine.qmp().send_keys(&["ctrl", "alt", "delete"]).unwrap();
    assert!(machine.ends(ENDING).unwrap().success());

    let machine = boot(&setup(Arch::X86_64));
    succeeds(&machine, &["halt", "<target>"]);
    let deadline = Instant::now() + ENDING;
    while !machine.console().contains("System halted") {
        assert!(Instant::now() < deadline, "{}", machine.console());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn when_memory_runs_out_the_agent_a_shell_and_poweroff_still_work() {
    if !wanted() {
        return;
    }
    // Little of it, which is soon eaten.
    let mut machine = boot(&Setup { memory_mib: 128, ..setup(Arch::X86_64) });
    let mut shell = Terminal::start(&machine.client(["<target>"])).unwrap();
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
    let mut hog = Terminal::start(&hog).unwrap();
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
