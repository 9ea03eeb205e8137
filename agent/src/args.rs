//! The command line, parsed into meaningful values: `vsock-shell-agent [-p PORT] [-d] [-v]… [--listen ADDR]…`.

use core::ffi::CStr;
use core::net::SocketAddr;

use arrayvec::ArrayVec;

use vsock_shell_proto::ability;
use vsock_shell_proto::limits::SESSIONS_MAX;

use crate::account::decimal;
use crate::inet;
use crate::sys::socket::VsockAddress;
use crate::sys::text::Text;

/// Addresses to listen on at once.
pub const ADDRESSES_MAX: usize = 8;
/// The vsock port where none is named.
pub const DEFAULT_PORT: u32 = 5000;

/// The longest that a session without a connection is kept where nobody says, in milliseconds.
pub const DEFAULT_GRACE_MS: u32 = 60_000;

/// The context id of the host, `vsock(7)`.
pub const HOST_CID: u32 = 2;

/// What `--help` prints.
pub const HELP: &CStr = c"\
Usage: vsock-shell-agent [-p PORT] [-d] [-v]... [--listen ADDR]...
                         [--connect ADDR] [--notify ADDR] [--allow-cid CID|any] [--grace SECONDS]
                         [--root DIR] [--key FILE] [--deny WORD,...] [--read-only] [--user NAME] [--max-sessions N]
Gives the host of this machine shells, commands and files over vsock.

  -p PORT         vsock port (default 5000)
  -d              go to the background once it listens
  -v              tell more; repeat for still more
  --listen ADDR   vsock[:PORT] (default), unix:PATH, serial:PORT (/dev/... or the
                  name of a virtio-serial port), stdio, or fd:N for an open socket;
                  without it also systemd's LISTEN_FDS
  --connect ADDR  call vsock:CID:PORT or unix:PATH instead, again and again
  --notify ADDR   send READY=1 to vsock:CID:PORT or unix:PATH once it listens
  --allow-cid CID accept from this context id as well as from the host; any: from all
  --grace SECONDS keep what a client runs that has lost its connection (default 60)
  --root DIR      serve the files beneath this directory and nothing else
  --key FILE      serve only who has the key in this file, as keygen writes it
  --deny WORD,... refuse exec, shell, put, get, fs-write, connect, listen, system, system-write or detach
  --read-only     refuse everything that changes something
  --user NAME     serve with the rights of this user, who is not root
  --max-sessions N at most so many at once (256)
  -h, --help      print this
  -V, --version   print the version
";

/// The options that are words, and their places in this table.
pub const LONG: [&[u8]; 13] = [
    b"--help",
    b"--version",
    b"--listen",
    b"--notify",
    b"--connect",
    b"--allow-cid",
    b"--grace",
    b"--root",
    b"--key",
    b"--deny",
    b"--read-only",
    b"--user",
    b"--max-sessions",
];
const HELP_OPTION: usize = 0;
const VERSION_OPTION: usize = 1;
const LISTEN: usize = 2;
const NOTIFY: usize = 3;
const CONNECT: usize = 4;
const ALLOW_CID: usize = 5;
const GRACE: usize = 6;
const ROOT: usize = 7;
const KEY: usize = 8;
const DENY: usize = 9;
const READ_ONLY: usize = 10;
const USER: usize = 11;
const MAX_SESSIONS: usize = 12;

/// Where sessions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// This port of AF_VSOCK.
    Vsock(u32),
    /// A Unix socket of this path.
    Unix(&'a CStr),
    /// An address of TCP, as it was written and as it is.
    Tcp(&'a CStr, SocketAddr),
    /// A port without connections: a path, or the name of a virtio-serial port.
    Serial(&'a CStr),
    /// One session over the standard input and output.
    Stdio,
    /// An inherited descriptor: a listening socket, or one session over a connected one.
    Descriptor(i32),
}

/// Whom to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer<'a> {
    /// This port of AF_VSOCK; CID 2 is the host.
    Vsock(VsockAddress),
    /// A Unix socket of this path.
    Unix(&'a CStr),
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Serve, as the options say.
    Serve,
}

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C)]
pub struct Options<'a> {
    /// Serve what can be had of the addresses: there is nobody who would correct a wrong one.
    pub lenient: bool,
    /// Go to the background.
    pub daemon: bool,
    /// How many `-v` there were.
    pub verbosity: u8,
    /// The port of `-p`, or 5000.
    pub port: u32,
    /// Who is accepted over vsock beside the host: a CID, or [`VsockAddress::ANY`]; the host's own where nobody is.
    pub allowed_cid: u32,
    /// The longest that a session without a connection is kept, in milliseconds.
    pub grace_ms: u32,
    /// Whom to call. Without addresses nothing else is done.
    pub connect: Option<Peer<'a>>,
    /// The directory that is served, and nothing else.
    pub root: Option<&'a CStr>,
    /// The file with the key that clients have to have.
    pub key: Option<&'a CStr>,
    /// Whose rights the agent gives its own up for.
    pub user: Option<&'a CStr>,
    /// What is refused, of [`ability`].
    pub denied: u32,
    /// Sessions at once.
    pub sessions_max: u32,
    /// One of those that keep somebody out was there and could not be understood.
    pub is_broken: bool,
    /// Whom to tell that it listens.
    pub notify: Option<Peer<'a>>,
    /// The addresses in order; none where none was given.
    pub addresses: ArrayVec<Address<'a>, ADDRESSES_MAX>,
}

impl Options<'_> {
    /// Those of an empty command line.
    pub const NONE: Self = Self {
        lenient: false,
        daemon: false,
        verbosity: 0,
        port: DEFAULT_PORT,
        grace_ms: DEFAULT_GRACE_MS,
        addresses: ArrayVec::new_const(),
        connect: None,
        allowed_cid: HOST_CID,
        notify: None,
        root: None,
        key: None,
        user: None,
        denied: 0,
        sessions_max: SESSIONS_MAX as u32,
        is_broken: false,
    };
}

/// What is wrong with the command line, and the argument that is.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError<'a> {
    /// What is wrong.
    pub problem: Text,
    /// The argument.
    pub argument: &'a [u8],
}

fn wrong<'a, T>(problem: &'static CStr, argument: &'a [u8]) -> Result<T, UsageError<'a>> {
    Err(UsageError { problem: Text::new(problem), argument })
}

/// Stands for the port of `-p`, which may come later; no address has it.
const PORT_TO_COME: u32 = u32::MAX;

/// Reads the arguments after the program's name into `options`.
///
/// # Errors
/// The first argument that cannot be understood. Whoever calls again goes on behind it.
#[inline(never)]
pub fn parse<'a>(
    arguments: &mut dyn Iterator<Item = &'a CStr>,
    options: &mut Options<'a>,
) -> Result<Request, UsageError<'a>> {
    while let Some(argument) = arguments.next() {
        let bytes = argument.to_bytes();
        let (name, value) = split(argument);
        let option = position(&LONG, name);
        let was_broken = options.is_broken;
        options.is_broken |= option.is_some_and(|option| option == ALLOW_CID || option >= ROOT);
        match (option, value) {
            (Some(HELP_OPTION), None) => return Ok(Request::Help),
            (Some(VERSION_OPTION), None) => return Ok(Request::Version),
            (Some(READ_ONLY), None) => options.denied |= ability::CHANGES,
            (Some(option), value) if !matches!(option, HELP_OPTION | VERSION_OPTION | READ_ONLY) => {
                let value = value.map_or_else(|| value_of(arguments.next(), bytes), Ok)?;
                match option {
                    LISTEN => push(&mut options.addresses, value)?,
                    CONNECT => options.connect = Some(parse_peer(value)?),
                    ALLOW_CID => options.allowed_cid = parse_cid(value.to_bytes())?,
                    GRACE => options.grace_ms = parse_seconds(value.to_bytes())?,
                    ROOT => options.root = Some(value),
                    KEY => options.key = Some(value),
                    DENY => options.denied |= parse_denied(value.to_bytes())?,
                    USER => options.user = Some(value),
                    MAX_SESSIONS => options.sessions_max = parse_count(value.to_bytes())?,
                    NOTIFY => options.notify = Some(parse_peer(value)?),
                    _ => {}
                }
            }
            _ => {
                let Some(mut letters) = suffix(argument, b"-").filter(|rest| !is_long_or_empty(rest)) else {
                    let problem =
                        if bytes.first() == Some(&b'-') { c"unknown option" } else { c"unexpected argument" };
                    return wrong(problem, bytes);
                };
                while let Some((&letter, _)) = letters.to_bytes().split_first() {
                    letters = letters.to_bytes_with_nul().get(1..).map(c_str).unwrap_or_default();
                    match letter {
                        b'h' => return Ok(Request::Help),
                        b'V' => return Ok(Request::Version),
                        b'd' => options.daemon = true,
                        b'v' => options.verbosity = options.verbosity.saturating_add(1),
                        b'p' => {
                            let value =
                                if letters.is_empty() { value_of(arguments.next(), b"-p")? } else { letters };
                            options.port = parse_port(value.to_bytes())?;
                            break;
                        }
                        _ => return wrong(c"unknown option", bytes),
                    }
                }
            }
        }
        options.is_broken = was_broken;
    }
    for address in &mut options.addresses {
        if *address == Address::Vsock(PORT_TO_COME) {
            *address = Address::Vsock(options.port);
        }
    }
    Ok(Request::Serve)
}

/// Where in `table` the word stands. The comparison is in the file once, and not for each word.
#[inline(never)]
pub fn position(table: &[&[u8]], word: &[u8]) -> Option<usize> {
    table.iter().position(|&entry| entry == word)
}

/// What stands before the first equals sign, and behind it, where there is one.
#[inline(never)]
pub fn split(argument: &CStr) -> (&[u8], Option<&CStr>) {
    let bytes = argument.to_bytes_with_nul();
    match bytes.iter().position(|&byte| byte == b'=').and_then(|at| bytes.split_at_checked(at)) {
        Some((name, value)) => (name, value.get(1..).map(c_str)),
        None => (argument.to_bytes(), None),
    }
}

fn value_of<'a>(value: Option<&'a CStr>, option: &'a [u8]) -> Result<&'a CStr, UsageError<'a>> {
    value.ok_or(UsageError { problem: Text::new(c"option needs a value"), argument: option })
}

fn push<'a>(
    addresses: &mut ArrayVec<Address<'a>, ADDRESSES_MAX>,
    address: &'a CStr,
) -> Result<(), UsageError<'a>> {
    addresses.try_push(parse_address(address, PORT_TO_COME)?).map_err(|_| UsageError {
        problem: Text::new(c"more than 8 addresses to listen on"),
        argument: address.to_bytes(),
    })
}

fn is_long_or_empty(rest: &&CStr) -> bool {
    matches!(rest.to_bytes().first(), None | Some(b'-'))
}

/// What stands behind `prefix`, still with its NUL.
pub fn suffix<'a>(argument: &'a CStr, prefix: &[u8]) -> Option<&'a CStr> {
    argument.to_bytes_with_nul().strip_prefix(prefix).map(c_str)
}

/// The end of a C string is one too; where it were not, the empty string.
pub fn c_str(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(bytes).unwrap_or_default()
}

fn parse_port(text: &[u8]) -> Result<u32, UsageError<'_>> {
    // The highest number stands for "any" in vsock(7).
    match decimal(text) {
        Some(port) if port != u32::MAX => Ok(port),
        _ => wrong(c"not a port", text),
    }
}

fn parse_cid(text: &[u8]) -> Result<u32, UsageError<'_>> {
    match decimal(text) {
        _ if text == b"any" => Ok(VsockAddress::ANY),
        Some(cid) => Ok(cid),
        None => wrong(c"not a context id", text),
    }
}

fn parse_denied(words: &[u8]) -> Result<u32, UsageError<'_>> {
    let mut denied = 0;
    for word in words.split(|&byte| byte == b',') {
        match ability::find(word) {
            Some(bit) => denied |= bit,
            None => return wrong(c"not an ability; --help has them", word),
        }
    }
    Ok(denied)
}

fn parse_count(text: &[u8]) -> Result<u32, UsageError<'_>> {
    match decimal(text) {
        Some(count) if (1..=SESSIONS_MAX as u32).contains(&count) => Ok(count),
        _ => wrong(c"not a number from 1 to 256", text),
    }
}

/// Gives milliseconds, a month at the most.
fn parse_seconds(text: &[u8]) -> Result<u32, UsageError<'_>> {
    match decimal(text) {
        Some(seconds) if seconds < 30 * 86_400 => Ok(seconds * 1000),
        _ => wrong(c"not a number of seconds, or more than a month", text),
    }
}

/// Reads whom to connect to.
///
/// # Errors
/// It is nobody.
pub fn parse_peer(address: &CStr) -> Result<Peer<'_>, UsageError<'_>> {
    if let Some(path) = suffix(address, b"unix:").filter(|path| !path.is_empty()) {
        return Ok(Peer::Unix(path));
    }
    if let Some(numbers) = suffix(address, b"vsock:").map(CStr::to_bytes)
        && let Some(colon) = numbers.iter().position(|&byte| byte == b':')
        && let (Some(cid), Some(port)) =
            (numbers.get(..colon).and_then(decimal), numbers.get(colon + 1..).and_then(decimal))
    {
        return Ok(Peer::Vsock(VsockAddress { cid, port }));
    }
    wrong(c"not vsock:CID:PORT or unix:PATH", address.to_bytes())
}

/// Reads an address; `port` is that of a vsock address without one.
///
/// # Errors
/// It is none.
pub fn parse_address(address: &CStr, port: u32) -> Result<Address<'_>, UsageError<'_>> {
    let bytes = address.to_bytes();
    if bytes == b"vsock" {
        Ok(Address::Vsock(port))
    } else if bytes == b"stdio" {
        Ok(Address::Stdio)
    } else if let Some(port) = suffix(address, b"vsock:") {
        parse_port(port.to_bytes()).map(Address::Vsock)
    } else if let Some(path) = suffix(address, b"unix:") {
        if path.is_empty() { wrong(c"unix: needs a path", bytes) } else { Ok(Address::Unix(path)) }
    } else if let Some(port) = suffix(address, b"serial:") {
        if port.is_empty() { wrong(c"serial: needs a port", bytes) } else { Ok(Address::Serial(port)) }
    } else if let Some(number) = suffix(address, b"fd:") {
        match decimal(number.to_bytes()).and_then(|number| i32::try_from(number).ok()) {
            Some(number) if number > 2 => Ok(Address::Descriptor(number)),
            _ => wrong(c"fd: needs the number of a socket, 3 or above", bytes),
        }
    } else if let Some(written) = suffix(address, b"tcp:") {
        match inet::parse(written.to_bytes()) {
            Some(address) => Ok(Address::Tcp(written, address)),
            None => wrong(c"tcp: needs an address with a port, such as tcp:127.0.0.1:5000", bytes),
        }
    } else {
        wrong(c"not an address to listen on", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<'a>(arguments: &[&'a CStr]) -> Result<(Request, Options<'a>), UsageError<'a>> {
        let mut options = Options::NONE;
        parse(&mut arguments.iter().copied(), &mut options).map(|request| (request, options))
    }

    fn serve<'a>(arguments: &[&'a CStr]) -> Result<Options<'a>, UsageError<'a>> {
        let (request, options) = parsed(arguments)?;
        assert_eq!(request, Request::Serve);
        Ok(options)
    }

    fn problem(arguments: &[&'static CStr]) -> (&'static str, &'static [u8]) {
        let error = parsed(arguments).unwrap_err();
        (std::str::from_utf8(error.problem.as_bytes()).unwrap(), error.argument)
    }

    #[test]
    fn power_can_be_taken_away() {
        let (_, options) =
            parsed(&[c"--deny=exec,fs-write", c"--deny", c"detach", c"--user", c"x", c"--max-sessions=3"])
                .unwrap();
        assert_eq!(options.denied, ability::EXEC | ability::FS_WRITE | ability::DETACH);
        assert_eq!((options.user, options.sessions_max), (Some(c"x"), 3));
        assert_eq!(
            parsed(&[c"--read-only", c"--deny=get"]).unwrap().1.denied,
            ability::CHANGES | ability::GET
        );
        for wrong in [
            c"--deny=",
            c"--deny=exec,",
            c"--deny=Exec",
            c"--read-only=1",
            c"--max-sessions=0",
            c"--max-sessions=257",
        ] {
            assert!(parsed(&[wrong]).is_err(), "{wrong:?}");
            let mut options = Options::NONE;
            assert!(parse(&mut [wrong].into_iter(), &mut options).is_err() && options.is_broken, "{wrong:?}");
        }
        // Whoever goes on behind it remembers that; other mistakes protect nobody less.
        let mut options = Options::NONE;
        let mut words = [c"--deny=x", c"--deny=exec", c"--listen=x"].into_iter();
        assert!(parse(&mut words, &mut options).is_err() && parse(&mut words, &mut options).is_err());
        assert_eq!((options.is_broken, options.denied), (true, ability::EXEC));
        let mut options = Options::NONE;
        assert!(parse(&mut [c"--deny=exec", c"--listen=x"].into_iter(), &mut options).is_err());
        assert!(!options.is_broken);
    }

    #[test]
    fn nothing_given_is_no_address() {
        let options = serve(&[]).unwrap();
        assert_eq!((options.daemon, options.verbosity, options.addresses.len()), (false, 0, 0));
    }

    #[test]
    fn short_options_may_stand_together() {
        let options = serve(&[c"-dvvp7", c"-v", c"--listen", c"vsock"]).unwrap();
        assert_eq!((options.daemon, options.verbosity), (true, 3));
        assert_eq!(options.addresses[..], [Address::Vsock(7)]);
    }

    #[test]
    fn the_port_counts_for_addresses_without_one_whatever_the_order() {
        let options = serve(&[c"--listen=vsock", c"--listen=vsock:9", c"-p", c"8"]).unwrap();
        assert_eq!(options.addresses[..], [Address::Vsock(8), Address::Vsock(9)]);
    }

    #[test]
    fn every_kind_of_address_is_understood() {
        let options =
            serve(&[c"--listen=unix:/a b", c"--listen", c"fd:3", c"--listen=stdio", c"--listen=serial:a.0"])
                .unwrap();
        let expected =
            [Address::Unix(c"/a b"), Address::Descriptor(3), Address::Stdio, Address::Serial(c"a.0")];
        assert_eq!(options.addresses[..], expected);
    }

    #[test]
    fn peers_and_allowed_context_ids_are_understood() {
        let options =
            serve(&[c"--connect=unix:/a=b", c"--notify", c"vsock:2:9", c"--allow-cid", c"7"]).unwrap();
        assert_eq!(options.connect, Some(Peer::Unix(c"/a=b")));
        assert_eq!(options.notify, Some(Peer::Vsock(VsockAddress { cid: 2, port: 9 })));
        assert_eq!((options.allowed_cid, options.addresses.len()), (7, 0));
        assert_eq!(serve(&[c"--allow-cid=any"]).unwrap().allowed_cid, VsockAddress::ANY);
        for wrong in
            [c"unix:", c"vsock:2", c"vsock:2:", c"vsock::9", c"2:9", c"carrier:pigeon", c"tcp:a:1", c""]
        {
            assert_eq!(parsed(&[c"--connect", wrong]).unwrap_err().argument, wrong.to_bytes());
        }
        assert_eq!(problem(&[c"--allow-cid=me"]), ("not a context id", &b"me"[..]));
    }

    #[test]
    fn the_wrong_argument_is_named() {
        assert_eq!(problem(&[c"-x"]), ("unknown option", &b"-x"[..]));
        assert_eq!(problem(&[c"--frob"]), ("unknown option", &b"--frob"[..]));
        assert_eq!(problem(&[c"-"]), ("unknown option", &b"-"[..]));
        assert_eq!(problem(&[c"file"]), ("unexpected argument", &b"file"[..]));
        assert_eq!(problem(&[c""]), ("unexpected argument", &b""[..]));
        assert_eq!(problem(&[c"-p"]), ("option needs a value", &b"-p"[..]));
        assert_eq!(problem(&[c"-d", c"--listen"]), ("option needs a value", &b"--listen"[..]));
        assert_eq!(problem(&[c"-p", c"-1"]), ("not a port", &b"-1"[..]));
        assert_eq!(problem(&[c"-p4294967295"]), ("not a port", &b"4294967295"[..]));
        assert_eq!(problem(&[c"--listen=vsock:"]), ("not a port", &b""[..]));
        assert_eq!(problem(&[c"--listen=unix:"]), ("unix: needs a path", &b"unix:"[..]));
        assert!(problem(&[c"--listen=serial:"]).0.starts_with("serial: needs"));
        assert_eq!(problem(&[c"--listen=udp"]), ("not an address to listen on", &b"udp"[..]));
        assert!(problem(&[c"--listen=fd:2"]).0.starts_with("fd:"));
        for wrong in [
            c"--listen=tcp:0:1",
            c"--listen=tcp:127.0.0.1",
            c"--listen=tcp:localhost:1",
            c"--listen=tcp::::1",
        ] {
            assert!(problem(&[wrong]).0.starts_with("tcp: needs an address"), "{wrong:?}");
        }
        for right in [c"tcp:127.0.0.1:5000", c"tcp:[::1]:0"] {
            assert!(matches!(parse_address(right, 1), Ok(Address::Tcp(..))), "{right:?}");
        }
        assert_eq!(problem(&[c"--listen=stdio"; 9]).0, "more than 8 addresses to listen on");
    }

    #[test]
    fn help_and_version_win_over_what_follows() {
        assert_eq!(parsed(&[c"--help", c"-x"]).unwrap().0, Request::Help);
        assert_eq!(parsed(&[c"-vV"]).unwrap().0, Request::Version);
    }

    #[test]
    fn what_stands_beside_a_wrong_argument_can_still_be_had() {
        let words = [c"--listen=vsock:6", c"--bogus", c"-z", c"--listen=vsock", c"-vp7"];
        let mut words = words.into_iter();
        let mut options = Options::NONE;
        let mut wrong = Vec::new();
        while let Err(error) = parse(&mut words, &mut options) {
            wrong.push(error.argument);
        }
        assert_eq!(wrong, [&b"--bogus"[..], b"-z"]);
        assert_eq!(options.addresses[..], [Address::Vsock(6), Address::Vsock(7)]);
        assert_eq!(options.verbosity, 1);
    }
}
