//! Owns the search for guests that run on this host: the processes of QEMU, Firecracker and Cloud Hypervisor, what each calls
//! its guest, and the context id or the socket by which that is reached.
//!
//! `guests/process.rs` reads what a process shows of itself, `guests/sockets.rs` the sockets that it listens on; each monitor has
//! a file that knows its command line. Nothing is opened but files of /proc and Firecracker's configuration, and nobody is asked.
//!
//! A command line is what its user has written: it is bounded, names are made of plain letters, and only whom we trust comes
//! first. For a user that are his own processes, root's and those of system accounts (libvirt has one); those of other people
//! are not looked at. Root sees everybody's, and those of people last, so that nobody takes a name away from another guest.

mod cloud_hypervisor;
mod firecracker;
mod keyed;
mod process;
mod qemu;
mod sockets;
mod vhost_user;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::name;
use crate::target::{Address, DEFAULT_PORT, UNIX_PATH_MAX};
use vhost_user::Backend;

/// Where the kernel shows processes.
pub const PROC: &str = "/proc";

/// What runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// QEMU.
    Qemu,
    /// Firecracker.
    Firecracker,
    /// Cloud Hypervisor.
    CloudHypervisor,
}

/// A guest that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// What it is called here: no two have the same.
    pub name: String,
    /// What runs it.
    pub monitor: Monitor,
    /// The process.
    pub pid: u32,
    /// How its agent would be reached, on the default port.
    pub address: Address,
}

/// What a process shows of its guest.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// What its command line calls the guest.
    name: Option<Vec<u8>>,
    address: Address,
}

impl Monitor {
    /// The word for it, for tables, programs and names.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }

    /// The monitor whose program has this name.
    fn of(program: &[u8]) -> Option<Self> {
        // Wrapped programs of some systems are hidden files.
        let program = program.strip_prefix(b".").unwrap_or(program);
        let is_qemu = [b"qemu-system-".as_slice(), b"qemu-kvm"].iter().any(|name| program.starts_with(name));
        if is_qemu || program == b"kvm" {
            Some(Self::Qemu)
        } else if program.starts_with(b"firecracker") {
            Some(Self::Firecracker)
        } else if program.starts_with(b"cloud-hypervisor") {
            Some(Self::CloudHypervisor)
        } else {
            None
        }
    }
}

impl Guest {
    /// The guest for programs.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "monitor": self.monitor.word(), "pid": self.pid, "address": self.address.to_string()})
    }
}

/// The guests whose processes are shown below `proc` to the user with this id, in the order of trust and of process ids. Names
/// that are `verbs` are given to none.
#[must_use]
pub fn find(proc: &Path, user: u32, verbs: &[&str]) -> Vec<Guest> {
    let mut processes = process::all(proc, user);
    processes.sort_by_key(|process| (process.trust, process.pid));
    let backends: Vec<Backend> = processes.iter().flat_map(vhost_user::serves).collect();
    let mut names = HashSet::new();
    let mut guests = Vec::new();
    for process in &processes {
        let Some(monitor) = Monitor::of(&process.program) else { continue };
        let seen = match monitor {
            Monitor::Qemu => qemu::seen(process, &backends),
            Monitor::Firecracker => firecracker::seen(process),
            Monitor::CloudHypervisor => cloud_hypervisor::seen(process),
        };
        let Some(Seen { name, address }) = seen else { continue };
        let pid = process.pid;
        let own = name.and_then(|name| name::from_foreign(&name, verbs));
        let name = match own {
            Some(name) if !names.contains(&name) => name,
            Some(name) => format!("{name}-{pid}"),
            None => format!("{}-{pid}", monitor.word()),
        };
        if names.insert(name.clone()) {
            guests.push(Guest { name, monitor, pid, address });
        }
    }
    guests
}

/// A context id that a guest can have, on the default port.
fn vsock(text: &str) -> Option<Address> {
    let cid = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    // Those below are the hypervisor's, the machine's own and the host's.
    (cid > 2 && cid < u32::MAX).then_some(Address::Vsock { cid, port: DEFAULT_PORT })
}

/// A socket of a guest's ports, where its path can be one.
fn mux(path: PathBuf) -> Option<Address> {
    let is_short = path.as_os_str().len() <= UNIX_PATH_MAX;
    is_short.then_some(Address::Mux { path, port: DEFAULT_PORT })
}

#[cfg(test)]
#[path = "guests_tests.rs"]
mod tests;
