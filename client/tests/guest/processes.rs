//! What processes there are, from /proc.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names and values of what /proc knows of each process.
fn all() -> Vec<(i32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// The fields of /proc/PID/stat behind the name: state, parent, group, session.
fn stat(path: &std::path::Path) -> Option<Vec<String>> {
    let stat = std::fs::read(path.join("stat")).ok()?;
    // The name may hold anything, also a parenthesis.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    Some(String::from_utf8_lossy(&stat[end + 1..]).split_whitespace().map(str::to_owned).collect())
}

/// The children of a process, zombies too.
pub fn children(parent: i32) -> Vec<i32> {
    let parent = parent.to_string();
    all()
        .into_iter()
        .filter(|(_, path)| stat(path).is_some_and(|stat| stat[1] == parent))
        .map(|(pid, _)| pid)
        .collect()
}

/// The state of a process as `ps` shows it (R, S, T, Z …); `None` when there is none.
pub fn state(pid: i32) -> Option<char> {
    stat(&PathBuf::from(format!("/proc/{pid}"))).and_then(|stat| stat[0].chars().next())
}

/// Clock ticks that a process has computed, itself and the kernel for it.
pub fn ticks(pid: i32) -> u64 {
    let stat = stat(&PathBuf::from(format!("/proc/{pid}"))).unwrap_or_default();
    stat.iter().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// How long a process has computed, to the nanosecond.
pub fn computed(pid: i32) -> std::time::Duration {
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    std::time::Duration::from_nanos(schedstat.split_whitespace().next().unwrap().parse().unwrap())
}

/// The number in the line `name` of a file of /proc/PID; of memory, in kilobytes.
pub fn number(pid: i32, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap()
}

/// How often a process has gone to sleep.
pub fn switches(pid: i32) -> u64 {
    number(pid, "status", "voluntary_ctxt_switches:")
}

/// Who traces a process; `None` when nobody does.
pub fn tracer(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()?;
    (tracer != 0).then_some(tracer)
}

/// The processes that have `text` in one of their arguments.
pub fn with_argument(text: &str) -> Vec<i32> {
    let has_it = |path: &PathBuf| {
        let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
        words.split(|&byte| byte == 0).any(|word| String::from_utf8_lossy(word).contains(text))
    };
    all().into_iter().filter(|(_, path)| has_it(path)).map(|(pid, _)| pid).collect()
}

/// A variable for the environment of a command, by which it and all its descendants are found.
pub struct Mark(String);

impl Mark {
    /// One that nobody else has.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("VSOCK_SHELL_MARK={}-{number}-", std::process::id()))
    }

    /// The value for `-E`.
    pub fn variable(&self) -> &str {
        &self.0
    }

    /// The processes that carry it. The client that was given it as an argument does not.
    pub fn processes(&self) -> Vec<i32> {
        let is_marked = |path: &PathBuf| {
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == self.0.as_bytes())
        };
        all().into_iter().filter(|(_, path)| is_marked(path)).map(|(pid, _)| pid).collect()
    }

    /// Waits until nobody carries it any more.
    #[track_caller]
    pub fn is_gone(&self) {
        super::until("the commands have ended", || self.processes().is_empty());
    }
}
