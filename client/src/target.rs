//! Owns the spelling of targets: `[USER@]ADDRESS` as a person types it becomes a [`Target`] that means something.
//!
//! Pure: nothing here opens a file or resolves a name; `dial` does. Works on bytes, so a path need not be UTF-8.
//!
//! ```text
//! 3   vsock:3[:PORT]   vsock/3[:PORT]     a guest's context id (AF_VSOCK)
//! mux:PATH[:PORT]                         the Unix socket of Firecracker, Cloud Hypervisor, vhost-device-vsock
//! unix:PATH   tcp:HOST[:PORT]   serial:PATH   exec:COMMAND
//! ```
//!
//! In each of them `%` may stand for the `:` after the first word. Then the rest is *encoded*: `%` is a colon there
//! too, and `%%` a percent sign. After a `:` the rest is taken as it is.

mod error;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::key::Credentials;
use crate::text;
pub use error::TargetError;

/// The agent's port where neither the target nor `-p` names one.
pub const DEFAULT_PORT: u32 = 5000;

/// The longest path of a Unix socket in bytes: `sun_path` of `unix(7)` without its final NUL.
pub const UNIX_PATH_MAX: usize = 107;

/// The first words of an address, in the order in which messages list them.
pub const SCHEMES: [&str; 6] = ["vsock", "mux", "unix", "tcp", "serial", "exec"];

/// `VMADDR_CID_ANY` and `VMADDR_PORT_ANY` of `vsock(7)`: valid to listen on, never to connect to.
const ANY: u32 = u32::MAX;

/// Whom to reach: an agent and, where one was named, the user to be in its guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What stood before the `@`; `None` means the agent's own user.
    pub user: Option<OsString>,
    /// How to reach the agent.
    pub address: Address,
    /// What is shown to it, and asked of it.
    pub credentials: Option<Credentials>,
}

/// How to reach an agent. [`fmt::Display`] writes it as a person would type it, safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// AF_VSOCK, `vsock(7)`.
    Vsock {
        /// Context id of the guest.
        cid: u32,
        /// Port on which its agent listens.
        port: u32,
    },
    /// A Unix socket that wants a line `CONNECT port` first and answers `OK …`.
    Mux {
        /// Path of the socket, at most [`UNIX_PATH_MAX`] bytes.
        path: PathBuf,
        /// Vsock port on which the agent listens in the guest.
        port: u32,
    },
    /// A Unix stream socket; at most [`UNIX_PATH_MAX`] bytes.
    Unix(PathBuf),
    /// A TCP stream.
    Tcp {
        /// Name or address, without the brackets of an IPv6 address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A virtio-serial socket or a serial line.
    Serial(PathBuf),
    /// A command for `sh -c` whose standard input and output are the stream.
    Exec(OsString),
    /// Nowhere: the agent calls us.
    Listen(Listen),
}

/// Where we listen for an agent that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// This port of AF_VSOCK, for every guest of this machine.
    Vsock(u32),
    /// A Unix stream socket; at most [`UNIX_PATH_MAX`] bytes. Firecracker, Cloud Hypervisor and vhost-device-vsock connect
    /// a guest that calls port N of its host to the socket that is named like their own with `_N` behind it.
    Unix(PathBuf),
}

impl Target {
    /// Reads `[USER@]ADDRESS`; `default_port` is used where the address names none.
    ///
    /// A `USER@` ends at the first `@` and holds none of `:`, `%` and `/`, so that `exec:ssh root@host` has no user.
    ///
    /// # Errors
    /// The reason why `word` is not a target.
    pub fn parse(word: &OsStr, default_port: u32) -> Result<Self, TargetError> {
        let (user, rest) = split_user(word.as_bytes());
        if user.is_some_and(<[u8]>::is_empty) {
            return Err(TargetError::EmptyUser);
        }
        Ok(Self {
            user: user.map(|user| OsStr::from_bytes(user).to_owned()),
            address: Address::parse(rest, default_port)?,
            credentials: None,
        })
    }

    /// The `USER` of a `USER@` before a name, where there is one, and the name.
    #[must_use]
    pub fn split_user(word: &OsStr) -> (Option<&OsStr>, &OsStr) {
        let (user, rest) = split_user(word.as_bytes());
        (user.map(OsStr::from_bytes), OsStr::from_bytes(rest))
    }

    /// Whether `word` is a scheme and nothing else.
    pub fn is_scheme_alone(word: &OsStr) -> bool {
        is_scheme(split_user(word.as_bytes()).1)
    }

    /// Whether `word` begins as an address with a scheme does, whatever follows. `cp` asks this of a word with a slash.
    pub fn is_with_scheme(word: &OsStr) -> bool {
        let (_, rest) = split_user(word.as_bytes());
        split_scheme(rest).is_some_and(|(scheme, _, _)| is_scheme(scheme))
    }
}

impl Address {
    /// The same on another port, where it has one.
    ///
    /// # Errors
    /// It cannot have this one.
    pub fn on_port(&self, port: u32) -> Result<Self, TargetError> {
        Ok(match self.clone() {
            Self::Vsock { cid, .. } => Self::Vsock { cid, port: vsock_port(port)? },
            Self::Mux { path, .. } => Self::Mux { path, port: vsock_port(port)? },
            Self::Tcp { host, .. } => {
                Self::Tcp { host, port: u16::try_from(port).map_err(|_| TargetError::Port)? }
            }
            without => without,
        })
    }

    fn parse(word: &[u8], default_port: u32) -> Result<Self, TargetError> {
        if word.is_empty() {
            return Err(TargetError::Empty);
        }
        let Some((scheme, separator, rest)) = split_scheme(word) else {
            if word.iter().all(u8::is_ascii_digit) {
                return Ok(Self::Vsock {
                    cid: number(word, TargetError::Cid)?,
                    port: vsock_port(default_port)?,
                });
            }
            return Err(TargetError::Name);
        };
        if separator == b':' && scheme.iter().all(u8::is_ascii_digit) && !scheme.is_empty() {
            return Err(TargetError::NumberWithColon);
        }
        if !is_scheme(scheme) || (separator == b'/' && scheme != b"vsock") {
            return Err(TargetError::Scheme);
        }
        let decoded;
        let rest = if separator == b'%' {
            decoded = decode(rest);
            &decoded
        } else {
            rest
        };
        match scheme {
            b"vsock" => {
                let (cid, port) = split_port(rest);
                let port = port.map_or(Ok(default_port), |port| number(port, TargetError::Port))?;
                Ok(Self::Vsock { cid: number(cid, TargetError::Cid)?, port: vsock_port(port)? })
            }
            b"mux" => {
                let (path, port) = match split_port(rest) {
                    (path, Some(port)) if !port.is_empty() && port.iter().all(u8::is_ascii_digit) => {
                        (path, number(port, TargetError::Port)?)
                    }
                    _ => (rest, default_port),
                };
                Ok(Self::Mux { path: socket_path(path)?, port: vsock_port(port)? })
            }
            b"unix" => Ok(Self::Unix(socket_path(rest)?)),
            b"tcp" => parse_tcp(rest, default_port),
            b"serial" => Ok(Self::Serial(path(rest)?)),
            _ if rest.is_empty() => Err(TargetError::EmptyCommand),
            _ => Ok(Self::Exec(OsStr::from_bytes(rest).to_owned())),
        }
    }
}

impl Listen {
    /// Reads `vsock[:PORT]` or `unix:PATH`; `default_port` is used where no port is named.
    ///
    /// # Errors
    /// The reason why `word` is neither.
    pub fn parse(word: &OsStr, default_port: u32) -> Result<Self, TargetError> {
        match split_scheme(word.as_bytes()) {
            None if word == "vsock" => vsock_port(default_port).map(Self::Vsock),
            Some((b"vsock", b':', port)) => number(port, TargetError::Port).map(Self::Vsock),
            Some((b"unix", b':', path)) => socket_path(path).map(Self::Unix),
            _ => Err(TargetError::NotToListenOn),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock(port) => write!(out, "vsock:{port}"),
            Self::Unix(path) => write!(out, "unix:{}", shown(path)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid, port } => write!(out, "vsock:{cid}:{port}"),
            Self::Mux { path, port } => write!(out, "mux:{}:{port}", shown(path)),
            Self::Unix(path) => write!(out, "unix:{}", shown(path)),
            Self::Tcp { host, port } if host.contains(':') => {
                write!(out, "tcp:[{}]:{port}", text::escape(host.as_bytes()))
            }
            Self::Tcp { host, port } => write!(out, "tcp:{}:{port}", text::escape(host.as_bytes())),
            Self::Serial(path) => write!(out, "serial:{}", shown(path)),
            Self::Exec(command) => write!(out, "exec:{}", text::escape(command.as_bytes())),
            Self::Listen(on) => write!(out, "an agent that calls {on}"),
        }
    }
}

fn shown(path: &Path) -> Cow<'_, str> {
    text::escape(path.as_os_str().as_bytes())
}

fn parse_tcp(rest: &[u8], default_port: u32) -> Result<Address, TargetError> {
    // A bracketed IPv6 address may stand without a port; its own colons are none.
    let (host, port) = if rest.ends_with(b"]") { (rest, None) } else { split_port(rest) };
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    let port = port.map_or(Ok(default_port), |port| number(port, TargetError::Port))?;
    match std::str::from_utf8(host) {
        Ok(host) if !host.is_empty() => Ok(Address::Tcp {
            host: host.to_owned(),
            port: u16::try_from(port).map_err(|_| TargetError::Port)?,
        }),
        _ => Err(TargetError::Host),
    }
}

/// Splits at the first `@` where what stands before it can be a user's name.
fn split_user(word: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match word.iter().position(|byte| matches!(byte, b'@' | b':' | b'%' | b'/')) {
        Some(at) if word[at] == b'@' => (Some(&word[..at]), &word[at + 1..]),
        _ => (None, word),
    }
}

/// First word, separator, rest; `None` where there is no separator.
fn split_scheme(word: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let at = word.iter().position(|byte| matches!(byte, b':' | b'%' | b'/'))?;
    Some((&word[..at], word[at], &word[at + 1..]))
}

fn is_scheme(word: &[u8]) -> bool {
    SCHEMES.iter().any(|scheme| scheme.as_bytes() == word)
}

/// Splits at the last colon.
fn split_port(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    match rest.iter().rposition(|byte| *byte == b':') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    }
}

/// `%` is a colon, `%%` a percent sign, read from the left.
fn decode(rest: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' if bytes.next_if_eq(&b'%').is_some() => b'%',
            b'%' => b':',
            other => other,
        });
    }
    decoded
}

/// Decimal digits only: `u32::from_str` alone would take a `+`.
fn number(digits: &[u8], error: TargetError) -> Result<u32, TargetError> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(error);
    }
    let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    value.filter(|value| *value != ANY).ok_or(error)
}

fn vsock_port(port: u32) -> Result<u32, TargetError> {
    if port == ANY { Err(TargetError::Port) } else { Ok(port) }
}

fn path(bytes: &[u8]) -> Result<PathBuf, TargetError> {
    if bytes.is_empty() {
        return Err(TargetError::EmptyPath);
    }
    Ok(PathBuf::from(OsString::from_vec(bytes.to_vec())))
}

fn socket_path(bytes: &[u8]) -> Result<PathBuf, TargetError> {
    if bytes.len() > UNIX_PATH_MAX {
        return Err(TargetError::PathTooLong);
    }
    path(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn address(word: &str) -> Address {
        let target =
            Target::parse(OsStr::new(word), DEFAULT_PORT).unwrap_or_else(|error| panic!("{word}: {error}"));
        assert_eq!(target.user, None, "{word}");
        target.address
    }

    #[track_caller]
    fn refused(word: &str) -> TargetError {
        match Target::parse(OsStr::new(word), DEFAULT_PORT) {
            Ok(target) => panic!("{word}: {target:?}"),
            Err(error) => error,
        }
    }

    fn vsock(cid: u32, port: u32) -> Address {
        Address::Vsock { cid, port }
    }

    #[test]
    fn a_number_is_a_context_id_on_the_default_port() {
        assert_eq!(address("3"), vsock(3, 5000));
        assert_eq!(Target::parse(OsStr::new("3"), 22).unwrap().address, vsock(3, 22));
        assert_eq!(address("4294967294"), vsock(4_294_967_294, 5000));
    }

    #[test]
    fn a_port_in_the_target_wins_over_the_default() {
        for word in ["vsock:3:7", "vsock%3%7", "vsock/3:7"] {
            assert_eq!(address(word), vsock(3, 7), "{word}");
        }
        for word in ["vsock:3", "vsock%3", "vsock/3"] {
            assert_eq!(address(word), vsock(3, 5000), "{word}");
        }
    }

    #[test]
    fn context_ids_and_ports_that_nothing_can_connect_to_are_refused() {
        for word in
            ["vsock:", "vsock:x", "vsock:-1", "vsock:+3", "vsock:4294967295", "4294967295", "99999999999"]
        {
            assert_eq!(refused(word), TargetError::Cid, "{word}");
        }
        for word in ["vsock:3:", "vsock:3:x", "vsock:3:4294967295", "tcp:h:65536", "tcp:h:", "tcp:h:x"] {
            assert_eq!(refused(word), TargetError::Port, "{word}");
        }
        assert_eq!(Target::parse(OsStr::new("tcp:h"), 70_000), Err(TargetError::Port));
    }

    #[test]
    fn what_has_a_port_can_have_another_one() {
        for (word, moved) in
            [("3", "vsock:3:7"), ("mux:/a:9", "mux:/a:7"), ("tcp:h:1", "tcp:h:7"), ("unix:/a", "unix:/a")]
        {
            assert_eq!(address(word).on_port(7).unwrap().to_string(), moved);
        }
        assert_eq!(address("tcp:h").on_port(70_000), Err(TargetError::Port));
        assert_eq!(address("3").on_port(u32::MAX), Err(TargetError::Port));
    }

    #[test]
    fn a_mux_path_may_hold_colons_and_end_in_a_port() {
        let mux = |path: &str, port| Address::Mux { path: path.into(), port };
        assert_eq!(address("mux:/run/v.sock"), mux("/run/v.sock", 5000));
        assert_eq!(address("mux:/run/v.sock:22"), mux("/run/v.sock", 22));
        assert_eq!(address("mux:/run/a:b"), mux("/run/a:b", 5000));
        assert_eq!(address("mux:/run/a:b:9"), mux("/run/a:b", 9));
        assert_eq!(address("mux%/run/v.sock%22"), mux("/run/v.sock", 22));
        assert_eq!(refused("mux::22"), TargetError::EmptyPath);
        assert_eq!(refused("mux:"), TargetError::EmptyPath);
    }

    #[test]
    fn percent_is_decoded_only_after_a_percent_separator() {
        let unix = |path: &str| Address::Unix(path.into());
        assert_eq!(address("unix:/tmp/100%"), unix("/tmp/100%"));
        assert_eq!(address("unix%/tmp/100%%"), unix("/tmp/100%"));
        assert_eq!(address("unix%/run/a%b"), unix("/run/a:b"));
        assert_eq!(address("unix%/a%%%b"), unix("/a%:b"));
        assert_eq!(address("unix:a@b"), unix("a@b"));
    }

    #[test]
    fn a_path_that_a_socket_address_cannot_hold_is_refused_at_its_first_byte() {
        assert_eq!(address(&format!("unix:{}", "x".repeat(107))), Address::Unix("x".repeat(107).into()));
        assert_eq!(refused(&format!("unix:{}", "x".repeat(108))), TargetError::PathTooLong);
        assert_eq!(refused(&format!("mux:{}:5", "x".repeat(108))), TargetError::PathTooLong);
        assert_eq!(address(&format!("serial:{}", "x".repeat(108))), Address::Serial("x".repeat(108).into()));
    }

    #[test]
    fn a_path_need_not_be_text() {
        let target = Target::parse(OsStr::from_bytes(b"unix:/tmp/\xff"), DEFAULT_PORT).unwrap();
        assert_eq!(target.address, Address::Unix(OsStr::from_bytes(b"/tmp/\xff").into()));
        assert_eq!(target.address.to_string(), r"unix:/tmp/\xff");
        assert_eq!(Target::parse(OsStr::from_bytes(b"tcp:\xff:1"), DEFAULT_PORT), Err(TargetError::Host));
    }

    #[test]
    fn tcp_takes_names_and_bracketed_addresses() {
        let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
        assert_eq!(address("tcp:localhost:80"), tcp("localhost", 80));
        assert_eq!(address("tcp%localhost%80"), tcp("localhost", 80));
        assert_eq!(address("tcp:[::1]:80"), tcp("::1", 80));
        assert_eq!(address("tcp:[::1]"), tcp("::1", 5000));
        assert_eq!(address("tcp:[::1]:80").to_string(), "tcp:[::1]:80");
        assert_eq!(refused("tcp::80"), TargetError::Host);
    }

    #[test]
    fn exec_keeps_its_command_as_it_is() {
        assert_eq!(
            address("exec:ssh root@host socat - X:1"),
            Address::Exec("ssh root@host socat - X:1".into())
        );
        assert_eq!(address("exec%printf %%d a%b"), Address::Exec("printf %d a:b".into()));
        assert_eq!(refused("exec:"), TargetError::EmptyCommand);
    }

    #[test]
    fn a_user_may_stand_before_any_address() {
        for (word, expected) in [("root@3", vsock(3, 5000)), ("root@unix%/a", Address::Unix("/a".into()))] {
            let target = Target::parse(OsStr::new(word), DEFAULT_PORT).unwrap();
            assert_eq!((target.user, target.address), (Some("root".into()), expected), "{word}");
        }
        assert_eq!(refused("@3"), TargetError::EmptyUser);
        assert_eq!(refused("root@"), TargetError::Empty);
    }

    #[test]
    fn what_is_no_target_says_which_kind_of_mistake_it_is() {
        assert_eq!(refused(""), TargetError::Empty);
        assert_eq!(refused("guest"), TargetError::Name);
        assert_eq!(refused("ssh:guest"), TargetError::Scheme);
        assert_eq!(refused("unix/run/a"), TargetError::Scheme);
        assert_eq!(refused("3:5000"), TargetError::NumberWithColon);
        assert_eq!(refused(":3"), TargetError::Scheme);
    }

    #[test]
    fn an_address_is_shown_as_it_can_be_typed() {
        for word in
            ["vsock:3:7", "mux:/a:b:9", "unix:/a", "tcp:h:80", "tcp:[::1]:80", "serial:/dev/x", "exec:a b"]
        {
            assert_eq!(address(word).to_string(), word);
        }
    }
}
