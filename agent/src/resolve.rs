//! The addresses of a host: a literal one, `localhost`, or what /etc/hosts and a name server say.
//!
//! Who asks a name server waits, so that this is done in a process of its own, which tells what it found through a pipe and
//! ends. musl's resolver would do it too, and would be 25 KB of the agent's file, most of it for what is not wanted here
//! (services, sorting, a second family of functions for files): see `docs/decisions.md`.

mod message;

use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::account::Lines;
use crate::clock::{now_ms, until};
use crate::inet;
use crate::path;
use crate::sys::process::{Forked, close_all_but, end, fork};
use crate::sys::random;
pub use message::{MESSAGE_MAX, Question, Reply};

/// Addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of a name of a host, RFC 1035 section 2.3.4.
pub const NAME_MAX: usize = 253;
/// Name servers and domains that are used, as `resolv.conf(5)` has it.
const SERVERS_MAX: usize = 3;
const DOMAINS_MAX: usize = 6;
/// How often each name server is asked, and how long an answer may take.
const ROUNDS: usize = 2;
const PATIENCE_MS: u64 = 3000;
/// How long all of it may take.
const DEADLINE_MS: u64 = 30_000;
/// Bytes of a line that is understood.
const LINE_MAX: usize = 1024;
const DNS_PORT: u16 = 53;
/// Bytes of an address in a report: its family, and it.
const RECORD_LEN: usize = 17;
/// Bytes of a report: why there are none, and the addresses.
const REPORT_MAX: usize = 1 + ADDRESSES_MAX * RECORD_LEN;

/// Where a host can be reached, in the order in which that is tried: IPv4 first, because a guest without a network mostly has
/// an IPv6 that leads nowhere.
pub type Addresses = ArrayVec<IpAddr, ADDRESSES_MAX>;

/// A domain name as text.
type Name = ArrayVec<u8, NAME_MAX>;

/// Why there is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Unresolved {
    /// There is no host of this name.
    NoSuchHost = 1,
    /// No name server has answered, or none could.
    NoAnswer = 2,
}

/// The addresses for which nobody has to be asked.
#[inline(never)]
pub fn known(host: &[u8]) -> Option<Addresses> {
    let mut addresses = Addresses::new_const();
    match inet::address(host) {
        Some(address) => addresses.push(address),
        None if host.eq_ignore_ascii_case(b"localhost") => {
            addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
            addresses.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        None => return None,
    }
    Some(addresses)
}

/// Begins to look for the addresses of a host. What is returned does not block, and can be read by [`report`].
///
/// # Errors
/// Of pipes and processes.
pub fn ask(host: &[u8]) -> Result<OwnedFd, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    if let Forked::Child = fork()? {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        close_all_but(write.as_fd());
        let found = look_up(host);
        let mut report = ArrayVec::<u8, REPORT_MAX>::new_const();
        report.push(found.as_ref().map_or_else(|&error| error as u8, |_| 0));
        for address in found.iter().flatten() {
            let _ = report.try_extend_from_slice(&encode(*address));
        }
        // Smaller than PIPE_BUF, so that it comes as a whole.
        let _ = rustix::io::write(&write, &report);
        end(0)
    }
    Ok(read)
}

/// What was found, once it was.
pub fn report(pipe: &OwnedFd) -> Option<Result<Addresses, Unresolved>> {
    let mut report = [0; REPORT_MAX];
    let length = match rustix::io::read(pipe, &mut report) {
        Err(Errno::AGAIN | Errno::INTR) => return None,
        // It was killed.
        Err(_) | Ok(0) => return Some(Err(Unresolved::NoAnswer)),
        Ok(length) => length,
    };
    let (&[why], records) = report.get(..length)?.split_first_chunk()?;
    Some(match why {
        0 => Ok(records.chunks_exact(RECORD_LEN).filter_map(decode).take(ADDRESSES_MAX).collect()),
        1 => Err(Unresolved::NoSuchHost),
        _ => Err(Unresolved::NoAnswer),
    })
}

fn encode(address: IpAddr) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    let (family, place) = record.split_at_mut(1);
    match address {
        IpAddr::V4(address) => {
            family.fill(4);
            place.split_at_mut(4).0.copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            family.fill(6);
            place.copy_from_slice(&address.octets());
        }
    }
    record
}

fn decode(record: &[u8]) -> Option<IpAddr> {
    let (&[family], bytes) = record.split_first_chunk()?;
    message::address(bytes.get(..if family == 4 { 4 } else { 16 })?)
}

fn look_up(host: &[u8]) -> Result<Addresses, Unresolved> {
    let mut found = Addresses::new_const();
    each_line(c"/etc/hosts", &mut |line| add_host(line, host, &mut found));
    if !found.is_empty() {
        return Ok(found);
    }
    let mut servers = Servers::new();
    each_line(c"/etc/resolv.conf", &mut |line| servers.read(line));
    let deadline_ms = now_ms().saturating_add(DEADLINE_MS);
    let mut why = Unresolved::NoSuchHost;
    for domain in servers.domains_for(host) {
        let asked = Question::new(host, domain).map(|question| servers.ask(&question, deadline_ms));
        match asked {
            Some(Ok(found)) => return Ok(found),
            Some(Err(Unresolved::NoAnswer)) => why = Unresolved::NoAnswer,
            // What is no name of a host is none of another one either.
            Some(Err(Unresolved::NoSuchHost)) | None => {}
        }
    }
    Err(why)
}

/// Reads a file by its lines, without comments.
fn each_line(path: &CStr, work: &mut dyn FnMut(&[u8])) {
    let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let mut buffer = [0; LINE_MAX];
    let mut lines = Lines::new(&mut buffer);
    let read = &mut |room: &mut [u8]| rustix::io::read(&file, room);
    while let Some(line) = lines.next(read) {
        work(line.split(|&byte| byte == b'#' || byte == b';').next().unwrap_or_default());
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Adds the address of a line of `hosts(5)`, if `host` stands behind it.
pub fn add_host(line: &[u8], host: &[u8], found: &mut Addresses) {
    let mut words = words(line);
    let address = words.next().and_then(inet::address);
    if let Some(address) = address.filter(|_| words.any(|name| name.eq_ignore_ascii_case(host))) {
        let _ = found.try_push(address);
    }
}

/// What `resolv.conf(5)` says. Its options are not read.
#[derive(Debug, Default)]
pub struct Servers {
    addresses: ArrayVec<IpAddr, SERVERS_MAX>,
    domains: ArrayVec<Name, DOMAINS_MAX>,
}

impl Servers {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { addresses: ArrayVec::new_const(), domains: ArrayVec::new_const() }
    }

    /// Takes a line. Of several with domains the last counts.
    pub fn read(&mut self, line: &[u8]) {
        let mut words = words(line);
        match words.next() {
            Some(b"nameserver") => {
                if let Some(address) = words.next().and_then(inet::address) {
                    let _ = self.addresses.try_push(address);
                }
            }
            Some(b"search" | b"domain") => {
                self.domains.clear();
                for word in words {
                    let mut domain = Name::new_const();
                    if domain.try_extend_from_slice(word).is_ok() {
                        let _ = self.domains.try_push(domain);
                    }
                }
            }
            _ => {}
        }
    }

    /// Behind what the name of a host is looked for, in this order; nothing stands for the name itself. One with a dot is
    /// mostly complete, and one with a dot at its end is.
    pub fn domains_for(&self, host: &[u8]) -> impl Iterator<Item = &[u8]> {
        let is_complete = host.last() == Some(&b'.');
        let has_dot = path::has(host, b'.');
        let domains = self.domains.iter().map(|domain| &domain[..]).filter(move |_| !is_complete);
        let itself = |is_now: bool| core::iter::once(&b""[..]).filter(move |_| is_now);
        itself(has_dot).chain(domains).chain(itself(!has_dot))
    }

    /// Asks one name server after the other. Without any there may be one on this machine, as `resolv.conf(5)` has it.
    fn ask(&self, question: &Question, deadline_ms: u64) -> Result<Addresses, Unresolved> {
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let servers = if self.addresses.is_empty() { &here[..] } else { &self.addresses };
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            let patience_ms = now_ms().saturating_add(PATIENCE_MS).min(deadline_ms);
            match exchange(*server, question, patience_ms) {
                Ok(Some(reply)) if reply.addresses.is_empty() => return Err(Unresolved::NoSuchHost),
                Ok(Some(reply)) => return Ok(reply.addresses),
                Ok(None) | Err(_) => {}
            }
            if now_ms() >= deadline_ms {
                break;
            }
        }
        Err(Unresolved::NoAnswer)
    }
}

/// Asks a name server for both kinds of address: what it knows, `None` where it does not answer in time or cannot tell.
fn exchange(server: IpAddr, question: &Question, deadline_ms: u64) -> Result<Option<Reply<'_>>, Errno> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddr::new(server, DNS_PORT))?;
    let mut ids = [0; 4];
    random::fill(&mut ids)?;
    let mut reply = Reply::new(question, ids);
    for query in reply.queries() {
        rustix::io::write(&socket, &query)?;
    }
    let mut message = [0; MESSAGE_MAX];
    // One kind of address may fail where the other one is known, whichever is answered first.
    while !reply.is_complete() {
        let mut watched = [PollFd::new(&socket, PollFlags::IN)];
        if poll(&mut watched, Some(&until(deadline_ms)))? == 0 {
            break;
        }
        match rustix::io::read(&socket, &mut message) {
            Ok(length) => reply.take(message.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody listens there.
            Err(errno) => return Err(errno),
        }
        if now_ms() >= deadline_ms {
            break;
        }
    }
    Ok(Some(reply).filter(Reply::is_told))
}
