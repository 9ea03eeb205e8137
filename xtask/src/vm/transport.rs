//! The host's side of a guest's vsock: what QEMU attaches to, and what the client is told to reach.
//!
//! The kernel's own vhost-vsock gives the guest a context id that the whole machine sees, so it is used only when asked for.
//! `vhost-device-vsock` serves the guest's ports on a Unix socket in a private folder; cargo installs it once, below
//! `target/tools`. Where it cannot be had there is the virtio-serial port, which every guest has.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::hardware::LINE;
use crate::packages;
use crate::scratch::{Scratch, Server};

/// The guest's context id where nobody else sees it.
const PRIVATE_CID: u32 = 3;
const BACKEND: &str = "vhost-device-vsock";
const BACKEND_VERSION: &str = "0.3.0";
const VHOST: &str = "/dev/vhost-vsock";
/// The socket with the guest's ports, and where it is until they are open.
pub(super) const PORTS: &str = "vsock.sock";
const CLOSED: &str = "vsock.closed";

/// The name of the virtio-serial port in the guest.
pub const PORT_NAME: &str = "agent.0";

/// How the host reaches the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// AF_VSOCK, by the kernel's vhost-vsock.
    Vhost,
    /// AF_VSOCK in the guest, a Unix socket here, by vhost-device-vsock.
    VhostUser,
    /// A virtio-serial port in the guest, a Unix socket here.
    Serial,
    /// A UART in the guest, which needs no module, a Unix socket here.
    Line,
}

impl Transport {
    /// The best that this machine has.
    pub fn choose(may_use_vhost: bool) -> Self {
        if may_use_vhost {
            match File::options().read(true).write(true).open(VHOST) {
                Ok(_) => return Self::Vhost,
                Err(error) => eprintln!("without the kernel's vhost: {VHOST}: {error}"),
            }
        }
        match backend() {
            Ok(_) => Self::VhostUser,
            Err(error) => {
                eprintln!("without vsock: {error:#}");
                Self::Serial
            }
        }
    }

    /// It needs a device that keeps a machine from being saved.
    pub(super) fn is_vsock(self) -> bool {
        matches!(self, Self::Vhost | Self::VhostUser)
    }

    /// Starts what has to run before QEMU. Nobody gets to the guest's ports before [`open_ports`]: a vhost-device-vsock (0.3.0)
    /// that is called before the guest's driver is up may stand still for ever, its worker waiting for a lock that nobody holds.
    pub(super) fn start(self, files: &Scratch) -> Result<Option<Server>> {
        if self != Self::VhostUser {
            return Ok(None);
        }
        let (socket, ports) = (files.path("vhost.sock"), files.path(PORTS));
        let guest =
            format!("guest-cid={PRIVATE_CID},socket={},uds-path={}", socket.display(), ports.display());
        let mut command = Command::new(backend()?);
        let mut server =
            Server::start(BACKEND, command.arg("--vm").arg(guest), &files.path(super::machine::BACKEND_LOG))?;
        server.binds(&socket)?;
        server.binds(&ports)?;
        fs::rename(&ports, files.path(CLOSED)).context("closing the guest's ports")?;
        Ok(Some(server))
    }

    /// QEMU's words for the device, in a slot from which it can be unplugged.
    pub(super) fn device(self, files: &Scratch, slot: &str) -> Vec<String> {
        match self {
            Self::Vhost => vec![
                "-device".to_owned(),
                format!("vhost-vsock-pci,id=vsock,guest-cid={},bus={slot}", public_cid()),
            ],
            Self::VhostUser => vec![
                "-chardev".to_owned(),
                format!("socket,id=vsock-backend,path={}", files.path("vhost.sock").display()),
                "-device".to_owned(),
                format!("vhost-user-vsock-pci,id=vsock,chardev=vsock-backend,bus={slot}"),
            ],
            Self::Serial | Self::Line => Vec::new(),
        }
    }

    /// What the client calls the guest.
    pub(super) fn target(self, files: &Scratch) -> String {
        match self {
            Self::Vhost => public_cid().to_string(),
            Self::VhostUser => format!("mux:{}", files.path(PORTS).display()),
            Self::Serial => format!("serial:{}", files.path("port.sock").display()),
            Self::Line => format!("serial:{}", files.path(LINE).display()),
        }
    }
}

/// Gives the guest's ports, whose driver is up, the place where clients look for them.
pub(super) fn open_ports(files: &Scratch) -> Result<()> {
    match fs::rename(files.path(CLOSED), files.path(PORTS)) {
        // They are open, or there are none.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        renamed => renamed.context("opening the guest's ports"),
    }
}

/// A context id that no other program is likely to have: ours, above the small ones that people choose.
fn public_cid() -> u32 {
    0x1_0000 + std::process::id()
}

/// The program, installed if it is not there yet.
pub(super) fn backend() -> Result<PathBuf> {
    match packages::program(BACKEND) {
        Some(program) if !packages::tool_place(BACKEND).is_file() => Ok(program),
        _ => packages::tool(BACKEND, BACKEND_VERSION, &[]),
    }
}
