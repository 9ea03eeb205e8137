//! The path of a socket or a port: whether it is there, what it is, whether this user may use it, and who uses it.
//!
//! Who listens on a socket, and who is connected to it, is in /proc/net/unix; who has a line open, in the descriptors of those
//! processes that we may look at.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use rustix::io::Errno;

use super::Finding;
use super::device::Rights;
use crate::text::{escape, reason};

/// What is wanted at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The socket of a guest's ports.
    Mux,
    /// The socket of an agent.
    Unix,
    /// The socket of a virtio-serial port, or a line.
    Serial,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Unix socket.
    Socket,
    /// A character device.
    Line,
    /// Something else: what it is called.
    Other(&'static str),
}

/// What is seen of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path.
    pub path: PathBuf,
    /// What is there; or why nothing is, and how far the path leads.
    pub there: Result<(Kind, Rights), (Errno, PathBuf)>,
}

/// Who uses a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Somebody listens on it.
    pub listens: bool,
    /// How many connections to it there are.
    pub connected: usize,
}

impl Place {
    /// What is at this path.
    pub fn seen(path: &Path) -> Self {
        let kind = |path: &Path| {
            let kind = fs::metadata(path)?.file_type();
            Ok(match kind {
                kind if kind.is_socket() => Kind::Socket,
                kind if kind.is_char_device() => Kind::Line,
                kind if kind.is_dir() => Kind::Other("a directory"),
                kind if kind.is_file() => Kind::Other("a file"),
                kind if kind.is_fifo() => Kind::Other("a FIFO"),
                _ => Kind::Other("a block device"),
            })
        };
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let there = kind(path).map_err(errno).and_then(|kind| Ok((kind, Rights::seen(path)?)));
        Self { path: path.to_owned(), there: there.map_err(|errno| (errno, way(path))) }
    }
}

/// The longest beginning of a path that leads somewhere.
fn way(path: &Path) -> PathBuf {
    let is_there = |path: &&Path| path.as_os_str().is_empty() || path.symlink_metadata().is_ok();
    match path.ancestors().skip(1).find(is_there) {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => PathBuf::from("/"),
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes()).into_owned()
}

/// Whether what is wanted is there, and open to this user.
pub fn judge(place: &Place, wanted: Wanted) -> Finding {
    let check = if wanted == Wanted::Serial { "port" } else { "socket" };
    let (kind, rights) = match &place.there {
        Ok(there) => there,
        Err((errno, way)) => return judge_absent(check, place, wanted, *errno, way),
    };
    let path = shown(&place.path);
    match (kind, wanted) {
        (Kind::Socket, _) | (Kind::Line, Wanted::Serial) => {}
        (Kind::Line, _) => {
            return Finding::failed(
                check,
                format!("{path} is a character device"),
                format!("write serial:{path}"),
            );
        }
        (Kind::Other(what), _) => {
            let advice = match wanted {
                Wanted::Mux => "name the socket that the monitor made for vsock (uds_path, --vsock socket=)",
                Wanted::Unix => "name the socket that the agent listens on, as its --listen unix:PATH does",
                Wanted::Serial => {
                    "name the socket of the virtual machine's chardev, or a line such as /dev/ttyS0"
                }
            };
            return Finding::failed(check, format!("{path} is {what}"), advice);
        }
    }
    if rights.is_open {
        Finding::fine(check, format!("{path} is there, and open to this user"))
    } else {
        Finding::failed(
            check,
            format!("{path} is not open to this user ({})", rights.shown()),
            rights.advice(),
        )
    }
}

fn judge_absent(check: &'static str, place: &Place, wanted: Wanted, errno: Errno, way: &Path) -> Finding {
    let (path, way) = (shown(&place.path), shown(way));
    match errno {
        Errno::NOENT => {
            let advice = match wanted {
                Wanted::Mux => "start the virtual machine, whose monitor makes it; or is another path meant?",
                Wanted::Unix => "start the agent with --listen unix:PATH; or is another path meant?",
                Wanted::Serial => "start the virtual machine with such a port; or is another path meant?",
            };
            Finding::failed(check, format!("{path} is not there; {way} is"), advice)
        }
        Errno::ACCESS => Finding::failed(
            check,
            format!("{path} cannot be looked at: this user may not enter a directory on the way"),
            "be the user whose directory it is, with sudo",
        ),
        errno => {
            let why = reason(&errno.into());
            Finding::failed(check, format!("{path} cannot be looked at: {why}"), "is the path right?")
        }
    }
}

impl Sockets {
    /// Those of a path in the table of Unix sockets that is in this file.
    pub fn seen(table: &Path, path: &Path) -> Self {
        let table = fs::read(table).unwrap_or_default();
        Self::in_table(&table, path)
    }

    /// A row has eight fields: number, references, protocol, flags, type, state, inode and path.
    fn in_table(table: &[u8], path: &Path) -> Self {
        const LISTENS: &[u8] = b"00010000";
        const CONNECTED: &[u8] = b"03";
        let mut sockets = Self::default();
        for row in table.split(|&byte| byte == b'\n') {
            let Some(rest) = row.strip_suffix(path.as_os_str().as_bytes()) else { continue };
            let fields: Vec<&[u8]> =
                rest.split(|&byte| byte == b' ').filter(|field| !field.is_empty()).collect();
            match fields.as_slice() {
                [_, _, _, flags, ..] if *flags == LISTENS && fields.len() == 7 => sockets.listens = true,
                [_, _, _, _, _, state, _] if *state == CONNECTED => sockets.connected += 1,
                _ => {}
            }
        }
        sockets
    }
}

/// Whether a port for one is free.
pub fn judge_free(users: &[String], sockets: Sockets) -> Finding {
    const CHECK: &str = "use";
    const ADVICE: &str = "a port serves one at a time: end what uses it";
    if !users.is_empty() {
        return Finding::failed(CHECK, format!("it is open in {}", users.join(", ")), ADVICE);
    }
    if sockets.connected > 0 {
        return Finding::failed(CHECK, "somebody is connected to it", ADVICE);
    }
    Finding::fine(CHECK, "nobody is seen to use it")
}

/// Whether a process is what stands behind a pseudoterminal: it has the other end, and may keep this one open too. The kernel
/// tells the number of an other end where it shows descriptors.
fn is_behind(process: &Path, device: u64) -> bool {
    const PSEUDOTERMINALS: u32 = 136;
    let Ok(descriptors) = fs::read_dir(process.join("fdinfo")) else { return false };
    let is_other_end = |text: String| {
        let number = text.lines().find_map(|line| line.strip_prefix("tty-index:")?.trim().parse().ok());
        number == Some(minor(device))
    };
    major(device) == PSEUDOTERMINALS
        && descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(is_other_end)
}

/// The processes that have a device open, as far as they are for us to see, below `proc`.
pub fn users(proc: &Path, device: &Path) -> Vec<String> {
    let Some(wanted) = fs::metadata(device).ok().filter(|there| there.file_type().is_char_device()) else {
        return Vec::new();
    };
    let Ok(folder) = fs::read_dir(proc) else { return Vec::new() };
    let has_it = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fd")).ok()?;
        let mut open = descriptors.flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
        let has_it = open.any(|open| open.rdev() == wanted.rdev() && open.file_type().is_char_device());
        (has_it && !is_behind(process, wanted.rdev())).then_some(())
    };
    let about = |name: &OsStr| {
        let pid: u32 = name.to_str()?.parse().ok()?;
        let folder = proc.join(name);
        has_it(&folder)?;
        let program = fs::read(folder.join("comm")).unwrap_or_default();
        Some(format!("{} ({pid})", escape(program.trim_ascii_end())))
    };
    folder.flatten().filter_map(|entry| about(&entry.file_name())).collect()
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
