//! Agents that were started with less power: what is refused, what is not, and that they say so.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use crate::guest::frames::{frame, hello, is_answered, request};
use crate::guest::{Guest, Running, TARGET, agent_binary, until};

const DENIED: &str = "denied by the agent";

fn with(options: &[&str]) -> Guest {
    Guest::start_by(|_| {
        let mut command = Command::new(agent_binary());
        command.args(["--grace", "0"]).args(options);
        command
    })
}

/// What can be asked of an agent, by the words of `--deny` each of which refuses it.
fn asked(guest: &Guest) -> Vec<(&'static [&'static str], Vec<OsString>)> {
    let file = guest.directory.file("local", b"content");
    let there = guest.directory.path("there");
    fs::write(&there, "there").unwrap();
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let path = there.to_str().unwrap();
    let copied = guest.directory.path("copied");
    let new = guest.directory.path("new");
    let new = new.to_str().unwrap();
    vec![
        (&["exec"], words(&[TARGET, "true"])),
        (&["exec"], words(&[TARGET, "--", "/bin/true"])),
        (&["shell"], words(&[TARGET])),
        (&["exec", "detach"], words(&["--detach", TARGET, "true"])),
        (&["exec", "detach"], words(&["jobs", TARGET])),
        (&["put"], vec!["cp".into(), file.into(), guest.remote(guest.directory.path("copy"))]),
        (&["get"], vec!["cp".into(), guest.remote(&there), copied.into()]),
        (&["get"], words(&["fs", "ls", TARGET, "/"])),
        (&["fs-write"], words(&["fs", "chmod", TARGET, "600", path])),
        (&["fs-write"], words(&["fs", "ln", "-s", TARGET, "x", new])),
        (&["fs-write"], words(&["fs", "rm", TARGET, new])),
        (&[], words(&["fs", "df", TARGET, "/"])),
        (&["system"], words(&["sys", "env", TARGET])),
        (&["system"], words(&["sys", "date", TARGET])),
        (&["system", "system-write"], words(&["sys", "unload", TARGET, "no_such_module"])),
        (&[], words(&["info", TARGET])),
        (&[], words(&["wait", TARGET])),
    ]
}

/// Whether the words work, and are denied where they do not, but for what fails in any case.
#[track_caller]
fn is_denied(guest: &Guest, words: &[OsString]) -> bool {
    let ended = guest.run(words);
    let denied = ended.stderr().contains(DENIED);
    let fails_anyway = words.iter().any(|word| word == "no_such_module");
    assert!(denied || fails_anyway || ended.status() == 0, "{words:?}: {ended:?}");
    assert!(!denied || ended.status() == 255, "{words:?}: {ended:?}");
    assert!(!denied || ended.stderr().lines().count() == 1, "{words:?}: {ended:?}");
    denied
}

#[test]
fn each_word_denies_what_it_says_and_nothing_else() {
    for word in
        ["exec", "shell", "put", "get", "fs-write", "connect", "listen", "system", "system-write", "detach"]
    {
        let guest = with(&["--deny", word]);
        for (words, line) in asked(&guest) {
            assert_eq!(is_denied(&guest, &line), words.contains(&word), "--deny {word}: {line:?}");
        }
        let info = guest.run(["info", TARGET]);
        assert!(info.succeeded().contains(&format!("denied          {word}\n")), "{info:?}");
    }
    let guest = with(&[]);
    for (_, line) in asked(&guest) {
        assert!(!is_denied(&guest, &line), "{line:?}");
    }
    assert!(!guest.run(["info", TARGET]).succeeded().contains("denied"));
}

#[test]
fn read_only_leaves_reading() {
    let guest = with(&["--read-only"]);
    for (words, line) in asked(&guest) {
        let reads = ["get", "system"];
        let changes = !words.is_empty() && !words.iter().all(|word| reads.contains(word));
        assert_eq!(is_denied(&guest, &line), changes, "{line:?}");
    }
    let info = guest.run(["info", "--json", TARGET]);
    let denied = "exec,shell,put,fs-write,connect,listen,detach,system-write";
    assert!(info.succeeded().contains(&format!("\"{denied}\"")), "{info:?}");
}

#[test]
fn r_5_6_what_is_denied_is_refused_to_who_asks_all_the_same() {
    const REFUSED: u8 = 0x12;
    const DETACH: u8 = 0x1C;
    let guest = with(&["--deny", "detach"]);
    let mut stream = guest.session(1);
    let exec = request(0, 1, b"\x02\x04\0\0cat\0");
    let detach = frame(DETACH, 0, 0, &[0; 4]);
    let answer = frame(DETACH, 0, 0, &(rustix::io::Errno::PERM.raw_os_error() as u32).to_le_bytes());
    is_answered(&mut stream, &[hello(), exec.clone(), detach], &answer);
    let guest = with(&["--deny", "exec"]);
    let answer = frame(REFUSED, 0, 0, &[10, 0, 0, 0, 0, 0, 0, 0]);
    is_answered(&mut guest.session(2), &[hello(), exec], &answer);
}

#[test]
fn no_more_sessions_than_are_allowed() {
    let guest = with(&["--max-sessions", "2"]);
    let info = guest.run(["info", TARGET]);
    assert!(info.succeeded().contains("sessions_max    2\n"), "{info:?}");
    let mut held: Vec<Running> = (0..2).map(|_| guest.start_command(&[], "echo ready; read x")).collect();
    guest.run([TARGET, "true"]).failed(255, &["as many sessions as it takes"]);
    drop(held.pop().unwrap().0.stdin.take());
    until("there is room again", || guest.sessions().len() < 2);
    guest.run([TARGET, "true"]).succeeded();
    drop(held);
}

#[test]
fn an_agent_with_a_user_has_that_users_rights_and_no_way_back() {
    if !rustix::process::geteuid().is_root() {
        // Who is not root can only stay who he is.
        let own = rustix::process::geteuid().as_raw().to_string();
        let guest = with(&["--user", &own]);
        assert_eq!(guest.run([TARGET, "id -u"]).succeeded().trim(), own);
        return;
    }
    let guest = with(&["--user", "nobody"]);
    let script = "id -u; id -ru; id -un; grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj";
    let ids = guest.run([TARGET, "--", "sh", "-c", script]);
    assert_eq!(ids.succeeded(), "65534\n65534\nnobody\nNoNewPrivs:\t1\n0\n");
    // All of its processes.
    let status = fs::read_to_string(format!("/proc/{}/status", guest.agent.0.id())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    // Files too, by whatever name.
    let secret = guest.directory.file("secret", b"secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let to = guest.directory.path("to");
    guest.cp([guest.remote(&secret), to.clone().into()]).failed(255, &["Permission denied"]);
    assert!(!to.exists());
    let root = OsString::from(guest.target().replace("unix:", "root@unix:"));
    guest.run([root, "true".into()]).failed(255, &["cannot become", "root"]);
    // It ends as others do, jobs and sessions with it.
    let job = guest.run(["--detach", TARGET, "--", "sleep", "100"]);
    assert_eq!(job.status(), 0, "{job:?}");
    guest.run(["jobs", TARGET]).succeeded();
    guest.run(["kill", TARGET, job.stdout().trim()]).succeeded();
    assert_eq!(guest.run(["result", TARGET, job.stdout().trim()]).status(), 128 + 15);
    guest.is_idle();
}

#[test]
fn root_and_nobody_at_all_are_no_users_to_have_less_power() {
    for (user, reason) in [("root", "this is root"), ("0", "this is root"), ("no-such-user", "no such user")]
    {
        let mut agent = Command::new(agent_binary());
        agent.args(["--user", user, "--listen", "stdio"]);
        agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Running::start(&mut agent).finish(b"");
        assert_eq!(ended.status(), 2, "{ended:?}");
        assert!(ended.stderr().contains(reason), "{ended:?}");
    }
}
