//! Forwarding as other programs use it: curl through the SOCKS proxy, ssh's own tools through its agent, names that a name server
//! knows, and a network that does not answer.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::forwarded::{Forwarding, assert_summed_up, serve_tcp, summed_up, unix};
use crate::guest::{self, Guest, Running, TARGET, agent_binary, is_root, until};

/// Answers each request of HTTP with the name by which it asked.
fn serve_http(mut stream: TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        request.extend(byte);
    }
    let request = String::from_utf8(request).unwrap();
    let host = request.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{host}", host.len());
    stream.write_all(answer.as_bytes()).unwrap();
}

fn curl(options: &[&str], url: &str) -> guest::Finished {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "25", "--noproxy", ""]).args(options).arg(url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(&mut command).finish(b"")
}

#[test]
fn curl_reaches_what_the_guest_reaches_by_address_and_by_name() {
    let guest = Guest::start();
    let (four, six) = (serve_tcp("127.0.0.1", serve_http), serve_tcp("::1", serve_http));
    let mut forwarding = Forwarding::start(&guest, &["-D", "0"]);
    let proxy = format!("127.0.0.1:{}", forwarding.port());
    for (kind, host) in [
        ("--socks5", format!("127.0.0.1:{}", four.port())),
        ("--socks5", format!("[::1]:{}", six.port())),
        ("--socks5-hostname", format!("localhost:{}", four.port())),
        ("--socks5-hostname", format!("localhost:{}", six.port())),
    ] {
        assert_eq!(curl(&[kind, &proxy], &format!("http://{host}/")).succeeded(), host);
    }
    // curl tells by what number of the reply it ended: 5 is refused, 4 that there is no such host.
    let refused = curl(&["--socks5-hostname", &proxy], "http://127.0.0.1:1/");
    assert!(refused.status() == 97 && refused.stderr().contains("(5)"), "{refused:?}");
    let unknown = curl(&["--socks5-hostname", &proxy], "http://no-such-host.invalid/");
    assert!(unknown.status() == 97 && unknown.stderr().contains("(4)"), "{unknown:?}");
    let of_version_4 = curl(&["--socks4", &proxy], "http://127.0.0.1:1/");
    assert_eq!(of_version_4.status(), 97, "{of_version_4:?}");
}

/// An ssh-agent that has one key.
fn ssh_agent(folder: &Path) -> Running {
    let socket = folder.join("ours");
    let mut agent = Command::new("ssh-agent");
    agent.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
    let agent = Running::start(&mut agent);
    until("the ssh-agent listens", || UnixStream::connect(&socket).is_ok());
    let key = folder.join("key");
    let make = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "the key", "-f"])
        .arg(&key)
        .status();
    assert!(make.unwrap().success());
    let mut add = Command::new("ssh-add");
    add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket);
    assert!(add.status().unwrap().success());
    agent
}

#[test]
fn ssh_add_in_the_guest_lists_our_keys_and_nothing_is_left() {
    let guest = Guest::start();
    let folder = guest.directory.subdirectory("agent");
    let _agent = ssh_agent(&folder);
    let line = "ssh-add -l; ls -ld $SSH_AUTH_SOCK ${SSH_AUTH_SOCK%/*}; echo $SSH_AUTH_SOCK";
    let mut command = guest.client(["-A", TARGET, line]);
    command.env("SSH_AUTH_SOCK", folder.join("ours"));
    let listed = Running::start(&mut command).finish(b"");
    let lines: Vec<_> = listed.succeeded().lines().collect();
    assert!(lines[0].contains("the key (ED25519)"), "{lines:?}");
    assert!(lines[1].starts_with("drwx------") && lines[2].starts_with("srw-------"), "{lines:?}");
    let directory = Path::new(lines[3]).parent().unwrap();
    until("the directory is gone", || !directory.exists());
    // Without one here there is none there, and the command runs all the same.
    let mut command = guest.client(["-A", TARGET, "echo ${SSH_AUTH_SOCK-none}"]);
    command.env_remove("SSH_AUTH_SOCK");
    let without = Running::start(&mut command).finish(b"");
    assert_eq!((without.status(), without.stdout()), (0, "none\n"));
    assert!(without.stderr().contains("no ssh-agent to forward"), "{}", without.stderr());
}

/// An agent in a network of its own, in which `setup` was done.
fn in_network(setup: &str) -> Guest {
    Guest::start_by(|directory| {
        fs::write(directory.path("resolv.conf"), "search nowhere.test box.test\nnameserver 127.0.0.1\n")
            .unwrap();
        fs::write(directory.path("hosts"), "127.0.0.2 listed alias # comment\n::1 listed\n").unwrap();
        let setup = format!(
            "mount --bind {folder}/resolv.conf /etc/resolv.conf && mount --bind {folder}/hosts /etc/hosts && {setup} && exec \"$@\"",
            folder = directory.path("").display()
        );
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "sh", "-c", &setup, "sh"])
            .arg(agent_binary())
            .args(["--grace", "0"]);
        command
    })
}

/// A command in the network of a guest.
fn inside(guest: &Guest, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", guest.agent.0.id())).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn names_are_resolved_in_the_guest_by_its_files_and_its_name_server() {
    if !is_root() {
        return;
    }
    let guest = in_network("ip link set lo up");
    let mut dnsmasq = inside(&guest, "dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
    ]);
    dnsmasq.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/"]);
    dnsmasq.args([
        "--address=/six.box.test/::1",
        "--cname=alias.box.test,web.box.test",
        "--host-record=web.box.test,127.0.0.3",
    ]);
    let _dnsmasq = Running::start(&mut dnsmasq);
    // A server on every address of that network.
    let mut server = inside(&guest, "socat");
    server.args(["TCP6-LISTEN:80,fork,reuseaddr,ipv6only=0", "SYSTEM:echo $SOCAT_SOCKADDR; cat"]);
    let _server = Running::start(&mut server);
    until("both serve", || guest.run(["-W", "web.box.test:80", TARGET]).status() == 0);
    for (name, address) in [
        ("listed:80", "[0000:0000:0000:0000:0000:ffff:7f00:0002]"),
        ("ALIAS:80", "[0000:0000:0000:0000:0000:ffff:7f00:0002]"),
        ("web.box.test:80", "[0000:0000:0000:0000:0000:ffff:7f00:0003]"),
        ("web.box.test.:80", "[0000:0000:0000:0000:0000:ffff:7f00:0003]"),
        ("web:80", "[0000:0000:0000:0000:0000:ffff:7f00:0003]"),
        ("alias.box.test:80", "[0000:0000:0000:0000:0000:ffff:7f00:0003]"),
        ("six:80", "[0000:0000:0000:0000:0000:0000:0000:0001]"),
    ] {
        assert_eq!(guest.run(["-W", name, TARGET]).succeeded(), format!("{address}\n"), "{name}");
    }
    guest.run(["-W", "other.box.test:80", TARGET]).failed(255, &["other.box.test:80", "no such host"]);
    // Many names at once.
    let socket = guest.directory.path("many");
    let forwarding = Forwarding::start(&guest, &["-L", &format!("{}:web:80", socket.display())]);
    forwarding.wait_for(&socket);
    let mut streams: Vec<_> = (0..100).map(|_| unix(&socket)).collect();
    for stream in &mut streams {
        stream.write_all(b"x").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("7f00:0003]"), "{answer:?}");
    }
}

#[test]
fn a_name_server_that_says_nothing_and_a_network_that_leads_nowhere_are_told() {
    if !is_root() {
        return;
    }
    let guest = in_network("true");
    for to in ["127.0.0.1:80", "10.1.2.3:80"] {
        guest.run(["-W", to, TARGET]).failed(255, &[to, "unreachable"]);
    }
    guest.run(["-W", "name:80", TARGET]).failed(255, &["name:80", "no name server answers"]);
}

#[test]
fn a_host_that_says_nothing_has_timed_out_and_holds_up_nobody() {
    if !is_root() {
        return;
    }
    // What is sent there is lost.
    let guest = in_network("ip link set lo up && ip route add 10.9.9.2 dev lo");
    let began = Instant::now();
    let waiting = Running::start(&mut guest.client(["-W", "10.9.9.2:80", TARGET]));
    let socket = guest.directory.path("here");
    let nowhere = guest.directory.path("nowhere");
    let server = guest.directory.path("server");
    guest::forwarded::serve_unix(&server, guest::forwarded::sum_up);
    let specs =
        [format!("{}:10.9.9.2:80", nowhere.display()), format!("{}:{}", socket.display(), server.display())];
    let forwarding = Forwarding::start(&guest, &["-L", &specs[0], "-L", &specs[1]]);
    forwarding.wait_for(&socket);
    let _lost: Vec<_> = (0..20).map(|_| unix(&nowhere)).collect();
    assert_summed_up(&summed_up(unix(&socket), b"x"), b"x");
    assert!(began.elapsed() < Duration::from_secs(15), "nobody waits for those");
    waiting.finish(b"").failed(255, &["10.9.9.2:80", "timed out"]);
    let took = began.elapsed();
    assert!((Duration::from_secs(15)..Duration::from_secs(29)).contains(&took), "{took:?}");
}
