//! Keys: who has one, who has another, who has none, and what comes of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::keyed::{generate, keyed, preamble};
use crate::guest::{self, Finished, Guest, Running, TARGET, agent_binary, client, until};
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use vsock_shell_proto::preamble::{Answer, Dialer, SessionId, Status};
use vsock_shell_proto::proof::{Key, Role, Said};

fn run(words: &[OsString]) -> Finished {
    let mut command = client(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(&mut command).finish(b"")
}

/// Runs a command with this key.
fn with_key(guest: &Guest, key: &Path, words: &[&str]) -> Finished {
    let key = ["--key".into(), key.into()].into_iter();
    guest.run(key.chain(words.iter().map(OsString::from)))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let directory = guest::Directory::new();
    let path = directory.path("key");
    generate(&path).succeeded();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((text.len(), text.ends_with('\n')), (65, true));
    assert!(text.trim_end().bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    // What is there is never replaced.
    generate(&path).failed(255, &["File exists"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let printed = run(&["keygen".into(), "-".into()]);
    assert_eq!(printed.succeeded().len(), 65);
    assert_ne!(printed.succeeded(), text);
    run(&["keygen".into()]).failed(255, &["keygen takes one file"]);
}

#[test]
fn everything_works_with_the_key_and_nothing_without() {
    let (guest, key) = keyed();
    assert_eq!(with_key(&guest, &key, &[TARGET, "echo fine"]).succeeded(), "fine\n");
    let content = guest.directory.file("content", &guest::payload(3_000_000));
    let (there, back) = (guest.directory.path("there"), guest.directory.path("back"));
    for (from, to) in
        [(content.clone().into(), guest.remote(&there)), (guest.remote(&there), back.clone().into())]
    {
        guest.cp(["--key".into(), key.clone().into(), from, to]).succeeded();
    }
    assert_eq!(fs::read(&back).unwrap(), guest::payload(3_000_000));
    with_key(&guest, &key, &["fs", "ls", TARGET, "/"]).succeeded();
    with_key(&guest, &key, &["info", TARGET]).succeeded();
    // Without it, or with another.
    guest.run([TARGET, "echo fine"]).failed(255, &["the agent wants a key; write --key FILE"]);
    guest.cp([content.into_os_string(), guest.remote("x")]).failed(255, &["wants a key"]);
    let other = guest.directory.path("other");
    generate(&other).succeeded();
    let begun = Instant::now();
    with_key(&guest, &other, &[TARGET, "echo fine"]).failed(255, &["this is not the agent's key"]);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // An agent that has none cannot prove anything.
    let open = Guest::start();
    with_key(&open, &key, &[TARGET, "echo fine"]).failed(255, &["the agent has no key"]);
    guest.is_idle();
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_is_not_used() {
    let (guest, key) = keyed();
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    with_key(&guest, &key, &[TARGET, "true"]).failed(255, &["others can read the key", "chmod 600"]);
    let open = guest.directory.path("open");
    fs::copy(&key, &open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    let mut agent = Command::new(agent_binary());
    agent.arg("--key").arg(&open).arg("--listen").arg("stdio");
    agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Running::start(&mut agent).finish(b"");
    assert_eq!(ended.status(), 1);
    assert!(ended.stderr().contains("others can read the key"), "{ended:?}");
    for text in ["", "x", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
        let file = guest.directory.file("none", text.as_bytes());
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        with_key(&guest, &file, &[TARGET, "true"])
            .failed(255, &["there is no key in", "64 hexadecimal digits"]);
        // Nor does an agent go on without.
        let mut agent = Command::new(agent_binary());
        agent.arg("--key").arg(&file).arg("--listen").arg("stdio");
        agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Running::start(&mut agent).finish(b"");
        assert_eq!(ended.status(), 1);
        assert!(ended.stderr().contains("a key has 64 hexadecimal digits"), "{ended:?}");
    }
    with_key(&guest, Path::new("/does/not/exist"), &[TARGET, "true"]).failed(255, &["cannot read the key"]);
}

#[test]
fn the_guest_is_the_one_that_is_expected() {
    let (guest, key) = keyed();
    let zeros = "00000000-0000-0000-0000-000000000001";
    let pinned = |option: &str, id: &str| with_key(&guest, &key, &[option, id, TARGET, "echo fine"]);
    assert_eq!(pinned("--expect-boot-id", &boot_id()).succeeded(), "fine\n");
    pinned("--expect-boot-id", zeros).failed(255, &["another guest is expected", &boot_id()]);
    if let Ok(id) = fs::read_to_string("/etc/machine-id") {
        assert_eq!(pinned("--expect-machine-id", id.trim()).succeeded(), "fine\n");
    }
    pinned("--expect-machine-id", zeros).failed(255, &["expected"]);
    pinned("--expect-boot-id", "x").failed(255, &["an id has 32 hexadecimal digits"]);
    guest.run(["--expect-boot-id", zeros, TARGET, "true"]).failed(255, &["--key"]);
}

#[test]
fn a_session_over_standard_streams_has_its_gate_too() {
    let (guest, key) = keyed();
    let agent = format!("exec:{} --key {} --listen stdio", agent_binary().display(), key.display());
    let words = |options: &[&str]| {
        let words = options.iter().map(OsString::from);
        run(&words.chain([OsString::from(&agent), "echo fine".into()]).collect::<Vec<_>>())
    };
    assert_eq!(words(&["--key", key.to_str().unwrap()]).succeeded(), "fine\n");
    let other = guest.directory.path("other");
    generate(&other).succeeded();
    for (options, reason) in
        [(&[][..], "wants a key"), (&["--key", other.to_str().unwrap()][..], "not the agent's key")]
    {
        let refused = words(options);
        assert_eq!(refused.status(), 255);
        assert!(refused.stderr().contains(reason), "{refused:?}");
    }
}

fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(guest::DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn what_was_said_once_proves_nothing_again_and_nothing_of_the_agents_proves_a_client() {
    let (guest, path) = keyed();
    let key = Key::parse(&fs::read(path).unwrap()).unwrap();
    let first = preamble(1);
    let ask = || {
        let mut stream = guest.connect();
        stream.write_all(&first).unwrap();
        let mut challenge = [0; 64];
        stream.read_exact(&mut challenge).unwrap();
        (stream, challenge)
    };
    let (mut stream, challenge) = ask();
    let said = Said { preamble: &first, challenge: &challenge };
    let proof = key.prove(Role::Client, &said);
    stream.write_all(&proof).unwrap();
    let mut answer = [0; 96];
    stream.read_exact(&mut answer).unwrap();
    let (own, answer) = answer.split_first_chunk().unwrap();
    assert!(key.is_proved(Role::Agent, &said, own) && own != &proof);
    assert_eq!(Answer::parse(answer.try_into().unwrap()).unwrap().status, Status::Created);
    drop(stream);
    // The same preamble gets another challenge, for which that proof is none; nor is the agent's own, or nothing.
    let (mut stream, other) = ask();
    assert_ne!(challenge, other);
    let said = Said { preamble: &first, challenge: &other };
    let tries = [proof, key.prove(Role::Agent, &said), [0; 32]];
    for (number, wrong) in tries.into_iter().enumerate() {
        stream.write_all(&wrong).unwrap();
        let refused = read_all(&stream);
        assert_eq!(refused.len(), 96, "{number}: {refused:?}");
        assert_eq!(refused[..32], [0; 32]);
        assert_eq!(Answer::parse(refused[32..].try_into().unwrap()).unwrap().status, Status::WrongKey);
        stream = ask().0;
    }
    // Who says nothing more is not waited for long, and holds nobody up.
    let begun = Instant::now();
    assert!(read_all(&stream).is_empty());
    assert!((4..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    until("nobody is at the gate", || guest.sessions().is_empty());
}

/// A port of TCP that nobody else gets: it is bound, and shared with who asks for the same.
fn reserved() -> (OwnedFd, SocketAddrV4) {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

#[test]
fn tcp_is_served_with_a_key_and_not_without() {
    let directory = guest::Directory::new();
    let key = directory.path("key");
    generate(&key).succeeded();
    let (_reserved, address) = reserved();
    let agent = |options: &[&OsStr]| {
        let mut command = Command::new(agent_binary());
        command.arg(format!("--listen=tcp:{address}")).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let refused = Running::start(&mut agent(&[])).finish(b"");
    assert_eq!(refused.status(), 1);
    assert!(refused.stderr().contains("it takes --key"), "{refused:?}");
    let mut running = Running::start(&mut agent(&["--key".as_ref(), key.as_ref()]));
    let target = format!("tcp:{address}");
    let words = [
        "--timeout=30".into(),
        "--key".into(),
        key.into_os_string(),
        OsString::from(&target),
        "echo fine".into(),
    ];
    assert_eq!(run(&words).succeeded(), "fine\n");
    run(&[target.into(), "true".into()]).failed(255, &["wants a key"]);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
}

/// Whether the memory of a process has one of these in it; nothing where nobody may look.
fn memory_has(process: i32, needles: &[&[u8]]) -> Option<bool> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok().filter(|maps| !maps.is_empty())?;
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let mut found = false;
    for line in maps.lines().filter(|line| line.contains(" rw") && !line.contains("[v")) {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        memory.read_exact_at(&mut bytes, from).ok()?;
        found |= needles.iter().any(|needle| bytes.windows(needle.len()).any(|window| window == *needle));
    }
    Some(found)
}

#[test]
fn a_session_is_not_gone_on_with_through_an_agent_without_the_key() {
    let (guest, path) = keyed();
    let key = Key::parse(&fs::read(path).unwrap()).unwrap();
    let mut dialer = Dialer::new(SessionId([0xA5; 16]));
    let mut first = dialer.next_preamble(0, [1; 16]);
    first.wants_proof = true;
    let first = first.encode();
    let mut stream = guest.connect();
    stream.write_all(&first).unwrap();
    let mut challenge = [0; 64];
    stream.read_exact(&mut challenge).unwrap();
    stream.write_all(&key.prove(Role::Client, &Said { preamble: &first, challenge: &challenge })).unwrap();
    let mut answer = [0; 96];
    stream.read_exact(&mut answer).unwrap();
    dialer.handle_answer(answer.last_chunk().unwrap()).unwrap();
    let other = Guest::start();
    let mut stream = other.connect();
    stream.write_all(&dialer.next_preamble(0, [1; 16]).encode()).unwrap();
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).unwrap().status, Status::Gone);
}

#[test]
fn who_comes_before_a_session_begins_is_not_held_by_it() {
    let (guest, path) = keyed();
    let mut silent = guest.connect();
    silent.write_all(b"x").unwrap();
    let shell = Running::start(&mut guest.client([
        "--key".as_ref(),
        path.as_os_str(),
        TARGET.as_ref(),
        "cat".as_ref(),
    ]));
    until("the session runs", || guest.sessions().len() == 1);
    // The listener closes it in time, and so nobody has it.
    assert!(read_all(&silent).is_empty());
    assert_eq!(guest.sessions().len(), 1);
    drop(shell);
}

#[test]
fn a_key_is_not_where_it_could_be_seen() {
    let (guest, path) = keyed();
    let text = fs::read(&path).unwrap();
    let digits = text.trim_ascii();
    let key: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(str::from_utf8(&digits[2 * at..2 * at + 2]).unwrap(), 16).unwrap())
        .collect();
    let mut shell = Running::start(&mut guest.client([
        "--key".as_ref(),
        path.as_os_str(),
        TARGET.as_ref(),
        "cat".as_ref(),
    ]));
    until("the session runs", || guest.sessions().len() == 1);
    shell.0.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
    guest::read_line(shell.0.stdout.as_mut().unwrap(), "x");
    let needles = [digits, &key];
    let [session] = guest.sessions()[..] else { panic!("one session") };
    let agent = guest.agent.0.id() as i32;
    // Only root may look at all, because they are not dumped; and then at the listener, which needs it.
    if let Some(found) = memory_has(agent, &needles) {
        assert!(rustix::process::geteuid().is_root());
        assert!(found, "the one who needs it has it, or this test cannot find it");
        assert_eq!(memory_has(session, &needles), Some(false));
        let program = guest::processes::children(session);
        assert_eq!(memory_has(program[0], &needles), Some(false));
    } else {
        assert!(!rustix::process::geteuid().is_root());
        assert_eq!(memory_has(session, &needles), None);
    }
    for process in [agent, session, shell.0.id() as i32] {
        let words = fs::read(format!("/proc/{process}/cmdline")).unwrap();
        assert!(!words.windows(16).any(|window| window == &digits[..16]));
    }
    assert!(!guest.log().contains(str::from_utf8(&digits[..16]).unwrap()));
}
