//! What goes over a port and breaks the rules of its records (`PROTOCOL.md` §8).

use std::fs::File;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::guest::port::{PortEnd, ZEROS, record};
use crate::guest::processes::children;
use crate::guest::wire::{PING, hello};
use crate::guest::{Running, agent_binary, until};
use crate::{again, preamble};

/// A connection on which nobody says anything that is used.
const BROKEN: u32 = 0;

/// An agent at one end of a line, whose other end is ours.
struct Line {
    port: PortEnd<File>,
    agent: Running,
}

impl Line {
    fn start() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let mut modes = tcgetattr(&slave).unwrap();
        modes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
        let name = rustix::termios::ttyname(&slave, Vec::new()).unwrap().into_string().unwrap();
        let mut agent = Command::new(agent_binary());
        agent.args(["--grace", "60"]).arg(format!("--listen=serial:{name}"));
        agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Running::start(&mut agent);
        // It holds the line before we give that end of it up.
        until("the port is served", || children(agent.0.id() as i32).len() == 1);
        Self { port: PortEnd::over(File::from(master)), agent }
    }

    /// The first that is said on this connection; what is still said on those before it is passed over.
    #[track_caller]
    fn answer(&mut self, connection: u32) -> Vec<u8> {
        loop {
            let (header, payload) = self.port.hear();
            if header.connection == connection {
                return payload;
            }
            assert!(header.connection < connection && header.connection != BROKEN, "{header:?}");
        }
    }

    /// A session was created on this connection by this preamble.
    #[track_caller]
    fn is_created(&mut self, connection: u32, preamble: &[u8; 64]) {
        let answer = self.answer(connection);
        assert_eq!((&answer[16..40], answer[12]), (&preamble[16..40], 0));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.agent.signal(Signal::TERM);
        self.agent.end();
    }
}

#[test]
fn r_8_1_what_is_no_record_is_passed_over() {
    let mut line = Line::start();
    // The magic, a length over the limit, a flag that there is not, the zero byte, the checksum, and the payload.
    for (number, at) in (1..).zip([0, 9, 10, 11, 12, 20]) {
        let mut broken = record(BROKEN, true, false, &preamble());
        broken[at] ^= 0x40;
        let preamble = preamble();
        line.port.write(&[&ZEROS[..], &broken, &record(number, true, false, &preamble)].concat());
        line.is_created(number, &preamble);
    }
}

#[test]
fn r_8_2_records_of_another_connection_are_dropped() {
    let mut line = Line::start();
    let preamble = preamble();
    line.port.write(&[&ZEROS[..], &record(1, true, false, &preamble)].concat());
    line.is_created(1, &preamble);
    // Each would end the session, in its stream.
    let hello = hello(60_000);
    let said = crate::guest::wire::record(1, 0, &hello);
    let ping = crate::guest::wire::record(PING, 0, b"are you?");
    let others =
        [record(2, false, false, &said), record(2, false, true, &said), record(3, false, false, b"x")];
    line.port
        .write(&[others.concat(), record(1, false, false, &said), record(1, false, false, &ping)].concat());
    line.port.wait_for(1, b"are you?");
}

#[test]
fn r_8_3_nothing_comes_behind_the_end_of_a_connection() {
    let mut line = Line::start();
    let mut preamble = preamble();
    line.port.write(&[&ZEROS[..], &record(1, true, false, &preamble)].concat());
    line.is_created(1, &preamble);
    let said = crate::guest::wire::record(1, 0, &hello(60_000));
    line.port.write(&[record(1, false, true, b""), record(1, false, false, &said)].concat());
    again(&mut preamble, 0);
    line.port.write(&[&ZEROS[..], &record(2, true, false, &preamble)].concat());
    let answer = line.answer(2);
    const RESUMED: u8 = 1;
    // Of what came behind the end nothing is held.
    assert_eq!((answer[12], &answer[40..48]), (RESUMED, &[0; 8][..]));
}

#[test]
fn r_8_4_who_begins_without_zeros_is_heard_once_the_record_before_is_complete() {
    let mut line = Line::start();
    // What a client was cut off in, as long as any.
    let cut = record(1, true, false, &[7; 4096]);
    let (first, second) = (preamble(), preamble());
    line.port.write(&[&ZEROS[..], &cut[..100], &record(2, true, false, &first)].concat());
    line.port.write(&[&ZEROS[..], &record(3, true, false, &second)].concat());
    line.is_created(3, &second);
}
