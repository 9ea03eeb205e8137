//! Opening ports that have no connections: virtio-serial by its name, and lines.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use linux_raw_sys::general as raw;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{Errno, Result};

use crate::path::PathBuffer;
use crate::sys::terminal;

/// Where the kernel lists virtio-serial ports, in folders that are named like their nodes in /dev.
const PORTS: &CStr = c"/sys/class/virtio-ports";

/// Opens a port: a path, or the name of a virtio-serial port.
///
/// # Errors
/// ENODEV where no port has that name; of `open`, `ioctl`.
#[inline(never)]
pub fn open(port: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut path = PathBuffer::new();
    let path = if port.to_bytes().starts_with(b"/") { port } else { find(port.to_bytes(), &mut path)? };
    let port = rustix::fs::open(path, flags, Mode::empty())?;
    if is_line(&port) {
        set_up(&port)?;
    }
    Ok(port)
}

/// The port is a serial line, whose kernel buffer is large for its speed.
pub fn is_line(port: &OwnedFd) -> bool {
    rustix::termios::isatty(port)
}

/// Raw, 8 bits, 115,200 bits a second, no modem that could hang up: see `termios(3)`.
#[inline(never)]
fn set_up(line: &OwnedFd) -> Result<()> {
    let mut modes = terminal::modes(line.as_fd())?;
    (modes.c_iflag, modes.c_oflag, modes.c_lflag) = (0, 0, 0);
    modes.c_cflag = raw::B115200 | raw::CS8 | raw::CREAD | raw::CLOCAL;
    for (place, value) in [(raw::VMIN, 1), (raw::VTIME, 0)] {
        if let Some(slot) = modes.c_cc.get_mut(place as usize) {
            *slot = value;
        }
    }
    terminal::set_modes(line.as_fd(), modes)
}

/// The node of the port with this name.
fn find<'p>(name: &[u8], path: &'p mut PathBuffer) -> Result<&'p CStr> {
    let open = |path: &CStr| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut entries = RawDir::new(open(PORTS).map_err(|_| Errno::NODEV)?, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let node = entry.file_name().to_bytes();
        let attribute = path.join(&[PORTS.to_bytes(), b"/", node, b"/name"])?;
        let mut text = [0; 128];
        let read = open(attribute).and_then(|file| rustix::io::read(file, &mut text)).unwrap_or(0);
        if text.get(..read).and_then(|text| text.strip_suffix(b"\n")) == Some(name) {
            return path.join(&[b"/dev/", node]);
        }
    }
    Err(Errno::NODEV)
}
