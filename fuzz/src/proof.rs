//! Proofs of a key: on a wire that changes what it likes, in either direction, nobody is believed but who has the key and heard
//! just what was said.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use vsock_shell::key::Credentials;
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::{Dialer, Preamble, SessionId, admit};
use vsock_shell_proto::proof::{Challenge, KEY_LEN, Key, PROOF_LEN, Role, Said};

use crate::guest::{folder, with_peer};
use crate::input::Input;
use crate::shown::assert_plain;

const KEY: Key = Key::new([7; KEY_LEN]);

/// Text of keys, both sides of the core, or a client.
pub fn proof(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => text(input.rest()),
        1 => agent(&mut input),
        _ => client(&mut input),
    }
}

fn text(text: &[u8]) {
    if let Some(key) = Key::parse(text) {
        let digits = key.to_digits();
        assert_eq!(text.trim_ascii().to_ascii_lowercase(), digits);
        assert_eq!(Key::parse(&digits).expect("as it writes it").to_digits(), digits);
    }
}

/// Changes bits of a message; whether it is another one then.
fn tamper(message: &mut [u8], input: &mut Input<'_>) -> bool {
    let before = message.to_vec();
    for _ in 0..input.below(4) {
        let at = input.below(message.len());
        message[at] ^= input.byte();
    }
    message != before
}

/// What an agent believes.
fn agent(input: &mut Input<'_>) {
    let mut preamble = Dialer::new(SessionId([3; 16])).next_preamble(0, [5; 16]);
    preamble.wants_proof = true;
    let said = preamble.encode();
    let mut heard = said;
    let mut is_other = tamper(&mut heard, input);
    let nonce = KEY.nonce(&input.byte().to_le_bytes(), &heard);
    let challenge = Challenge { version: 1, nonce, boot_id: [1; 16], machine_id: [2; 16] };
    let asked = challenge.encode();
    let mut received = asked;
    is_other |= tamper(&mut received, input);
    let Some(parsed) = Challenge::parse(&received, &preamble) else {
        assert!(is_other, "what was not changed is understood");
        return;
    };
    assert_eq!(parsed.encode()[..10], received[..10]);
    assert_eq!(parsed.encode()[12..], received[12..]);
    let role = if input.once_in(4) { Role::Agent } else { Role::Client };
    let mut shown = KEY.prove(role, &Said { preamble: &said, challenge: &received });
    is_other |= tamper(&mut shown, input) || role == Role::Agent;
    let heard = Said { preamble: &heard, challenge: &asked };
    assert_eq!(KEY.is_proved(Role::Client, &heard, &shown), !is_other);
    // A proof shown back to who made it proves nothing.
    let own = KEY.prove(Role::Agent, &heard);
    assert!(!KEY.is_proved(Role::Client, &heard, &own));
}

/// What a client believes.
fn client(input: &mut Input<'_>) {
    static FILE: OnceLock<Credentials> = OnceLock::new();
    let credentials = FILE.get_or_init(|| {
        fs::create_dir_all(folder()).expect("the folder for temporary files can be written");
        let key = folder().join("key");
        fs::write(&key, KEY.to_digits()).expect("a file in it too");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        Credentials { key, boot_id: Some([1; 16]), machine_id: None }
    });
    let mut is_other = true;
    let begun = with_peer(
        Some(credentials.clone()),
        |stream| is_other = pretend(stream, input).unwrap_or(true),
        |_| Ok(()),
    );
    match begun {
        Ok(()) => assert!(!is_other, "somebody without the key was believed"),
        Err(error) => {
            assert!(is_other, "who has the key was not believed: {error}");
            assert_plain(&error.to_string());
        }
    }
}

/// An agent with the key, and a wire that may change what it says; whether it did.
fn pretend(mut stream: &UnixStream, input: &mut Input<'_>) -> Option<bool> {
    let mut bytes = [0; PREAMBLE_LEN];
    stream.read_exact(&mut bytes).ok()?;
    let preamble = Preamble::parse(&bytes).expect("a client says what it should");
    assert!(preamble.wants_proof);
    let asked = Challenge { version: 1, nonce: [9; 16], boot_id: [1; 16], machine_id: [2; 16] }.encode();
    let mut challenge = asked;
    let mut is_other = tamper(&mut challenge, input);
    stream.write_all(&challenge).ok()?;
    let mut shown = [0; PROOF_LEN];
    stream.read_exact(&mut shown).ok()?;
    let said = Said { preamble: &bytes, challenge: &challenge };
    assert!(KEY.is_proved(Role::Client, &said, &shown), "a client proves what it has heard");
    let mut own = KEY.prove(Role::Agent, &Said { preamble: &bytes, challenge: &asked });
    is_other |= tamper(&mut own, input);
    // The answer is not a part of what is proved.
    let answer = admit(&preamble, None).encode();
    stream.write_all(&[&own[..], &answer].concat()).ok()?;
    Some(is_other)
}
