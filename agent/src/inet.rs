//! Addresses of TCP as text. The parser of `core::net` would be 4 KB of the agent's file.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::account::decimal;

/// Reads `1.2.3.4:PORT` or `[1:2::3]:PORT`.
#[inline(never)]
pub fn parse(text: &[u8]) -> Option<SocketAddr> {
    let colon = text.iter().rposition(|&byte| byte == b':')?;
    let (host, port) = (text.get(..colon)?, text.get(colon + 1..)?);
    let inner = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let ip = match inner {
        Some(inner) => IpAddr::V6(v6(inner)?),
        None => IpAddr::V4(v4(host)?),
    };
    Some(SocketAddr::new(ip, u16::try_from(decimal(port)?).ok()?))
}

/// Reads `1.2.3.4` or `1:2::3`.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    v4(text).map(IpAddr::V4).or_else(|| v6(text).map(IpAddr::V6))
}

fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split(|&byte| byte == b'.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() <= 3)?;
        *octet = u8::try_from(decimal(part)?).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Groups in front, and, behind a `::`, those at the end.
fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    let Some(gap) = text.windows(2).position(|pair| pair == b"::") else {
        let (groups, count) = groups(text)?;
        return (count == 8).then(|| groups.into());
    };
    let (mut all, front) = groups(text.get(..gap)?)?;
    let (back, count) = groups(text.get(gap + 2..)?)?;
    let behind = all.get_mut(front..)?;
    let start = behind.len().checked_sub(count).filter(|&room| room > 0)?;
    behind.get_mut(start..)?.copy_from_slice(back.get(..count)?);
    Some(all.into())
}

fn groups(text: &[u8]) -> Option<([u16; 8], usize)> {
    let (mut groups, mut count) = ([0; 8], 0);
    if !text.is_empty() {
        for part in text.split(|&byte| byte == b':') {
            if part.is_empty() || part.len() > 4 {
                return None;
            }
            let group = groups.get_mut(count)?;
            for &digit in part {
                *group = *group << 4 | char::from(digit).to_digit(16)? as u16;
            }
            count += 1;
        }
    }
    Some((groups, count))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_the_standard_library_reads_is_read_as_there_and_nothing_else() {
        for text in [
            "127.0.0.1:5000",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "[::]:1",
            "[::1]:5000",
            "[1::]:2",
            "[fe80::1:2]:3",
            "[1:2:3:4:5:6:7:8]:9",
            "[1:2:3::5:6:7:8]:9",
            "[ABCD:ef01::]:9",
            "",
            ":",
            "1",
            "1.2.3:4",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "1.2.3.4:x",
            "1.2.3.4.5:6",
            "256.1.1.1:1",
            "1..2.3:4",
            "a.b.c.d:1",
            "::1:1",
            "[]:1",
            "[:]:1",
            "[1]:1",
            "[1:2:3:4:5:6:7]:9",
            "[1:2:3:4:5:6:7:8:9]:9",
            "[1:2:3:4::5:6:7:8]:9",
            "[1::2::3]:9",
            "[:1::2]:9",
            "[::1:]:9",
            "[12345::]:9",
            "[g::]:9",
            "[::1:9",
            "localhost:1",
        ] {
            assert_eq!(parse(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
}
