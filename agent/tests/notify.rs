//! Telling a service manager that the agent listens, `sd_notify(3)`.

mod agent;

use std::os::unix::net::UnixDatagram;

use agent::{Agent, DEADLINE, Directory, until};

#[test]
fn readiness_is_told_once_it_listens() {
    let directory = Directory::new();
    let path = directory.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let agent = Agent::start(&["--notify", &format!("unix:{}", path.display())]);
    let mut message = [0; 64];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");
    // It was told afterwards, so that who waits for it can connect.
    drop(agent.connect());
}

#[test]
fn a_manager_that_is_not_there_is_a_line_in_the_log_and_the_agent_serves() {
    let agent = Agent::start(&["--notify=unix:/no/such/place"]);
    until("it has complained", || agent.log().contains("no such file or directory"));
    assert!(agent.log().contains("cannot tell that it listens"), "{}", agent.log());
    drop(agent.connect());
}
