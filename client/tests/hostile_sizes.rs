//! A guest that sends without end: the memory of the client is bounded, whatever comes.

mod guest;

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guest::fake::{Asked, Fake, Say};
use guest::pty::Terminal;
use guest::stream::composed;
use guest::{Finished, Running, client, until};
use vsock_shell_proto::items::{FileEnd, UNKNOWN};
use vsock_shell_proto::items::{
    Meta, Timestamp, encode_end, encode_entry, encode_leave, encode_problem, meta_flag,
};

const FILE: u32 = 0o100_644;
const FOLDER: u32 = 0o040_755;
/// What the client takes for itself, all its libraries counted, is a tenth of it.
const MEMORY_MAX_KIB: u64 = 128 << 10;

fn meta(mode: u32, flags: u32) -> Meta {
    Meta { mode, flags, size: UNKNOWN, ..Meta::file(0, 0, Timestamp::NONE) }
}

fn folder(name: &[u8]) -> Vec<u8> {
    composed(|out| encode_entry(out, &meta(FOLDER, meta_flag::OPEN), name, b""))
}

fn leave() -> Vec<u8> {
    composed(|out| encode_leave(out, &meta(FOLDER, 0)))
}

/// An empty file; the names of a file that has more than one are remembered.
fn empty_file(name: &[u8], number: u64, flags: u32) -> Vec<u8> {
    /// XXH3-64 of nothing.
    const DIGEST: u64 = 0x2D06_8005_38D3_94C2;
    let meta = Meta { inode: number, size: 0, ..meta(FILE, flags | meta_flag::OPEN) };
    let entry = composed(|out| encode_entry(out, &meta, name, b""));
    [entry, composed(|out| encode_end(out, &FileEnd { digest: DIGEST, size: 0 }))].concat()
}

/// As many directories inside each other as there may be, each with as long a name as there can be.
fn deepest() -> impl Iterator<Item = Vec<u8>> {
    std::iter::once(folder(b"")).chain((0..127).map(|_| folder(&[b'n'; 255])))
}

/// Runs the client: what it left, and the most memory that it had, in KiB.
#[track_caller]
fn measured(words: Vec<OsString>) -> (Finished, u64) {
    let running = Running::start(&mut client(words));
    let status = format!("/proc/{}/status", running.0.id());
    let most = AtomicU64::new(0);
    let finished = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until it is gone, by itself or because it took too long.
            while let Ok(status) = fs::read_to_string(&status) {
                let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
                let peak = peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(0);
                most.fetch_max(peak, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        running.finish(b"")
    });
    (finished, most.into_inner())
}

/// Copies from what says these items again and again; the most memory that the client had.
#[track_caller]
fn peak(options: &[&str], say: impl FnMut(Asked) -> Say + Send + 'static) -> (Finished, u64) {
    let fake = Fake::start(say);
    let options = ["cp", "-r"].iter().chain(options).map(OsString::from);
    let to = fake.directory.path("to").into_os_string();
    let (finished, peak) = measured(options.chain([fake.remote("/from"), to]).collect());
    assert!(peak > 0);
    (finished, peak)
}

#[test]
fn many_entries_cost_no_memory() {
    let (finished, peak) = peak(&["-q"], |_| {
        let entries = (0..300_000_u32).map(|number| {
            // The same directory, again and again: the disk of whoever runs this is theirs.
            [folder(format!("{:03}", number % 7).as_bytes()), leave()].concat()
        });
        Say::Items(Box::new(std::iter::once(folder(b"")).chain(entries).chain([leave()])))
    });
    assert_eq!((finished.status(), finished.stderr()), (0, ""));
    assert!(peak < MEMORY_MAX_KIB / 2, "{peak} KiB");
}

#[test]
fn many_names_of_one_file_cost_bounded_memory() {
    // Each path has 32 KiB, and is remembered in case that the file gets another name.
    let (finished, peak) = peak(&["-p"], |_| {
        let files = (0..20_000_u64)
            .map(|number| empty_file(format!("{}", number % 7).as_bytes(), number, meta_flag::IDENTITY));
        Say::Items(Box::new(deepest().chain(files).chain((0..128).map(|_| leave()))))
    });
    assert_eq!(finished.status(), 0, "{finished:?}");
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
}

#[test]
fn what_is_kept_for_delete_is_bounded() {
    let (finished, peak) = peak(&["--delete"], |_| {
        let files = (0..10_000_u64).map(|number| {
            composed(|out| encode_entry(out, &meta(FOLDER, 0), format!("{number}").as_bytes(), b""))
        });
        Say::Items(Box::new(deepest().chain(files).chain((0..128).map(|_| leave()))))
    });
    finished.failed(255, &["more"]);
    assert!(peak < 2 * MEMORY_MAX_KIB, "{peak} KiB");
}

#[test]
fn many_problems_cost_bounded_memory() {
    let (finished, peak) = peak(&["--json"], |_| {
        let problems = (0..50_000).map(|_| composed(|out| encode_problem(out, 13, &[b'p'; 4000], b"open")));
        Say::Items(Box::new(std::iter::once(folder(b"")).chain(problems).chain([leave()])))
    });
    assert_eq!(finished.status(), 255);
    let summary: serde_json::Value = serde_json::from_str(finished.stdout()).unwrap();
    assert_eq!(summary["problem_count"], 50_000);
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
}

#[test]
fn problems_of_our_own_with_long_paths_cost_bounded_memory() {
    let (finished, peak) = peak(&["--json"], |_| {
        // A directory where a file goes.
        let files = (0..2_000_u64).map(|number| empty_file(b"d", number, 0));
        let there = composed(|out| encode_entry(out, &meta(FOLDER, 0), b"d", b""));
        Say::Items(Box::new(deepest().chain([there]).chain(files).chain((0..128).map(|_| leave()))))
    });
    assert_eq!(finished.status(), 255);
    assert!(peak < MEMORY_MAX_KIB / 2, "{peak} KiB");
}

#[test]
fn a_listing_without_end_is_too_much() {
    for option in ["--resume", "--checksum"] {
        let (finished, peak) = peak(&[option], |_| {
            let entries = (0..u64::MAX).map(|number| {
                composed(|out| encode_entry(out, &meta(FILE, 0), format!("{number}").as_bytes(), b""))
            });
            Say::Items(Box::new(deepest().chain(entries)))
        });
        finished.failed(255, &["more"]);
        assert!(peak < 8 * MEMORY_MAX_KIB, "{peak} KiB");
    }
}

#[test]
fn an_endless_file_on_a_pipe_can_be_left() {
    let fake = Fake::start(|_| {
        let file = composed(|out| encode_entry(out, &meta(FILE, meta_flag::OPEN), b"", b""));
        let hole = composed(|out| vsock_shell_proto::items::encode_hole(out, 1 << 60));
        Say::Items(Box::new([file, hole].into_iter()))
    });
    let mut running = Running::start(&mut client(["cp".into(), fake.remote("/from"), OsString::from("-")]));
    let mut stdout = running.0.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0; 100_000]).unwrap();
    drop(stdout);
    until("it has ended", || running.0.try_wait().unwrap().is_some());
}

#[test]
fn a_listing_without_end_for_the_line_of_progress_is_given_up() {
    let mut is_first = true;
    let fake = Fake::start(move |_| {
        let is_endless = std::mem::take(&mut is_first);
        let more = (0..u64::MAX).take_while(move |_| is_endless);
        let more = more.map(|_| composed(|out| encode_entry(out, &meta(FILE, 0), b"more", b"")));
        Say::Items(Box::new(
            std::iter::once(folder(b"")).chain(more).chain([empty_file(b"f", 1, 0), leave()]),
        ))
    });
    let to = fake.directory.path("to");
    let words = ["cp".into(), "-r".into(), fake.remote("/from"), to.clone().into_os_string()];
    let mut terminal = Terminal::start(&client(words));
    assert!(terminal.end().success(), "{}", terminal.rest());
    assert_eq!(fs::metadata(to.join("f")).unwrap().len(), 0);
    assert!(!terminal.rest().contains('%'), "{:?}", terminal.rest());
}
