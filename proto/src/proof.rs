//! Proof of a key that both sides have (`PROTOCOL.md` §3): one message each way, behind the preamble and before its answer.
//!
//! Nothing here is parsed but what stands at fixed places, and nothing secret is on the wire: each side shows the MAC of
//! what both have said, with a label of its own, so that it cannot be shown back to it.

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit as _, Mac as _};
use zeroize::Zeroize as _;

use crate::limits::PREAMBLE_LEN;
use crate::preamble::{MAGIC, Preamble, VERSION_MAX};
use crate::wire::{array, put, u16_at};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Bytes of a proof.
pub const PROOF_LEN: usize = 32;
/// Hexadecimal digits of a key as text.
const DIGITS: usize = 2 * KEY_LEN;

/// 256 random bits that a host and its guests share. Not shown by `Debug`, and gone from memory when it is dropped.
#[derive(Clone)]
pub struct Key([u8; KEY_LEN]);

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a key as `keygen` writes it: 64 hexadecimal digits, and white space around them.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; DIGITS] = text.trim_ascii().try_into().ok()?;
        let mut key = Self([0; KEY_LEN]);
        let (pairs, _) = text.as_chunks::<2>();
        for (byte, [high, low]) in key.0.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(key)
    }

    /// Forgets the key.
    pub fn wipe(&mut self) {
        self.0.zeroize();
    }

    /// The key as text.
    #[must_use]
    pub fn to_digits(&self) -> [u8; DIGITS] {
        let mut text = [0; DIGITS];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 15].map(|digit| digit + if digit < 10 { b'0' } else { b'a' - 10 });
        }
        text
    }

    /// A nonce that was never used before: of fresh bytes, and of what the client has said, so that an agent that was
    /// restored from a snapshot, or is one of several copies, does not repeat itself to somebody new (`R-3.14`).
    #[must_use]
    pub fn nonce(&self, fresh: &[u8], preamble: &[u8; PREAMBLE_LEN]) -> [u8; 16] {
        let mac = self.mac(&[b"vsock-shell key nonce 1\0", fresh, preamble]);
        array(&mac.finalize().into_bytes(), 0)
    }

    /// What `role` shows for it.
    #[must_use]
    pub fn prove(&self, role: Role, said: &Said<'_>) -> [u8; PROOF_LEN] {
        self.mac(&said.parts(role)).finalize().into_bytes().into()
    }

    /// Whether this is what `role` shows for it. Takes the same time whatever it is.
    #[must_use]
    pub fn is_proved(&self, role: Role, said: &Said<'_>, proof: &[u8; PROOF_LEN]) -> bool {
        self.mac(&said.parts(role)).verify_slice(proof).is_ok()
    }

    #[inline(never)]
    fn mac(&self, parts: &[&[u8]; 3]) -> Blake2sMac256 {
        let mut mac = Blake2sMac256::new(&self.0.into());
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Who proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Who dials.
    Client,
    /// Who is dialled.
    Agent,
}

impl Role {
    const fn label(self) -> &'static [u8; 24] {
        match self {
            Self::Client => b"vsock-shell key client 1",
            Self::Agent => b"vsock-shell key agent 1\0",
        }
    }
}

/// What both sides have said before, as it was on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Said<'s> {
    /// Of the client.
    pub preamble: &'s [u8; PREAMBLE_LEN],
    /// Of the agent.
    pub challenge: &'s [u8; PREAMBLE_LEN],
}

impl Said<'_> {
    fn parts(&self, role: Role) -> [&[u8]; 3] {
        [role.label(), self.preamble, self.challenge]
    }
}

/// What an agent that has a key says first: who it is, and something that it has never said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The version chosen.
    pub version: u16,
    /// Random bytes.
    pub nonce: [u8; 16],
    /// Of the guest, as in `/proc/sys/kernel/random/boot_id`; zeros where it is not known.
    pub boot_id: [u8; 16],
    /// Of the guest, as in `/etc/machine-id`; zeros where there is none.
    pub machine_id: [u8; 16],
}

impl Challenge {
    /// What stands in place of a status.
    const STATUS: u8 = 0xFF;

    /// The 64 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 10, &VERSION_MAX.to_le_bytes());
        bytes[12] = Self::STATUS;
        put(&mut bytes, 16, &self.nonce);
        put(&mut bytes, 32, &self.boot_id);
        put(&mut bytes, 48, &self.machine_id);
        bytes
    }

    /// Reads the 64 bytes that answer `preamble`; nothing where they are an answer, or no challenge.
    #[must_use]
    pub fn parse(bytes: &[u8; PREAMBLE_LEN], preamble: &Preamble) -> Option<Self> {
        let version = u16_at(bytes, 8);
        let zeros = bytes[13] == 0 && u16_at(bytes, 14) == 0;
        let is_one = array(bytes, 0) == MAGIC && bytes[12] == Self::STATUS && zeros;
        let is_spoken = (preamble.version_min..=preamble.version_max).contains(&version);
        (is_one && is_spoken).then(|| Self {
            version,
            nonce: array(bytes, 16),
            boot_id: array(bytes, 32),
            machine_id: array(bytes, 48),
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;
    use crate::preamble::{Answer, Dialer, SessionId, Status};

    const KEY: Key = Key::new([7; KEY_LEN]);

    #[test]
    fn a_key_is_read_as_it_is_written_and_never_shown() {
        let text = KEY.to_digits();
        assert_eq!(text, *b"07".repeat(KEY_LEN));
        let around = [b" \t", &text[..], b"\r\n"].concat();
        assert_eq!(Key::parse(&around).map(|key| key.0), Some([7; KEY_LEN]));
        assert_eq!(Key::parse(&b"aBcDeF01".repeat(8)).unwrap().to_digits(), *b"abcdef01".repeat(8));
        let wrong: [&[u8]; 5] = [b"", &text[1..], &b"0".repeat(65), &b"0g".repeat(32), &b"0 ".repeat(32)];
        for wrong in wrong {
            assert!(Key::parse(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(format!("{KEY:?}"), "Key(secret)");
        let mut key = KEY.clone();
        key.wipe();
        assert_eq!(key.0, [0; KEY_LEN]);
    }

    #[test]
    fn r_3_13_a_proof_is_of_every_bit_that_was_said_of_one_key_and_of_one_role() {
        let (preamble, challenge) = ([1; PREAMBLE_LEN], [2; PREAMBLE_LEN]);
        let proof = KEY.prove(Role::Client, &Said { preamble: &preamble, challenge: &challenge });
        let is_proved = |key: &Key, role, preamble: &_, challenge: &_| {
            key.is_proved(role, &Said { preamble, challenge }, &proof)
        };
        assert!(is_proved(&KEY, Role::Client, &preamble, &challenge));
        assert!(!is_proved(&KEY, Role::Agent, &preamble, &challenge));
        assert!(!is_proved(&Key::new([8; KEY_LEN]), Role::Client, &preamble, &challenge));
        for bit in 0..8 * PREAMBLE_LEN {
            let flipped = |mut bytes: [u8; PREAMBLE_LEN]| {
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            };
            assert!(!is_proved(&KEY, Role::Client, &flipped(preamble), &challenge), "{bit}");
            assert!(!is_proved(&KEY, Role::Client, &preamble, &flipped(challenge)), "{bit}");
        }
    }

    #[test]
    fn r_3_14_a_nonce_is_another_for_other_randomness_and_for_another_preamble() {
        let nonce = KEY.nonce(&[1; 56], &[2; PREAMBLE_LEN]);
        for other in [
            KEY.nonce(&[3; 56], &[2; PREAMBLE_LEN]),
            KEY.nonce(&[1; 56], &[3; PREAMBLE_LEN]),
            Key::new([8; KEY_LEN]).nonce(&[1; 56], &[2; PREAMBLE_LEN]),
        ] {
            assert_ne!(nonce, other);
        }
    }

    #[test]
    fn a_challenge_is_no_answer_and_an_answer_no_challenge() {
        let preamble = Dialer::new(SessionId([1; 16])).next_preamble(0, [0; 16]);
        let challenge = Challenge { version: 1, nonce: [1; 16], boot_id: [2; 16], machine_id: [3; 16] };
        let bytes = challenge.encode();
        assert_eq!(Challenge::parse(&bytes, &preamble), Some(challenge));
        assert!(Answer::parse(&bytes).is_err());
        for status in Status::ALL {
            assert_eq!(Challenge::parse(&Answer::new(&preamble, status).encode(), &preamble), None);
        }
        for (place, value) in [(0, 0), (8, 2), (8, 0), (9, 1), (13, 1), (14, 1), (15, 1)] {
            let mut wrong = bytes;
            wrong[place] = value;
            assert_eq!(Challenge::parse(&wrong, &preamble), None, "{place}");
        }
    }
}
