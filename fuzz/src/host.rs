//! What the client reads of its own host: the configuration, and what other people's processes show of themselves in /proc.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use vsock_shell::args::parse_named;
use vsock_shell::config::{Config, Vocabulary};
use vsock_shell::guests::{Guest, find};
use vsock_shell::name;
use vsock_shell::names::{Names, with_vocabulary};
use vsock_shell::target::{Address, UNIX_PATH_MAX};

use crate::guest::folder;
use crate::input::Input;
use crate::shown::assert_plain;
use crate::words::assert_is_typed_as_shown;

/// A configuration, and command lines with each of its names.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let read = |text: &str| {
        with_vocabulary(|words: Vocabulary<'_>| {
            Config::read_text(Path::new("c\x1b"), text, Some(Path::new("/home/x")), words)
        })
    };
    let config = match read(&text) {
        Ok(config) => config,
        Err(error) => return assert_plain(&error.to_string()),
    };
    let names = Names::new(move || read(&text), Vec::new);
    for entry in config.entries() {
        assert_plain(&entry.place);
        for setting in &entry.options {
            assert_plain(&setting.place);
            assert!(setting.word.as_bytes().starts_with(format!("--{}", setting.name).as_bytes()));
        }
        let name = if entry.is_pattern() { "x" } else { &entry.name };
        if !entry.is_pattern() {
            assert_eq!(config.find(name), Some(entry), "an entry stands over patterns");
            assert!(names.all().is_ok_and(|all| all.contains(&name)));
        }
        if let Ok(named) = names.find(name)
            && !entry.is_pattern()
        {
            assert!(named.target(5000).is_ok(), "it was tried when it was read");
        }
        let file = format!("{name}:/a");
        for line in [
            &[name, "--", "x"][..],
            &["cp", "-r", &file, "b"],
            &["ls", name, "/"],
            &["ssh-config", name],
            &["each", &entry.name, "--", "x"],
            &["targets", "--json"],
        ] {
            if let Err(error) = parse_named(line, &names) {
                assert_plain(&error.to_string());
            }
        }
    }
}

/// Who looks.
const US: u32 = 1000;
const VERBS: [&str; 2] = ["cp", "targets"];

const PROGRAMS: [&str; 8] = [
    "/usr/bin/qemu-system-x86_64",
    "/usr/libexec/qemu-kvm",
    "/usr/bin/kvm",
    "/usr/bin/firecracker (deleted)",
    "/opt/cloud-hypervisor-static",
    "/usr/bin/vhost-device-vsock",
    "/nix/.qemu-system-aarch64-wrapped",
    "/bin/sh",
];

const WORDS: [&str; 24] = [
    "-name",
    "guest=box,debug-threads=on",
    "box",
    "-device",
    "vhost-vsock-pci,id=a,guest-cid=42",
    r#"{"driver":"vhost-vsock-pci","guest-cid":7}"#,
    "vhost-user-vsock-pci,chardev=c0",
    "virtserialport,chardev=c1,name=agent.0",
    "-chardev",
    "socket,id=c0,path=/run/vhost.sock",
    "socket,id=c1,fd=3",
    "socket,id=c1,path=serial.sock,server=on",
    "--vm",
    "guest-cid=4,socket=/run/vhost.sock,uds-path=/run/ports.sock",
    "--socket=/run/vhost.sock",
    "--uds-path",
    "ports.sock",
    "--vsock",
    "cid=3,socket=/run/ch.sock",
    "--id=fc",
    "--api-sock",
    "/run/api.sock",
    "--config-file",
    "c.json",
];

/// Some processes.
pub fn guests(data: &[u8]) {
    let mut input = Input::new(data);
    let proc = Proc::new();
    let mut users = Vec::new();
    while users.len() < 6
        && let Some(choice) = input.taken()
    {
        let pid = 10 - users.len() as u32;
        users.push((pid, proc.process(pid, choice, &mut input)));
    }
    let user_of = |guest: &Guest| users.iter().find(|(pid, _)| *pid == guest.pid).map(|(_, user)| *user);
    for looking in [US, 0] {
        let guests = find(&proc.0, looking, &VERBS);
        for guest in &guests {
            assert_eq!(name::check(&guest.name, &VERBS), Ok(()));
            assert_eq!(guests.iter().filter(|other| other.name == guest.name).count(), 1);
            check(&guest.address);
            assert_plain(&guest.to_value().to_string());
        }
        let trust = |guest: &Guest| match user_of(guest).expect("a process that was made") {
            user if user == looking => 0,
            0 => 1,
            _ => 2,
        };
        assert!(guests.is_sorted_by_key(trust));
        assert!(looking == 0 || guests.iter().all(|guest| trust(guest) < 2), "a stranger was looked at");
    }
}

fn check(address: &Address) {
    match address {
        Address::Vsock { cid, .. } => assert!(*cid > 2 && *cid < u32::MAX),
        Address::Mux { path, .. } | Address::Serial(path) => {
            assert!(path.as_os_str().len() <= UNIX_PATH_MAX && path.is_absolute());
        }
        other => panic!("{other} is nothing that a guest is reached by"),
    }
    assert_is_typed_as_shown(address);
}

/// What looks like /proc, gone with the value.
struct Proc(PathBuf);

impl Proc {
    fn new() -> Self {
        let path = folder().join("proc");
        _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).expect("the folder for temporary files can be written");
        Self(path)
    }

    /// Makes a process, and tells whose it is.
    fn process(&self, pid: u32, choice: u8, input: &mut Input<'_>) -> u32 {
        let user = [US, 0, US + 1, US][usize::from(choice >> 6)];
        let program = PROGRAMS[usize::from(choice & 7)];
        let folder = self.0.join(pid.to_string());
        let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("it is ours");
        let link = |name: &str, to: &OsStr| _ = symlink(to, folder.join(name));
        fs::create_dir_all(folder.join("fd")).expect("it is ours");
        fs::create_dir_all(folder.join("net")).expect("it is ours");
        write("status", format!("Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\n").as_bytes());
        // Its paths lead nowhere but below a folder of this target.
        link("root", self.0.join("root").as_os_str());
        link("cwd", folder.as_os_str());
        if choice & 8 == 0 {
            link("exe", OsStr::new(program));
        }
        let mut line = format!("{program}\0").into_bytes();
        for _ in 0..input.byte() % 12 {
            match input.byte() {
                at @ 0..192 => line.extend_from_slice(WORDS[usize::from(at) % WORDS.len()].as_bytes()),
                _ => line.extend_from_slice(input.piece()),
            }
            // Without an end it goes on with the next one.
            if !input.once_in(16) {
                line.push(0);
            }
        }
        write("cmdline", &line);
        if choice & 16 != 0 {
            write("c.json", input.piece());
        }
        if choice & 32 != 0 {
            let mut table = b"Num RefCount Protocol Flags Type St Inode Path\n".to_vec();
            for number in 3..3 + u32::from(input.byte() % 4) {
                table.extend_from_slice(
                    format!("0: 00000002 00000000 00010000 0001 01 {number}0 ").as_bytes(),
                );
                table.extend_from_slice(input.piece());
                table.push(b'\n');
                link(&format!("fd/{number}"), OsStr::new(&format!("socket:[{number}0]")));
            }
            table.extend_from_slice(input.piece());
            write("net/unix", &table);
        }
        user
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}
