//! The system of a guest without a program in it: `sys`. What would change this machine is done by agents in namespaces of
//! their own, and what cannot be undone is refused there.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::{Finished, Guest, Running, TARGET, agent_binary, until};
use rustix::fs::{FileType, Mode};
use rustix::process::Signal;
use serde_json::Value;

/// An agent that may do everything in a mount namespace of its own, and nothing to the machine. `line` comes before; in it `$D`
/// is the guest's directory.
fn guest_in_namespace(line: &str) -> Guest {
    Guest::start_by(|directory| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
        command.args([&format!("{line}\nexec \"$@\""), "sh"]).arg(agent_binary());
        command.env("D", directory.path("."));
        command
    })
}

/// The same, with this as the kernel's log.
fn guest_with_log(log: impl FnOnce(&Path)) -> Guest {
    Guest::start_by(|directory| {
        log(&directory.path("kmsg"));
        let mut command = Command::new("unshare");
        let line = "mount --bind \"$D/kmsg\" /dev/kmsg; exec \"$@\"";
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", line, "sh"]).arg(agent_binary());
        command.env("D", directory.path("."));
        command
    })
}

/// A path of it, as the agent sees it.
fn seen(guest: &Guest, path: &Path) -> PathBuf {
    let root = Path::new("/proc").join(guest.agent.0.id().to_string()).join("root");
    root.join(path.strip_prefix("/").unwrap())
}

/// Runs a verb with what stands behind the target.
#[track_caller]
fn verb<W: AsRef<OsStr>>(guest: &Guest, verb: &[&str], rest: impl IntoIterator<Item = W>) -> Finished {
    let words = ["sys"].iter().chain(verb).chain([&TARGET]).map(OsStr::new).map(OsStr::to_owned);
    guest.run(words.chain(rest.into_iter().map(|word| word.as_ref().to_owned())).collect::<Vec<_>>())
}

const NOTHING: [&str; 0] = [];

#[track_caller]
fn lines(finished: &Finished) -> Vec<Value> {
    finished.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn r_9_13_kill_sends_signals() {
    let guest = Guest::start();
    let [mut first, mut last] = [0, 1].map(|_| Running::start(Command::new("sleep").arg("1000")));
    let [one, other] = [&first, &last].map(|running| running.0.id().to_string());
    let finished = verb(&guest, &["kill", "-USR1", "--json"], [&one, "2147483647", "2147483648", &other]);
    assert_eq!(finished.status(), 1);
    assert!(finished.stderr().contains("cannot signal process 2147483647: No such process"), "{finished:?}");
    assert!(finished.stderr().contains("2147483648: Invalid argument"), "{finished:?}");
    assert_eq!(finished.stderr().lines().count(), 2);
    for running in [&mut first, &mut last] {
        assert_eq!(running.end().signal(), Some(Signal::USR1.as_raw()));
    }
}

#[test]
fn r_9_13_mount_and_umount() {
    let guest = guest_in_namespace("true");
    let [there, bound] = ["there", "bound"].map(|name| guest.directory.subdirectory(name));
    let mount = |options: &[&str], source: &Path, target: &Path| {
        let words = [&["mount"], options].concat();
        verb(&guest, &words, [source, target])
    };
    mount(&["-t", "tmpfs", "-o", "size=64k,mode=700"], Path::new("some name"), &there).succeeded();
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", guest.agent.0.id())).unwrap();
    assert!(mounts.contains("some\\040name") && mounts.contains("size=64k,mode=700"), "{mounts}");
    fs::create_dir(seen(&guest, &there).join("x")).unwrap();
    mount(&["-o", "bind,ro"], &there, &bound).succeeded();
    guest
        .run([OsStr::new("fs"), "mkdir".as_ref(), TARGET.as_ref(), bound.join("y").as_os_str()])
        .failed(1, &["Read-only file system"]);
    assert!(seen(&guest, &bound).join("x").is_dir());

    let missing = guest.directory.path("missing");
    mount(&["-t", "tmpfs"], Path::new("none"), &missing)
        .failed(1, &["cannot mount on", "missing", "No such file"]);
    mount(&["-t", "no-such-type"], Path::new("none"), &there).failed(1, &["No such device"]);
    verb(&guest, &["umount", "-l"], [&bound]).succeeded();
    let finished = verb(&guest, &["umount"], [&missing, &there]);
    assert!(finished.status() == 1 && finished.stderr().contains("cannot unmount"), "{finished:?}");
    assert!(!seen(&guest, &there).join("x").exists(), "the other one is unmounted");
}

#[test]
fn r_9_13_what_changes_the_machine_is_refused_in_a_namespace() {
    let guest = guest_in_namespace("true");
    let module = guest.directory.file("module.ko", b"no module");
    verb(&guest, &["load"], [module.as_os_str(), "a=1".as_ref()]).failed(1, &["cannot load", "module.ko"]);
    verb(&guest, &["load"], ["/none.ko.xz"]).failed(1, &["/none.ko.xz", "No such file"]);
    verb(&guest, &["unload"], ["no-such-module"]).failed(1, &["cannot unload no-such-module"]);
    verb(&guest, &["date", "--sync"], NOTHING).failed(1, &["cannot set the clock", "not permitted"]);
}

#[test]
fn r_9_13_the_clock_is_told() {
    let guest = Guest::start();
    let told = lines(&verb(&guest, &["date", "--json"], NOTHING)).remove(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now - told["seconds"].as_u64().unwrap() < 30, "{told}");
    assert!(
        told["behind_seconds"].as_f64().unwrap().abs() < 30.0 && told["moved_seconds"].is_null(),
        "{told}"
    );
    let mut command = guest.client(["sys", "date", TARGET]);
    let text = Running::start(command.env("TZ", "Asia/Kolkata")).finish(b"");
    assert!(text.succeeded().ends_with(" +05:30\n"), "{text:?}");
}

#[test]
fn r_9_13_sync_is_done() {
    let guest = Guest::start();
    assert_eq!(verb(&guest, &["sync"], NOTHING).succeeded(), "");
    assert_eq!(
        verb(&guest, &["sync", "--json"], NOTHING).succeeded(),
        "[{\"error\":null,\"name\":\"sync\"}]\n"
    );
}

#[test]
fn r_9_13_env_is_what_a_command_gets() {
    // More than a flow may carry at once.
    let path = [b"/a\x1b[31m\xff:".as_slice(), &[b'x'; 20_000], b":/usr/bin:/bin"].concat();
    let guest = Guest::start_by(|_| {
        let mut command = Command::new(agent_binary());
        command.env("PATH", OsStr::from_bytes(&path));
        command
    });
    let told = verb(&guest, &["env"], NOTHING);
    let line = format!("\nPATH=/a\\x1b[31m\\xff:{}:/usr/bin:/bin\n", "x".repeat(20_000));
    assert!(told.succeeded().contains(&line));
    let told = lines(&verb(&guest, &["env", "--json"], NOTHING)).remove(0);
    let real = guest.run([TARGET, "--", "env"]);
    for name in ["HOME", "SHELL", "USER", "LOGNAME"] {
        let line = format!("{name}={}\n", told[name].as_str().unwrap());
        assert!(String::from_utf8_lossy(&real.0.stdout).contains(&line), "{line}");
    }
    assert_eq!(told.as_object().unwrap().len(), 5);
}

/// Many records, each of which proves itself.
fn log_of(count: u64) -> String {
    (0..count)
        .map(|number| {
            format!("6,{number},{},-;record {number} \\x1b[31m\n SUBSYSTEM=s{number}\n", number * 1_000_000)
        })
        .collect()
}

#[test]
fn r_9_13_dmesg_tells_all_records_and_what_they_say_is_escaped() {
    const COUNT: u64 = 4000;
    let guest = guest_with_log(|path| fs::write(path, log_of(COUNT)).unwrap());
    let told = lines(&verb(&guest, &["dmesg", "--json"], NOTHING));
    assert_eq!(told.len() as u64, COUNT);
    for (number, record) in told.iter().enumerate() {
        assert_eq!(record["sequence"], number);
        assert_eq!(record["text"], format!("record {number} \\x1b[31m"));
        assert_eq!(record["dictionary"]["SUBSYSTEM"], format!("s{number}"));
    }
    let text = verb(&guest, &["dmesg"], NOTHING);
    let first = text.succeeded().lines().next().unwrap();
    assert!(first.starts_with("kern  :info  : [") && first.ends_with("] record 0 \\x1b[31m"), "{first}");
    let of_moment = told[10]["time"].as_str().unwrap();
    assert!(
        first.split_whitespace().any(|word| word.len() == "22:13:25.140".len() && word.contains('.')),
        "{first}"
    );
    // When the guest started is worked out anew, and may move a little.
    let left = verb(&guest, &["dmesg", "--since", of_moment], NOTHING).succeeded().lines().count() as u64;
    assert!((COUNT - 11..=COUNT - 9).contains(&left), "{left}");
    assert_eq!(verb(&guest, &["dmesg", "--since", "9999-01-01T00:00:00Z"], NOTHING).succeeded(), "");
}

#[test]
fn r_9_13_a_log_that_cannot_be_read_is_told() {
    let guest = guest_in_namespace("mount -t tmpfs none /dev");
    verb(&guest, &["dmesg"], NOTHING).failed(1, &["cannot read the kernel's log", "No such file"]);
    verb(&guest, &["dmesg", "-f"], NOTHING).failed(1, &["No such file"]);
}

/// A log that goes on, in which a record is written.
fn write_record(guest: &Guest, number: u32) {
    let mut log = OpenOptions::new().read(true).write(true).open(guest.directory.path("kmsg")).unwrap();
    log.write_all(format!("3,{number},1,-;record {number}\n").as_bytes()).unwrap();
    // Somebody keeps it open, or else it would be at its end.
    std::mem::forget(log);
}

fn guest_with_endless_log() -> Guest {
    let guest = guest_with_log(|path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    });
    write_record(&guest, 0);
    guest
}

#[test]
fn r_9_13_dmesg_follows_until_a_signal_comes() {
    let guest = guest_with_endless_log();
    let mut following = Running::start(&mut guest.client(["sys", "dmesg", "-f", TARGET]));
    let mut output = following.0.stdout.take().unwrap();
    for number in 0..5 {
        if number > 0 {
            write_record(&guest, number);
        }
        let line = read_line(&mut output);
        assert!(
            line.starts_with("kern  :err   : [") && line.ends_with(&format!("] record {number}")),
            "{line}"
        );
    }
    following.signal(Signal::INT);
    let finished = following.finish(b"");
    assert_eq!((finished.status(), finished.stderr()), (130, ""));
    guest.is_idle();
}

/// What is at its end without FOLLOW is so too while somebody could still write.
#[test]
fn r_9_13_without_follow_the_end_is_where_nothing_is_left() {
    let guest = guest_with_endless_log();
    let told = verb(&guest, &["dmesg"], NOTHING);
    assert!(told.succeeded().ends_with("] record 0\n"), "{told:?}");
}

#[test]
fn r_9_13_who_reads_no_more_ends_the_log() {
    let guest = guest_with_endless_log();
    let mut following = Running::start(&mut guest.client(["sys", "dmesg", "-f", TARGET]));
    let mut output = following.0.stdout.take().unwrap();
    read_line(&mut output);
    drop(output);
    assert_eq!(following.finish(b"").succeeded(), "");
    guest.is_idle();
}

#[track_caller]
fn read_line(source: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while source.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn r_9_11_the_end_of_the_guest_is_a_verb_of_sys_too() {
    for (words, told) in [(&["poweroff"][..], Signal::INT), (&["reboot", "--force"], Signal::HUP)] {
        let mut guest = Guest::start_by(|_| {
            let mut command = Command::new("unshare");
            let namespaces = "--user --map-root-user --pid --fork --kill-child --mount --mount-proc --uts";
            command.args(namespaces.split(' '));
            command.args(["sh", "-c", "mount --rbind /tmp /tmp; exec \"$@\"", "sh"]).arg(agent_binary());
            command
        });
        verb(&guest, words, NOTHING).succeeded();
        let mut status = None;
        until("the guest has ended", || {
            status = guest.agent.0.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.signal()), Some(told.as_raw()), "{words:?}");
    }
}

#[test]
fn ps_shows_the_processes_of_the_guest() {
    let guest = Guest::start();
    let session = verb::<&str>(&guest, &["ps", "--json"], []);
    let all = lines(&session)[0].as_array().unwrap().clone();
    let agent = all.iter().find(|process| process["pid"] == guest.agent.0.id()).unwrap();
    assert!(agent["command"].as_str().unwrap().contains("vsock-shell-agent"), "{agent}");
    assert!(agent["resident_kib"].as_u64().unwrap() > 0);
    let inside = all.iter().find(|process| process["parent"] == guest.agent.0.id()).unwrap();
    assert_eq!(inside["depth"].as_u64().unwrap(), agent["depth"].as_u64().unwrap() + 1);
    let text = verb::<&str>(&guest, &["ps"], []).succeeded().to_owned();
    assert!(text.starts_with("    PID  PARENT   USER S       KIB COMMAND\n"), "{text}");
}

#[test]
fn mounts_and_modules_are_what_proc_tells() {
    let guest = Guest::start();
    let mounts = verb::<&str>(&guest, &["mount"], []).succeeded().to_owned();
    assert!(mounts.lines().any(|line| line.contains(" on /proc type proc")), "{mounts}");
    if Path::new("/proc/modules").exists() {
        verb::<&str>(&guest, &["modules"], []).succeeded();
    } else {
        verb::<&str>(&guest, &["modules"], []).failed(1, &["cannot read /proc/modules"]);
    }
    verb(&guest, &["mount"], ["/only-one"]).failed(255, &["something is missing"]);
}

#[test]
fn sysctl_reads_and_writes_settings() {
    // A file stands for a setting, so that nothing of this machine changes.
    let guest =
        guest_in_namespace("echo old > \"$D/own\"; mount --bind \"$D/own\" /proc/sys/kernel/domainname");
    let shown = verb(&guest, &["sysctl"], ["kernel.ostype", "kernel/osrelease"]).succeeded().to_owned();
    assert!(shown.starts_with("kernel.ostype = Linux\nkernel/osrelease = "), "{shown}");
    let value = &lines(&verb(&guest, &["sysctl", "--json"], ["kernel.ostype"]))[0];
    assert_eq!(value["kernel.ostype"], "Linux");
    let set = verb(&guest, &["sysctl"], ["kernel.domainname", "kernel.domainname=new name"]);
    assert_eq!(set.succeeded(), "kernel.domainname = old\nkernel.domainname = new name\n");
    verb(&guest, &["sysctl"], ["kernel.none"]).failed(1, &["cannot read /proc/sys/kernel/none"]);
    verb(&guest, &["sysctl"], ["kernel.ostype=x"]).failed(1, &["cannot write /proc/sys/kernel/ostype"]);
}
