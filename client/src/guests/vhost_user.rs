//! The command line of vhost-device-vsock: which socket of a QEMU leads to which socket of a guest's ports.

use std::path::{Path, PathBuf};

use super::keyed::Keyed;
use super::mux;
use super::process::Process;
use crate::target::Address;

/// One guest that such a process serves.
#[derive(Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where the monitor connects to.
    socket: PathBuf,
    /// Where the guest's ports are served.
    ports: PathBuf,
}

/// The guests that a process serves: none where it is another program.
pub fn serves(process: &Process) -> Vec<Backend> {
    if !process.program.starts_with(b"vhost-device-vsock") {
        return Vec::new();
    }
    let backend = |socket: &[u8], ports: &[u8]| {
        Some(Backend { socket: process.path(socket)?, ports: process.path(ports)? })
    };
    let mut backends: Vec<Backend> = process
        .values(b"vm")
        .map(|vm| Keyed::parse(vm, ""))
        .filter_map(|vm| backend(vm.value("socket")?, vm.value("uds-path")?))
        .collect();
    // As it was written before one process served several.
    if let (Some(socket), Some(ports)) =
        (process.values(b"socket").next(), process.values(b"uds-path").next())
    {
        backends.extend(backend(socket, ports));
    }
    backends
}

/// How the guest is reached whose monitor connects to this socket.
pub fn behind(backends: &[Backend], socket: &Path) -> Option<Address> {
    backends.iter().find(|backend| backend.socket == socket).and_then(|backend| mux(backend.ports.clone()))
}
