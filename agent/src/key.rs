//! The key of an agent that has one: from the file that `--key` names; for process 1 also from the hypervisor, as systemd's
//! credentials come, or from the image. It is read once, when the agent starts.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use rustix::fs::{FileType, Mode, OFlags};
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

/// The same as systemd has it for what is in base64, which we do not read.
const BINARY: &[u8] = b"io.systemd.credential.binary:vsock-shell.key=";

static KEY: Storage<Key> = Storage::new(Key::new([0; 32]));
static SOURCE: Storage<[u8; SOURCE_MAX]> = Storage::new([0; SOURCE_MAX]);
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
const NONE: u8 = 1;
const HELD: u8 = 2;
const UNUSABLE: u8 = 3;

/// There is one, and it cannot be had.
#[derive(Debug)]
pub struct Unusable;

/// The key, where there is one.
///
/// # Errors
/// It was told to the log. Nobody is to be served then: it was meant to be protected.
pub fn take(options: &Options<'_>) -> Result<Option<&'static mut Key>, Unusable> {
    load(options);
    match STATE.load(Relaxed) {
        NONE => Ok(None),
        HELD => KEY.take().map(Some).ok_or(Unusable),
        _ => Err(Unusable),
    }
}

/// Looks for the key, once: process 1 for all the agents that it starts, because the next one may have another root. This process
/// is not dumped from then on where there is one, nor are those that it forks.
#[inline(never)]
pub fn load(options: &Options<'_>) {
    if STATE.load(Relaxed) != UNKNOWN {
        return;
    }
    let state = match find(options) {
        Ok(false) => NONE,
        Ok(true) => HELD,
        Err(Unusable) => UNUSABLE,
    };
    STATE.store(state, Relaxed);
}

/// Whether there is a key, which is then in its place.
fn find(options: &Options<'_>) -> Result<bool, Unusable> {
    let sources: &[&CStr] = match &options.key {
        Some(path) => &[*path],
        None if options.lenient => &[FW_CFG, TABLES, IMAGE],
        None => return Ok(false),
    };
    let (Some(mut source), Some(mut place)) = (SOURCE.lease(), KEY.lease()) else { return Err(Unusable) };
    for &path in sources {
        let content = match read(path, &mut source[..]) {
            Ok(length) => source.get(..length).unwrap_or_default(),
            Err(Errno::NOENT | Errno::NOTDIR) if options.key.is_none() => continue,
            Err(errno) => {
                log::failure(c"read the key", path.to_bytes(), errno);
                return Err(Unusable);
            }
        };
        let is_binary = content.windows(BINARY.len()).any(|window| window == BINARY);
        let content = if path == TABLES { behind(content) } else { Some(content) };
        let Some(key) = content.map(Key::parse).or(is_binary.then_some(None)) else { continue };
        source.fill(0);
        let Some(key) = key else {
            log::error(&[
                Part::Bytes(path.to_bytes()),
                text(c": a key has 64 hexadecimal digits, as keygen writes them"),
            ]);
            return Err(Unusable);
        };
        *place = key;
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        return Ok(true);
    }
    Ok(false)
}

/// Puts zeros into the place of the key in a copy of the tables.
pub fn blank(tables: &mut [u8]) {
    let at = position(tables).unwrap_or(tables.len());
    tables.iter_mut().skip(at).take_while(|byte| **byte != 0).for_each(|byte| *byte = 0);
}

fn read(path: &CStr, place: &mut [u8]) -> Result<usize, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o077 != 0 {
        log::error(&[text(c"others can read the key; chmod 600 makes it yours")]);
        return Err(Errno::PERM);
    }
    let mut length = 0;
    loop {
        match rustix::io::read(&file, place.get_mut(length..).unwrap_or_default()) {
            // What did not fit may have been the key.
            Ok(0) if length == place.len() => return Err(Errno::FBIG),
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
