//! Owns the beginning of a connection by which a program says where it is to lead: SOCKS 5 (RFC 1928), without authentication.
//! Pure: bytes in, what is to be said and done out.

use super::spec::Endpoint;

const VERSION: u8 = 5;
/// How programs may prove who they are: not at all; none of what was offered.
const NO_PROOF: u8 = 0;
const NO_METHOD: u8 = 0xFF;
/// The one command that is done.
const CONNECT: u8 = 1;
/// Kinds of address.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    Done = 0,
    Failed = 1,
    Forbidden = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    TimedOut = 6,
    CommandUnknown = 7,
    AddressUnknown = 8,
}

impl Reply {
    /// The bytes of it. The address on which the other side is connected is not known here, and nobody asks.
    pub(crate) fn encode(self) -> [u8; 10] {
        [VERSION, self as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
    }

    /// What an errno of `connect(2)` is called.
    pub(crate) fn of_errno(errno: u32) -> Self {
        use rustix::io::Errno;
        // An agent says any number.
        let known = i32::try_from(errno).ok().filter(|errno| (1..4096).contains(errno));
        let errno = known.map_or(Errno::IO, Errno::from_raw_os_error);
        match errno {
            Errno::CONNREFUSED => Self::Refused,
            Errno::NETUNREACH => Self::NetworkUnreachable,
            Errno::HOSTUNREACH => Self::HostUnreachable,
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            Errno::AFNOSUPPORT => Self::AddressUnknown,
            _ => Self::Failed,
        }
    }
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More has to come.
    Wait,
    /// The first `taken` bytes are over, and this is said.
    Say { taken: usize, words: [u8; 2] },
    /// They name this, and the answer is a [`Reply`].
    Connect { taken: usize, to: Endpoint },
    /// Nothing will come of it; this is said before the end.
    Refuse(Vec<u8>),
}

/// Reads the front of what a program has said. `is_greeted`: the methods were agreed upon.
pub(crate) fn read(bytes: &[u8], is_greeted: bool) -> Next {
    let (greeting, request) = (read_greeting as fn(&[u8]) -> Option<Next>, read_request);
    let read = if is_greeted { request } else { greeting };
    match bytes.first() {
        Some(&VERSION) => read(bytes).unwrap_or(Next::Wait),
        Some(_) => Next::Refuse(Vec::new()),
        None => Next::Wait,
    }
}

fn read_greeting(bytes: &[u8]) -> Option<Next> {
    let taken = 2 + usize::from(*bytes.get(1)?);
    let methods = bytes.get(2..taken)?;
    Some(match methods.contains(&NO_PROOF) {
        true => Next::Say { taken, words: [VERSION, NO_PROOF] },
        false => Next::Refuse(vec![VERSION, NO_METHOD]),
    })
}

fn read_request(bytes: &[u8]) -> Option<Next> {
    let (&[_, command, _, kind], rest) = bytes.split_first_chunk()?;
    let refuse = |reply: Reply| Some(Next::Refuse(reply.encode().to_vec()));
    if command != CONNECT {
        return refuse(Reply::CommandUnknown);
    }
    let (skipped, length) = match kind {
        IPV4 => (0, 4),
        IPV6 => (0, 16),
        NAME => (1, usize::from(*rest.first()?)),
        _ => return refuse(Reply::AddressUnknown),
    };
    let (address, rest) = rest.get(skipped..)?.split_at_checked(length)?;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    let host = match kind {
        IPV4 => <[u8; 4]>::try_from(address).ok().map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
        IPV6 => <[u8; 16]>::try_from(address).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        _ => String::from_utf8(address.to_vec()).ok().filter(|name| !name.is_empty() && !name.contains('\0')),
    };
    match host {
        Some(host) => Some(Next::Connect { taken: 4 + skipped + length + 2, to: Endpoint::Tcp(host, port) }),
        None => refuse(Reply::AddressUnknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(kind: u8, address: &[u8]) -> Vec<u8> {
        [&[5, 1, 0, kind], address, &[0, 80]].concat()
    }

    #[test]
    fn rfc_1928_a_greeting_is_answered_without_a_proof() {
        assert_eq!(read(&[5, 2, 2, 0, 9], false), Next::Say { taken: 4, words: [5, 0] });
        assert_eq!(read(&[5, 1, 2], false), Next::Refuse(vec![5, 0xFF]));
        assert_eq!(read(&[4, 1, 0, 80], false), Next::Refuse(vec![]));
        for few in [&[][..], &[5], &[5, 2, 0]] {
            assert_eq!(read(few, false), Next::Wait);
        }
    }

    #[test]
    fn rfc_1928_a_request_names_an_address_or_a_host() {
        for (request, host) in [
            (connect(1, &[10, 0, 0, 1]), "10.0.0.1"),
            (connect(4, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "::1"),
            (connect(3, b"\x04host"), "host"),
        ] {
            let expected = Next::Connect { taken: request.len(), to: Endpoint::Tcp(host.into(), 80) };
            assert_eq!(read(&[&request[..], b"more"].concat(), true), expected);
            for length in 0..request.len() {
                assert_eq!(read(&request[..length], true), Next::Wait, "{length} bytes of {host}");
            }
        }
    }

    #[test]
    fn rfc_1928_what_is_not_done_is_refused_by_its_number() {
        let refused = |request: &[u8], reply: Reply| {
            assert_eq!(read(request, true), Next::Refuse(reply.encode().to_vec()));
        };
        refused(&[5, 2, 0, 1], Reply::CommandUnknown);
        refused(&[5, 1, 0, 9], Reply::AddressUnknown);
        refused(&connect(3, b"\0"), Reply::AddressUnknown);
        refused(&connect(3, b"\x01\xFF"), Reply::AddressUnknown);
        assert_eq!(Reply::of_errno(111), Reply::Refused);
        assert_eq!(Reply::of_errno(110), Reply::TimedOut);
        assert_eq!(Reply::of_errno(u32::MAX), Reply::Failed);
    }
}
