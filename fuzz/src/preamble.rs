//! How connections begin: both messages read and written, and create-or-resume as both sides decide it.

use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::{
    Answer, DialError, Dialer, Held, Kind, MAGIC, Preamble, SessionId, Status, admit,
};

use crate::input::Input;

/// 64 bytes from a peer, and what the other side knows.
pub fn preamble(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut bytes = [0; PREAMBLE_LEN];
    let given = input.bytes(PREAMBLE_LEN);
    bytes[..given.len()].copy_from_slice(given);
    if choice & 1 != 0 {
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    }
    if let Ok(preamble) = Preamble::parse(&bytes) {
        assert_eq!(preamble.encode(), bytes);
        assert_eq!(preamble.must_exist, Preamble::must_exist(&bytes));
        decide(&preamble, &mut input);
    }
    if let Ok(answer) = Answer::parse(&bytes) {
        assert_eq!(answer.encode(), bytes);
        assert!(!answer.status.text().is_empty());
    }
    hear(bytes, choice, &mut input);
}

/// The agent's side.
fn decide(preamble: &Preamble, input: &mut Input<'_>) {
    let held = input.once_in(2).then(|| Held {
        attempt: input.long(),
        resend: (input.long(), input.long()),
        received: input.long(),
    });
    let answer = admit(preamble, held);
    assert_eq!(Answer::parse(&answer.encode()).as_ref(), Ok(&answer));
    assert_eq!((answer.id, answer.attempt), (preamble.id, preamble.attempt));
    match answer.status {
        Status::Created => assert!(held.is_none() && !preamble.must_exist && preamble.received == 0),
        Status::Resumed => {
            let held = held.expect("what is resumed was held");
            assert!(preamble.attempt > held.attempt);
            assert!((held.resend.0..=held.resend.1).contains(&preamble.received));
            assert_eq!(answer.received, held.received);
        }
        _ => assert_eq!((answer.version, answer.received), (0, 0)),
    }
    assert!(preamble.kind == Kind::Session || answer.version == 0);
}

/// The client's side: the bytes answer one of its preambles.
fn hear(mut bytes: [u8; PREAMBLE_LEN], choice: u8, input: &mut Input<'_>) {
    let id = SessionId([choice; 16]);
    let mut dialer = Dialer::new(id);
    for dial in 1..=2_u8 {
        let preamble = dialer.next_preamble(input.long(), [0; 16]);
        assert_eq!(Preamble::parse(&preamble.encode()).as_ref(), Ok(&preamble));
        if choice & 2 != 0 {
            bytes[16..32].copy_from_slice(&id.0);
            bytes[32..40].copy_from_slice(&u64::from(dial).to_le_bytes());
        }
        match (dialer.handle_answer(&bytes), Answer::parse(&bytes)) {
            (Ok(received), Ok(answer)) => {
                assert_eq!((answer.id, answer.attempt, answer.received), (id, preamble.attempt, received));
                assert!(answer.status == Status::Resumed || (received == 0 && !preamble.must_exist));
            }
            (Err(DialError::Refused(status)), Ok(answer)) => assert_eq!(status, answer.status),
            (Err(DialError::NotAnAnswer), _) => {}
            (told, answer) => panic!("{told:?} of {answer:?}"),
        }
    }
}
