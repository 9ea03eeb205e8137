//! What the two ends of one channel are going to do, and what became of it.

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelKind, Outcome};
use vsock_shell_proto::limits::TEXT_MAX;

use crate::random::Random;

/// An end before the end, at a time after the channel began.
#[derive(Debug, Clone, Copy)]
pub struct Leave {
    pub after: u64,
    /// `None`: RELEASE (an opener's way).
    pub reset: Option<CloseCode>,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub kind: ChannelKind,
    /// At least the 8 bytes of the instance's number.
    pub request: u64,
    pub input: u64,
    pub output: [u64; 2],
    /// Output is what came as input.
    pub echo: bool,
    pub keeps_input_open: bool,
    /// The acceptor accepts before it has the request.
    pub accepts_early: bool,
    pub refusal: Option<(RefusalCode, u32)>,
    pub outcome: Outcome,
    pub text: usize,
    /// The acceptor exits only when all input is taken.
    pub waits_for_input: bool,
    pub acceptor_stops_at: Option<u64>,
    pub opener_stops_at: [Option<u64>; 2],
    pub opener_leaves: Option<Leave>,
    pub acceptor_leaves: Option<Leave>,
    /// The opener releases at EXIT, whatever still waits.
    pub hasty: bool,
    pub signals: u64,
    pub resizes: u16,

    pub opened: Record,
    pub accepted: Record,
}

/// What one end saw.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Bytes taken of the two flows that it receives: input and request, or output and error.
    pub taken: [u64; 2],
    pub ended: [bool; 2],
    pub signals: u64,
    pub resized: u16,
    pub refused: bool,
    pub exited: bool,
    pub reset: bool,
    /// It left before the end, or was left.
    pub cut_short: bool,
}

impl Plan {
    pub fn random(random: &mut Random, most: u64) -> Self {
        let outcome = match random.below(3) {
            0 => Outcome::Exited(random.below(256) as u32),
            1 => Outcome::Killed { signal: random.between(1, 64) as u32, core_dumped: random.chance(50) },
            _ => Outcome::Failed(random.between(1, 133) as u32),
        };
        let stop = |random: &mut Random, percent| random.chance(percent).then(|| random.length(most));
        let leave = |random: &mut Random, opener: bool| {
            random.chance(8).then(|| Leave {
                after: random.length(3_000_000),
                reset: (!opener || random.chance(50))
                    .then(|| random.pick(&[CloseCode::Cancelled, CloseCode::Internal, CloseCode::Value])),
            })
        };
        let echo = random.chance(25);
        let waits_for_input = echo || random.chance(70);
        Self {
            kind: random.pick(&[
                ChannelKind::Exec,
                ChannelKind::Put,
                ChannelKind::Get,
                ChannelKind::Unknown(99),
            ]),
            request: 8 + random.length(most),
            input: random.length(most),
            output: [random.length(most), random.length(most)],
            echo,
            keeps_input_open: !waits_for_input && random.chance(50),
            accepts_early: random.chance(30),
            refusal: random.chance(10).then(|| (random.pick(RefusalCode::ALL), random.next() as u32)),
            outcome,
            text: random.length(TEXT_MAX as u64 + 9) as usize,
            waits_for_input,
            acceptor_stops_at: stop(random, 10),
            opener_stops_at: [stop(random, 10), stop(random, 10)],
            opener_leaves: leave(random, true),
            acceptor_leaves: leave(random, false),
            hasty: random.chance(5),
            signals: if random.chance(30) { random.next() & random.next() & random.next() } else { 0 },
            resizes: random.length(5) as u16,
            opened: Record::default(),
            accepted: Record::default(),
        }
    }

    /// A command that sends its standard input back.
    pub fn echo(length: u64) -> Self {
        Self {
            kind: ChannelKind::Exec,
            request: 30,
            input: length,
            output: [0, 0],
            echo: true,
            keeps_input_open: false,
            accepts_early: false,
            refusal: None,
            outcome: Outcome::Exited(42),
            text: 0,
            waits_for_input: true,
            acceptor_stops_at: None,
            opener_stops_at: [None, None],
            opener_leaves: None,
            acceptor_leaves: None,
            hasty: false,
            signals: 1 << 1,
            resizes: 1,
            opened: Record::default(),
            accepted: Record::default(),
        }
    }

    /// The text of REFUSED or EXIT, that arrives cut to its limit.
    pub fn text(&self) -> Vec<u8> {
        (0..self.text).map(|at| b'a' + (at % 26) as u8).collect()
    }

    /// What must have become of the channel when both ends are through with it.
    pub fn check(&self, instance: usize) {
        let (opener, acceptor) = (&self.opened, &self.accepted);
        let told = |what: &str| format!("{what}: channel instance {instance}, {self:#?}");
        assert_eq!(acceptor.signals & !self.signals, 0, "{}", told("a signal that was not sent"));
        if opener.cut_short || acceptor.cut_short || self.hasty {
            return;
        }
        if opener.refused {
            assert!(!opener.exited, "{}", told("refused and exited"));
            return;
        }
        assert!(opener.exited, "{}", told("no exit"));
        assert_eq!(acceptor.taken[1], self.request, "{}", told("request"));
        assert!(acceptor.ended[1], "{}", told("end of request"));
        let output = if self.echo { [acceptor.taken[0], self.output[1]] } else { self.output };
        for (at, length) in output.into_iter().enumerate() {
            match self.opener_stops_at[at] {
                Some(stop) => assert!(opener.taken[at] >= stop.min(length), "{}", told("stopped output")),
                None => {
                    assert_eq!(opener.taken[at], length, "{}", told("output"));
                    assert!(opener.ended[at], "{}", told("end of output"));
                }
            }
        }
        if self.waits_for_input && self.acceptor_stops_at.is_none() {
            assert_eq!(acceptor.taken[0], self.input, "{}", told("input"));
            assert!(acceptor.ended[0], "{}", told("end of input"));
        }
        assert_eq!(acceptor.signals, self.signals, "{}", told("signals"));
        assert_eq!(acceptor.resized, self.resizes, "{}", told("last size"));
    }
}
