//! ssh itself, which reaches the sshd of a guest through the agent there.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::guest::rsh::{ADDRESS, HOST, own_user};
use crate::guest::{self, Finished, Guest, Running, client_binary};
use rustix::net::{Shutdown, shutdown};

/// Debian's sshd. Its package starts a service, so that it is not for `cargo xtask test` to install it on everybody's machine.
fn sshd() -> Option<PathBuf> {
    let found = ["/usr/sbin/sshd", "/usr/bin/sshd"].map(PathBuf::from).into_iter().find(|path| path.exists());
    if found.is_none() {
        assert_ne!(std::env::var_os("CI").as_deref(), Some(OsStr::new("true")), "no sshd, and CI=true");
        eprintln!("SKIPPED: {} needs an sshd", thread::current().name().unwrap_or("this test"));
    }
    found
}

/// An sshd on a port of its own, with keys of its own, in a guest.
struct Server {
    port: u16,
    listener: Arc<TcpListener>,
    is_over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one that lets our key in, with a host key of this name.
    fn start(guest: &Guest, sshd: &Path, name: &str) -> Self {
        let [host_key, user_key] = [name, "user-key"].map(|name| key(guest, name));
        let configuration = format!(
            "HostKey {}\nAuthorizedKeysFile {}.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin prohibit-password\nPidFile none\nUseDNS no\nPrintMotd no\nPrintLastLog no\n\
             Subsystem sftp internal-sftp\n",
            host_key.display(),
            user_key.display()
        );
        let file = guest.directory.file(format!("{name}.conf"), configuration.as_bytes());
        let log = File::create(guest.directory.path(format!("{name}.log"))).unwrap();
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (sshd, listening, over) = (sshd.to_owned(), listener.clone(), is_over.clone());
        let serving = thread::spawn(move || {
            while let Ok((stream, _)) = listening.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let mut server = of_one_connection(&sshd);
                server.arg("-f").arg(&file);
                server.stdin(OwnedFd::from(stream.try_clone().unwrap())).stdout(OwnedFd::from(stream));
                // It ends with its connection.
                let mut running = server.stderr(log.try_clone().unwrap()).spawn().unwrap();
                thread::spawn(move || running.wait());
            }
        });
        Self { port, listener, is_over, serving: Some(serving) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Who waits for a connection is told that there will be none.
        _ = shutdown(&*self.listener, Shutdown::Both);
        _ = self.serving.take().map(JoinHandle::join);
    }
}

/// sshd on its standard streams. For root it wants a directory that its service would have made: it gets one of its own.
fn of_one_connection(sshd: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        let mut command = Command::new(sshd);
        command.args(["-i", "-e"]);
        return command;
    }
    let script = "mount -t tmpfs none /run; mkdir -m 755 /run/sshd; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script, "sh"]).arg(sshd).args(["-i", "-e"]);
    command
}

/// A pair of keys of this name; made once.
fn key(guest: &Guest, name: &str) -> PathBuf {
    let file = guest.directory.path(name);
    if !file.exists() {
        let words = ["-q", "-t", "ed25519", "-N", "", "-f", file.to_str().unwrap()];
        guest.run_program("ssh-keygen", words).succeeded();
    }
    file
}

/// A configuration for ssh: what `ssh-config` prints with these words, and who we are.
fn configuration(guest: &Guest, words: &[&str]) -> PathBuf {
    let client = client_binary();
    let printed = guest.run_program(client.to_str().unwrap(), [&["ssh-config"], words].concat());
    let text = format!(
        "{}\nHost *\n    IdentityFile {}\n    IdentitiesOnly yes\n    IdentityAgent none\n    BatchMode yes\n",
        printed.succeeded(),
        key(guest, "user-key").display()
    );
    guest.directory.file("ssh.conf", text.as_bytes())
}

/// ssh to the guest by this name, with nothing but this configuration.
#[track_caller]
fn ssh(guest: &Guest, file: &Path, port: u16, host: &str, words: &[&str]) -> Finished {
    let port = port.to_string();
    let options = ["-F", file.to_str().unwrap(), "-p", &port, host];
    guest.run_program("ssh", options.iter().chain(words))
}

#[test]
fn what_ssh_config_prints_is_what_ssh_takes_for_every_target() {
    let guest = Guest::start();
    let file = configuration(&guest, &["--user", "somebody", "-p", "7"]);
    for (host, is_ephemeral) in [
        ("vsock%3", true),
        ("vsock/3", true),
        ("unix%/run/Agent.sock", true),
        ("mux%/run/v%7", true),
        ("serial%/dev/ttyS0", true),
        ("tcp%host%7", false),
        (HOST, true),
    ] {
        let told = guest.run_program("ssh", ["-G", "-T", "-F", file.to_str().unwrap(), host]);
        let told = told.succeeded();
        let has = |line: &str| told.lines().any(|one| one == line);
        // How a name is reached is said by the configuration.
        let port = if host == HOST { "" } else { " -p 7" };
        let command = format!("proxycommand {}{port} -W 127.0.0.1:%p '%h'", client_binary().display());
        assert!(has(&command) && has("user somebody"), "{host}: {told}");
        assert_eq!(has("stricthostkeychecking false"), is_ephemeral, "{host}");
        assert_eq!(has("userknownhostsfile /dev/null"), is_ephemeral, "{host}");
    }
    let other = guest.run_program("ssh", ["-G", "-T", "-F", file.to_str().unwrap(), "example.org"]);
    assert!(!other.succeeded().contains("proxycommand"));
}

#[test]
fn ssh_reaches_a_guest_by_what_ssh_config_prints() {
    let Some(sshd) = sshd() else { return };
    let guest = Guest::start();
    let server = Server::start(&guest, &sshd, "host-key");
    let file = configuration(&guest, &["--user", &own_user()]);
    let finished = ssh(&guest, &file, server.port, HOST, &["echo out; echo err >&2; exit 7"]);
    assert_eq!((finished.status(), finished.stdout(), finished.stderr()), (7, "out\n", "err\n"));
    // An address is a name as well, also a path in letters of either size.
    symlink("socket", guest.directory.path("Socket")).unwrap();
    let path = format!("unix%{}", guest.directory.path("Socket").display());
    for host in [ADDRESS, &path] {
        assert_eq!(ssh(&guest, &file, server.port, host, &["echo there"]).succeeded(), "there\n");
    }
    // The next guest of that name is another one.
    for name in ["host-key", "host-key.pub"] {
        fs::remove_file(guest.directory.path(name)).unwrap();
    }
    key(&guest, "host-key");
    assert_eq!(ssh(&guest, &file, server.port, HOST, &["echo again"]).succeeded(), "again\n");
}

#[test]
fn much_passes_through_it_whole() {
    let Some(sshd) = sshd() else { return };
    let guest = Guest::start();
    let server = Server::start(&guest, &sshd, "host-key");
    let file = configuration(&guest, &["--user", &own_user()]);
    let content = guest::payload(8 << 20);
    guest.directory.file("from", &content);
    let port = server.port.to_string();
    for (from, to) in [
        ("from", format!("{HOST}:{}", guest.directory.path("to").display())),
        (&format!("{HOST}:{}", guest.directory.path("to").display()), "back".to_owned()),
    ] {
        let words = ["-q", "-F", file.to_str().unwrap(), "-P", &port, from, &to];
        guest.run_program("scp", words).succeeded();
    }
    guest::assert_same(&fs::read(guest.directory.path("back")).unwrap(), &content);
}

#[test]
fn it_is_a_proxy_command_for_any_name() {
    let Some(sshd) = sshd() else { return };
    let guest = Guest::start();
    let server = Server::start(&guest, &sshd, "host-key");
    // Nothing is asked: the host is known under the name that it is given.
    let public = fs::read_to_string(guest.directory.path("host-key.pub")).unwrap();
    let known = guest.directory.file("known", format!("some-guest {public}").as_bytes());
    let proxy = format!(
        "ProxyCommand='{}' -W 127.0.0.1:{} {}",
        client_binary().display(),
        server.port,
        guest.target()
    );
    let files = [format!("UserKnownHostsFile={}", known.display()), format!("User={}", own_user())];
    let identity = key(&guest, "user-key");
    let mut words = vec!["-F", "/dev/null", "-i", identity.to_str().unwrap(), "-o", &proxy];
    words.extend(files.iter().flat_map(|line| ["-o", line]));
    words.extend(["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]);
    words.extend(["some-guest", "cat; exit 3"]);
    let finished = Running::start(&mut guest.program("ssh", words)).finish(b"through");
    assert_eq!((finished.status(), finished.stdout(), finished.stderr()), (3, "through", ""));
}

#[test]
fn where_no_sshd_listens_one_line_says_so() {
    let guest = Guest::start();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let finished = ssh(&guest, &configuration(&guest, &[]), port, HOST, &["true"]);
    assert_eq!(finished.status(), 255);
    let ours: Vec<_> = finished.stderr().lines().filter(|line| line.starts_with("vsock-shell: ")).collect();
    assert!(ours.len() == 1 && ours[0].contains("Connection refused"), "{finished:?}");
}

#[test]
fn a_configuration_of_a_guest_with_a_key_names_the_key() {
    let guest = Guest::start();
    let key = guest.directory.path("key");
    guest.run(["keygen", key.to_str().unwrap()]).succeeded();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let mut command = guest.client(["ssh-config", "--key", "key"]);
    let printed = Running::start(command.current_dir(guest.directory.path(""))).finish(b"");
    let line = format!(" --key {} -W 127.0.0.1:%p '%h'\n", key.display());
    assert!(printed.succeeded().contains(&line), "{printed:?}");
}
