//! The gate: where the agent has a key, who dials proves first that he has it too (`PROTOCOL.md` §3), and nothing else that he
//! sends is looked at before.
//!
//! Each connection is at the gate in a process of its own, which holds nothing but that connection and can do nothing but
//! read, write and end, `seccomp(2)`. What came of it is its exit status; the listener keeps the connection meanwhile, and the
//! time.

use core::ffi::CStr;

use rustix::event::poll;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSlice};
use rustix::process::{Signal, set_parent_process_death_signal};
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::{Answer, Preamble, Status};
use vsock_shell_proto::proof::{Challenge, Key, PROOF_LEN, Role, Said};

use crate::clock::{now_ms, now_us, until};
use crate::half_open::{DEADLINE_MS, DELAY_MS};
use crate::root;
use crate::session::transport::Transport;
use crate::sys::clock;
use crate::sys::process::{close_all_but, confine, end};
use crate::sys::random;

/// The connection may go on.
pub const PROVED: i32 = 0;
/// What was shown is no proof of our key.
pub const WRONG: i32 = 1;
/// It is over.
const OVER: i32 = 2;
/// How long before the kernel is asked for randomness again.
const ENTROPY_PAUSE_MS: u64 = 20;
/// Bytes of `boot_id` and `machine-id` as text.
const ID_TEXT_MAX: usize = 64;

/// Why there is no challenge.
pub enum Refused {
    /// These bytes are no preamble: there is no answer.
    NotAPreamble,
    /// The answer is this.
    With(Status),
}

/// Whether a connection fits what the agent has: a key, or none.
pub fn screen(preamble: &[u8; PREAMBLE_LEN], has_key: bool) -> Result<(), Status> {
    match (Preamble::wants_proof(preamble), has_key) {
        (true, false) => Err(Status::NoKey),
        (false, true) => Err(Status::KeyWanted),
        _ => Ok(()),
    }
}

/// What is said to who begins with this preamble. Waits until there is randomness at all, to the deadline.
///
/// # Errors
/// Why nothing is.
pub fn challenge(
    key: &Key,
    bytes: &[u8; PREAMBLE_LEN],
    deadline_ms: u64,
) -> Result<[u8; PREAMBLE_LEN], Refused> {
    let preamble = Preamble::parse(bytes).map_err(|_| Refused::NotAPreamble)?;
    let version = preamble.version().ok_or(Refused::With(Status::Version))?;
    let mut fresh = [0; 56];
    let (random, rest) = fresh.split_at_mut(32);
    while let Err(errno) = random::fill(random) {
        let now = now_ms();
        if errno != Errno::AGAIN || now >= deadline_ms {
            return Err(Refused::With(Status::NoResources));
        }
        let _ = poll(&mut [], Some(&until((now + ENTROPY_PAUSE_MS).min(deadline_ms))));
    }
    let [seconds, nanoseconds] = clock::time();
    for (place, number) in rest.chunks_exact_mut(8).zip([now_us(), seconds, nanoseconds]) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    let challenge = Challenge {
        version,
        nonce: key.nonce(&fresh, bytes),
        boot_id: id_in(c"/proc/sys/kernel/random/boot_id"),
        machine_id: id_in(c"/etc/machine-id"),
    };
    Ok(challenge.encode())
}

/// Our own proof, for who has shown his.
pub fn judge(key: &Key, said: &Said<'_>, proof: &[u8; PROOF_LEN]) -> Option<[u8; PROOF_LEN]> {
    key.is_proved(Role::Client, said, proof).then(|| key.prove(Role::Agent, said))
}

/// What a process does for a connection at the gate.
pub fn keep(key: &Key, stream: OwnedFd, preamble: &[u8; PREAMBLE_LEN]) -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    root::follow();
    close_all_but(stream.as_fd());
    // The listener ends who takes longer.
    let challenge = match challenge(key, preamble, now_ms().saturating_add(DEADLINE_MS)) {
        Ok(challenge) => challenge,
        Err(refused) => {
            if let Refused::With(status) = refused {
                refuse(&stream, preamble, status);
            }
            end(OVER)
        }
    };
    // What is read is waited for. The listener does not touch the connection before we have ended.
    let _ = rustix::fs::fcntl_setfl(&stream, OFlags::empty());
    if write(&stream, &challenge).is_err() {
        end(OVER)
    }
    confine();
    let mut proof = [0; PROOF_LEN];
    let mut have = 0;
    while let Some(room) = proof.get_mut(have..).filter(|room| !room.is_empty()) {
        match rustix::io::read(&stream, room) {
            Ok(count @ 1..) => have += count,
            _ => end(OVER),
        }
    }
    let said = Said { preamble, challenge: &challenge };
    match judge(key, &said, &proof) {
        Some(own) if write(&stream, &own).is_ok() => end(PROVED),
        Some(_) => end(OVER),
        None => end(WRONG),
    }
}

/// The same in the process of a session, which has been given its connection; whether it may go on.
#[inline(never)]
pub fn keep_here(
    transport: &mut Transport,
    key: Option<&Key>,
    preamble: &[u8; PREAMBLE_LEN],
    deadline_ms: u64,
) -> bool {
    let refused = match (screen(preamble, key.is_some()), key) {
        (Ok(()), None) => return true,
        (Ok(()), Some(key)) => match pass(transport, key, preamble, deadline_ms) {
            Ok(may_go_on) => return may_go_on,
            Err(refused) => refused,
        },
        (Err(status), _) => Refused::With(status),
    };
    let deadline_ms = now_ms().saturating_add(DELAY_MS);
    if let (Refused::With(status), Ok(preamble)) = (refused, Preamble::parse(preamble)) {
        if status == Status::WrongKey {
            let _ = poll(&mut [], Some(&until(deadline_ms)));
            transport.send(&[0; PROOF_LEN], deadline_ms + DELAY_MS);
        }
        transport.send(&Answer::new(&preamble, status).encode(), deadline_ms + DELAY_MS);
    }
    false
}

fn pass(
    transport: &mut Transport,
    key: &Key,
    preamble: &[u8; PREAMBLE_LEN],
    deadline_ms: u64,
) -> Result<bool, Refused> {
    root::follow();
    let challenge = challenge(key, preamble, deadline_ms)?;
    let mut proof = [0; PROOF_LEN];
    if !transport.send(&challenge, deadline_ms) || !transport.receive(&mut proof, deadline_ms) {
        return Ok(false);
    }
    let own = judge(key, &Said { preamble, challenge: &challenge }, &proof);
    let own = own.ok_or(Refused::With(Status::WrongKey))?;
    Ok(transport.send(&own, deadline_ms))
}

fn write(stream: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::write(stream, bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Tells a client why it gets no session. What is no preamble gets no answer (`R-3.9`).
pub fn refuse(stream: &OwnedFd, preamble: &[u8; PREAMBLE_LEN], status: Status) {
    let Ok(preamble) = Preamble::parse(preamble) else { return };
    let answer = Answer::new(&preamble, status).encode();
    // Who has shown a wrong key waits for a proof of ours.
    let none = [0; PROOF_LEN];
    let proof: &[u8] = if status == Status::WrongKey { &none } else { &[] };
    // A new connection has room for that, or nobody who reads it.
    let _ = rustix::io::writev(stream, &[IoSlice::new(proof), IoSlice::new(&answer)]);
}

/// 128 bits that stand in a file as hexadecimal digits; zeros where they do not.
fn id_in(path: &CStr) -> [u8; 16] {
    let mut text = [0; ID_TEXT_MAX];
    let length = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut text[..]))
        .unwrap_or(0);
    id(text.get(..length).unwrap_or_default())
}

fn id(text: &[u8]) -> [u8; 16] {
    let (mut id, mut digits) = (0_u128, 0);
    for digit in text.trim_ascii_end().iter().filter(|&&byte| byte != b'-') {
        let Some(digit) = char::from(*digit).to_digit(16).filter(|_| digits < 32) else { return [0; 16] };
        id = id << 4 | u128::from(digit);
        digits += 1;
    }
    if digits == 32 { id.to_be_bytes() } else { [0; 16] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_32_digits_with_or_without_hyphens() {
        let expected = core::array::from_fn(|at| (at * 17) as u8);
        assert_eq!(id(b"00112233-4455-6677-8899-aabbccddeeff\n"), expected);
        assert_eq!(id(b"00112233445566778899AABBCCDDEEFF"), expected);
        for wrong in [
            &b""[..],
            b"uninitialized\n",
            b"00112233445566778899aabbccddeef",
            b"00112233445566778899aabbccddeeff0",
        ] {
            assert_eq!(id(wrong), [0; 16]);
        }
    }

    #[test]
    fn r_3_13_who_has_no_key_and_who_has_one_for_nobody_are_told() {
        let mut bytes = [0; PREAMBLE_LEN];
        assert_eq!((screen(&bytes, false), screen(&bytes, true)), (Ok(()), Err(Status::KeyWanted)));
        bytes[13] = 2;
        assert_eq!((screen(&bytes, true), screen(&bytes, false)), (Ok(()), Err(Status::NoKey)));
    }
}
