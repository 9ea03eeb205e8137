//! The key of an agent that has one: from the file that `--key` names; for process 1 also from the hypervisor, as systemd's
//! credentials come, or from the image. It is read once, when the agent starts.

use core::ffi::CStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use vsock_shell_proto::proof::Key;

use crate::args::Options;
use crate::line::{Part, text};
use crate::log;
use crate::sys::storage::Storage;

/// Bytes of a source that are read. The tables of a machine that was given some credentials have a few thousand.
const SOURCE_MAX: usize = 32 * 1024;

/// Where the key stands by itself.
const FW_CFG: &CStr = c"/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/vsock-shell.key/raw";
const IMAGE: &CStr = c"/etc/vsock-shell.key";
/// Where it stands among others, behind this.
const TABLES: &CStr = c"/sys/firmware/dmi/tables/DMI";
const CREDENTIAL: &[u8] = b"io.systemd.credential:vsock-shell.key=";

static KEY: Storage<Key> = Storage::new(Key::new([0; 32]));
static SOURCE: Storage<[u8; SOURCE_MAX]> = Storage::new([0; SOURCE_MAX]);

/// There is one, and it cannot be had.
#[derive(Debug)]
pub struct Unusable;

/// The key, where there is one. This process is not dumped from then on, nor are those that it forks.
///
/// # Errors
/// It was told to the log. Nobody is to be served then: it was meant to be protected.
pub fn load(options: &Options<'_>) -> Result<Option<&'static mut Key>, Unusable> {
    let sources: &[&CStr] = match &options.key {
        Some(path) => &[*path],
        None if options.lenient => &[FW_CFG, TABLES, IMAGE],
        None => return Ok(None),
    };
    let Some(mut source) = SOURCE.lease() else { return Err(Unusable) };
    for &path in sources {
        let content = match read(path, &mut source[..]) {
            Ok(length) => source.get(..length).unwrap_or_default(),
            Err(_) if options.key.is_none() => continue,
            Err(errno) => {
                log::failure(c"read the key", path.to_bytes(), errno);
                return Err(Unusable);
            }
        };
        let content = if path == TABLES { behind(content) } else { Some(content) };
        let Some(key) = content.map(Key::parse) else { continue };
        source.fill(0);
        let (Some(key), Some(place)) = (key, KEY.take()) else {
            log::error(&[
                Part::Bytes(path.to_bytes()),
                text(c": a key has 64 hexadecimal digits, as keygen writes them"),
            ]);
            return Err(Unusable);
        };
        *place = key;
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        return Ok(Some(place));
    }
    Ok(None)
}

/// Puts zeros into the place of the key in a copy of the tables.
pub fn blank(tables: &mut [u8]) {
    let at = position(tables).unwrap_or(tables.len());
    tables.iter_mut().skip(at).take_while(|byte| **byte != 0).for_each(|byte| *byte = 0);
}

fn read(path: &CStr, place: &mut [u8]) -> Result<usize, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut length = 0;
    loop {
        match rustix::io::read(&file, place.get_mut(length..).unwrap_or_default()) {
            Ok(0) => return Ok(length),
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Where the credential stands, behind its name.
fn position(tables: &[u8]) -> Option<usize> {
    let at = tables.windows(CREDENTIAL.len()).position(|window| window == CREDENTIAL)?;
    Some(at + CREDENTIAL.len())
}

/// The credential, up to its NUL.
fn behind(tables: &[u8]) -> Option<&[u8]> {
    let text = tables.get(position(tables)?..)?;
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    text.get(..end)
}

#[cfg(test)]
mod tests {
    use super::{behind, blank};

    #[test]
    fn the_credential_among_the_tables_ends_at_its_nul_and_can_be_blanked() {
        let mut tables =
            b"\x0b\x05QEMU\0io.systemd.credential:vsock-shell.key=abc\0vsock-shell.key=x\0".to_vec();
        assert_eq!(behind(&tables), Some(&b"abc"[..]));
        let before = tables.clone();
        blank(&mut tables);
        assert_eq!(tables.len(), before.len());
        assert_eq!(behind(&tables), Some(&b""[..]));
        assert!(!tables.windows(3).any(|window| window == b"abc"));
        assert!(tables.ends_with(b"\0vsock-shell.key=x\0"));
        let mut others = b"no such thing".to_vec();
        blank(&mut others);
        assert_eq!((behind(&others), &others[..]), (None, &b"no such thing"[..]));
        assert_eq!(behind(b"io.systemd.credential:vsock-shell.key="), Some(&b""[..]));
    }
}
