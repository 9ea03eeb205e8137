//! Where settings stand: `/etc/vsock-shell.conf`, what the hypervisor hands over, and the kernel's command line.
//!
//! A hypervisor hands credentials over as systemd knows them: as strings of its SMBIOS tables (type 11), which are read as one
//! text in which everything else is passed over, or as files of QEMU's fw_cfg.

use core::ffi::CStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::settings::{KEYS, Settings, Source};
use crate::key;
use crate::line::{Part, text};
use crate::log;
use crate::path::PathBuffer;
use crate::sys::storage::Storage;

/// Bytes that are read of each source; the kernel's command line has 2,048 or 4,096.
const TEXT_MAX: usize = 16 * 1024;

static FILE: Storage<[u8; TEXT_MAX]> = Storage::new([0; TEXT_MAX]);
static CREDENTIALS: Storage<[u8; TEXT_MAX]> = Storage::new([0; TEXT_MAX]);
static COMMAND_LINE: Storage<[u8; TEXT_MAX]> = Storage::new([0; TEXT_MAX]);

/// A word for each file of fw_cfg that says something.
const FW_CFG: &[u8] = b"/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/vsock_shell.";

/// What all of them say; the latter wins.
#[inline(never)]
pub fn read() -> Settings<'static> {
    let mut settings = Settings::new();
    let sources = [(&FILE, Source::File), (&CREDENTIALS, Source::Machine), (&COMMAND_LINE, Source::Machine)];
    for (number, (storage, source)) in sources.into_iter().enumerate() {
        let Some(buffer) = storage.take() else { continue };
        let mut read = Text { buffer, len: 0 };
        match number {
            0 => drop(read.append_file(c"/etc/vsock-shell.conf")),
            1 => append_credentials(&mut read),
            _ => drop(read.append_file(c"/proc/cmdline")),
        }
        settings.read(read.finish(), source, &mut |word| {
            log::error(&[text(c"not understood: "), Part::Bytes(without_key(word))]);
        });
    }
    settings
}

/// The word, but for a key, which does not belong here and into no log.
fn without_key(word: &[u8]) -> &[u8] {
    let name = word.iter().position(|&byte| byte == b'=').and_then(|at| word.get(..at)).unwrap_or(word);
    if name.ends_with(b"key") { name } else { word }
}

fn append_credentials(text: &mut Text) {
    let _ = text.append_file(c"/sys/firmware/dmi/tables/DMI");
    key::blank(text.buffer);
    for key in KEYS {
        let mut path = PathBuffer::new();
        let before = text.len;
        for part in [b"\nvsock_shell.", key, b"="] {
            text.append(part);
        }
        if path.join(&[FW_CFG, key, b"/raw"]).and_then(|path| text.append_file(path)).is_err() {
            text.len = before;
        }
    }
}

/// A text that is put together.
struct Text {
    buffer: &'static mut [u8; TEXT_MAX],
    len: usize,
}

impl Text {
    /// Room, but for the byte that must be left over.
    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.len..TEXT_MAX - 1).unwrap_or_default()
    }

    fn append(&mut self, bytes: &[u8]) {
        for (place, &byte) in self.room().iter_mut().zip(bytes) {
            *place = byte;
        }
        self.len = (self.len + bytes.len()).min(TEXT_MAX - 1);
    }

    /// Appends a file; of one that is too long, words that are whole.
    fn append_file(&mut self, path: &CStr) -> Result<(), Errno> {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        loop {
            match rustix::io::read(&file, self.room()) {
                Ok(0) | Err(_) if self.room().is_empty() => break,
                Ok(0) => return Ok(()),
                Ok(count) => self.len += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        log::error(&[Part::Bytes(path.to_bytes()), text(c" is too long; its end is not read")]);
        let is_between = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
        let text = self.buffer.get(..self.len).unwrap_or_default();
        self.len = text.iter().rposition(is_between).unwrap_or(0);
        Ok(())
    }

    /// The text, and a byte more.
    fn finish(self) -> &'static mut [u8] {
        self.buffer.get_mut(..=self.len).unwrap_or_default()
    }
}
