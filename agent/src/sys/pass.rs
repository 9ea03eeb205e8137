//! Passing descriptors to another process of ours: `sendmsg(2)` and `recvmsg(2)` with SCM_RIGHTS, `unix(7)`.

use core::ffi::c_int;

use linux_raw_sys::general::{__NR_recvmsg, __NR_sendmsg};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

use super::call::call;

/// `struct iovec`.
#[repr(C)]
struct Vector {
    base: usize,
    len: usize,
}

/// `struct msghdr` of the kernel.
#[repr(C)]
struct Message {
    name: usize,
    name_len: u32,
    vectors: usize,
    vector_count: usize,
    control: usize,
    control_len: usize,
    flags: u32,
}

/// `struct cmsghdr`, with two descriptors behind it.
#[repr(C)]
struct Control {
    len: usize,
    level: c_int,
    kind: c_int,
    descriptors: [c_int; 2],
}

const CONTROL_LEN: usize = size_of::<Control>();
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;

/// Sends `bytes` and two descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: [BorrowedFd<'_>; 2]) -> Result<()> {
    let mut control = Control {
        len: CONTROL_LEN,
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        descriptors: descriptors.map(|fd| fd.as_raw_fd()),
    };
    // SAFETY: `sendmsg` only reads the bytes.
    unsafe {
        exchange(
            __NR_sendmsg,
            socket,
            bytes.as_ptr().expose_provenance(),
            bytes.len(),
            &mut control,
            MSG_NOSIGNAL,
        )
    }
}

/// Receives as many bytes as there is room for, and the two descriptors that come along.
///
/// # Errors
/// EPROTO where something else came; of `recvmsg`.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<[OwnedFd; 2]> {
    let mut control = Control { len: 0, level: 0, kind: 0, descriptors: [-1; 2] };
    let place = bytes.as_mut_ptr().expose_provenance();
    // SAFETY: the place is valid for so many bytes.
    unsafe { exchange(__NR_recvmsg, socket, place, bytes.len(), &mut control, MSG_CMSG_CLOEXEC) }?;
    if (control.len, control.level, control.kind) != (CONTROL_LEN, SOL_SOCKET, SCM_RIGHTS) {
        return Err(Errno::PROTO);
    }
    // SAFETY: the kernel has made them for us just now.
    Ok(control.descriptors.map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }))
}

/// One message of exactly `len` bytes.
///
/// # Safety
/// `number` is that of `sendmsg` or `recvmsg`, and `base` is valid for `len` bytes.
#[inline(never)]
unsafe fn exchange(
    number: u32,
    socket: BorrowedFd<'_>,
    base: usize,
    len: usize,
    control: &mut Control,
    flags: usize,
) -> Result<()> {
    let vector = Vector { base, len };
    let mut message = Message {
        name: 0,
        name_len: 0,
        vectors: (&raw const vector).expose_provenance(),
        vector_count: 1,
        control: core::ptr::from_mut(control).expose_provenance(),
        control_len: CONTROL_LEN,
        flags: 0,
    };
    let place = (&raw mut message).expose_provenance();
    // SAFETY: everything that the message points to lives during the call; the caller promises the rest.
    let done = unsafe { call(number, socket.as_raw_fd() as usize, place, flags, 0) }?;
    if done == len { Ok(()) } else { Err(Errno::PROTO) }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn descriptors_arrive_with_their_bytes() {
        let ((ours, theirs), (near, far)) = (pair(), pair());
        send(ours.as_fd(), b"hello", [far.as_fd(), ours.as_fd()]).unwrap();
        drop(far);
        let mut bytes = [0; 5];
        let [first, second] = receive(theirs.as_fd(), &mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        for fd in [&first, &second] {
            assert_eq!(rustix::io::fcntl_getfd(fd), Ok(rustix::io::FdFlags::CLOEXEC));
        }
        rustix::io::write(&first, b"x").unwrap();
        assert_eq!(rustix::io::read(&near, &mut bytes), Ok(1));
        drop(first);
        assert_eq!(rustix::io::read(&near, &mut bytes), Ok(0), "there is no other");
    }

    #[test]
    fn bytes_without_descriptors_and_fewer_bytes_are_refused() {
        let (ours, theirs) = pair();
        rustix::io::write(&ours, b"hello").unwrap();
        assert_eq!(receive(theirs.as_fd(), &mut [0; 5]).unwrap_err(), Errno::PROTO);
        send(ours.as_fd(), b"hell", [ours.as_fd(), ours.as_fd()]).unwrap();
        assert_eq!(receive(theirs.as_fd(), &mut [0; 5]).unwrap_err(), Errno::PROTO);
    }
}
