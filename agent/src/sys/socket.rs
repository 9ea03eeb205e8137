//! AF_VSOCK addresses, which rustix does not have, and accepting with the peer's address as bytes.

use core::ffi::c_int;

use linux_raw_sys::general::{__NR_accept4, __NR_getpeername};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

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

/// The vsock address of a port of this machine, on whatever CID it has.
pub struct VsockAddress {
    /// The port.
    pub port: u32,
}

// SAFETY: the pointer and length are those of a whole `sockaddr_vm`, which lives during the call of `f`.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        const CID_ANY: u32 = u32::MAX;
        let raw =
            RawVsock { family: AF_VSOCK, reserved: 0, port: self.port, cid: CID_ANY, flags: 0, zero: [0; 3] };
        f(core::ptr::from_ref(&raw).cast(), 16)
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
    use super::{AF_VSOCK, PeerAddress};

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
}
