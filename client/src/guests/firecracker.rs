//! Firecracker's command line: `--id`, and the socket of its guest's ports, which its configuration names or which is told by
//! its API, and is then the one that it listens on beside that of the API.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use serde_json::Value;

use super::process::Process;
use super::{Seen, mux, sockets};
use crate::stdio::reopen;

/// Where its API is where it was not told.
const API: &[u8] = b"/run/firecracker.socket";

/// Bytes of a configuration that are read: a real one has some hundreds.
const CONFIGURATION_MAX: u64 = 1 << 20;

/// What a Firecracker shows of its guest.
pub fn seen(process: &Process) -> Option<Seen> {
    let value = |name| process.values(name).next_back();
    let from_file = || {
        let file = process.path(value(b"config-file")?)?;
        process.path(uds_path(&file)?.as_bytes())
    };
    let from_sockets = || {
        let api = value(b"api-sock").unwrap_or(API);
        sockets::first(process, |socket| socket.path != api)
    };
    let address = mux(from_file().or_else(from_sockets)?)?;
    Some(Seen { name: value(b"id").map(<[u8]>::to_vec), address })
}

/// The path of the socket in a configuration. The file is the process's choice, and some devices do something when they are
/// opened: it is looked at first, and what was looked at is read.
fn uds_path(file: &Path) -> Option<String> {
    let place = rustix::fs::open(file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let is_file = FileType::from_raw_mode(rustix::fs::fstat(&place).ok()?.st_mode) == FileType::RegularFile;
    let file = is_file.then(|| reopen(place.as_fd(), OFlags::RDONLY))?.ok()?;
    let mut text = Vec::new();
    File::from(file).take(CONFIGURATION_MAX).read_to_end(&mut text).ok()?;
    let configuration: Value = serde_json::from_slice(&text).ok()?;
    configuration["vsock"]["uds_path"].as_str().map(str::to_owned)
}
