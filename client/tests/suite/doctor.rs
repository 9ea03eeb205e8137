//! `doctor`: what it says of guests that can be reached, and of those that cannot, each for its own reason.
//!
//! No target here is of AF_VSOCK: that is judged from facts, in the unit tests of `doctor`.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::thread;

use crate::guest::keyed::{generate, keyed};
use crate::guest::monitor::Monitor;
use crate::guest::nobody::as_nobody;
use crate::guest::{self, Directory, Finished, Guest, Running, agent_binary, client, client_binary, is_root};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use serde_json::Value;

/// Runs `doctor` with these words.
#[track_caller]
fn doctor(words: &[&str]) -> Finished {
    Running::start(&mut client(["doctor", "--timeout", "5"].iter().chain(words))).finish(b"")
}

/// It has found no fault, in these checks.
#[track_caller]
fn is_fine(told: &Finished, checks: &[&str]) {
    let lines: Vec<_> = told.succeeded().lines().filter(|line| line.starts_with("ok   ")).collect();
    let seen: Vec<_> = lines.iter().map(|line| line[5..].split(':').next().unwrap()).collect();
    assert_eq!(seen, checks, "{told:?}");
}

/// Its last check, and no other, has failed, with these words; the last of them are in the advice below it.
#[track_caller]
fn fails(told: &Finished, check: &str, seen: &str, advice: &str) {
    assert_eq!((told.status(), told.stderr()), (1, ""), "{told:?}");
    let lines: Vec<_> = told.stdout().lines().collect();
    let [.., last, below] = lines.as_slice() else { panic!("{told:?}") };
    assert_eq!(lines.iter().filter(|line| line.starts_with("FAIL ")).count(), 1, "{told:?}");
    assert!(last.starts_with(&format!("FAIL {check}: ")) && last.contains(seen), "{told:?}");
    assert!(below.starts_with("       ") && below.contains(advice), "{told:?}");
}

#[test]
fn a_guest_that_can_be_reached_is_fine_and_nothing_of_it_stays() {
    let guest = Guest::start();
    let told = doctor(&[&guest.target()]);
    is_fine(&told, &["socket", "connection", "agent", "rights", "session"]);
    assert!(told.stdout().contains(concat!("vsock-shell-agent ", env!("CARGO_PKG_VERSION"))), "{told:?}");
    guest.is_idle();
}

#[test]
fn for_programs_it_is_one_object() {
    let guest = Guest::start();
    let value: Value = serde_json::from_str(doctor(&["--json", &guest.target()]).succeeded()).unwrap();
    assert_eq!((&value["ok"], &value["target"]), (&Value::from(true), &Value::from(guest.target())));
    assert_eq!(value["checks"].as_array().unwrap().len(), 5);
    let told = doctor(&["--json", "unix:/no/such"]);
    let value: Value = serde_json::from_str(told.stdout()).unwrap();
    assert_eq!((told.status(), &value["ok"]), (1, &Value::from(false)));
    let check = &value["checks"][0];
    assert_eq!((&check["check"], &check["result"]), (&Value::from("socket"), &Value::from("fail")));
    assert!(check["advice"].as_str().unwrap().contains("--listen"), "{check}");
}

#[test]
fn a_path_without_a_socket_is_told() {
    let directory = Directory::new();
    let file = directory.file("file", b"");
    let none = directory.path("none");
    for scheme in ["unix", "mux", "serial"] {
        let check = if scheme == "serial" { "port" } else { "socket" };
        let told = doctor(&[&format!("{scheme}:{}", none.display())]);
        fails(&told, check, &format!("is not there; {} is", none.parent().unwrap().display()), "start the");
        fails(&doctor(&[&format!("{scheme}:{}", file.display())]), check, "is a file", "name the socket");
    }
    let datagrams = directory.path("datagrams");
    let _socket = UnixDatagram::bind(&datagrams).unwrap();
    fails(&doctor(&[&format!("unix:{}", datagrams.display())]), "connection", "wrong type", "stream socket");
}

#[test]
fn a_socket_on_which_nobody_listens_is_told() {
    let directory = Directory::new();
    let path = directory.path("socket");
    drop(UnixListener::bind(&path).unwrap());
    for scheme in ["unix", "mux", "serial"] {
        let told = doctor(&[&format!("{scheme}:{}", path.display())]);
        fails(&told, "connection", "Connection refused", "has ended; start it again");
    }
}

#[test]
fn a_socket_that_is_not_for_this_user_is_told_with_its_owner() {
    let guest = Guest::start();
    let target = guest.target();
    let told = if rustix::process::geteuid().is_root() {
        let mut command = as_nobody(&guest.directory, &client_binary());
        command.args(["doctor", &target]).stdin(Stdio::null());
        Finished(command.output().unwrap())
    } else {
        fs::set_permissions(guest.socket(), Permissions::from_mode(0o000)).unwrap();
        doctor(&[&target])
    };
    fails(&told, "socket", "is not open to this user (", "with sudo");
    assert!(told.stdout().contains("------- "), "{told:?}");
}

/// Serves one connection after the other on a new socket, by a thread that ends with the test's process.
fn serve(
    directory: &Directory,
    mut each: impl FnMut(std::os::unix::net::UnixStream) + Send + 'static,
) -> String {
    let path = directory.path("served");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(&mut each));
    path.display().to_string()
}

#[test]
fn a_guest_whose_port_nobody_listens_on_is_told() {
    let directory = Directory::new();
    let path = serve(&directory, |mut stream| {
        // As Firecracker does where the guest refuses.
        let mut asked = [0; 13];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"CONNECT 5001\n");
    });
    let told = doctor(&[&format!("mux:{path}:5001")]);
    fails(&told, "connection", "closed without an answer to CONNECT", "in the guest, and on port 5001?");
}

#[test]
fn a_socket_of_a_guests_ports_and_a_plain_one_are_told_apart() {
    let directory = Directory::new();
    let path = serve(&directory, |mut stream| {
        stream.read_exact(&mut [0; 13]).unwrap();
        stream.write_all(b"220 hello\n").unwrap();
    });
    fails(&doctor(&[&format!("mux:{path}")]), "connection", "it answered `220 hello`", "unix:PATH");
    let quiet = Directory::new();
    let mut kept = Vec::new();
    let path = serve(&quiet, move |stream| kept.push(stream));
    let told = doctor(&["--timeout", "0.2", &format!("unix:{path}")]);
    fails(&told, "agent", "no answer within 0.2 s", "mux:PATH");
    let told = doctor(&["--timeout", "0.2", &format!("mux:{path}")]);
    fails(&told, "connection", "timed out", "still boot");
}

#[test]
fn what_is_no_agent_is_told() {
    let directory = Directory::new();
    let path = serve(&directory, |mut stream| {
        // All that was said is read, so that it is no reset.
        stream.read_exact(&mut [0; 64]).unwrap();
        stream.write_all(&[b'x'; 64]).unwrap();
    });
    fails(&doctor(&[&format!("unix:{path}")]), "agent", "no vsock-shell agent", "something else listens");
    let closing = Directory::new();
    let path = serve(&closing, drop);
    fails(&doctor(&[&format!("unix:{path}")]), "agent", "connection lost", "agent's socket");
}

#[test]
fn an_echo_is_not_taken_for_an_agent() {
    let directory = Directory::new();
    let path = directory.path("echo");
    let mut socat = Command::new("socat");
    socat.arg(format!("UNIX-LISTEN:{},fork", path.display())).arg("EXEC:cat").stdin(Stdio::null());
    let _socat = Running::start(&mut socat);
    guest::until("it listens", || path.exists());
    fails(&doctor(&[&format!("unix:{}", path.display())]), "agent", "repeats", "something else listens");
}

#[test]
fn a_key_that_is_wanted_wrong_or_not_there_is_told() {
    let (guest, key) = keyed();
    let (key, other) = (key.to_str().unwrap(), guest.directory.path("other"));
    generate(&other).succeeded();
    let target = guest.target();
    fails(&doctor(&[&target]), "agent", "wants a key", "write --key FILE");
    let told = doctor(&["--key", other.to_str().unwrap(), &target]);
    fails(&told, "agent", "not the agent's key", "the agent was started with");
    is_fine(
        &doctor(&["--key", key, &target]),
        &["socket", "key", "connection", "agent", "rights", "session"],
    );
    let open = Guest::start();
    fails(&doctor(&["--key", key, &open.target()]), "agent", "has no key", "leave --key out");
    fails(&doctor(&["--key", "/no/such", &target]), "key", "No such file", "keygen");
    fs::set_permissions(&other, Permissions::from_mode(0o644)).unwrap();
    let told = doctor(&["--key", other.to_str().unwrap(), &target]);
    fails(&told, "key", "others can read", "keygen");
    guest.is_idle();
}

fn started_with(options: &[&str]) -> Guest {
    Guest::start_by(|_| {
        let mut command = Command::new(agent_binary());
        command.args(["--grace", "0"]).args(options);
        command
    })
}

#[test]
fn an_agent_that_is_full_is_told() {
    let guest = started_with(&["--max-sessions", "1"]);
    let session = guest.session(1);
    fails(&doctor(&[&guest.target()]), "agent", "as many sessions as it takes", "--max-sessions");
    drop(session);
    guest.is_idle();
    is_fine(&doctor(&[&guest.target()]), &["socket", "connection", "agent", "rights", "session"]);
}

#[test]
fn what_an_agent_denies_is_noted_and_fails_nothing() {
    let guest = started_with(&["--deny", "exec,put"]);
    let told = doctor(&[&guest.target()]);
    assert!(told.succeeded().contains("note rights: it denies exec, put\n"), "{told:?}");
}

#[test]
fn nothing_is_executed_in_the_guest() {
    let guest =
        started_with(&["--deny", "exec,shell,put,get,fs-write,connect,listen,system,system-write,detach"]);
    assert_eq!(doctor(&[&guest.target()]).status(), 0);
}

#[test]
fn a_command_that_ends_is_told_by_its_status() {
    for (line, status, advice) in [
        ("exec 2>/dev/null; no-such-program", 127, "not found"),
        ("exec 2>/dev/null; /", 126, "executable"),
        ("exit 255", 255, "ssh"),
        ("exit 3", 3, "run the command alone"),
    ] {
        let told = doctor(&[&format!("exec:{line}")]);
        fails(&told, "command", &format!("with status {status}"), advice);
    }
    let agent = format!("exec:{} --listen stdio", agent_binary().display());
    is_fine(&doctor(&[&agent]), &["command", "agent", "rights", "session"]);
}

#[test]
fn a_port_of_tcp_on_which_nobody_listens_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    drop(listener);
    fails(&doctor(&[&target]), "connection", "Connection refused", "nobody listens on this port");
}

#[test]
fn a_line_that_somebody_has_open_is_left_alone_and_one_without_an_agent_is_told() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    let target = format!("serial:{}", ptsname(&master, Vec::new()).unwrap().to_str().unwrap());
    let mut user = Command::new("cat");
    user.stdin(Stdio::from(slave)).stdout(Stdio::null());
    let mut user = Running::start(&mut user);
    let told = doctor(&[&target]);
    fails(&told, "use", &format!("it is open in cat ({})", user.0.id()), "end what uses it");
    user.0.kill().unwrap();
    user.end();
    let told = doctor(&["--timeout", "0.2", &target]);
    fails(&told, "agent", "no answer within 0.2 s", "--listen serial:NAME");
}

#[test]
fn a_name_of_the_configuration_is_a_target_and_its_options_hold() {
    let (guest, key) = keyed();
    let text = format!("[targets.box]\naddress = \"{}\"\nkey = \"{}\"\n", guest.target(), key.display());
    let file = guest.directory.file("config.toml", text.as_bytes());
    let mut command = client(["doctor", "box"]);
    let told = Running::start(command.env("VSOCK_SHELL_CONFIG", file)).finish(b"");
    is_fine(&told, &["socket", "key", "connection", "agent", "rights", "session"]);
}

/// What is said of the machine, where one monitor is the only process.
fn of_machine(guest: &Guest, configuration: &[u8]) -> Finished {
    guest.directory.file("config.toml", configuration);
    Monitor::new(guest).client(guest, "doctor")
}

#[test]
fn of_the_machine_its_guests_and_its_configuration_are_told() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let told = of_machine(&guest, b"[targets.a]\naddress = \"unix:/a\"\n");
    let text = told.succeeded();
    assert!(text.contains("ok   configuration: it can be used, and has 1 target\n"), "{text}");
    assert!(text.contains("ok   guest: webvm (firecracker "), "{text}");
    assert!(text.contains("its agent answers\n"), "{text}");
    for check in ["kernel", "vhost_vsock", "/dev/vhost-vsock", "/dev/vsock"] {
        assert!(text.lines().any(|line| line[5..].starts_with(&format!("{check}: "))), "{check}: {text}");
    }
}

#[test]
fn a_guest_without_an_agent_and_a_broken_configuration_fail() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let monitor = Monitor::new(&guest);
    guest.directory.file("config.toml", b"[targets.a]\nrecconect = 3\n");
    // Its ports are served, and lead nowhere.
    fs::remove_file(guest.socket()).unwrap();
    fs::remove_file(guest.directory.path("ports")).unwrap();
    let told = monitor.client(&guest, "doctor");
    assert_eq!((told.status(), told.stderr()), (1, ""), "{told:?}");
    let failed: Vec<_> = told.stdout().lines().filter(|line| line.starts_with("FAIL ")).collect();
    let [configuration, silent] = failed.as_slice() else { panic!("{told:?}") };
    assert!(configuration.contains("targets.a.recconect"), "{configuration}");
    assert!(silent.starts_with("FAIL guest: webvm"), "{silent}");
    assert!(told.stdout().contains("       vsock-shell doctor webvm tells more\n"), "{told:?}");
}

#[test]
fn what_is_about_one_agent_needs_one() {
    client_fails(&["doctor", "--key", "/k"], "--key is about one agent");
    client_fails(&["doctor", "unix:/a", "unix:/b"], "one word too many");
    client_fails(&["doctor", "-u", "a:b", "unix:/a"], "-u does not go with doctor");
}

#[track_caller]
fn client_fails(words: &[&str], why: &str) {
    Running::start(&mut client(words)).finish(b"").failed(255, &[why]);
}
