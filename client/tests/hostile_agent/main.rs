//! A hostile agent: it breaks the rules of `docs/PROTOCOL.md` on purpose, one by one, and sees the real client say and do what
//! the document says of that. A case is named after its rule: a test `r_6_2_…`, or the words `R-6.2: …` in a table of one.
//!
//! `cargo xtask rules` tells which rules have none.

#[path = "../guest/mod.rs"]
mod guest;

mod answers;
mod channels;
mod forwards;
mod link;
mod preamble;
mod serial;
mod session;

use std::os::unix::net::UnixListener;

use guest::wire::{Heard, Wire, frame, hello, kind};
use guest::{DEADLINE, Directory, Running, TARGET, client};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vsock_shell_proto::code::CloseCode;

const CREATED: u8 = 0;
const RESUMED: u8 = 1;

/// Where the agent listens.
struct Stage {
    directory: Directory,
    listener: UnixListener,
}

impl Stage {
    fn new() -> Self {
        let directory = Directory::new();
        let listener = UnixListener::bind(directory.path("socket")).unwrap();
        Self { directory, listener }
    }

    /// The client with these words, [`TARGET`] among them.
    fn client(&self, words: &[&str]) -> Running {
        let path = self.directory.path("socket").into_os_string().into_string().unwrap();
        let target = format!("unix:{path}");
        let operand = format!("unix%{path}:/from");
        let to = self.directory.path("to").into_os_string().into_string().unwrap();
        Running::start(&mut client(words.iter().map(|&word| match word {
            TARGET => target.as_str(),
            "<from>" => operand.as_str(),
            "<to>" => to.as_str(),
            word => word,
        })))
    }

    /// The next connection, and its preamble.
    #[track_caller]
    fn accept(&self) -> (Wire, [u8; 64]) {
        let deadline = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&deadline)), Ok(1), "nobody has dialled");
        let mut wire = Wire::over(self.listener.accept().unwrap().0);
        let preamble = wire.read();
        (wire, preamble)
    }

    /// A client with these words whose session was created, and in which nothing else was said.
    #[track_caller]
    fn created(&self, words: &[&str]) -> (Running, Wire) {
        let running = self.client(words);
        let (mut wire, preamble) = self.accept();
        wire.write(&answer(&preamble, CREATED, 0));
        (running, wire)
    }

    /// A client that has asked for the command `cat`, on channel 0.
    #[track_caller]
    fn asked(&self) -> (Running, Wire) {
        let (running, mut wire) = self.created(&["--reconnect", "0", TARGET, "--", "cat"]);
        wire.say(&[hello(60_000)]);
        hear_request(&mut wire);
        (running, wire)
    }
}

/// An answer that keeps to the rules.
fn answer(preamble: &[u8; 64], status: u8, received: u64) -> [u8; 64] {
    let mut answer = *preamble;
    answer[8..14].copy_from_slice(&[u8::from(status <= RESUMED), 0, 1, 0, status, 0]);
    answer[40..48].copy_from_slice(&received.to_le_bytes());
    answer[48..].fill(0);
    answer
}

/// Waits until the client has asked for something.
#[track_caller]
fn hear_request(wire: &mut Wire) {
    while wire.next(kind::FINISH).flow != 3 {}
}

fn accepted() -> Vec<u8> {
    frame(kind::ACCEPTED, 0, 0, &[0; 8])
}

/// FINISH of both flows, EXIT and RELEASE of channel 0.
fn exited(status: u8) -> Vec<u8> {
    [finished(), frame(kind::EXIT, 0, 0, &[0, 0, 0, 0, status, 0, 0, 0]), frame(kind::RELEASE, 0, 0, b"")]
        .concat()
}

fn finished() -> Vec<u8> {
    [frame(kind::FINISH, 1, 0, b""), frame(kind::FINISH, 2, 0, b"")].concat()
}

/// The client ends the session with this code, says so, and ends with 255.
#[track_caller]
fn is_found_out(client: Running, wire: &mut Wire, code: CloseCode, case: &str) {
    assert_eq!(wire.bye(), Some(code.number()), "{case}");
    let finished = client.finish(b"");
    assert_eq!(finished.status(), 255, "{case}: {finished:?}");
    let line = format!(": the agent broke the protocol: {}\n", code.text());
    assert!(
        finished.stderr().ends_with(&line) && finished.stderr().lines().count() == 1,
        "{case}: {finished:?}"
    );
    assert_eq!(finished.stdout(), "", "{case}");
}

/// The client has left.
#[track_caller]
fn is_left(wire: &mut Wire) {
    while !matches!(wire.hear(), Heard::End) {}
}
