//! Tests of `doctor/place`.

use super::super::Result as Found;
use super::*;

fn rights(is_open: bool) -> Rights {
    Rights { mode: 0o600, owner: "alice".into(), group: "users".into(), is_open }
}

fn judged(there: Result<(Kind, bool), (Errno, &str)>, wanted: Wanted) -> Finding {
    let there = there.map(|(kind, is_open)| (kind, rights(is_open)));
    judge(&Place { path: "/run/a".into(), there: there.map_err(|(errno, way)| (errno, way.into())) }, wanted)
}

const ALL: [Wanted; 3] = [Wanted::Mux, Wanted::Unix, Wanted::Serial];

#[test]
fn a_socket_that_this_user_may_use_is_fine_everywhere_and_a_line_for_serial() {
    for wanted in ALL {
        assert_eq!(judged(Ok((Kind::Socket, true)), wanted).result, Found::Fine);
    }
    assert_eq!(judged(Ok((Kind::Line, true)), Wanted::Serial).result, Found::Fine);
    let finding = judged(Ok((Kind::Line, true)), Wanted::Unix);
    assert_eq!((finding.result, finding.advice.as_deref()), (Found::Failed, Some("write serial:/run/a")));
}

#[test]
fn what_is_something_else_is_told() {
    for (wanted, words) in ALL.into_iter().zip(["monitor", "--listen", "chardev"]) {
        let finding = judged(Ok((Kind::Other("a directory"), true)), wanted);
        assert_eq!((finding.result, &*finding.seen), (Found::Failed, "/run/a is a directory"));
        assert!(finding.advice.unwrap().contains(words));
    }
}

#[test]
fn whose_it_is_is_told_to_others() {
    let finding = judged(Ok((Kind::Socket, false)), Wanted::Unix);
    assert_eq!(finding.seen, "/run/a is not open to this user (rw------- alice users)");
    assert_eq!(finding.advice.as_deref(), Some("be alice, with sudo, or have its mode changed"));
}

#[test]
fn where_nothing_is_it_is_told_how_far_the_path_leads() {
    for (wanted, words) in ALL.into_iter().zip(["virtual machine", "agent", "such a port"]) {
        let finding = judged(Err((Errno::NOENT, "/run")), wanted);
        assert_eq!((finding.result, &*finding.seen), (Found::Failed, "/run/a is not there; /run is"));
        assert!(finding.advice.unwrap().contains(words));
    }
    assert!(judged(Err((Errno::ACCESS, "/")), Wanted::Unix).seen.contains("may not enter a directory"));
    assert!(judged(Err((Errno::LOOP, "/")), Wanted::Unix).seen.contains("Too many levels"));
}

#[test]
fn a_path_is_seen_as_it_is() {
    let place = Place::seen(Path::new("/dev/null"));
    assert!(matches!(place.there, Ok((Kind::Line, Rights { is_open: true, .. }))), "{place:?}");
    assert!(matches!(Place::seen(Path::new("/proc")).there, Ok((Kind::Other("a directory"), _))));
    let way = |path: &str| Place::seen(Path::new(path)).there.unwrap_err();
    assert_eq!(way("/proc/no/such"), (Errno::NOENT, "/proc".into()));
    assert_eq!(way("no-such-name"), (Errno::NOENT, ".".into()));
}

const TABLE: &[u8] = b"Num RefCount Protocol Flags Type St Inode Path
0: 00000002 00000000 00010000 0001 01 12345 /run/a b
0: 00000003 00000000 00000000 0001 03 12346 /run/a b
0: 00000003 00000000 00000000 0001 03 12347 /run/a b
0: 00000003 00000000 00000000 0001 03 12348 /run/other
0: 00000002 00000000 00010000 0001 01 12349 /x/run/quiet
0: 00000003 00000000 00000000 0001 03 12350
";

#[test]
fn who_listens_and_who_is_connected_is_in_the_table() {
    let sockets = |path: &str| Sockets::in_table(TABLE, Path::new(path));
    assert_eq!(sockets("/run/a b"), Sockets { listens: true, connected: 2 });
    assert_eq!(sockets("/run/other"), Sockets { listens: false, connected: 1 });
    // One that only ends so is another.
    assert_eq!(sockets("/run/quiet"), Sockets::default());
    assert_eq!(sockets("b"), Sockets::default());
    assert_eq!(Sockets::seen(Path::new("/no/such"), Path::new("/run/a b")), Sockets::default());
}

#[test]
fn a_port_that_somebody_uses_is_told() {
    let idle = Sockets { listens: true, connected: 0 };
    assert_eq!(judge_free(&[], idle).result, Found::Fine);
    let finding = judge_free(&["minicom (42)".into()], idle);
    assert_eq!((finding.result, &*finding.seen), (Found::Failed, "it is open in minicom (42)"));
    assert_eq!(judge_free(&[], Sockets { connected: 1, ..idle }).result, Found::Failed);
}

#[test]
fn who_has_a_device_open_is_found() {
    let own = format!("({})", std::process::id());
    let zero = fs::File::open("/dev/full").unwrap();
    let found = users(Path::new("/proc"), Path::new("/dev/full"));
    assert!(found.iter().any(|user| user.ends_with(&own)), "{found:?}");
    drop(zero);
    assert_eq!(users(Path::new("/proc"), Path::new("/proc/version")), [""; 0]);
}
