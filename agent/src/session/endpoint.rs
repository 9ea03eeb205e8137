//! Where a forwarded connection leads to or comes from: what a request of connect or listen names (`R-9.16`), and the sockets for it.

use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketAddrUnix, sockopt};
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{Fields, flag, tag};

use super::identity::Identity;
use super::request::{once, unknown};
use super::transport::SEND_BUFFER;
use crate::listen::new_socket;
use crate::path::PathBuffer;
use crate::resolve::Addresses;
use crate::sys::socket::VsockAddress;

/// Milliseconds after which a host that says nothing has timed out, TCP_USER_TIMEOUT of `tcp(7)`; the kernel by itself takes
/// two minutes.
const TCP_PATIENCE_MS: u32 = 20_000;

/// What a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'r> {
    /// HOST and PORT.
    Tcp(&'r CStr, u16),
    /// PATH.
    Unix(&'r CStr),
    /// CID and PORT.
    Vsock(VsockAddress),
}

/// A request of connect or listen.
#[derive(Debug, PartialEq, Eq)]
pub struct ForwardRequest<'r> {
    /// Where.
    pub endpoint: Endpoint<'r>,
    /// With whose rights.
    pub user: Option<&'r CStr>,
    /// PRIVATE: the directory of the socket is made too.
    pub is_private: bool,
}

/// Reads a request for connect, or for listen.
///
/// # Errors
/// UNSUPPORTED or MALFORMED, by `R-9.1` and `R-9.16`.
pub fn parse(request: &[u8], listens: bool) -> Result<ForwardRequest<'_>, RefusalCode> {
    let (mut host, mut port, mut path, mut cid, mut user, mut flags) = (None, None, None, None, None, None);
    for field in Fields::new(request) {
        let Ok(field) = &field else { return Err(RefusalCode::Malformed) };
        match field.tag {
            tag::HOST => once(&mut host, field.string())?,
            tag::PORT => once(&mut port, field.number())?,
            tag::CID => once(&mut cid, field.number())?,
            tag::PATH => once(&mut path, field.string())?,
            tag::USER => once(&mut user, field.string())?,
            tag::FLAGS if listens => once(&mut flags, field.number())?,
            _ => unknown(field)?,
        }
    }
    let endpoint = match (host, path, cid, port) {
        (Some(host), None, None, Some(port)) => {
            u16::try_from(port).ok().map(|port| Endpoint::Tcp(host, port))
        }
        (None, Some(path), None, None) => Some(Endpoint::Unix(path)).filter(|_| !path.is_empty()),
        (None, None, Some(cid), Some(port)) => Some(Endpoint::Vsock(VsockAddress { cid, port })),
        _ => None,
    };
    let flags = flags.unwrap_or(0);
    let is_private = flags & flag::PRIVATE != 0;
    let fits = flags & !flag::PRIVATE == 0 && (!is_private || matches!(endpoint, Some(Endpoint::Unix(_))));
    match endpoint.filter(|_| fits) {
        Some(endpoint) => Ok(ForwardRequest { endpoint, user, is_private }),
        None => Err(RefusalCode::Malformed),
    }
}

/// The path is not one of the file system.
pub fn is_abstract(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'@')
}

/// The path of a Unix socket, which begins at the home directory.
///
/// # Errors
/// ENAMETOOLONG.
pub fn absolute<'b>(path: &CStr, identity: &Identity, buffer: &'b mut PathBuffer) -> Result<&'b CStr, Errno> {
    let path = path.to_bytes();
    match path {
        [b'/' | b'@', ..] => buffer.join(&[path]),
        _ => buffer.join(&[&identity.home, b"/", path]),
    }
}

/// Its address.
///
/// # Errors
/// ENAMETOOLONG; EINVAL.
pub fn unix_address(path: &CStr) -> Result<SocketAddrUnix, Errno> {
    match path.to_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        _ => SocketAddrUnix::new(path),
    }
}

/// The addresses at which a listener of `host` is to be (`R-9.18`): both of this machine, all, or this one. `None` where it is
/// none.
pub fn listening(host: &CStr) -> Option<Addresses> {
    match host.to_bytes() {
        b"" | b"*" => {
            Some([IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().collect())
        }
        host => crate::resolve::known(host),
    }
}

/// The family of an address.
pub fn family(address: &IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Lets a socket that is not TCP, whose buffer the kernel widens by itself, hold as much as the stream to the client. With less it is
/// soon full, and what comes meanwhile has to be parked, which copies it.
pub fn set_buffer(socket: &OwnedFd) {
    // Without it works too.
    let _ = sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER);
}

/// Begins to connect over TCP.
///
/// # Errors
/// Of `connect(2)`, but EINPROGRESS.
pub fn connect_tcp(address: IpAddr, port: u16) -> Result<OwnedFd, Errno> {
    let socket = new_socket(family(&address))?;
    // Without these it works too.
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    let _ = sockopt::set_tcp_user_timeout(&socket, TCP_PATIENCE_MS);
    connect(socket, &SocketAddr::new(address, port))
}

/// The connection has begun: from now on it may be silent.
pub fn set_connected(socket: &OwnedFd) {
    // What is not TCP has no such thing.
    let _ = sockopt::set_tcp_user_timeout(socket, 0);
}

/// Begins to connect.
///
/// # Errors
/// Of `connect(2)`, but EINPROGRESS.
pub fn connect(socket: OwnedFd, address: &impl SocketAddrArg) -> Result<OwnedFd, Errno> {
    match rustix::net::connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use vsock_shell_proto::fields::header;

    use super::*;

    fn request(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let fields =
            fields.iter().map(|(tag, value)| [&header(*tag, value.len()).unwrap()[..], value].concat());
        fields.collect::<Vec<_>>().concat()
    }

    #[test]
    fn r_9_16_a_request_names_one_endpoint() {
        let port = &80_u32.to_le_bytes()[..];
        let tcp = request(&[(tag::HOST, b"h\0"), (tag::PORT, port), (tag::USER, b"u\0")]);
        let expected =
            ForwardRequest { endpoint: Endpoint::Tcp(c"h", 80), user: Some(c"u"), is_private: false };
        assert_eq!(parse(&tcp, false), Ok(expected));
        let vsock = request(&[(tag::CID, &[1, 0, 0, 0]), (tag::PORT, port)]);
        let address = VsockAddress { cid: 1, port: 80 };
        assert_eq!(parse(&vsock, true).unwrap().endpoint, Endpoint::Vsock(address));
        let private = request(&[(tag::PATH, b"/a/b\0"), (tag::FLAGS, &flag::PRIVATE.to_le_bytes())]);
        assert!(parse(&private, true).unwrap().is_private);
        assert_eq!(parse(&private, false), Err(RefusalCode::Unsupported));
        let wrongs: [&[(u8, &[u8])]; 10] = [
            &[],
            &[(tag::HOST, b"h\0")],
            &[(tag::PORT, port)],
            &[(tag::PATH, b"\0")],
            &[(tag::HOST, b"h\0"), (tag::PORT, &[0, 0, 1, 0])],
            &[(tag::HOST, b"h\0"), (tag::PATH, b"/a\0"), (tag::PORT, port)],
            &[(tag::PATH, b"/a\0"), (tag::PORT, port)],
            &[(tag::HOST, b"h\0"), (tag::PORT, port), (tag::FLAGS, &flag::PRIVATE.to_le_bytes())],
            &[(tag::PATH, b"/a\0"), (tag::FLAGS, &[2, 0, 0, 0])],
            &[(tag::PATH, b"/a\0"), (tag::PATH, b"/b\0")],
        ];
        for wrong in wrongs {
            assert_eq!(parse(&request(wrong), true), Err(RefusalCode::Malformed), "{wrong:?}");
        }
    }
}
