//! Owns the escapes that a person types at the beginning of a line: `~.`, `~?`, `~~`, `~^Z`, `~d`, most as rsh and ssh have them.
//!
//! A pure state machine: bytes of the terminal in, bytes for the guest and actions out. What an action does is the
//! caller's. How the bytes are split over reads makes no difference.
//!
//! ```text
//!            newline                escape                . ? d ^Z
//! Middle ──────────────▶ Start ──────────────▶ Pending ──────────────▶ Start, with an action
//!   ▲                    │  ▲ newline             │ escape: forwards one escape
//!   └────────────────────┘  └─────────────────────┤ other: forwards the escape and it
//!            other                                ▼
//!                                          Middle or Start
//! ```

/// What can stand behind the character, and what it does; nothing stands for the character itself.
pub(crate) const KEYS: &[(&str, &str)] = &[
    (".", "end the session"),
    ("d", "detach: leave it running as a job"),
    ("^Z", "suspend vsock-shell"),
    ("", "send the character itself"),
    ("?", "list these"),
];

/// What the person asked of the client itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `~.`: end the session now.
    Disconnect,
    /// `~d`: leave the command behind as a job.
    Detach,
    /// `~?`: show what there is; [`Escapes::help`] is the text.
    Help,
    /// `~^Z`: stop the client, as job control does.
    Suspend,
}

/// What [`Escapes::handle`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Bytes of the input that were taken. All of them, or those up to and with an action.
    pub consumed: usize,
    /// What to do once the forwarded bytes are on their way; call again with the rest of the input afterwards.
    pub action: Option<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Within a line: no escape is looked for.
    Middle,
    /// At the beginning of a line, or of the session.
    Start,
    /// After an escape character there; it is held until the next byte tells what it was.
    Pending,
}

/// The state of one terminal's input.
#[derive(Clone, Debug)]
pub struct Escapes {
    character: Option<u8>,
    state: State,
}

const CONTROL_Z: u8 = 0x1a;

impl Escapes {
    /// `character` begins an escape; with `None` every byte is forwarded.
    pub fn new(character: Option<u8>) -> Self {
        Self { character, state: State::Start }
    }

    /// Takes bytes from the terminal, appends to `forward` those for the guest, and stops after an action.
    /// At most one byte more is forwarded than was taken.
    pub fn handle(&mut self, input: &[u8], forward: &mut Vec<u8>) -> Handled {
        let Some(character) = self.character else {
            forward.extend_from_slice(input);
            return Handled { consumed: input.len(), action: None };
        };
        for (index, byte) in input.iter().copied().enumerate() {
            let action = match (self.state, byte) {
                (State::Start, byte) if byte == character => {
                    self.state = State::Pending;
                    continue;
                }
                (State::Pending, b'.') => Some(Action::Disconnect),
                (State::Pending, b'd') => Some(Action::Detach),
                (State::Pending, b'?') => Some(Action::Help),
                (State::Pending, CONTROL_Z) => Some(Action::Suspend),
                (State::Pending, byte) if byte != character => {
                    forward.push(character);
                    None
                }
                _ => None,
            };
            if action.is_some() {
                self.state = State::Start;
                return Handled { consumed: index + 1, action };
            }
            forward.push(byte);
            self.state = if matches!(byte, b'\r' | b'\n') { State::Start } else { State::Middle };
        }
        Handled { consumed: input.len(), action: None }
    }

    /// The text for `~?`, with line ends for a terminal in raw mode.
    pub fn help(&self) -> String {
        let Some(character) = self.character else { return String::new() };
        let shown = show(character);
        let mut text = "Escapes, at the beginning of a line:\r\n".to_owned();
        for (key, help) in KEYS {
            let key = if key.is_empty() { shown.as_str() } else { key };
            text.push_str(&format!("  {shown}{key:<4}{help}\r\n"));
        }
        text
    }
}

/// The character as `-e` takes it: `~`, `^]`.
fn show(character: u8) -> String {
    match character {
        control if control < 0x20 => format!("^{}", char::from(control + 0x40)),
        0x7f => "^?".to_owned(),
        plain if plain.is_ascii() => char::from(plain).to_string(),
        byte => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `size` bytes; actions are shown among the forwarded bytes in their place.
    fn run(mut escapes: Escapes, input: &[u8], size: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        for mut piece in input.chunks(size) {
            while !piece.is_empty() {
                let handled = escapes.handle(piece, &mut seen);
                match handled.action {
                    Some(Action::Disconnect) => seen.extend(b"<quit>"),
                    Some(Action::Detach) => seen.extend(b"<job>"),
                    Some(Action::Help) => seen.extend(b"<help>"),
                    Some(Action::Suspend) => seen.extend(b"<stop>"),
                    None => assert_eq!(handled.consumed, piece.len()),
                }
                piece = &piece[handled.consumed..];
            }
        }
        seen
    }

    #[track_caller]
    fn seen(character: Option<u8>, input: &[u8], expected: &[u8]) {
        for size in [1, 2, 3, input.len().max(1)] {
            let got = run(Escapes::new(character), input, size);
            assert_eq!(
                got.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "pieces of {size}"
            );
        }
    }

    const TILDE: Option<u8> = Some(b'~');

    #[test]
    fn an_escape_works_at_the_start_and_after_each_kind_of_newline() {
        seen(TILDE, b"~.", b"<quit>");
        seen(TILDE, b"ls\r~.", b"ls\r<quit>");
        seen(TILDE, b"ls\n~\x1a", b"ls\n<stop>");
        seen(TILDE, b"~?", b"<help>");
        seen(TILDE, b"ls\r~d", b"ls\r<job>");
    }

    #[test]
    fn within_a_line_it_is_a_plain_character() {
        seen(TILDE, b"a~.~?~~", b"a~.~?~~");
        seen(TILDE, b" ~.", b" ~.");
    }

    #[test]
    fn twice_sends_it_once() {
        seen(TILDE, b"~~.", b"~.");
        seen(TILDE, b"x\r~~~.", b"x\r~~.");
    }

    #[test]
    fn an_unknown_escape_is_forwarded_whole() {
        seen(TILDE, b"~x~.", b"~x~.");
        seen(TILDE, b"~\r~.", b"~\r<quit>");
        seen(TILDE, b"~/bin\r", b"~/bin\r");
    }

    #[test]
    fn a_line_begins_again_after_an_action() {
        seen(TILDE, b"~?~\x1a~~.a~.", b"<help><stop>~.a~.");
    }

    #[test]
    fn bytes_after_an_action_are_left_for_the_next_call() {
        let mut escapes = Escapes::new(TILDE);
        let mut forward = Vec::new();
        let handled = escapes.handle(b"a\r~.rest", &mut forward);
        assert_eq!(handled, Handled { consumed: 4, action: Some(Action::Disconnect) });
        assert_eq!(forward, b"a\r");
    }

    #[test]
    fn another_character_or_none_can_be_chosen() {
        seen(Some(0x1d), b"~.\r\x1d.", b"~.\r<quit>");
        seen(None, b"~.\r~.", b"~.\r~.");
        // Even a newline, however little sense it makes, must not lose a byte.
        seen(Some(b'\n'), b"a\n\nb", b"a\n\nb");
    }

    #[test]
    fn the_help_names_the_character() {
        assert!(Escapes::new(Some(0x1d)).help().contains("^]."));
        assert!(Escapes::new(TILDE).help().lines().all(|line| !line.contains("\r\n")));
        assert_eq!(Escapes::new(None).help(), "");
    }
}
