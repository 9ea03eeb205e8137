//! Cloud Hypervisor's command line: `--vsock cid=…,socket=…`. It has no name for its guest.

use super::keyed::Keyed;
use super::process::Process;
use super::{Seen, mux};

/// What a Cloud Hypervisor shows of its guest.
pub fn seen(process: &Process) -> Option<Seen> {
    let mut devices = process.values(b"vsock").map(|device| Keyed::parse(device, ""));
    let address = devices.find_map(|device| mux(process.path(device.value("socket")?)?))?;
    Some(Seen { name: None, address })
}
