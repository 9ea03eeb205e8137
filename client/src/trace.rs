//! Owns what `-v` and `-vv` tell of one session, on standard error: the story of its connections in plain lines, and every record
//! and frame as `tcpdump` would show them.
//!
//! ```text
//!  connection ──bytes that were written, and read──→ transcript: reader ──Seen──→ story   -v
//!       │                                                 │         └─────→ lines   -vv
//!       └──────what happens to connections────────────────┴─Line──→ voice ──→ standard error
//! ```
//! The bytes are taken apart a second time, from what the stream has really taken and given; the protocol core is not asked, and
//! does not know. Without a trace a connection pays for one look at an `Option` where it reads or writes. Nothing secret is told:
//! of the session's id, of keys, proofs and nonces nothing is shown, of payload the length, of variables the name.

mod dials;
mod lines;
mod reader;
mod request;
mod story;
mod transcript;
mod voice;

use std::time::Instant as Clock;

use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::{Answer, Preamble, Status};
use vsock_shell_proto::proof::Challenge;

use crate::error::Error;
use crate::key::id_text;
use crate::target::Address;
pub(crate) use dials::dial_told;
pub(crate) use lines::denied_names;
use lines::name;
pub use transcript::{Direction, Line, Transcript};
pub(crate) use voice::Voice;
use voice::took;

/// How much is told of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Nothing but errors.
    #[default]
    Nothing,
    /// What becomes of connections and channels (`-v`).
    Story,
    /// Every record and frame as well (`-vv`).
    Frames,
}

impl Detail {
    /// What so many `-v` ask for.
    #[must_use]
    pub fn of_count(count: u8) -> Self {
        match count {
            0 => Self::Nothing,
            1 => Self::Story,
            _ => Self::Frames,
        }
    }
}

/// What is told of one session.
pub(crate) struct Trace {
    voice: Voice,
    detail: Detail,
    transcript: Transcript,
    /// Bytes in all, with those that went again, and with what stands before a session.
    sent: u64,
    received: u64,
    start: Clock,
    /// When the agent was asked for a session last.
    asked: Clock,
    /// Connections over which there was a session, and the version that was chosen for it.
    connections: u32,
    version: u16,
}

impl Trace {
    /// The trace of a session with the agent at `address`; none where nothing is to be told.
    pub(crate) fn new(address: &Address, detail: Detail) -> Option<Box<Self>> {
        if detail == Detail::Nothing {
            return None;
        }
        let voice = Voice::new(address);
        if voice.number > 1 && detail == Detail::Frames {
            voice.say(format_args!("its records are shown as {}> and {0}<", voice.number));
        }
        let now = Clock::now();
        Some(Box::new(Self {
            voice,
            detail,
            transcript: Transcript::new(detail),
            sent: 0,
            received: 0,
            start: now,
            asked: now,
            connections: 0,
            version: 0,
        }))
    }

    /// Who tells it.
    pub(crate) fn voice(&self) -> &Voice {
        &self.voice
    }

    fn count(&mut self, direction: Direction, count: usize) {
        *direction.of(&mut self.sent, &mut self.received) += count as u64;
    }

    fn show(&self, direction: Direction, line: &str) {
        if self.detail == Detail::Frames {
            self.voice.show(direction, line);
        }
    }

    // How a connection begins.

    /// Bytes of the preamble, its answer, or what stands between them.
    pub(crate) fn handle_exchanged(&mut self, direction: Direction, count: usize) {
        self.count(direction, count);
    }

    /// The agent is asked for the session.
    pub(crate) fn handle_asked(&mut self, preamble: &Preamble) {
        self.asked = Clock::now();
        let Preamble { version_min, version_max, must_exist, wants_proof, attempt, received, .. } = preamble;
        let flags = match (must_exist, wants_proof) {
            (false, false) => "0",
            (true, false) => "MUST_EXIST",
            (false, true) => "PROOF",
            (true, true) => "MUST_EXIST,PROOF",
        };
        let versions = format!("versions={version_min}-{version_max}");
        let line =
            format!("PREAMBLE {versions} kind=session flags={flags} attempt={attempt} received={received}");
        self.show(Direction::Sent, &line);
    }

    /// The agent has a key, and wants to see that we have it too.
    pub(crate) fn handle_challenged(&mut self, preamble: &[u8; PREAMBLE_LEN], bytes: &[u8; PREAMBLE_LEN]) {
        let preamble = Preamble::parse(preamble).ok();
        let Some(challenge) = preamble.and_then(|preamble| Challenge::parse(bytes, &preamble)) else {
            return;
        };
        let (boot, machine) =
            (id_text("boot id", challenge.boot_id), id_text("machine id", challenge.machine_id));
        self.show(Direction::Received, &format!("CHALLENGE boot_id={boot} machine_id={machine}"));
        self.show(Direction::Sent, "PROOF");
        self.voice.say(format_args!(
            "the agent asks for a key, boot id {boot}, machine id {machine}; we prove ours"
        ));
    }

    /// The agent has shown that it has the key, or that it does not take ours.
    pub(crate) fn handle_proof(&mut self, is_right: bool) {
        self.show(Direction::Received, "PROOF");
        if is_right {
            self.voice.say("the agent has proved the same key");
        }
    }

    /// The answer came.
    pub(crate) fn handle_answer(&mut self, bytes: &[u8; PREAMBLE_LEN]) {
        let Ok(Answer { version, version_max, status, attempt, received, .. }) = Answer::parse(bytes) else {
            return;
        };
        self.version = version;
        let versions = format!("version={version} version_max={version_max}");
        let line = format!("ANSWER {versions} status={} attempt={attempt} received={received}", name(status));
        self.show(Direction::Received, &line);
        if !matches!(status, Status::Created | Status::Resumed) {
            let waited = took(self.asked.elapsed());
            self.voice.say(format_args!("no session after {waited}: {} ({})", name(status), status.text()));
        }
    }

    /// The session goes on, in our stream from what the agent holds and in the agent's from what we hold.
    pub(crate) fn handle_attached(&mut self, agent_holds: u64, we_hold: u64) {
        self.connections += 1;
        let again = self.transcript.resume(Direction::Sent, agent_holds);
        self.transcript.resume(Direction::Received, we_hold);
        let waited = took(self.asked.elapsed());
        if self.connections == 1 {
            self.voice.say(format_args!("session begun after {waited}, protocol version {}", self.version));
        } else {
            self.voice.say(format_args!(
                "session resumed after {waited}: {again} bytes go to the agent again, it goes on with byte {we_hold}"
            ));
        }
    }

    /// The connection is of no use any more. `news` is what the person is told anyway.
    pub(crate) fn handle_lost(&self, reason: &str, news: Option<String>) {
        match news {
            Some(news) => self.voice.say_whole(&news),
            None => self.voice.say(reason),
        }
    }

    /// A try to begin a session was in vain, and there is another.
    pub(crate) fn handle_retry(&self, reason: &Error) {
        self.voice.say(format_args!("no session yet: {reason}"));
    }

    // Bytes of records.

    /// The stream took the first `taken` bytes of these.
    pub(crate) fn handle_sent(&mut self, pieces: &[&[u8]; 3], mut taken: usize) {
        for piece in pieces {
            let part = piece.get(..taken).unwrap_or(piece);
            taken -= part.len();
            self.read(Direction::Sent, part);
        }
    }

    /// These bytes came.
    pub(crate) fn handle_received(&mut self, bytes: &[u8]) {
        if self.read(Direction::Received, bytes) {
            // It is written when all of them were told.
            self.voice.is_interrupted();
        }
    }

    /// Tells what stands in the bytes; whether something of that is for the terminal.
    fn read(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        self.count(direction, bytes.len());
        let Self { voice, transcript, .. } = self;
        transcript.read(direction, bytes, &mut |line| match line {
            Line::Story(text) => voice.say(text),
            Line::Wire(direction, line) => voice.show(direction, &line),
        })
    }
}

impl Drop for Trace {
    /// Tells the sum, where there was a session.
    fn drop(&mut self) {
        if self.connections > 0 {
            let connections = match self.connections {
                1 => "one connection".to_owned(),
                count => format!("{count} connections"),
            };
            self.voice.say(format_args!(
                "over after {}: {} bytes sent, {} received, {connections}",
                took(self.start.elapsed()),
                self.sent,
                self.received,
            ));
        }
    }
}
