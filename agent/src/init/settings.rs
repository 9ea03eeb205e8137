//! What process 1 is told: the keys of its [`sources`](super::sources).
//!
//! Pure. All consist of words `KEY=VALUE` between blanks and newlines; quotes hold blanks together, as the kernel has it, and
//! a word that begins with `#` makes the rest of its line a comment. Where others have words too, which is everywhere but in our file, a key
//! begins with `vsock_shell.`; in the file it may. A word that cannot be understood is told to the caller and changes nothing.

use core::ffi::CStr;

use arrayvec::ArrayVec;

use crate::args::{
    ADDRESSES_MAX, Address, DEFAULT_PORT, Peer, c_str, parse_address, parse_peer, position, split, suffix,
};

/// What keys begin with.
const PREFIX: &[u8] = b"vsock_shell.";

/// What systemd's credentials begin with where they are no files, `systemd.system-credentials(7)`.
const CREDENTIAL: &[u8] = b"io.systemd.credential:";

/// The keys. Looked up here, the comparison stands in the binary once and not for each of them.
pub const KEYS: [&[u8]; 8] =
    [b"listen", b"init", b"log", b"modules", b"console", b"hostname", b"notify", b"connect"];
const LISTEN: usize = 0;
const INIT: usize = 1;
const LOG: usize = 2;
const MODULES: usize = 3;
const CONSOLE: usize = 4;
const HOSTNAME: usize = 5;
const NOTIFY: usize = 6;
const CONNECT: usize = 7;

/// What `log` takes, by the number of `-v` that means the same.
const LEVELS: [&[u8]; 3] = [b"warning", b"info", b"debug"];

/// Where settings stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The kernel's command line, and what the hypervisor hands over.
    Machine,
    /// /etc/vsock-shell.conf.
    File,
}

/// What process 1 is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings<'t> {
    /// `listen`, repeated; none: the default.
    pub listen: ArrayVec<Address<'t>, ADDRESSES_MAX>,
    /// `init`: the program that process 1 becomes.
    pub init: Option<&'t CStr>,
    /// `log`, as a number of `-v`.
    pub verbosity: u8,
    /// `modules`: further names, separated by commas.
    pub modules: &'t [u8],
    /// `console`: the terminal in /dev that gets a shell.
    pub console: &'t [u8],
    /// `hostname`.
    pub hostname: &'t [u8],
    /// `connect`: as `--connect`.
    pub connect: Option<Peer<'t>>,
    /// `notify`: as `--notify`.
    pub notify: Option<Peer<'t>>,
}

impl<'t> Settings<'t> {
    /// Where nobody says anything.
    pub const fn new() -> Self {
        Self {
            listen: ArrayVec::new_const(),
            init: None,
            verbosity: 1,
            modules: b"",
            console: b"",
            hostname: b"",
            connect: None,
            notify: None,
        }
    }

    /// Takes what `text` says; it wins over what was said before. The last byte of `text` is lost: there must be one too
    /// many. `wrong` is told the words that cannot be understood.
    pub fn read(&mut self, text: &'t mut [u8], source: Source, wrong: &mut dyn FnMut(&[u8])) {
        let mut lists_addresses = false;
        for word in cut(text).split_inclusive(|&byte| byte == 0).filter(|word| word.len() > 1) {
            let word = c_str(word);
            let setting = suffix(word, CREDENTIAL).unwrap_or(word);
            let setting = match suffix(setting, PREFIX) {
                Some(setting) => setting,
                None if source == Source::File => word,
                None => continue,
            };
            let (key, value) = split(setting);
            if value.and_then(|value| self.assign(key, value, &mut lists_addresses)).is_none() {
                wrong(word.to_bytes());
            }
        }
    }

    /// Nothing where the key is none, or the value none of it. The first address of a source replaces those of others, as
    /// `lists_addresses` keeps in mind.
    #[inline(never)]
    fn assign(&mut self, key: &[u8], value: &'t CStr, lists_addresses: &mut bool) -> Option<()> {
        let bytes = value.to_bytes();
        let first = *bytes.first()?;
        match position(&KEYS, key)? {
            LISTEN => {
                let address = parse_address(value, DEFAULT_PORT).ok();
                let address =
                    address.filter(|address| !matches!(address, Address::Stdio | Address::Descriptor(_)))?;
                if !core::mem::replace(lists_addresses, true) {
                    self.listen.clear();
                }
                self.listen.try_push(address).ok()?;
            }
            INIT if first == b'/' => self.init = Some(value),
            LOG => self.verbosity = position(&LEVELS, bytes)? as u8,
            MODULES => self.modules = bytes,
            CONSOLE => self.console = bytes,
            HOSTNAME => self.hostname = bytes,
            NOTIFY => self.notify = Some(parse_peer(value).ok()?),
            CONNECT => self.connect = Some(parse_peer(value).ok()?),
            _ => return None,
        }
        Some(())
    }
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Ends every word with a NUL instead of what separates it from the next, and takes quotes and comments out. Bytes that no
/// text has separate too, also between quotes: in tables of a machine a quote may be a part of a number.
fn cut(text: &mut [u8]) -> &[u8] {
    let (mut written, mut is_quoted, mut is_comment) = (0, false, false);
    let mut starts = true;
    let last = text.len().saturating_sub(1);
    for at in 0..text.len() {
        let byte = text.get(at).copied().filter(|_| at < last).unwrap_or(0);
        is_comment = (is_comment || starts && byte == b'#') && byte != b'\n' && byte != 0;
        if is_comment {
            continue;
        }
        if byte == b'"' {
            is_quoted = !is_quoted;
            continue;
        }
        let is_blank = byte.is_ascii_whitespace();
        is_quoted &= is_blank || !byte.is_ascii_control();
        starts = (is_blank || byte.is_ascii_control()) && !is_quoted;
        if let Some(place) = text.get_mut(written) {
            *place = if starts { 0 } else { byte };
        }
        written += 1;
    }
    text.get(..written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::VsockAddress;

    /// What the two texts lead to, in this order, and the words that were not understood.
    fn settings(file: &str, line: &str) -> (Settings<'static>, Vec<String>) {
        let (mut settings, mut wrong) = (Settings::new(), Vec::new());
        for (text, source) in [(file, Source::File), (line, Source::Machine)] {
            let text = [text.as_bytes(), b"\0"].concat().leak();
            settings.read(text, source, &mut |word| wrong.push(String::from_utf8_lossy(word).into_owned()));
        }
        (settings, wrong)
    }

    #[test]
    fn the_command_line_names_keys_among_other_words() {
        let line = "quiet vsock_shell.listen=vsock:7 root=/dev/vda vsock_shell.listen=unix:/a vsock_shell.log=debug \
            vsock_shell.hostname=box vsock_shell.modules=a,b vsock_shell.console=ttyS0 vsock_shell.init=/sbin/init \
            vsock_shell.notify=vsock:2:9 listen=vsock:9 xvsock_shell.log=info\n";
        let (settings, wrong) = settings("", line);
        assert_eq!(settings.listen[..], [Address::Vsock(7), Address::Unix(c"/a")]);
        assert_eq!((settings.verbosity, settings.hostname, settings.modules), (2, &b"box"[..], &b"a,b"[..]));
        assert_eq!((settings.console, settings.init), (&b"ttyS0"[..], Some(c"/sbin/init")));
        assert_eq!(settings.notify, Some(Peer::Vsock(VsockAddress { cid: 2, port: 9 })));
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn credentials_stand_among_the_bytes_of_tables() {
        let table = "\u{1}\u{22}\0\u{b}\u{5}\0\u{22}\u{2}io.systemd.credential:vsock_shell.modules=a\0\u{e}\u{2}io.systemd.credential:vsock_shell.log=debug\0io.systemd.credential:x=y\0\0\u{7f}\u{4}\"\
            \0vsock_shell.hostname=box\0\0";
        let (settings, wrong) = settings("", table);
        assert_eq!((settings.verbosity, settings.hostname), (2, &b"box"[..]));
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn quotes_hold_blanks_together() {
        let (settings, wrong) =
            settings("", "a=\"vsock_shell.log=debug \" vsock_shell.init=\"/a b\" \"vsock_shell.hostname=x\"");
        assert_eq!((settings.init, settings.hostname, settings.verbosity), (Some(c"/a b"), &b"x"[..], 1));
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn the_file_has_a_setting_a_line_and_comments() {
        let (settings, wrong) = settings(
            "# log=debug\n\n  hostname=\"my box\" \t\r\n\t#x \" log=debug\nvsock_shell.init=/a#b\nconsole=hvc0",
            "",
        );
        assert_eq!((settings.hostname, settings.init), (&b"my box"[..], Some(c"/a#b")));
        assert_eq!((settings.console, settings.verbosity), (&b"hvc0"[..], 1));
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let (settings, _) = settings(
            "listen=vsock:1\nlisten=vsock:2\nhostname=file\ninit=/file",
            "vsock_shell.listen=vsock:3 vsock_shell.hostname=line vsock_shell.connect=unix:/c",
        );
        assert_eq!(settings.listen[..], [Address::Vsock(3)]);
        assert_eq!(settings.connect, Some(Peer::Unix(c"/c")));
        assert_eq!((settings.hostname, settings.init), (&b"line"[..], Some(c"/file")));
    }

    #[test]
    fn what_cannot_be_understood_is_told_and_changes_nothing() {
        let (file, line) = (
            "hostname=good\nfrob=1\nnothing",
            "vsock_shell.hostname= vsock_shell.listen=stdio vsock_shell.log=2",
        );
        let (settings, wrong) = settings(file, line);
        assert_eq!((settings.hostname, settings.verbosity, settings.listen.len()), (&b"good"[..], 1, 0));
        let words =
            ["frob=1", "nothing", "vsock_shell.hostname=", "vsock_shell.listen=stdio", "vsock_shell.log=2"];
        assert_eq!(wrong, words);
        let bad = "vsock_shell.init=sbin vsock_shell.console= vsock_shell.notify=2:9 vsock_shell.listen=vsock:x \
            vsock_shell.connect=vsock:2";
        let (nothing, wrong) = self::settings("", bad);
        assert_eq!((nothing, wrong.len()), (Settings::new(), 5));
    }

    #[test]
    fn more_addresses_than_there_is_room_for_are_told() {
        let lines = "listen=vsock:1\n".repeat(ADDRESSES_MAX + 2);
        let (settings, wrong) = settings(&lines, "");
        assert_eq!((settings.listen.len(), wrong.len()), (ADDRESSES_MAX, 2));
    }

    #[test]
    fn any_bytes_are_some_settings() {
        let line = b"\"\0vsock_shell.=\"vsock_shell.listen=\"\xff\n\t=# \"\"";
        for len in 0..=line.len() {
            for source in [Source::File, Source::Machine] {
                let mut text = line[..len].to_vec();
                assert!(cut(&mut text).len() <= len);
                Settings::new().read(&mut text, source, &mut |_| {});
            }
        }
    }
}
