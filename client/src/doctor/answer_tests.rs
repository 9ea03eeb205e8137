//! Tests of `doctor/answer`.

use std::io;

use vsock_shell_proto::ability;
use vsock_shell_proto::code::CloseCode;

use super::super::Result as Found;
use super::*;

fn addresses() -> [Address; 6] {
    [
        Address::Vsock { cid: 3, port: 1 },
        Address::Mux { path: "/a".into(), port: 1 },
        Address::Unix("/a".into()),
        Address::Tcp { host: "h".into(), port: 1 },
        Address::Serial("/a".into()),
        Address::Exec("x".into()),
    ]
}

#[track_caller]
fn advice(address: &Address, error: &Error) -> String {
    let finding = judge(address, error, None, true);
    assert_eq!((finding.result, finding.check), (Found::Failed, CHECK));
    finding.advice.unwrap()
}

#[test]
fn each_refusal_has_its_remedy() {
    for (status, words) in [
        (Status::Full, "--max-sessions"),
        (Status::KeyWanted, "write --key FILE"),
        (Status::NoKey, "leave --key out"),
        (Status::WrongKey, "that the agent was started with"),
        (Status::Forbidden, "--allow-cid"),
        (Status::Version, "older side"),
        (Status::ShuttingDown, "vsock-shell wait"),
        (Status::NoResources, "free memory"),
        (Status::RolledBack, "try again"),
    ] {
        for address in addresses() {
            let advice = advice(&address, &Error::NoSession(status));
            assert!(advice.contains(words), "{status:?}: {advice}");
        }
    }
}

#[track_caller]
fn in_their_order(error: impl Fn() -> Error, words: [&str; 6]) {
    for (address, words) in addresses().iter().zip(words) {
        let advice = advice(address, &error());
        assert!(advice.contains(words), "{address}: {advice}");
    }
}

#[test]
fn what_is_no_agent_or_says_nothing_means_something_else_for_each_address() {
    let port = "-p PORT";
    in_their_order(|| Error::NotAnAgent, [port, port, "mux:PATH", "mux:PATH", "console", "standard output"]);
    let longer = "--timeout";
    in_their_order(
        || Error::Silent(Duration::from_secs(1)),
        [longer, longer, "mux:PATH", longer, "--listen serial:NAME", "password"],
    );
    for error in [|| Error::Closed, || Error::Lost(io::ErrorKind::ConnectionReset.into())] {
        in_their_order(error, [port, port, "mux:PATH", "behind it", "behind it", "alone"]);
    }
}

#[test]
fn who_cannot_prove_the_key_is_not_to_be_trusted() {
    let address = Address::Unix("/a".into());
    assert!(advice(&address, &Error::Unproved).contains("do not trust"));
    let other = Error::AnotherGuest { what: "boot id", found: [1; 16] };
    assert!(advice(&address, &other).contains("started again"));
    assert!(advice(&address, &Error::NoKeyIn("/k".into())).contains("file that is meant"));
    assert!(advice(&address, &Error::Broken(CloseCode::Feature)).contains("versions"));
    assert!(advice(&address, &Error::Nul).contains("logs"));
}

#[test]
fn a_command_that_ends_at_once_tells_by_its_status() {
    let exec = Address::Exec("x".into());
    let judged = |raw: i32, error: Error| judge(&exec, &error, Some(ExitStatus::from_raw(raw)), false);
    for (status, words) in [(127, "not found"), (126, "executable"), (255, "ssh"), (0, "alone"), (1, "alone")]
    {
        let finding = judged(status << 8, Error::Closed);
        assert_eq!((finding.result, finding.check), (Found::Failed, "command"));
        assert_eq!(finding.seen, format!("the command has ended with status {status}"));
        assert!(finding.advice.unwrap().contains(words), "{status}");
    }
    assert_eq!(judged(9, Error::Closed).seen, "the command was killed by signal 9");
    // What it said before counts more.
    assert_eq!(judged(0, Error::NotAnAgent).check, CHECK);
}

const ADDRESS: Address = Address::Exec(std::ffi::OsString::new());

fn hello(software: &str) -> Hello {
    Hello::new(software, 8, 1024, 0)
}

#[test]
fn the_agent_tells_its_version_and_what_it_denies() {
    let own = concat!("vsock-shell-agent ", env!("CARGO_PKG_VERSION"));
    let finding = judge_hello(&ADDRESS, &hello(own), Duration::from_micros(1_250));
    assert_eq!((finding.result, finding.seen), (Found::Fine, format!("{own} answers, in 1.2 ms")));
    assert_eq!(judge_hello(&ADDRESS, &hello("vsock-shell-agent 0.0.1"), Duration::ZERO).result, Found::Noted);
    let finding = judge_hello(&ADDRESS, &hello("\u{1b}]0;x"), Duration::ZERO);
    assert!(!finding.seen.contains('\u{1b}'));
    assert!(judge_hello(&ADDRESS, &hello(""), Duration::ZERO).seen.starts_with("an agent without a name"));
    let old = judge_hello(&ADDRESS, &Hello { features: 0, ..hello(own) }, Duration::ZERO);
    assert!(old.result == Found::Noted && old.seen.ends_with("it knows no jobs"));
    assert_eq!(judge_denied(&hello(own)).result, Found::Fine);
    let denied = judge_denied(&Hello { denied: ability::EXEC | ability::PUT, ..hello(own) });
    assert_eq!((denied.result, &*denied.seen), (Found::Noted, "it denies exec, put"));
}

#[test]
fn an_echo_is_no_agent() {
    let finding = judge_hello(&ADDRESS, &hello(SOFTWARE), Duration::ZERO);
    assert!(finding.has_failed() && finding.seen.contains("repeats"), "{finding:?}");
    assert!(finding.advice.unwrap().contains("standard output"));
}

#[test]
fn a_session_in_which_nothing_is_answered_has_failed() {
    assert_eq!(
        judge_round_trip(&Ok(Duration::from_micros(300))).seen,
        "a question and its answer take 0.3 ms"
    );
    let finding = judge_round_trip(&Err(Error::Dead(Duration::from_secs(2))));
    assert!(finding.has_failed() && finding.seen.contains("no sign of life for 2 s"), "{finding:?}");
}
