//! Owns what `-L`, `-R`, `-D` and `-W` say: where connections come from and where they lead. Pure.
//!
//! The words are ssh's: parts behind colons, an address of IPv6 in brackets, and in the place of a host and a port the path of a
//! Unix socket (`/…`, `./…`; `@name` in the abstract namespace), or in the guest `vsock:PORT` or `vsock:CID:PORT`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use vsock_shell_proto::fields::tag;

use crate::error::Error;
use crate::invocation::ForwardKind;
use crate::request::Request;
use crate::text;

/// The machine itself: VMADDR_CID_LOCAL of `vsock(7)`.
const CID_LOCAL: u32 = 1;
/// Every context id that a machine has, to listen on.
const CID_ANY: u32 = u32::MAX;

/// Where connections come from, or lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP: a name or an address without brackets, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(OsString),
    /// A port of vsock.
    Vsock(u32, u32),
}

/// What is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Here is listened, and the guest connects.
    Local(Endpoint, Endpoint),
    /// Here is listened for SOCKS.
    Dynamic(Endpoint),
    /// The guest listens, and here is connected.
    Remote(Endpoint, Endpoint),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => {
                write!(out, "[{}]:{port}", text::escape(host.as_bytes()))
            }
            Self::Tcp(host, port) => write!(out, "{}:{port}", text::escape(host.as_bytes())),
            Self::Unix(path) => out.write_str(&text::escape(path.as_bytes())),
            Self::Vsock(CID_LOCAL | CID_ANY, port) => write!(out, "vsock:{port}"),
            Self::Vsock(cid, port) => write!(out, "vsock:{cid}:{port}"),
        }
    }
}

impl Endpoint {
    /// Writes it into a request (`R-9.16`).
    pub(crate) fn write(&self, request: &mut Request) -> Result<(), Error> {
        match self {
            Self::Tcp(host, port) => {
                request.string(tag::HOST, &[OsStr::new(host)])?;
                request.bytes(tag::PORT, &u32::from(*port).to_le_bytes())
            }
            Self::Unix(path) => request.string(tag::PATH, &[path]),
            Self::Vsock(cid, port) => {
                request.bytes(tag::CID, &cid.to_le_bytes())?;
                request.bytes(tag::PORT, &port.to_le_bytes())
            }
        }
    }
}

/// Reads the word behind one of the options.
///
/// # Errors
/// What is wrong with it, for one line.
pub fn parse(kind: ForwardKind, word: &OsStr) -> Result<Forward, String> {
    let mut parts = Parts::split(word)?;
    let listen = parts.listening()?;
    let is_here = kind != ForwardKind::Remote;
    if is_here && matches!(listen, Endpoint::Vsock(..)) {
        return Err("here is listened on TCP or a Unix socket; vsock is the guest's".into());
    }
    if kind == ForwardKind::Dynamic {
        parts.end()?;
        return Ok(Forward::Dynamic(listen));
    }
    let to = parts.destination()?;
    parts.end()?;
    match (kind, to) {
        (ForwardKind::Remote, Endpoint::Vsock(..)) => {
            Err("from here TCP and Unix sockets are reached; vsock is the guest's".into())
        }
        (ForwardKind::Remote, to) => Ok(Forward::Remote(listen, to)),
        (_, Endpoint::Tcp(_, 0)) => Err("port 0 leads nowhere".into()),
        (_, to) => Ok(Forward::Local(listen, to)),
    }
}

/// Reads what stands behind `-W`.
///
/// # Errors
/// What is wrong with it, for one line.
pub fn parse_destination(word: &OsStr) -> Result<Endpoint, String> {
    let mut parts = Parts::split(word)?;
    let to = parts.destination()?;
    parts.end()?;
    Ok(to)
}

/// What stands between the colons.
struct Parts {
    parts: std::vec::IntoIter<OsString>,
}

impl Parts {
    fn split(word: &OsStr) -> Result<Self, String> {
        let mut parts = vec![Vec::new()];
        let (mut is_bracketed, mut is_closed) = (false, false);
        for &byte in word.as_bytes() {
            let Some(part) = parts.last_mut() else { break };
            match byte {
                b':' if !is_bracketed => {
                    is_closed = false;
                    parts.push(Vec::new());
                }
                _ if is_closed => return Err("something stands behind a bracket".into()),
                b'[' if part.is_empty() && !is_bracketed => is_bracketed = true,
                b']' if is_bracketed => (is_bracketed, is_closed) = (false, true),
                byte => part.push(byte),
            }
        }
        if is_bracketed {
            return Err("a bracket is not closed".into());
        }
        let parts: Vec<OsString> = parts.into_iter().map(OsString::from_vec).collect();
        Ok(Self { parts: parts.into_iter() })
    }

    fn next(&mut self) -> Option<OsString> {
        self.parts.next()
    }

    /// `[BIND:]PORT`, `SOCKET` or `vsock:PORT`.
    fn listening(&mut self) -> Result<Endpoint, String> {
        let first = self.next().unwrap_or_default();
        if is_path(&first) {
            return Ok(Endpoint::Unix(first));
        }
        if first == "vsock" {
            return Ok(Endpoint::Vsock(CID_ANY, number(&self.next().unwrap_or_default())?));
        }
        if let Ok(port) = port(&first) {
            return Ok(Endpoint::Tcp("localhost".into(), port));
        }
        let port = match self.next() {
            Some(word) => port(&word)?,
            None => return Err(format!("`{}` is no port, and no path with a slash", shown(&first))),
        };
        Ok(Endpoint::Tcp(host(first)?, port))
    }

    /// `HOST:PORT`, `SOCKET` or `vsock:[CID:]PORT`.
    fn destination(&mut self) -> Result<Endpoint, String> {
        let Some(first) = self.next() else {
            return Err("it does not say where to; write …:HOST:PORT".into());
        };
        if is_path(&first) {
            return Ok(Endpoint::Unix(first));
        }
        let Some(second) = self.next() else {
            return Err(format!("`{}` is without a port, and no path with a slash", shown(&first)));
        };
        if first == "vsock" {
            return match self.next() {
                Some(port) => Ok(Endpoint::Vsock(number(&second)?, number(&port)?)),
                None => Ok(Endpoint::Vsock(CID_LOCAL, number(&second)?)),
            };
        }
        if first.is_empty() {
            return Err("the host is empty".into());
        }
        Ok(Endpoint::Tcp(host(first)?, port(&second)?))
    }

    fn end(&mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(word) => {
                Err(format!("`{}` is one part too many; an address of IPv6 stands in [ ]", shown(&word)))
            }
        }
    }
}

fn is_path(word: &OsStr) -> bool {
    word.as_bytes().contains(&b'/') || (word.as_bytes().first() == Some(&b'@') && word.len() > 1)
}

fn host(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("`{}` is no name of a host", shown(&word)))
}

fn port(word: &OsStr) -> Result<u16, String> {
    let fits = number(word).ok().and_then(|port| u16::try_from(port).ok());
    fits.ok_or_else(|| format!("`{}` is no port: 0 to 65535", shown(word)))
}

fn number(word: &OsStr) -> Result<u32, String> {
    let digits = word.to_str().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("`{}` is no number", shown(word)))
}

fn shown(word: &OsStr) -> std::borrow::Cow<'_, str> {
    text::escape(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp(host.into(), port)
    }

    fn unix(path: &str) -> Endpoint {
        Endpoint::Unix(path.into())
    }

    fn local(word: &str) -> Forward {
        parse(ForwardKind::Local, OsStr::new(word)).unwrap()
    }

    #[test]
    fn what_ssh_takes_means_the_same() {
        for (word, listen, to) in [
            ("8080:host:80", tcp("localhost", 8080), tcp("host", 80)),
            ("127.0.0.1:8080:10.0.0.1:80", tcp("127.0.0.1", 8080), tcp("10.0.0.1", 80)),
            ("*:8080:host:80", tcp("*", 8080), tcp("host", 80)),
            (":8080:host:80", tcp("", 8080), tcp("host", 80)),
            ("[::1]:8080:[fe80::1]:80", tcp("::1", 8080), tcp("fe80::1", 80)),
            ("8080:/run/x.sock", tcp("localhost", 8080), unix("/run/x.sock")),
            ("/tmp/a:host:80", unix("/tmp/a"), tcp("host", 80)),
            ("./a:/run/x", unix("./a"), unix("/run/x")),
            ("0:@bus", tcp("localhost", 0), unix("@bus")),
            ("8080:vsock:1024", tcp("localhost", 8080), Endpoint::Vsock(1, 1024)),
            ("8080:vsock:2:1024", tcp("localhost", 8080), Endpoint::Vsock(2, 1024)),
        ] {
            assert_eq!(local(word), Forward::Local(listen, to), "{word}");
        }
        let remote = parse(ForwardKind::Remote, OsStr::new("vsock:9:localhost:22")).unwrap();
        assert_eq!(remote, Forward::Remote(Endpoint::Vsock(u32::MAX, 9), tcp("localhost", 22)));
        let dynamic = parse(ForwardKind::Dynamic, OsStr::new("1080")).unwrap();
        assert_eq!(dynamic, Forward::Dynamic(tcp("localhost", 1080)));
        assert_eq!(parse_destination(OsStr::new("[::1]:22")), Ok(tcp("::1", 22)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (kind, word, complaint) in [
            (ForwardKind::Local, "8080", "where to"),
            (ForwardKind::Local, "8080:host", "`host` is without a port"),
            (ForwardKind::Local, "x", "`x` is no port"),
            (ForwardKind::Local, "70000:h:1", "`h` is no port"),
            (ForwardKind::Local, "1:h:1:2", "`2` is one part too many"),
            (ForwardKind::Local, "1:h:0", "port 0"),
            (ForwardKind::Local, "1::80", "the host is empty"),
            (ForwardKind::Local, "[::1:1:h:1", "not closed"),
            (ForwardKind::Local, "[::1]x:1:h:1", "behind a bracket"),
            (ForwardKind::Local, "vsock:9:h:1", "vsock is the guest's"),
            (ForwardKind::Remote, "9:vsock:1", "vsock is the guest's"),
            (ForwardKind::Dynamic, "9:h:1", "`h` is one part too many"),
            (ForwardKind::Dynamic, "a:9:1", "one part too many"),
        ] {
            let error = parse(kind, OsStr::new(word)).unwrap_err();
            assert!(error.contains(complaint), "{word}: {error}");
        }
    }

    #[test]
    fn an_endpoint_is_shown_as_it_is_written() {
        for word in ["host:80", "[::1]:80", "/run/x.sock", "vsock:9", "vsock:2:9"] {
            assert_eq!(parse_destination(OsStr::new(word)).unwrap().to_string(), word);
        }
    }
}
