//! Owns the key that a client may have: its file, and what it is to a guest (`docs/PROTOCOL.md`, R-3.13).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::DumpableBehavior;
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::preamble::Preamble;
use vsock_shell_proto::proof::{Challenge, KEY_LEN, Key, PROOF_LEN, Role, Said};
use zeroize::Zeroizing;

use crate::error::Error;

/// Bytes of a key's file that are read: more than any key has.
const FILE_MAX: u64 = 4096;

/// What is shown to an agent, and asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The file with the key.
    pub key: PathBuf,
    /// The guest has to have this boot id.
    pub boot_id: Option<[u8; 16]>,
    /// The guest has to have this machine id.
    pub machine_id: Option<[u8; 16]>,
}

/// The same, ready to be used.
pub(crate) struct Prover {
    key: Key,
    boot_id: Option<[u8; 16]>,
    machine_id: Option<[u8; 16]>,
}

impl Prover {
    /// This process is not dumped from then on.
    ///
    /// # Errors
    /// The key cannot be read, or could be by others.
    pub(crate) fn load(credentials: &Credentials) -> Result<Self, Error> {
        let Credentials { key, boot_id, machine_id } = credentials;
        _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        Ok(Self { key: read_key(key)?, boot_id: *boot_id, machine_id: *machine_id })
    }

    /// What is shown for a challenge.
    ///
    /// # Errors
    /// It is not the guest that is wanted.
    pub(crate) fn answer(
        &self,
        preamble: &[u8; PREAMBLE_LEN],
        bytes: &[u8; PREAMBLE_LEN],
    ) -> Result<Option<[u8; PROOF_LEN]>, Error> {
        let Some(challenge) =
            Preamble::parse(preamble).ok().and_then(|preamble| Challenge::parse(bytes, &preamble))
        else {
            return Ok(None);
        };
        for (what, expected, found) in [
            ("boot id", self.boot_id, challenge.boot_id),
            ("machine id", self.machine_id, challenge.machine_id),
        ] {
            if expected.is_some_and(|expected| expected != found) {
                return Err(Error::AnotherGuest { what, found });
            }
        }
        Ok(Some(self.key.prove(Role::Client, &Said { preamble, challenge: bytes })))
    }

    /// The agent has the key too.
    pub(crate) fn is_proved(&self, said: &Said<'_>, proof: &[u8; PROOF_LEN]) -> bool {
        self.key.is_proved(Role::Agent, said, proof)
    }
}

fn read_key(path: &Path) -> Result<Key, Error> {
    let failed = || Error::local("read the key in", path);
    let file = File::open(path).map_err(failed())?;
    let there = file.metadata().map_err(failed())?;
    if there.is_file() && there.mode() & 0o077 != 0 {
        return Err(Error::OpenKey(path.to_owned()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_MAX as usize));
    file.take(FILE_MAX).read_to_end(&mut text).map_err(failed())?;
    Key::parse(&text).ok_or_else(|| Error::NoKeyIn(path.to_owned()))
}

/// Draws a key and writes it into a new file, for its owner to read.
///
/// # Errors
/// It cannot be written, or a file is there.
pub fn generate(path: &Path) -> Result<(), Error> {
    let text = draw()?;
    let failed = || Error::local("write the key to", path);
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
    let mut file = options.open(path).map_err(failed())?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed())
}

/// Draws a key and writes it to standard output.
///
/// # Errors
/// As for [`generate`].
pub fn print() -> Result<(), Error> {
    io::stdout().write_all(&draw()?).map_err(Error::local("write to", "standard output"))
}

/// A new key as text, on a line.
fn draw() -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::local("draw", "random bytes")(errno.into()))?;
    let mut text = Zeroizing::new(Key::new(*bytes).to_digits().to_vec());
    text.push(b'\n');
    Ok(text)
}

/// Reads an id as `/etc/machine-id` and `/proc/sys/kernel/random/boot_id` have it: 32 hexadecimal digits, with or without
/// hyphens.
#[must_use]
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&digit| digit != '-').collect();
    let is_hexadecimal = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(&digits, 16).ok().filter(|_| is_hexadecimal)?;
    Some(id.to_be_bytes())
}

/// The same as text, as the guest has it.
pub(crate) fn id_text(what: &str, id: [u8; 16]) -> String {
    let text = format!("{:032x}", u128::from_be_bytes(id));
    if what == "boot id" {
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_the_guest_writes_them() {
        let id = parse_id("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!(Some(id), parse_id("00112233445566778899AABBCCDDEEFF"));
        assert_eq!(id_text("boot id", id), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(id_text("machine id", id), "00112233445566778899aabbccddeeff");
        for wrong in ["", "x", "00112233445566778899aabbccddeef", "+0112233445566778899aabbccddeeff"] {
            assert_eq!(parse_id(wrong), None);
        }
    }
}
