//! A guest that holds the agent and a kernel, and nothing else: files, the system, and programs brought along.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::guest::{self, DEADLINE, bare, boot, fails, object, run, succeeds, there, wanted};
use serde_json::{Value, json};
use xtask::arch::Arch;
use xtask::kernel::Kernel;
use xtask::scratch::Scratch;
use xtask::terminal::Terminal;
use xtask::{packages, workspace};

/// How long a machine may take to end.
const ENDING: Duration = Duration::from_secs(20);

/// What is in the image beside the agent: mount points, and what vsock needs.
const ROOT: &str = "dev\netc\ninit\nlib\nmnt\nproc\nroot\nrun\nsys\ntmp\nvar\n";

fn busybox() -> String {
    packages::program("busybox").unwrap().display().to_string()
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A moment as RFC 3339 has it, which text compares well.
fn utc(seconds: u64) -> String {
    let date =
        Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("@{seconds}")]).output();
    String::from_utf8(date.unwrap().stdout).unwrap().trim_end().to_owned()
}

#[test]
fn files_are_read_made_and_removed() {
    if !wanted() {
        return;
    }
    let mut machine = boot(&bare());
    let words = |verb: &[&str], paths: &[&str]| -> Vec<String> {
        ["fs"].iter().chain(verb).chain(&["<target>"]).chain(paths).map(|word| (*word).to_owned()).collect()
    };
    let fs = |verb: &[&str], paths: &[&str]| {
        succeeds(&machine, &words(verb, paths).iter().map(String::as_str).collect::<Vec<_>>())
    };
    let value = |verb: &[&str], paths: &[&str]| -> Value {
        let words = words(&[verb, &["--json"]].concat(), paths);
        object(&machine, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };

    assert_eq!(fs(&["ls"], &["/"]), ROOT);
    assert_eq!(fs(&["ls", "-l", "-d"], &["/dev/null"]).split_whitespace().next(), Some("crw-rw-rw-"));
    let long = fs(&["ls", "-l"], &["/proc/self/", "/dev/"]);
    assert!(long.contains("/dev/:\n") && long.contains(" 1, 3 ") && long.contains("exe -> "), "{long}");
    let init = &value(&["ls"], &["/init"])[0]["entries"][0];
    let agent = fs::metadata(workspace::agent()).unwrap().len();
    assert_eq!((&init["size"], &init["mode"], &init["type"]), (&agent.into(), &0o755.into(), &"file".into()));

    let release = Kernel::find(Arch::X86_64, None).unwrap().release;
    assert!(fs(&["cat"], &["/proc/version"]).contains(&release));
    let both = value(&["cat"], &["/proc/sys/kernel/osrelease", "/init"]);
    assert_eq!(both[0]["content"], format!("{release}\n"));
    assert!(both[1]["content_base64"].as_str().unwrap().starts_with("f0VMR"), "an ELF file");
    let console = fs(&["stat"], &["/dev/console"]);
    assert!(console.contains("type: character device\n") && console.contains("number: 5, 1\n"), "{console}");
    let console = &value(&["stat"], &["/dev/console"])[0];
    assert_eq!((&console["major"], &console["minor"], &console["links"]), (&5.into(), &1.into(), &1.into()));

    assert_eq!(value(&["mkdir", "-p"], &["/tmp/a/b/c"]), json!([{"name": "/tmp/a/b/c", "error": null}]));
    succeeds(&machine, &["cp", "-q", &busybox(), &there(&machine, "/tmp/a/one")]);
    assert_eq!(fs(&["mv"], &["/tmp/a/one", "/tmp/a/b/two"]), "");
    assert_eq!(fs(&["ln", "-s"], &["b/two", "/tmp/a/link"]), "");
    assert_eq!(fs(&["chmod"], &["4710", "/tmp/a/link"]), "");
    let size = fs::metadata(busybox()).unwrap().len();
    let links = value(&["stat"], &["/tmp/a/link", "/tmp/a/b/two"]);
    assert_eq!((&links[0]["target"], &links[0]["type"]), (&"b/two".into(), &"link".into()));
    assert_eq!((&links[1]["mode"], &links[1]["size"]), (&0o4710.into(), &size.into()));
    let full = ["fs", "rm", "<target>", "/tmp/a"];
    fails(&machine, &full, 1, &["cannot remove /tmp/a", "Directory not empty"]);
    assert_eq!(fs(&["rm", "-r"], &["/tmp/a"]), "");
    assert_eq!(fs(&["ls"], &["/tmp"]), "");
    let told = run(&machine, &["fs", "rm", "--json", "<target>", "/tmp/none"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told[0]["error"], "cannot remove /tmp/none: No such file or directory");

    let space = fs(&["df"], &["/", "/proc"]);
    assert_eq!(space.lines().count(), 3, "{space}");
    assert_eq!(value(&["df"], &["/proc"])[0]["type"], 0x9fa0, "PROC_SUPER_MAGIC");

    let told = object(&machine, &["sys", "poweroff", "--json", "<target>"]);
    assert_eq!(told, json!([{"name": "poweroff", "error": null}]));
    assert!(machine.ends(ENDING).unwrap().success());
}

#[test]
fn a_clock_that_was_wrong_is_set_and_the_log_has_real_times() {
    if !wanted() {
        return;
    }
    let mut setup = bare();
    setup.hardware = ["-rtc", "base=2001-09-09T01:46:40"].map(str::to_owned).to_vec();
    let began = seconds_now();
    let mut machine = boot(&setup);
    let date = |words: &[&str]| object(&machine, &[&["sys", "date", "--json", "<target>"], words].concat());
    assert!(succeeds(&machine, &["sys", "date", "<target>"]).starts_with("2001-09-09 "));
    assert!(date(&[])["behind_seconds"].as_f64().unwrap() > 7e8);
    let moved = succeeds(&machine, &["sys", "date", "--sync", "<target>"]);
    assert!(moved.contains(" (moved by +"), "{moved}");
    let again = date(&["--sync"]);
    for key in ["behind_seconds", "moved_seconds"] {
        assert!(again[key].as_f64().unwrap().abs() < 1.0, "{again}");
    }

    let log = succeeds(&machine, &["sys", "dmesg", "--json", "<target>"]);
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = log[0]["text"].as_str().unwrap();
    assert!(first.starts_with("Linux version "), "{first}");
    assert_eq!((&log[0]["level"], &log[0]["facility"]), (&"notice".into(), &"kern".into()));
    let numbers: Vec<u64> = log.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other) && numbers.len() > 50, "{numbers:?}");
    // The uptime that they are reckoned from has whole seconds.
    let (earliest, latest) = (utc(began - 2), utc(seconds_now() + 2));
    for record in &log {
        let time = record["time"].as_str().unwrap();
        assert!(earliest.as_str() < time && time < latest.as_str(), "{earliest} {latest}: {record}");
    }
    let text = succeeds(&machine, &["sys", "dmesg", "<target>"]);
    assert!(text.starts_with("kern  :notice: ["), "{text}");
    assert!(text.lines().count() >= log.len(), "{text}");

    let follower = machine.client(["sys", "dmesg", "-f", "--json", "<target>"]);
    let mut follower = Terminal::start(&follower).unwrap();
    follower.until("Linux version", DEADLINE).unwrap();
    let line = machine.path("line");
    // The kernel holds back what may go on.
    fs::write(&line, "<12>written from outside\n").unwrap();
    succeeds(&machine, &["cp", "--in-place", line.to_str().unwrap(), &there(&machine, "/dev/kmsg")]);
    let seen = String::from_utf8(follower.until("written from outside\",", DEADLINE).unwrap()).unwrap();
    let record = seen.lines().last().unwrap();
    assert!(record.contains("\"facility\":\"user\",\"level\":\"warn\""), "{record}");
    follower.write(b"\x03").unwrap();
    assert_eq!(follower.ends(DEADLINE).unwrap().code(), Some(130));
    let recent = succeeds(&machine, &["sys", "dmesg", "--since", "30s", "<target>"]);
    assert!(recent.contains("user  :warn  : ["), "{recent}");
    assert_eq!(succeeds(&machine, &["sys", "dmesg", "--since", "2100-01-01T00:00:00Z", "<target>"]), "");

    succeeds(&machine, &["sys", "reboot", "<target>"]);
    assert!(machine.ends(ENDING).unwrap().success());
}

#[test]
fn mounts_modules_settings_and_processes_are_shown_and_changed() {
    if !wanted() {
        return;
    }
    let mut machine = boot(&bare());
    let sys = |verb: &str, rest: &[&str]| succeeds(&machine, &[&["sys", verb, "<target>"], rest].concat());
    let value =
        |verb: &str, rest: &[&str]| object(&machine, &[&["sys", verb, "--json", "<target>"], rest].concat());
    let done = |name: &str| json!([{"name": name, "error": null}]);
    let holds = |list: &Value, key: &str, wanted: &str| {
        list.as_array().unwrap().iter().find(|found| found[key] == wanted).cloned()
    };

    sys("mount", &["-t", "tmpfs", "-o", "size=1m,mode=700,noatime", "a name", "/mnt"]);
    let mounts = sys("mount", &[]);
    let line = mounts.lines().find(|line| line.starts_with("a name on /mnt ")).unwrap();
    assert!(line.contains(" type tmpfs (rw,noatime,size=1024k,mode=700"), "{line}");
    assert_eq!(holds(&value("mount", &[]), "target", "/mnt").unwrap()["source"], "a name");
    let space = object(&machine, &["fs", "df", "--json", "<target>", "/mnt"]);
    let size = space[0]["blocks"].as_u64().unwrap() * space[0]["block_size"].as_u64().unwrap();
    assert_eq!((size, &space[0]["type"]), (1 << 20, &0x0102_1994.into()), "TMPFS_MAGIC");
    assert_eq!(value("umount", &["/mnt"]), done("/mnt"));
    assert_eq!(holds(&value("mount", &[]), "target", "/mnt"), None);
    fails(&machine, &["sys", "umount", "<target>", "/mnt"], 1, &["cannot unmount /mnt", "Invalid argument"]);
    assert_eq!(value("mount", &["-t", "tmpfs", "x", "/mnt"]), done("/mnt"));

    // Nothing in the guest could have fetched it.
    let modules = Kernel::find(Arch::X86_64, None).unwrap().modules.unwrap();
    let dummy = modules.join("kernel/drivers/net/dummy.ko").display().to_string();
    succeeds(&machine, &["cp", "-q", &dummy, &there(&machine, "/mnt/")]);
    sys("load", &["/mnt/dummy.ko", "numdummies=3"]);
    assert!(succeeds(&machine, &["fs", "ls", "<target>", "/sys/class/net"]).contains("dummy2\n"));
    let loaded = value("modules", &[]);
    assert_eq!(holds(&loaded, "name", "dummy").unwrap()["uses"], 0);
    let vsock = holds(&loaded, "name", "vsock").unwrap();
    assert!(vsock["used_by"].as_array().unwrap().contains(&"vmw_vsock_virtio_transport".into()), "{vsock}");
    assert!(sys("modules", &[]).contains("\ndummy "));
    let again = ["sys", "load", "<target>", "/mnt/dummy.ko"];
    fails(&machine, &again, 1, &["cannot load /mnt/dummy.ko", "File exists"]);
    assert_eq!(value("unload", &["dummy"]), done("dummy"));
    fails(&machine, &["sys", "unload", "<target>", "dummy"], 1, &["cannot unload dummy", "No such file"]);
    fails(&machine, &["sys", "unload", "<target>", "vsock"], 1, &["cannot unload vsock", "temporarily"]);
    assert_eq!(value("load", &["/mnt/dummy.ko"]), done("/mnt/dummy.ko"));

    assert_eq!(sys("sysctl", &["kernel.ostype"]), "kernel.ostype = Linux\n");
    assert_eq!(
        value("sysctl", &["kernel/hostname=renamed", "vm.swappiness=7"]),
        json!({"kernel/hostname": "renamed", "vm.swappiness": "7"})
    );
    assert_eq!(sys("sysctl", &["kernel.hostname"]), "kernel.hostname = renamed\n");
    let wrong = ["sys", "sysctl", "<target>", "vm.swappiness=x"];
    fails(&machine, &wrong, 1, &["/proc/sys/vm/swappiness", "Invalid argument"]);
    let none = ["sys", "sysctl", "<target>", "no.such"];
    fails(&machine, &none, 1, &["/proc/sys/no/such", "No such file"]);

    assert!(sys("env", &[]).lines().any(|line| line.starts_with("PATH=/")));
    assert_eq!(value("env", &[])["USER"], "root");
    assert_eq!((sys("sync", &[]).as_str(), value("sync", &[])), ("", done("sync")));

    let processes = sys("ps", &[]);
    let first: Vec<&str> = processes.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((first[0], first[1], first[2]), ("1", "0", "0"), "{processes}");
    assert!(first[5].ends_with("init"), "{processes}");
    assert_eq!(holds(&value("ps", &[]), "command", "[kthreadd]").unwrap()["pid"], 2);
    let sleep = ["-n", "<target>", "--with", &busybox(), "--", "sleep", "1000"];
    let mut sleeping = machine.client(sleep).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    let pid = loop {
        assert!(Instant::now() < deadline, "nobody sleeps");
        if let Some(found) = holds(&value("ps", &[]), "command", "sleep 1000") {
            break found["pid"].to_string();
        }
    };
    assert_eq!(value("kill", &["-USR1", &pid]), done(&pid));
    assert_eq!(sleeping.wait().unwrap().code(), Some(128 + 10));
    fails(&machine, &["sys", "kill", "<target>", &pid], 1, &["cannot signal process", "No such process"]);

    succeeds(&machine, &["sys", "poweroff", "--force", "<target>"]);
    assert!(machine.ends(ENDING).unwrap().success());
}

#[test]
fn a_program_of_this_side_runs_there_as_any_other() {
    if !wanted() {
        return;
    }
    let mut machine = boot(&bare());
    let busybox = busybox();
    let with =
        |program: &str, words: &[&str]| run(&machine, &[&["<target>", "--with", program], words].concat());
    let space = || object(&machine, &["fs", "df", "--json", "<target>", "/"])[0]["blocks_free"].clone();
    let free = space();

    let both = with(&busybox, &["--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    let seen = (both.status.code(), both.stdout.as_slice(), both.stderr.as_slice());
    assert_eq!(seen, (Some(7), &b"out\n"[..], &b"err\n"[..]));
    assert_eq!(with(&busybox, &["--", "sh", "-c", "kill -SEGV $$"]).status.code(), Some(128 + 11));
    // What comes in goes out again, and is more than any queue on the way holds.
    let payload = machine.path("payload");
    guest::write_payload(&payload, 3 << 20);
    let mut cat = machine.client(["<target>", "--with", &busybox, "--", "cat"]);
    let cat = cat.stdin(fs::File::open(&payload).unwrap()).output().unwrap();
    assert!(cat.status.success() && cat.stdout == fs::read(&payload).unwrap());
    let result = object(&machine, &["--json", "<target>", "--with", &busybox, "--", "echo", "a b"]);
    assert_eq!((&result["exit"], &result["stdout"]), (&0.into(), &"a b\n".into()));
    let place = with(&busybox, &["-C", "/proc/self", "-E", "A=b", "--", "sh", "-c", "echo $A $PWD"]);
    assert!(place.stdout.starts_with(b"b /proc/"), "{place:?}");

    let words = ["-t", "<target>", "--with", &busybox, "--", "sh"];
    let mut shell = Terminal::start(&machine.client(words)).unwrap();
    shell.write(b"stty size; tty\n").unwrap();
    shell.until("24 80\r\n/dev/pts/", DEADLINE).unwrap();
    // What it has not built in, it runs itself for: the only program there is.
    shell.write(b"ls /; echo sleep''ing; sleep 1000\n").unwrap();
    shell.until("init", DEADLINE).unwrap();
    shell.until("sleeping", DEADLINE).unwrap();
    shell.write(b"\x03").unwrap();
    shell.write(b"echo co''de $?\n").unwrap();
    shell.until("code 130", DEADLINE).unwrap();
    shell.write(b"exit 9\n").unwrap();
    assert_eq!(shell.ends(DEADLINE).unwrap().code(), Some(9));

    let files = Scratch::new(&std::env::temp_dir(), "programs").unwrap();
    let file = |name: &str, content: &[u8]| {
        fs::write(files.path(name), content).unwrap();
        fs::set_permissions(files.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        files.path(name).display().to_string()
    };
    let mut truncated = fs::read(&busybox).unwrap();
    truncated.truncate(40);
    let foreign = workspace::agent_of(Arch::Aarch64).display().to_string();
    let refused: [(&str, &str); 6] = [
        ("/bin/ls", "it needs /lib64/ld-linux-x86-64.so.2, which the guest has not; link it statically"),
        (&foreign, "it is for aarch64, and the guest is x86_64"),
        (&file("script", b"#!/bin/sh\necho\n"), "it is a script; run its interpreter"),
        (&file("text", b"words\n"), "it is no ELF program"),
        (&file("cut", &truncated), "it is no ELF program"),
        (&file("empty", b""), "it is no ELF program"),
    ];
    for (program, why) in refused {
        fails(
            &machine,
            &["<target>", "--with", program],
            126,
            &[&format!("cannot run {program} there: {why}")],
        );
    }
    fails(&machine, &["<target>", "--with", "/no/such", "--", "x"], 255, &["/no/such", "No such file"]);
    // Nothing of all that is left, and nothing was on its disk.
    assert_eq!(succeeds(&machine, &["fs", "ls", "<target>", "/"]), ROOT);
    assert_eq!(space(), free);

    succeeds(&machine, &["sys", "reboot", "--force", "<target>"]);
    assert!(machine.ends(ENDING).unwrap().success());
}
