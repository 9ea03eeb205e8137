//! Before it knows that somebody may come in, the agent calls and opens what `docs/SYSCALLS.md` lists, and nothing else.

mod guest;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use guest::keyed::{generate, preamble};
use guest::processes::{state, tracer};
use guest::{Directory, Guest, agent_binary, until};
use rustix::process::Signal;
use vsock_shell_proto::preamble::{Dialer, SessionId};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SYSCALLS.md");

/// What was called and what was named in it.
#[derive(Default)]
struct Used {
    calls: BTreeSet<String>,
    paths: BTreeSet<String>,
}

/// What stands in backticks in the lines of a chapter that begin with `list`.
fn listed(chapter: &str, list: &str) -> BTreeSet<String> {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let chapter = document.split("\n## ").find(|text| text.starts_with(&format!("{chapter}\n"))).unwrap();
    let lines = chapter.lines().filter_map(|line| line.strip_prefix(list));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

impl Used {
    /// Adds a line of strace.
    fn add(&mut self, line: &str) {
        let Some((call, rest)) = line.split_once('(').filter(|_| !line.starts_with(['-', '+'])) else {
            return;
        };
        self.calls.insert(call.to_owned());
        // Strings that are no paths are cut to nothing.
        let texts = rest.split('"').skip(1).step_by(2).filter(|text| !text.is_empty());
        self.paths.extend(texts.map(str::to_owned));
    }

    fn of<'t>(lines: impl Iterator<Item = &'t str>) -> Self {
        let mut used = Self::default();
        lines.for_each(|line| used.add(line));
        used
    }
}

/// Everything that was used is listed; and what is listed as always used was, or nobody would ever take it from the list.
#[track_caller]
fn assert_listed(chapters: &[(&str, Used)]) {
    let mut problems = Vec::new();
    for (chapter, used) in chapters {
        let (always, sometimes) = (listed(chapter, "Calls: "), listed(chapter, "Sometimes: "));
        let (paths, only_there) = (listed(chapter, "Paths: "), listed(chapter, "Paths, sometimes: "));
        let mut tell = |what: &str, a: &BTreeSet<String>, b: &[&BTreeSet<String>]| {
            let more = a.iter().filter(|one| !b.iter().any(|set| set.contains(*one)));
            problems.extend(more.map(|one| format!("{chapter}: {what} {one}")));
        };
        tell("not listed:", &used.calls, &[&always, &sometimes]);
        tell("not listed:", &used.paths, &[&paths, &only_there]);
        tell("listed and not used:", &always, &[&used.calls]);
        tell("listed and not used:", &paths, &[&used.paths]);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// An agent with these options, every process of it traced into a file of its own.
fn traced(options: impl FnOnce(&Directory) -> Vec<String>) -> Guest {
    Guest::start_by(|directory| {
        let mut command = Command::new("strace");
        // The tracer is not the agent's parent, and so the agent is our child.
        command.args(["-D", "-ff", "-s", "0", "-o"]).arg(directory.subdirectory("traces").join("of"));
        command.arg(agent_binary()).args(options(directory));
        command
    })
}

fn said(guest: &Guest, words: &[u8]) -> UnixStream {
    let mut stream = guest.connect();
    stream.write_all(words).unwrap();
    stream
}

/// What nobody says who may come in; waits until all of it is refused.
fn come_in_vain(guest: &Guest) {
    let other = |wants_proof| {
        let mut preamble = Dialer::new(SessionId([3; 16])).next_preamble(0, [0; 16]);
        preamble.wants_proof = wants_proof;
        preamble.encode()
    };
    let connections = [
        said(guest, b""),
        said(guest, &[7; 5]),
        said(guest, &[7; 64]),
        said(guest, &[0x55; 1000]),
        said(guest, &preamble(1)),
        said(guest, &[&other(true)[..], &[7; 32]].concat()),
    ];
    drop(said(guest, &[7; 5]));
    drop(said(guest, &other(true)));
    for mut stream in connections {
        _ = stream.read_to_end(&mut Vec::new());
    }
    guest.is_idle();
}

/// The traces of the agent and of what it forked, read when all have ended.
fn traces(mut guest: Guest) -> (String, Vec<String>) {
    let agent = guest.agent.0.id() as i32;
    let tracer = tracer(agent).unwrap();
    guest.agent.signal(Signal::KILL);
    guest.agent.end();
    until("the tracer has ended", || matches!(state(tracer), None | Some('Z')));
    let socket = guest.socket();
    let place = |text: String| {
        let text = text.replace(socket.to_str().unwrap(), "SOCKET");
        let text = text.replace(socket.parent().unwrap().join(".").to_str().unwrap(), "DIRECTORY");
        let text = text.replace(guest.directory.path("key").to_str().unwrap(), "KEY");
        text.replace(agent_binary().to_str().unwrap(), "AGENT")
    };
    let traces = guest.directory.path("traces");
    let own = format!("of.{agent}");
    let read = |name: &Path| place(fs::read_to_string(traces.join(name)).unwrap());
    let others = guest::names(&traces).into_iter().filter(|name| *name != *own);
    (read(own.as_ref()), others.map(|name| read(name.as_ref())).collect())
}

/// What the agent itself used: from its first call until it waits, and from then on.
fn own(trace: &str) -> [(&'static str, Used); 2] {
    // Where std is linked, calls of the C library's come first; the static file begins with its own.
    let is_static = !fs::read(agent_binary()).unwrap().windows(8).any(|bytes| bytes == b"/ld-linu");
    let is_first = |line: &&str| is_static || line.starts_with("rt_sigprocmask(SIG_SETMASK, [HUP");
    let (execve, rest) = trace.split_once('\n').unwrap();
    let lines: Vec<_> = [execve].into_iter().chain(rest.lines().skip_while(|line| !is_first(line))).collect();
    let waits = |line: &&str| line.starts_with("epoll_wait(") || line.starts_with("epoll_pwait(");
    let at = lines.iter().position(waits).unwrap();
    let used = |lines: &[&str]| Used::of(lines.iter().copied());
    [("Start", used(&lines[..at])), ("Listening", used(&lines[at..]))]
}

#[test]
fn an_agent_without_a_key_calls_what_is_listed() {
    let guest = traced(|_| Vec::new());
    come_in_vain(&guest);
    let (agent, others) = traces(guest);
    assert!(!others.is_empty());
    let session = Used::of(others.iter().flat_map(|trace| trace.lines()));
    let [start, listening] = own(&agent);
    assert_listed(&[start, listening, ("The process of a session", session)]);
}

#[test]
fn an_agent_with_a_key_calls_what_is_listed() {
    let guest = traced(|directory| {
        let key = directory.path("key");
        generate(&key).succeeded();
        vec!["--key".into(), key.to_str().unwrap().to_owned()]
    });
    come_in_vain(&guest);
    let (agent, others) = traces(guest);
    let (mut gate, mut confined) = (Used::default(), Used::default());
    for trace in &others {
        let (before, after) = trace.split_once("prctl(PR_SET_SECCOMP").unwrap_or((trace, "\n"));
        before.lines().for_each(|line| gate.add(line));
        after.lines().skip(1).for_each(|line| confined.add(line));
    }
    let [start, listening] = own(&agent);
    assert_listed(&[start, listening, ("The gate", gate), ("The gate, confined", confined)]);
}
