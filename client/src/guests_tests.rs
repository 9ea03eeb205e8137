use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const US: u32 = 1000;
const VERBS: [&str; 2] = ["cp", "targets"];

/// A folder that looks like /proc, gone with the value.
struct Proc(PathBuf);

impl Proc {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("vsock-shell-proc-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// A process of the user with this id, in the working directory /cwd.
    fn process_of(&self, user: u32, pid: u32, words: &[&str]) -> PathBuf {
        let folder = self.0.join(pid.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("status"), format!("Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\n"))
            .unwrap();
        let line: String = words.iter().map(|word| format!("{word}\0")).collect();
        fs::write(folder.join("cmdline"), line).unwrap();
        symlink("/cwd", folder.join("cwd")).unwrap();
        folder
    }

    fn process(&self, pid: u32, words: &[&str]) -> PathBuf {
        self.process_of(US, pid, words)
    }

    fn guests(&self) -> Vec<Guest> {
        find(&self.0, US, &VERBS)
    }

    fn names(&self) -> Vec<String> {
        self.guests().into_iter().map(|guest| guest.name).collect()
    }

    /// Name and address of each.
    fn found(&self) -> Vec<(String, String)> {
        self.guests().into_iter().map(|guest| (guest.name, guest.address.to_string())).collect()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn is(name: &str, address: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), address.to_owned())]
}

#[track_caller]
fn qemu(words: &[&str]) -> Vec<(String, String)> {
    let proc = Proc::new();
    proc.process(7, &[&["/usr/bin/qemu-system-x86_64"], words].concat());
    proc.found()
}

#[test]
fn a_qemu_is_found_by_its_context_id_however_the_device_is_written() {
    for device in [
        "vhost-vsock-pci,guest-cid=42",
        "vhost-vsock-pci,id=vsock0,guest-cid=0x2a,bus=pci.1,addr=0x0",
        "vhost-vsock-pci-non-transitional,guest-cid=42",
        "vhost-vsock-pci-transitional,guest-cid=42",
        "vhost-vsock-ccw,guest-cid=42",
        "vhost-vsock-device,guest-cid=42",
        "driver=vhost-vsock-pci,guest-cid=42",
        r#"{"driver":"vhost-vsock-pci","id":"vsock0","guest-cid":42,"vhostfd":"38"}"#,
    ] {
        for option in ["-device", "--device"] {
            assert_eq!(qemu(&["-name", "box", option, device]), is("box", "vsock:42:5000"), "{device}");
        }
    }
}

#[test]
fn a_device_of_another_kind_or_with_a_context_id_of_nobody_is_no_way() {
    for device in [
        "vhost-vsock-pci",
        "vhost-vsock-pci,guest-cid=",
        "vhost-vsock-pci,guest-cid=2",
        "vhost-vsock-pci,guest-cid=4294967295",
        "vhost-vsock-pci,guest-cid=x",
        "virtio-net-pci,guest-cid=42",
        "{\"driver\":",
    ] {
        assert_eq!(qemu(&["-name", "box", "-device", device]), [], "{device}");
    }
    assert_eq!(qemu(&["-name", "-device", "-device"]), []);
}

#[test]
fn a_qemu_has_the_name_that_it_was_given() {
    let device = "vhost-vsock-pci,guest-cid=3";
    for (words, name) in [
        (["-name", "guest=box,debug-threads=on"], "box"),
        (["-name", "box,process=p"], "box"),
        (["-name", "a,,b"], "a_b"),
        (["-name", "17"], "qemu-7"),
        (["-name", "cp"], "qemu-7"),
        (["-m", "64"], "qemu-7"),
    ] {
        assert_eq!(qemu(&[&words[..], &["-device", device]].concat()), is(name, "vsock:3:5000"));
    }
    // What stands alone is a disk.
    assert_eq!(qemu(&["-device", device, "-name", "box", "disk.img"]), is("box", "vsock:3:5000"));
}

#[test]
fn other_names_of_the_program_are_known_and_other_programs_are_not() {
    for (program, is_found) in [
        ("/usr/libexec/qemu-kvm", true),
        ("/usr/bin/kvm", true),
        ("qemu-system-aarch64", true),
        ("/nix/store/x/.qemu-system-x86_64-wrapped", true),
        ("sudo", false),
        ("qemu-img", false),
    ] {
        let proc = Proc::new();
        proc.process(7, &[program, "-device", "vhost-vsock-pci,guest-cid=3"]);
        assert_eq!(!proc.guests().is_empty(), is_found, "{program}");
    }
}

#[test]
fn the_kernel_knows_the_program_better_than_the_process() {
    let proc = Proc::new();
    let words = ["qemu-system-x86_64", "-device", "vhost-vsock-pci,guest-cid=3"];
    symlink("/usr/bin/sudo", proc.process(7, &words).join("exe")).unwrap();
    symlink("/usr/bin/qemu-system-x86_64 (deleted)", proc.process(8, &words).join("exe")).unwrap();
    assert_eq!(proc.names(), ["qemu-8"]);
}

#[test]
fn behind_a_vhost_user_device_are_the_ports_that_its_backend_serves() {
    let proc = Proc::new();
    proc.process(
        7,
        &[
            "qemu-system-x86_64",
            "-name",
            "box",
            "-chardev",
            "socket,id=c,path=/run/v.sock,reconnect-ms=10",
            "-device",
            "vhost-user-vsock-pci,id=vsock,chardev=c",
        ],
    );
    assert_eq!(proc.found(), [], "nobody serves it");
    proc.process(9, &["vhost-device-vsock", "--vm", "guest-cid=3,socket=/run/other.sock,uds-path=/run/o"]);
    assert_eq!(proc.found(), [], "another one is served");
    proc.process(
        8,
        &[
            "vhost-device-vsock",
            "--vm",
            "guest-cid=4,socket=x,uds-path=y",
            "--vm",
            "guest-cid=3,uds-path=/run/p,socket=/run/v.sock",
        ],
    );
    assert_eq!(proc.found(), is("box", "mux:/run/p:5000"));
}

#[test]
fn a_backend_may_be_written_as_it_was_before() {
    let proc = Proc::new();
    let device =
        ["-chardev", "socket,id=c,path=v.sock", "-device", "vhost-user-vsock-pci-non-transitional,chardev=c"];
    proc.process(7, &[&["qemu-system-x86_64"], &device[..]].concat());
    proc.process(8, &["vhost-device-vsock", "--guest-cid=3", "--uds-path=p.sock", "--socket", "/cwd/v.sock"]);
    assert_eq!(proc.found(), is("qemu-7", "mux:/cwd/p.sock:5000"));
}

#[test]
fn without_vsock_a_virtio_serial_port_of_ours_is_a_way() {
    let port = |name: &str| format!("virtserialport,bus=serial.0,chardev=port,name={name}");
    let chardev = "socket,id=port,path=/run/p.sock,server=on,wait=off";
    let words = |name| vec!["-chardev".to_owned(), chardev.to_owned(), "-device".to_owned(), port(name)];
    let found = |words: Vec<String>| qemu(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(found(words("agent.0")), is("qemu-7", "serial:/run/p.sock"));
    assert_eq!(found(words("org.qemu.guest_agent.0")), []);
    let both = [words("agent.0"), vec!["-device".into(), "vhost-vsock-pci,guest-cid=3".into()]].concat();
    assert_eq!(found(both), is("qemu-7", "vsock:3:5000"));
}

/// Gives a process a descriptor that is a socket which listens on a path.
fn listens(folder: &Path, number: u32, path: &str) {
    fs::create_dir_all(folder.join("fd")).unwrap();
    symlink(format!("socket:[{}]", 1000 + number), folder.join(format!("fd/{number}"))).unwrap();
    fs::create_dir_all(folder.join("net")).unwrap();
    let table = folder.join("net/unix");
    let rows = fs::read_to_string(&table).unwrap_or_else(|_| "Num RefCount ...\n".to_owned());
    let row = format!("0000000000000000: 00000002 00000000 00010000 0001 01 {} {path}\n", 1000 + number);
    fs::write(table, rows + &row).unwrap();
}

#[test]
fn a_chardev_may_have_been_given_its_socket_as_a_descriptor() {
    let proc = Proc::new();
    let folder = proc.process(
        7,
        &[
            "qemu-system-x86_64",
            "-chardev",
            "socket,id=charchannel0,fd=32,server=on,wait=off",
            "-device",
            r#"{"driver":"virtserialport","chardev":"charchannel0","name":"agent.0"}"#,
        ],
    );
    listens(&folder, 31, "/run/qmp");
    listens(&folder, 32, "/run/channel");
    assert_eq!(proc.found(), is("qemu-7", "serial:/run/channel"));
}

#[test]
fn a_firecracker_has_its_socket_in_its_configuration() {
    let proc = Proc::new();
    let file = proc.0.join("config.json");
    fs::write(&file, r#"{"vsock": {"guest_cid": 3, "uds_path": "./v.sock"}}"#).unwrap();
    proc.process(
        7,
        &["/x/firecracker", "--id", "box", "--api-sock=/run/api", "--config-file", file.to_str().unwrap()],
    );
    assert_eq!(proc.found(), is("box", "mux:/cwd/./v.sock:5000"));
}

#[test]
fn a_firecracker_without_a_configuration_is_known_by_what_it_listens_on() {
    let proc = Proc::new();
    let folder = proc.process(7, &["firecracker-v1.7.0-x86_64", "--api-sock", "/run/api"]);
    assert_eq!(proc.found(), []);
    listens(&folder, 4, "/run/api");
    assert_eq!(proc.found(), [], "its API is no way into the guest");
    listens(&folder, 5, "/run/v.sock");
    assert_eq!(proc.found(), is("firecracker-7", "mux:/run/v.sock:5000"));
}

#[test]
fn a_configuration_that_is_no_file_or_says_nothing_is_left_alone() {
    let proc = Proc::new();
    let empty = proc.0.join("empty");
    fs::write(&empty, "{}").unwrap();
    let fifo = proc.0.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (pid, file) in
        [(7, "/dev/zero"), (8, empty.to_str().unwrap()), (9, fifo.to_str().unwrap()), (10, "none")]
    {
        proc.process(pid, &["firecracker", "--config-file", file]);
    }
    assert_eq!(proc.found(), []);
}

#[test]
fn paths_of_a_process_with_another_root_lead_through_it() {
    let proc = Proc::new();
    let jail = proc.0.join("jail");
    fs::create_dir(&jail).unwrap();
    fs::write(jail.join("config.json"), r#"{"vsock": {"uds_path": "/v.sock"}}"#).unwrap();
    let folder = proc.process(7, &["firecracker", "--id=box", "--config-file=/config.json"]);
    symlink(&jail, folder.join("root")).unwrap();
    let address = format!("mux:{}:5000", folder.join("root/v.sock").display());
    assert_eq!(proc.found(), is("box", &address));
}

#[test]
fn a_cloud_hypervisor_has_its_socket_on_its_command_line() {
    for words in [["--vsock", "cid=3,socket=/run/v.sock,id=_v"], ["--kernel=x", "--vsock=socket=/run/v.sock"]]
    {
        let proc = Proc::new();
        proc.process(7, &[&["cloud-hypervisor"], &words[..]].concat());
        assert_eq!(proc.found(), is("cloud-hypervisor-7", "mux:/run/v.sock:5000"));
    }
}

#[test]
fn a_path_that_no_socket_can_have_is_no_way() {
    let proc = Proc::new();
    proc.process(7, &["cloud-hypervisor", "--vsock", &format!("cid=3,socket=/{}", "x".repeat(107))]);
    assert_eq!(proc.found(), []);
}

#[test]
fn the_second_guest_of_a_name_has_its_process_behind_it() {
    let proc = Proc::new();
    for (pid, cid) in [(7, 3), (8, 4)] {
        let device = format!("vhost-vsock-pci,guest-cid={cid}");
        proc.process(pid, &["qemu-system-x86_64", "-name", "box", "-device", &device]);
    }
    assert_eq!(proc.names(), ["box", "box-8"]);
}

#[test]
fn other_people_are_looked_at_by_root_alone_and_last() {
    const ROOT: u32 = 0;
    const LIBVIRT: u32 = 64_055;
    const OTHER: u32 = 1001;
    let proc = Proc::new();
    for (user, pid) in [(OTHER, 5), (LIBVIRT, 6), (ROOT, 7), (US, 8)] {
        let device = format!("vhost-vsock-pci,guest-cid={}", 100 + pid);
        proc.process_of(user, pid, &["qemu-system-x86_64", "-name", "box", "-device", &device]);
    }
    let found = |user| {
        find(&proc.0, user, &VERBS).into_iter().map(|guest| (guest.pid, guest.name)).collect::<Vec<_>>()
    };
    let named = |pid: u32, name: &str| (pid, name.to_owned());
    assert_eq!(found(US), [named(8, "box"), named(6, "box-6"), named(7, "box-7")]);
    assert_eq!(found(ROOT), [named(7, "box"), named(6, "box-6"), named(5, "box-5"), named(8, "box-8")]);
}

#[test]
fn a_process_with_roots_rights_for_a_person_is_that_persons() {
    let proc = Proc::new();
    let folder = proc.process(7, &["qemu-system-x86_64", "-device", "vhost-vsock-pci,guest-cid=3"]);
    fs::write(folder.join("status"), "Uid:\t1001\t0\t0\t0\n").unwrap();
    assert_eq!(proc.found(), []);
}

#[test]
fn what_is_half_there_or_no_process_is_left_out() {
    let proc = Proc::new();
    fs::create_dir(proc.0.join("sys")).unwrap();
    fs::create_dir(proc.0.join("8")).unwrap();
    proc.process(9, &[]);
    fs::remove_file(proc.process(10, &["qemu-system-x86_64"]).join("cmdline")).unwrap();
    assert_eq!(proc.found(), []);
    assert_eq!(find(&proc.0.join("none"), US, &VERBS), []);
}

#[test]
fn names_from_a_command_line_are_plain_letters() {
    let name = "\u{1b}]0;x\u{7}\u{202e}box";
    assert_eq!(
        qemu(&["-name", name, "-device", "vhost-vsock-pci,guest-cid=3"]),
        is("__0_x__box", "vsock:3:5000")
    );
}

/// Words that mean something, put together and cut by a fixed sequence of numbers.
#[test]
fn no_command_line_is_too_strange() {
    const WORDS: [&str; 16] = [
        "qemu-system-x86_64",
        "firecracker",
        "cloud-hypervisor",
        "vhost-device-vsock",
        "-name",
        "-device",
        "-chardev",
        "--vm",
        "--vsock",
        "--config-file",
        "vhost-vsock-pci,guest-cid=3",
        "vhost-user-vsock-pci,chardev=c",
        "socket,id=c,path=/run/v.sock",
        "{\"driver\":\"vhost-vsock-pci\",\"guest-cid\":",
        "socket=/run/v.sock,uds-path=",
        ",,=,\u{1b}=é",
    ];
    let mut state = 1_u32;
    let mut next = move |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 16).unwrap() % limit
    };
    let proc = Proc::new();
    let folder = proc.process(7, &[]);
    for _ in 0..500 {
        let mut line = Vec::new();
        for _ in 0..next(9) {
            let word = WORDS[next(WORDS.len())].as_bytes();
            line.extend_from_slice(&word[..word.len() - next(3) % word.len()]);
            line.push(if next(8) == 0 { b',' } else { 0 });
        }
        fs::write(folder.join("cmdline"), &line).unwrap();
        for guest in proc.guests() {
            assert_eq!(name::check(&guest.name, &VERBS), Ok(()), "{line:?}");
        }
    }
}
