//! AF_VSOCK, which rustix does not have: addresses, whether there is any; and accepting with the peer's address as bytes.

use core::ffi::c_int;

use linux_raw_sys::general::{__NR_accept4, __NR_getpeername};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Result;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::call::call;

/// `struct sockaddr_vm`, `vsock(7)`; musl has no header for it.
#[repr(C)]
struct RawVsock {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

const _: () = assert!(size_of::<RawVsock>() == 16);
const AF_VSOCK: u16 = 40;

/// A vsock address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockAddress {
    /// Whose it is.
    pub cid: u32,
    /// The port.
    pub port: u32,
}

impl VsockAddress {
    /// This machine, on whatever CID it has.
    pub const ANY: u32 = u32::MAX;
}

// SAFETY: the pointer and length are those of a whole `sockaddr_vm`, which lives during the call of `f`.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let (port, cid) = (self.port, self.cid);
        let raw = RawVsock { family: AF_VSOCK, reserved: 0, port, cid, flags: 0, zero: [0; 3] };
        f(core::ptr::from_ref(&raw).cast(), 16)
    }
}

/// What this kernel can do about vsock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vsock {
    /// The address family is not known.
    Missing,
    /// Nothing connects it with a host.
    Alone,
    /// There is a transport, and this machine has a CID on it.
    Carried,
}

/// Whether there is vsock, and a transport of it: IOCTL_VM_SOCKETS_GET_LOCAL_CID, `vsock(7)`.
pub fn vsock() -> Vsock {
    const GET_LOCAL_CID: Opcode = opcode::none(7, 0xB9);
    let family = AddressFamily::VSOCK;
    if rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).is_err() {
        return Vsock::Missing;
    }
    let device = rustix::fs::open(c"/dev/vsock", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    // SAFETY: this request writes one unsigned int.
    let cid = device.and_then(|device| unsafe { ioctl(device, Getter::<GET_LOCAL_CID, u32>::new()) });
    match cid {
        Ok(VsockAddress::ANY) => Vsock::Alone,
        // Without the device nobody can tell; listening will.
        _ => Vsock::Carried,
    }
}

/// The beginning of the address of a peer, as the kernel wrote it.
#[derive(Clone, Copy)]
pub struct PeerAddress {
    bytes: [u8; 16],
    len: u32,
}

impl PeerAddress {
    /// The peer's CID, if this is a whole vsock address.
    pub fn vsock_cid(&self) -> Option<u32> {
        let family = u16::from_ne_bytes(*self.bytes.first_chunk()?);
        let cid = u32::from_ne_bytes(*self.bytes.get(8..)?.first_chunk()?);
        (family == AF_VSOCK && self.len >= 16).then_some(cid)
    }
}

/// `accept4(2)`: a connection that does not block and is closed by `execve`, and where it comes from.
pub fn accept(listening: BorrowedFd<'_>) -> Result<(OwnedFd, PeerAddress)> {
    const NONBLOCK_CLOEXEC: usize = 0o2_004_000;
    let mut peer = PeerAddress { bytes: [0; 16], len: 16 };
    // SAFETY: the numbers are those of `accept4` and its flags.
    let raw = unsafe { call_for_address(__NR_accept4, listening, &mut peer, NONBLOCK_CLOEXEC) }?;
    // SAFETY: the descriptor is new, so that nothing else owns it.
    Ok((unsafe { OwnedFd::from_raw_fd(raw as c_int) }, peer))
}

/// `getpeername(2)`.
pub fn peer_of(connected: impl AsFd) -> Result<PeerAddress> {
    let mut peer = PeerAddress { bytes: [0; 16], len: 16 };
    // SAFETY: the number is that of `getpeername`.
    unsafe { call_for_address(__NR_getpeername, connected.as_fd(), &mut peer, 0) }?;
    Ok(peer)
}

/// # Safety
/// The call's arguments are a descriptor, an address to write, its length, and `flags`.
unsafe fn call_for_address(
    number: u32,
    fd: BorrowedFd<'_>,
    peer: &mut PeerAddress,
    flags: usize,
) -> Result<usize> {
    let bytes = peer.bytes.as_mut_ptr().expose_provenance();
    let len = (&raw mut peer.len).expose_provenance();
    // SAFETY: `len` tells the room at `bytes`, and both live during the call.
    unsafe { call(number, fd.as_raw_fd() as usize, bytes, len, flags) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    fn address(family: u16, cid: u32, len: u32) -> PeerAddress {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&family.to_ne_bytes());
        bytes[8..12].copy_from_slice(&cid.to_ne_bytes());
        PeerAddress { bytes, len }
    }

    #[test]
    fn only_a_whole_vsock_address_has_a_cid() {
        assert_eq!(address(AF_VSOCK, 2, 16).vsock_cid(), Some(2));
        assert_eq!(address(AF_VSOCK, 2, 12).vsock_cid(), None);
        assert_eq!(address(1, 2, 16).vsock_cid(), None);
        assert_eq!(address(0, 0, 0).vsock_cid(), None);
    }

    #[test]
    fn an_address_of_vsock_is_laid_out_as_the_kernel_has_it() {
        let address = VsockAddress { cid: 3, port: 0x0102_0304 };
        // SAFETY: the pointer is that of 16 bytes.
        let bytes =
            unsafe { address.with_sockaddr(|place, len| (place.cast::<[u8; 16]>().read_unaligned(), len)) };
        assert_eq!(bytes, ([40, 0, 0, 0, 4, 3, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0], 16));
    }

    #[test]
    fn a_connection_is_accepted_and_its_peer_told() {
        let listening = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listening, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&listening, 1).unwrap();
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::connect(&client, &rustix::net::getsockname(&listening).unwrap()).unwrap();
        let (accepted, peer) = accept(listening.as_fd()).unwrap();
        assert_eq!((peer.bytes, peer.len), {
            let told = peer_of(&accepted).unwrap();
            (told.bytes, told.len)
        });
        assert_eq!((peer.vsock_cid(), peer.len), (None, 16));
        let flags = rustix::fs::fcntl_getfl(&accepted).unwrap();
        assert!(flags.contains(OFlags::NONBLOCK));
        assert_eq!(peer_of(&listening).err(), Some(rustix::io::Errno::NOTCONN));
        assert_eq!(accept(client.as_fd()).err(), Some(rustix::io::Errno::INVAL));
    }
}
