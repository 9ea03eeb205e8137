//! Owns what /proc tells of processes (proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5)), and how it is shown: a tree.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::text::escape;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The number of its parent; 0 where it has none.
    pub parent: u32,
    /// Its real user id; `None` where /proc does not tell.
    pub user: Option<u32>,
    /// The letter of its state.
    pub state: char,
    /// KiB of memory that it holds.
    pub resident_kib: u64,
    /// Its words, or its name in brackets where it has none; escaped.
    pub command: String,
}

impl Process {
    /// Reads /proc/PID/stat, /proc/PID/status and /proc/PID/cmdline; `None` for what is none, as when the process has ended
    /// meanwhile. `status` and `command_line` may be empty.
    #[must_use]
    pub fn parse(stat: &[u8], status: &[u8], command_line: &[u8]) -> Option<Self> {
        // The name is in parentheses, and may hold some: the last one ends it.
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')').filter(|&close| close > open)?;
        let name = &stat[open + 1..close];
        let pid = std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
        let mut rest = std::str::from_utf8(&stat[close + 1..]).ok()?.split_ascii_whitespace();
        let state = rest.next()?.chars().next().filter(char::is_ascii_alphabetic)?;
        let parent = rest.next()?.parse().ok()?;
        let user = field(status, "Uid").and_then(|value| value.split_ascii_whitespace().next()?.parse().ok());
        let resident =
            field(status, "VmRSS").and_then(|value| value.split_ascii_whitespace().next()?.parse().ok());
        let words = command_line.strip_suffix(b"\0").unwrap_or(command_line);
        let command = if words.is_empty() {
            format!("[{}]", escape(name))
        } else {
            escape(&words.split(|&byte| byte == 0).collect::<Vec<_>>().join(&b' ')).into_owned()
        };
        Some(Self { pid, parent, user, state, resident_kib: resident.unwrap_or(0), command })
    }
}

/// The value of a line `Key:  value`.
fn field<'s>(status: &'s [u8], key: &str) -> Option<&'s str> {
    let line =
        |line: &'s [u8]| std::str::from_utf8(line.strip_prefix(key.as_bytes())?.strip_prefix(b":")?).ok();
    status.split(|&byte| byte == b'\n').find_map(line)
}

/// Processes in the order of a tree, each with its depth: children behind their parent, by their numbers. Those whose parent is
/// not among them, or who are their own ancestors, are roots.
fn tree(processes: &[Process]) -> Vec<(usize, &Process)> {
    let by_number: BTreeMap<u32, &Process> = processes.iter().map(|process| (process.pid, process)).collect();
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    let mut left: BTreeSet<u32> = by_number.keys().copied().collect();
    let mut roots = Vec::new();
    for process in by_number.values() {
        if by_number.contains_key(&process.parent) {
            children.entry(process.parent).or_default().push(process);
        } else {
            roots.push(*process);
        }
    }
    let mut ordered = Vec::with_capacity(by_number.len());
    // Circles, which only a lie can make, begin at their lowest number.
    let mut circles = by_number.values();
    while let Some(root) = if roots.is_empty() {
        circles.find(|process| left.contains(&process.pid)).copied()
    } else {
        Some(roots.remove(0))
    } {
        let mut stack = vec![(0, root)];
        while let Some((depth, process)) = stack.pop() {
            if left.remove(&process.pid) {
                ordered.push((depth, process));
                let below = children.get(&process.pid).into_iter().flatten().rev();
                stack.extend(below.map(|child| (depth + 1, *child)));
            }
        }
    }
    ordered
}

/// Lines for people, with a heading: children are indented behind their parent.
#[must_use]
pub fn table(processes: &[Process]) -> String {
    /// A guest that nests its processes without end does not make lines without end.
    const INDENT_MAX: usize = 40;
    let mut table = format!("{:>7} {:>7} {:>6} S {:>9} COMMAND\n", "PID", "PARENT", "USER", "KIB");
    for (depth, process) in tree(processes) {
        let user = process.user.map_or_else(|| "-".to_owned(), |user| user.to_string());
        let indent = 2 * depth.min(INDENT_MAX);
        table.push_str(&format!(
            "{:>7} {:>7} {user:>6} {} {:>9} {:indent$}{}\n",
            process.pid, process.parent, process.state, process.resident_kib, "", process.command
        ));
    }
    table
}

/// All of them as objects, in the same order.
#[must_use]
pub fn to_value(processes: &[Process]) -> Value {
    let value = |(depth, process): (usize, &Process)| {
        json!({
            "pid": process.pid,
            "parent": process.parent,
            "depth": depth,
            "user": process.user,
            "state": process.state.to_string(),
            "resident_kib": process.resident_kib,
            "command": process.command,
        })
    };
    tree(processes).into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        let stat = format!("{pid} (a) b) {parent}) S {parent} 1 1");
        Process::parse(
            stat.as_bytes(),
            b"Name:\ta\nUid:\t1000\t0\t0\t0\nVmRSS:\t   512 kB\n",
            b"sh\0-c\0\x1b\0",
        )
        .unwrap()
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let got = process(7, 1);
        let expected = Process {
            pid: 7,
            parent: 1,
            user: Some(1000),
            state: 'S',
            resident_kib: 512,
            command: "sh -c \\x1b".into(),
        };
        assert_eq!(got, expected);
        let kernel = Process::parse(b"2 (kthr) \x1b) I 0 0", b"", b"").unwrap();
        assert_eq!((kernel.command.as_str(), kernel.user, kernel.resident_kib), ("[kthr) \\x1b]", None, 0));
        for wrong in
            [&b""[..], b"1", b"1 (x", b"x (x) S 1", b"1 (x) S", b"1 )x( S 1", b"1 (x) 5 1", b"1 (x) S -1"]
        {
            assert_eq!(Process::parse(wrong, b"", b""), None, "{wrong:?}");
        }
    }

    #[test]
    fn children_stand_behind_their_parent_by_their_numbers() {
        let processes =
            [(30, 2), (2, 1), (1, 0), (10, 2), (3, 1), (99, 77)].map(|(pid, parent)| process(pid, parent));
        let order: Vec<_> = tree(&processes).iter().map(|(depth, process)| (*depth, process.pid)).collect();
        assert_eq!(order, [(0, 1), (1, 2), (2, 10), (2, 30), (1, 3), (0, 99)]);
        let table = table(&processes);
        assert!(table.contains("     10       2   1000 S       512     sh -c \\x1b\n"), "{table}");
        assert_eq!(to_value(&processes)[2]["depth"], 2);
    }

    #[test]
    fn circles_and_doubles_are_shown_once() {
        let processes = [(5, 6), (6, 5), (7, 7), (5, 6)].map(|(pid, parent)| process(pid, parent));
        let mut shown: Vec<_> = tree(&processes).iter().map(|(_, process)| process.pid).collect();
        shown.sort_unstable();
        assert_eq!(shown, [5, 6, 7]);
    }

    #[test]
    fn a_chain_of_any_length_is_shown() {
        let processes: Vec<_> = (1..=20_000).map(|pid| process(pid, pid - 1)).collect();
        assert_eq!(table(&processes).lines().count(), 20_001);
    }
}
