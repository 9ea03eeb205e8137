//! QEMU's command line: `-name`, and how its devices lead to the agent.
//!
//! A device of the kernel's vhost has a context id. One of vhost-user has a socket, behind which vhost-device-vsock serves the
//! guest's ports on another one. Without either there may be the virtio-serial port that images of this project listen on.

use std::path::PathBuf;

use super::keyed::Keyed;
use super::process::Process;
use super::vhost_user::{self, Backend};
use super::{Seen, sockets, vsock};
use crate::target::{Address, UNIX_PATH_MAX};

/// The name of the virtio-serial port of an agent.
const PORT_NAME: &str = "agent.0";

/// What a QEMU shows of its guest.
pub fn seen(process: &Process, backends: &[Backend]) -> Option<Seen> {
    let devices: Vec<Keyed> =
        process.values(b"device").map(|device| Keyed::parse(device, "driver")).collect();
    let with = |driver: &'static str| {
        let devices = devices.iter();
        devices.filter(move |device| device.text("driver").starts_with(driver))
    };
    let by_cid = || with("vhost-vsock-").find_map(|device| vsock(device.text("guest-cid")));
    let by_backend = || {
        let mut sockets = with("vhost-user-vsock-").filter_map(|device| socket_of(process, device));
        sockets.find_map(|socket| vhost_user::behind(backends, &socket))
    };
    let by_port = || {
        let mut ports = with("virtserialport").filter(|device| device.text("name") == PORT_NAME);
        let path = ports.find_map(|device| socket_of(process, device))?;
        (path.as_os_str().len() <= UNIX_PATH_MAX).then_some(Address::Serial(path))
    };
    let address = by_cid().or_else(by_backend).or_else(by_port)?;
    let mut names = process.values(b"name").map(|name| Keyed::parse(name, "guest"));
    let name = names.next_back().and_then(|name| name.value("guest").map(<[u8]>::to_vec));
    Some(Seen { name, address })
}

/// The path of the socket that a device is connected to: the one of its chardev, or of the descriptor that this was given.
fn socket_of(process: &Process, device: &Keyed) -> Option<PathBuf> {
    let id = device.value("chardev")?;
    let mut chardevs = process.values(b"chardev").map(|chardev| Keyed::parse(chardev, "backend"));
    let chardev =
        chardevs.find(|chardev| chardev.value("id") == Some(id) && chardev.text("backend") == "socket")?;
    match chardev.value("path") {
        Some(path) => process.path(path),
        None => {
            let number: u32 = chardev.text("fd").parse().ok()?;
            sockets::first(process, |socket| socket.number == number)
        }
    }
}
