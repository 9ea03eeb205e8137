//! Firecracker's command line: `--id`, and the socket of its guest's ports, which its configuration names or which is told by
//! its API, and is then the one that it listens on beside that of the API.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::Value;

use super::process::Process;
use super::{Seen, mux, sockets};

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

/// The path of the socket in a configuration. The file is the process's choice: a device or a FIFO there is not waited for.
fn uds_path(file: &Path) -> Option<String> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(CONFIGURATION_MAX).read_to_end(&mut text).ok()?;
    let configuration: Value = serde_json::from_slice(&text).ok()?;
    configuration["vsock"]["uds_path"].as_str().map(str::to_owned)
}
