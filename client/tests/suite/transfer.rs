//! Files end to end: what arrives, what is refused, and that nothing is left behind of what failed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::guest::{
    self, Directory, Guest, Running, TARGET, assert_same, names, payload, payload_byte, solid_file, until,
};
use rustix::process::Signal;

const LARGE: u64 = 64 << 20;
/// Takes far longer to copy than it takes to notice that the copy has begun.
const HUGE: u64 = 2 << 30;

/// A file of the payload's first `length` bytes, with an odd mode and an old time.
fn large_file(path: &Path, length: u64) {
    let pattern = payload(1 << 20);
    let mut file = File::create(path).unwrap();
    // Each MiB differs from the others in its first bytes, the rest of it repeats.
    for at in (0..length).step_by(1 << 20) {
        let mut piece = pattern.clone();
        piece[..8].copy_from_slice(&at.to_le_bytes());
        piece.truncate((length - at).min(1 << 20) as usize);
        file.write_all(&piece).unwrap();
    }
    file.set_permissions(Permissions::from_mode(0o751)).unwrap();
    file.set_modified(an_old_time()).unwrap();
}

fn an_old_time() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789)
}

#[track_caller]
fn assert_copied(from: &Path, to: &Path) {
    assert_same(&fs::read(to).unwrap(), &fs::read(from).unwrap());
    let (from, to) = (fs::metadata(from).unwrap(), fs::metadata(to).unwrap());
    assert_eq!(
        (to.mode() & 0o7777, to.mtime(), to.mtime_nsec()),
        (from.mode() & 0o7777, from.mtime(), from.mtime_nsec())
    );
}

/// A word `FROM:TO` for `-u` and `-d`.
fn pair(from: &Path, to: &Path) -> OsString {
    let mut word = from.as_os_str().to_owned();
    word.push(":");
    word.push(to);
    word
}

#[test]
fn a_large_file_arrives_whole_with_mode_and_time_both_ways() {
    let guest = Guest::start();
    let [from, there, back] = ["from", "there", "back"].map(|name| guest.directory.path(name));
    large_file(&from, LARGE + 12_345);
    assert_eq!(guest.run([TARGET.as_ref(), OsStr::new("-u"), &pair(&from, &there)]).succeeded(), "");
    assert_copied(&from, &there);
    assert_eq!(guest.run([TARGET.as_ref(), OsStr::new("-d"), &pair(&there, &back)]).succeeded(), "");
    assert_copied(&from, &back);
    assert_eq!(names(guest.directory.path("")), ["back", "from", "log", "socket", "there"]);
}

#[test]
fn files_of_every_odd_size_arrive_whole() {
    let guest = Guest::start();
    // Around the first credit, a frame, an item, the window, the ring.
    for size in [0, 1, 4_095, 4_096, 4_097, 65_527, 65_528, 65_529, 65_536, 262_144, 524_288, 1_000_003] {
        let content = payload(size);
        let from = guest.directory.file("from", &content);
        let [there, back] = ["there", "back"].map(|name| guest.directory.path(name));
        guest.cp([from.as_os_str(), &guest.remote(&there)]).succeeded();
        guest.cp([&guest.remote(&there), back.as_os_str()]).succeeded();
        assert_same(&fs::read(&back).unwrap(), &content);
    }
}

#[test]
fn a_dash_is_standard_input_and_standard_output() {
    let guest = Guest::start();
    let content = payload(5_000_000);
    let there = guest.directory.path("there");
    let mut up = guest.client([OsStr::new("cp"), OsStr::new("-"), &guest.remote(&there)]);
    assert_eq!(Running::start(&mut up).finish(&content).succeeded(), "");
    assert_same(&fs::read(&there).unwrap(), &content);
    assert_eq!(fs::metadata(&there).unwrap().mode() & 0o7777, 0o644);
    let down = guest.cp([&guest.remote(&there), OsStr::new("-")]);
    assert_eq!((down.status(), down.stderr()), (0, ""));
    assert_same(&down.0.stdout, &content);
}

#[test]
fn names_may_hold_everything_that_a_name_can() {
    let guest = Guest::start();
    let long = [b'n'; 255];
    let [here, there] = ["here", "there"].map(|name| guest.directory.subdirectory(name));
    for name in [&b"two words"[..], b"a\nb", b"\xff\xfe", b"%3:x", b"-", b"\x1b[31m", b"a\\:b", &long] {
        let name = OsStr::from_bytes(name);
        let from = here.join(name);
        fs::write(&from, name.as_bytes()).unwrap();
        guest.cp([from.as_os_str(), &guest.remote(there.join(name))]).succeeded();
        assert_eq!(fs::read(there.join(name)).unwrap(), name.as_bytes());
        fs::remove_file(&from).unwrap();
        // Into a folder, under the name that we know it by.
        guest.cp([&guest.remote(there.join(name)), here.as_os_str()]).succeeded();
        assert_eq!(fs::read(&from).unwrap(), name.as_bytes());
    }
    assert_eq!(names(&here), names(&there));
}

#[test]
fn a_colon_in_a_name_is_escaped_for_u_and_d() {
    let guest = Guest::start();
    guest.directory.file("a:b", b"colon");
    let word = |name: &str| {
        format!("{}/{name}", guest.directory.path("").display().to_string().trim_end_matches('/'))
    };
    guest.run([TARGET, "-u", &format!("{}:{}", word(r"a\:b"), word(r"c\:d"))]).succeeded();
    guest.run([TARGET, "-d", &format!("{}:{}", word(r"c\:d"), word("e"))]).succeeded();
    assert_eq!(fs::read(guest.directory.path("e")).unwrap(), b"colon");
}

#[test]
fn several_sources_go_into_a_directory_and_only_there() {
    let guest = Guest::start();
    let [here, there] = ["here", "there"].map(|name| guest.directory.subdirectory(name));
    let sources = ["one", "two", "three"].map(|name| here.join(name));
    for source in &sources {
        fs::write(source, source.as_os_str().as_bytes()).unwrap();
    }
    let words = sources.iter().map(|path| path.clone().into_os_string()).chain([guest.remote(&there)]);
    guest.cp(words).succeeded();
    assert_eq!(names(&there), ["one", "three", "two"]);
    // Back, one of them missing: the others are copied, and the status tells.
    let back = guest.directory.subdirectory("back");
    let words = ["one", "missing", "two"].map(|name| guest.remote(there.join(name)));
    let finished = guest.cp(words.into_iter().chain([back.clone().into_os_string()]));
    finished.failed(255, &["missing", "No such file or directory"]);
    assert_eq!(names(&back), ["one", "two"]);
    // Into a file: nothing happens to it.
    let file = guest.directory.file("file", b"old");
    let words = sources.iter().map(|path| path.clone().into_os_string()).chain([guest.remote(&file)]);
    let finished = guest.cp(words);
    assert_eq!((finished.status(), finished.stderr().lines().count()), (255, 3), "{finished:?}");
    assert!(finished.stderr().lines().all(|line| line.contains("Not a directory")), "{finished:?}");
    assert_eq!(fs::read(&file).unwrap(), b"old");
}

#[test]
fn from_guest_to_guest() {
    let (one, other) = (Guest::start(), Guest::start());
    let [from, to] = [one.directory.path("from"), other.directory.path("to")];
    large_file(&from, 5_000_000);
    assert_eq!(one.cp([&one.remote(&from), &other.remote(&to)]).succeeded(), "");
    assert_copied(&from, &to);
    one.cp([&one.remote("/no/such"), &other.remote(&to)]).failed(255, &["/no/such", "No such file"]);
    one.cp([&one.remote(&from), &other.remote("/no/such/x")]).failed(255, &["No such file or directory"]);
    assert_eq!(names(other.directory.path("")), ["log", "socket", "to"]);
}

#[test]
fn a_copy_between_guests_can_be_interrupted() {
    let (one, other) = (Guest::start(), Guest::start());
    // Far more than can be copied before the signal.
    let from = one.directory.path("from");
    solid_file(&from, HUGE);
    let to = other.directory.path("to");
    let mut running =
        Running::start(&mut one.client([OsStr::new("cp"), &one.remote(&from), &other.remote(&to)]));
    until("the copy has begun", || has_temporary(&other.directory.path("")));
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(130));
    until("nothing is left behind", || names(other.directory.path("")) == ["log", "socket"]);
}

fn has_temporary(folder: &Path) -> bool {
    names(folder).iter().any(|name| name.as_bytes().starts_with(b".vsock-shell-"))
}

#[test]
fn what_is_there_is_replaced_and_stays_when_the_copy_fails() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"new");
    let there = guest.directory.file("there", b"old and longer");
    guest.cp([from.as_os_str(), &guest.remote(&there)]).succeeded();
    assert_eq!(fs::read(&there).unwrap(), b"new");
    guest.cp([guest.remote("/no/such"), there.clone().into_os_string()]).failed(255, &["/no/such"]);
    assert_eq!(fs::read(&there).unwrap(), b"new");
}

#[test]
fn with_sync_the_file_and_its_folder_are_flushed() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"content");
    let to = guest.directory.path("to");
    guest.cp([OsStr::new("--sync"), from.as_os_str(), &guest.remote(&to)]).succeeded();
    assert_eq!(fs::read(&to).unwrap(), b"content");
    let back = guest.directory.path("back");
    guest.cp([OsStr::new("--sync"), &guest.remote(&to), back.as_os_str()]).succeeded();
    assert_eq!(fs::read(&back).unwrap(), b"content");
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_it_was_read() {
    let guest = Guest::start();
    // Files of /proc say that they are empty.
    let to = guest.directory.path("to");
    guest.cp([&guest.remote("/proc/sys/kernel/random/boot_id"), to.as_os_str()]).succeeded();
    assert_eq!(fs::read(&to).unwrap(), fs::read("/proc/sys/kernel/random/boot_id").unwrap());
}

#[test]
fn the_guest_gives_nobody_here_its_rights() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"x");
    fs::set_permissions(&from, Permissions::from_mode(0o6755)).unwrap();
    let to = guest.directory.path("to");
    let said = "vsock-shell: set-id bits were taken away; --trust-guest keeps them\n";
    let copied = guest.cp([&guest.remote(&from), to.as_os_str()]);
    assert_eq!((copied.status(), copied.stderr()), (0, said));
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o755);
    // Where one asks for it, and from us to the guest, they stay.
    guest.cp([OsStr::new("--trust-guest"), &guest.remote(&from), to.as_os_str()]).succeeded();
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o6755);
    let there = guest.directory.path("there");
    guest.cp([from.as_os_str(), &guest.remote(&there)]).succeeded();
    assert_eq!(fs::metadata(&there).unwrap().mode() & 0o7777, 0o6755);
}

#[test]
fn a_download_goes_where_a_symbolic_link_leads() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"new");
    let real = guest.directory.file("real", b"old");
    let link = guest.directory.path("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    guest.cp([&guest.remote(&from), link.as_os_str()]).succeeded();
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_download_follows_a_link_to_nothing_and_needs_its_directory() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"content");
    let (link, to) = (guest.directory.path("link"), guest.directory.path("to"));
    symlink("to", &link).unwrap();
    guest.cp([guest.remote(&from), link.clone().into()]).succeeded();
    assert_eq!(std::fs::read(&to).unwrap(), b"content");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    // Before anything is transferred: there is more than would fit.
    let huge = guest.directory.path("huge");
    File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let mut missing = guest.directory.path("missing").into_os_string();
    missing.push("/");
    guest.cp([guest.remote(&huge), missing]).failed(255, &["cannot write", "No such file or directory"]);
    guest.cp([guest.remote(&huge), "".into()]).failed(255, &["No such file or directory"]);
}

#[test]
fn a_file_behind_standard_output_is_written_and_not_replaced() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"content\n");
    let log = guest.directory.path("log");
    let mut output = File::create(&log).unwrap();
    let mut client =
        guest.client([OsStr::new("cp"), OsStr::new("-q"), &guest.remote(&from), OsStr::new("/dev/stdout")]);
    assert!(client.stdout(output.try_clone().unwrap()).status().unwrap().success());
    output.seek(SeekFrom::End(0)).unwrap();
    output.write_all(b"after\n").unwrap();
    assert_eq!(std::fs::read(&log).unwrap(), b"content\nafter\n");
}

#[test]
fn a_reader_that_leaves_ends_the_download() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    File::create(&from).unwrap().set_len(1 << 40).unwrap();
    let mut running =
        Running::start(&mut guest.client([OsStr::new("cp"), &guest.remote(&from), OsStr::new("-")]));
    let mut stdout = running.0.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let mut told = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    // As the command before a `head` ends on one machine.
    assert_eq!((running.end().code(), told.as_str()), (Some(128 + 13), ""));
    guest.is_idle();
}

#[test]
fn an_interrupted_transfer_leaves_nothing_on_either_side() {
    let guest = Guest::start();
    let [here, there] = ["here", "there"].map(|name| guest.directory.subdirectory(name));
    let endless = guest.directory.path("endless");
    solid_file(&endless, HUGE);
    for (from, to, folder) in [
        (endless.clone().into_os_string(), guest.remote(there.join("to")), &there),
        (guest.remote(&endless), here.join("to").into_os_string(), &here),
    ] {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut running = Running::start(&mut guest.client([OsStr::new("cp"), &from, &to]));
            until("the transfer has begun", || has_temporary(folder));
            running.signal(signal);
            assert_eq!(running.end().code(), Some(128 + signal.as_raw()));
            until("nothing is left behind", || names(folder).is_empty());
        }
    }
    guest.is_idle();
}

#[test]
fn a_transfer_that_waits_for_a_pipe_can_be_interrupted() {
    let guest = Guest::start();
    let [pipe, to] = ["pipe", "to"].map(|name| guest.directory.path(name));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let from = guest.directory.file("from", &payload(1_000_000));
    // Somebody has it open, and neither writes nor reads.
    let both = File::options().read(true).write(true).open(&pipe).unwrap();
    for (from, to) in [
        (pipe.clone().into_os_string(), guest.remote(&to)),
        (guest.remote(&from), pipe.clone().into_os_string()),
    ] {
        let mut running = Running::start(&mut guest.client([OsStr::new("cp"), &from, &to]));
        until("the transfer has begun", || !guest.sessions().is_empty());
        std::thread::sleep(Duration::from_millis(100));
        running.signal(Signal::TERM);
        assert_eq!(running.end().code(), Some(128 + Signal::TERM.as_raw()));
        guest.is_idle();
    }
    drop(both);
    // Nobody reads it at all.
    let mut running =
        Running::start(&mut guest.client([OsStr::new("cp"), &guest.remote(&from), pipe.as_os_str()]));
    until("the session has begun", || !guest.sessions().is_empty());
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::TERM);
    running.end();
    guest.is_idle();
}

#[test]
fn a_copy_that_waits_for_its_second_guest_can_be_interrupted() {
    let guest = Guest::start();
    let from = guest.directory.file("from", b"content");
    let to = guest.directory.subdirectory("to");
    let nobody = format!("unix%{}:/nothing", guest.directory.path("nobody").display());
    let words = [
        "cp".into(),
        "--timeout".into(),
        "600".into(),
        guest.remote(&from),
        nobody.into(),
        to.clone().into(),
    ];
    let mut client = Running::start(&mut guest.client::<OsString>(words));
    until("the first file is there", || to.join("from").exists());
    client.signal(Signal::INT);
    assert_eq!(client.end().code(), Some(130));
}

#[test]
fn a_session_that_dies_costs_one_file_of_several() {
    let guest = Guest::start();
    let [endless, small, to] = ["endless", "small", "to"].map(|name| guest.directory.path(name));
    solid_file(&endless, HUGE);
    fs::write(&small, b"small").unwrap();
    fs::create_dir(&to).unwrap();
    let words = ["cp".as_ref(), endless.as_os_str(), small.as_os_str(), &guest.remote(&to)];
    let running = Running::start(&mut guest.client(words));
    until("the transfer has begun", || has_temporary(&to));
    for session in guest.sessions() {
        rustix::process::kill_process(rustix::process::Pid::from_raw(session).unwrap(), Signal::KILL)
            .unwrap();
    }
    running.finish(b"").failed(255, &["endless", "connection lost"]);
    assert_eq!(fs::read(to.join("small")).unwrap(), b"small");
}

/// A proxy between client and agent that changes one byte far in the stream from `Side`.
fn corrupting_proxy(
    guest: &Guest,
    directory: &Directory,
    from_agent: bool,
    at: u64,
) -> (OsString, std::thread::JoinHandle<()>) {
    let path = directory.path("proxy");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let agent = guest.connect();
    let handle = std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let relay = |mut from: std::os::unix::net::UnixStream,
                     mut to: std::os::unix::net::UnixStream,
                     corrupt: Option<u64>| {
            let mut buffer = [0; 65_536];
            let mut done = 0;
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if let Some(at) = corrupt.and_then(|at| at.checked_sub(done)).filter(|&at| at < count as u64)
                {
                    buffer[at as usize] ^= 1;
                }
                done += count as u64;
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            _ = to.shutdown(std::net::Shutdown::Both);
            _ = from.shutdown(std::net::Shutdown::Both);
        };
        let (up, down) = ((!from_agent).then_some(at), from_agent.then_some(at));
        std::thread::scope(|scope| {
            let (client2, agent2) = (client.try_clone().unwrap(), agent.try_clone().unwrap());
            scope.spawn(move || relay(client2, agent2, up));
            relay(agent, client, down);
        });
    });
    (path.into_os_string(), handle)
}

#[test]
fn a_file_that_arrives_garbled_is_discarded() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    File::create(&from).unwrap().write_all_at(&[7; 2_000_000], 0).unwrap();
    let here = guest.directory.subdirectory("here");
    let to = here.join("to");
    for (is_download, words) in [(false, ["garbled", "check the content"]), (true, ["garbled", "garbled"])] {
        let directory = Directory::new();
        // Every frame's content is far longer than its headers, so this byte is content but in rare cuts; of those the
        // protocol itself complains, and the file is discarded all the same.
        let (proxy, handle) = corrupting_proxy(&guest, &directory, is_download, 777_777);
        let mut remote = OsString::from("unix%");
        remote.push(&proxy);
        remote.push(":");
        let finished = if is_download {
            remote.push(&from);
            guest.cp([&remote, to.as_os_str()])
        } else {
            remote.push(&to);
            guest.cp([from.as_os_str(), &remote])
        };
        assert_eq!(
            (finished.status(), finished.stderr().lines().count()),
            (255, 1),
            "{finished:?} {words:?}"
        );
        handle.join().unwrap();
        until("nothing is left behind", || names(&here).is_empty());
    }
}

#[test]
fn progress_is_shown_to_a_terminal_and_only_there() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    large_file(&from, 30 << 20);
    let to = guest.directory.path("to");
    let mut terminal =
        guest::pty::Terminal::start(&guest.client([OsStr::new("cp"), from.as_os_str(), &guest.remote(&to)]));
    assert!(terminal.end().success());
    assert!(terminal.rest().contains('%'), "{:?}", terminal.rest());
    let mut quiet = guest::pty::Terminal::start(&guest.client([
        OsStr::new("cp"),
        OsStr::new("-q"),
        from.as_os_str(),
        &guest.remote(&to),
    ]));
    assert!(quiet.end().success());
    assert_eq!(quiet.rest(), "");
    assert_eq!(guest.cp([from.as_os_str(), &guest.remote(&to)]).stderr(), "");
    assert_eq!(payload_byte(0), 0);
}
