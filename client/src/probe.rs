//! Owns the question whether an agent answers, asked of many at once and in a bounded time, without a session.
//!
//! The question is a preamble that goes on with a session which no agent has (`docs/PROTOCOL.md`, R-3.2): any answer is an
//! agent's, and it starts no session that could take another one's place. A key is not needed for it, and proves nothing.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, poll};
use vsock_shell_proto::preamble::{Answer, Dialer, SessionId};

use crate::connection::timespec;
use crate::dial;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::target::Address;

/// How long all of them together may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Why, where the time is over.
const LATE: &str = "no answer in time";

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// An agent answers.
    Answers,
    /// None does: why, in one line.
    Silent(String),
    /// It was not asked: a port that serves one client at a time may be in use, and a command may do anything.
    Unasked,
}

/// Asks all of them at once; what came of each, in their order, no later than `patience` from now.
#[must_use]
pub fn probe(addresses: &[Address], patience: Duration) -> Vec<Presence> {
    let deadline = Instant::now() + patience;
    let (tell, told) = mpsc::channel();
    let mut presences = Vec::with_capacity(addresses.len());
    let mut open = 0;
    for (place, address) in addresses.iter().enumerate() {
        if !may_be_asked(address) {
            presences.push(Presence::Unasked);
            continue;
        }
        presences.push(Presence::Silent(LATE.to_owned()));
        let (address, tell) = (address.clone(), tell.clone());
        // A thread that is late, because a name is not resolved in time, ends with the process.
        let thread = thread::Builder::new().spawn(move || {
            let presence = match ask(&address, deadline) {
                Ok(true) => Presence::Answers,
                Ok(false) => Presence::Silent(LATE.to_owned()),
                Err(error) => Presence::Silent(error.to_string()),
            };
            // Nobody listens any more where it is late.
            _ = tell.send((place, presence));
        });
        match thread {
            Ok(_) => open += 1,
            Err(error) => presences[place] = Presence::Silent(format!("cannot ask: {error}")),
        }
    }
    while open > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok((place, presence)) = told.recv_timeout(left) else { break };
        presences[place] = presence;
        open -= 1;
    }
    presences
}

fn may_be_asked(address: &Address) -> bool {
    match address {
        Address::Vsock { .. } | Address::Mux { .. } | Address::Unix(_) | Address::Tcp { .. } => true,
        Address::Serial(_) | Address::Exec(_) | Address::Listen(_) => false,
    }
}

/// Whether an agent has answered in time.
fn ask(address: &Address, deadline: Instant) -> Result<bool, Error> {
    let stream = dial::once(address, deadline).map_err(Error::Dial)?;
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::local("draw", "random bytes")(errno.into()))?;
    let preamble = Dialer::new(SessionId(id)).next_preamble(1, [0; 16]);
    let mut exchange = Exchange::new(stream, preamble, None, &mut None);
    loop {
        if let Some(answer) = exchange.step(&mut None)? {
            return Answer::parse(&answer).map(|_| true).map_err(|_| Error::NotAnAgent);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let (fd, flags) = exchange.interest();
        _ = poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timespec(left)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// A socket that is gone with the value.
    struct Socket(PathBuf, UnixListener);

    impl Socket {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vsock-shell-probe-{}-{name}", std::process::id()));
            Self(path.clone(), UnixListener::bind(path).unwrap())
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn those_that_say_nothing_are_left_when_the_time_is_over_and_hold_up_nobody() {
        let (silent, loud) = (Socket::new("silent"), Socket::new("loud"));
        let answer = thread::spawn(move || {
            let (mut stream, _) = loud.1.accept().unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
            stream.write_all(&[b'x'; 64]).unwrap();
            loud
        });
        let addresses = ["silent", "loud", "none"].map(|name| {
            Address::Unix(
                std::env::temp_dir().join(format!("vsock-shell-probe-{}-{name}", std::process::id())),
            )
        });
        let start = Instant::now();
        let presences = probe(&addresses, Duration::from_millis(300));
        let took = start.elapsed();
        let reasons = presences.iter().map(|presence| match presence {
            Presence::Silent(why) => why.as_str(),
            other => panic!("{other:?}"),
        });
        let [quiet, foreign, gone] = reasons.collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(quiet, LATE);
        assert_eq!(foreign, Error::NotAnAgent.to_string());
        assert!(gone.contains("No such file"), "{gone}");
        assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&took), "{took:?}");
        drop((answer.join().unwrap(), silent));
    }

    #[test]
    fn a_command_and_a_port_for_one_are_not_asked() {
        let addresses =
            [Address::Exec("touch /tmp/vsock-shell-probed".into()), Address::Serial("/dev/null".into())];
        assert_eq!(probe(&addresses, PATIENCE), [Presence::Unasked, Presence::Unasked]);
    }
}
