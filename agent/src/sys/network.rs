//! The one network interface that every system has.

use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, ioctl};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// `struct ifreq`, `netdevice(7)`, with its flags; the rest of its 40 bytes is not used.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == 40);

/// Brings `lo` up; its addresses come by themselves.
pub fn bring_up_loopback() -> Result<()> {
    const SIOCSIFFLAGS: Opcode = 0x8914;
    const IFF_UP: i16 = 1;
    let mut request = Request { name: [0; 16], flags: IFF_UP, rest: [0; 22] };
    request.name[0] = b'l';
    request.name[1] = b'o';
    let kind = (AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
    // SAFETY: this request reads a `struct ifreq`, which has 40 bytes at the most.
    unsafe { ioctl(socket, Setter::<SIOCSIFFLAGS, Request>::new(request)) }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::super::process::tests::in_child;
    use super::*;

    #[test]
    fn the_loopback_of_a_new_network_comes_up() {
        let ended = in_child(|| {
            // SAFETY: the descriptors stay shared with nobody but this process.
            if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
                return 2;
            }
            u8::from(bring_up_loopback().is_err())
        });
        assert!(matches!(ended, Ok(0 | 2)), "{ended:?}");
    }
}
