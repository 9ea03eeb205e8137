//! Kernel modules, loaded by `finit_module(2)` before the agent listens: those that the image lists, or else those that vsock
//! needs, found in the kernel's modules.dep, see `modules.dep(5)`; and those that the settings name.

use core::ffi::CStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::settings::Settings;
use crate::account::Lines;
use crate::line::{Line, Part, text};
use crate::log;
use crate::path::PathBuffer;
use crate::sys::socket::{self, Vsock};

/// Paths, one a line, in the order in which they are loaded: what an image's maker found out already.
const LIST: &CStr = c"/etc/vsock-shell/modules";
/// What carries vsock where nobody lists anything, on PCI and on other buses. What they depend on comes along.
const CARRIERS: &[u8] = b"virtio_pci,virtio_mmio,vmw_vsock_virtio_transport";
/// Bytes of a line of modules.dep, which names all that a module depends on; longer ones are skipped.
const LINE_MAX: usize = 8192;

/// Loads what the image lists; whether it lists anything. What cannot be loaded is added to `failed`. Before the settings are read: one of them may stand in a device.
#[inline(never)]
pub fn load_listed(failed: &mut Line) -> bool {
    let Ok(file) = open(LIST) else { return false };
    let mut buffer = [0; LINE_MAX];
    let mut lines = Lines::new(&mut buffer);
    let read = &mut |room: &mut [u8]| rustix::io::read(&file, room);
    while let Some(line) = lines.next(read) {
        load_file(&[line], failed);
    }
    true
}

/// Loads what else there is to load. One line tells what failed, of `failed` too, and one what is missing when there is no vsock
/// afterwards, and it is wanted: the kernel takes ten lines in five seconds, and drops those that follow.
#[inline(never)]
pub fn load(settings: &Settings<'_>, has_list: bool, wants_vsock: bool, failed: &mut Line) {
    let mut missing = Line::new();
    let mut buffer = [0; LINE_MAX];
    if wants_vsock && !has_list {
        load_names(CARRIERS, &mut buffer, &mut missing, failed);
    }
    load_names(settings.modules, &mut buffer, &mut missing, failed);
    if !failed.as_bytes().is_empty() {
        log::error(&[text(c"cannot load"), Part::Line(failed)]);
    }
    if !wants_vsock {
        return;
    }
    let problem = match socket::vsock() {
        Vsock::Carried => return,
        Vsock::Alone => c"vsock has no transport: no device for it, or no driver",
        Vsock::Missing => c"this kernel has no vsock",
    };
    let trouble = if missing.as_bytes().is_empty() { c"" } else { c"; no modules" };
    log::error(&[text(problem), text(trouble), Part::Line(&missing)]);
}

fn open(path: &CStr) -> Result<rustix::fd::OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Loads modules by their names, separated by commas, each after what it depends on. Names that modules.dep does not have are
/// added to `missing`.
fn load_names(names: &[u8], buffer: &mut [u8], missing: &mut Line, failed: &mut Line) {
    for name in names.split(|&byte| byte == b',').filter(|name| !name.is_empty()) {
        if !load_name(name, buffer, failed) {
            missing.append(&[text(c" "), Part::Bytes(name)]);
        }
    }
}

/// Whether modules.dep knows it.
#[inline(never)]
fn load_name(name: &[u8], buffer: &mut [u8], failed: &mut Line) -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_bytes();
    let mut path = PathBuffer::new();
    let index = path.join(&[b"/lib/modules/", release, b"/modules.dep"]).and_then(open);
    let Ok(file) = index else { return false };
    let mut lines = Lines::new(buffer);
    let read = &mut |room: &mut [u8]| rustix::io::read(&file, room);
    while let Some(line) = lines.next(read) {
        if !is_about(line, name) {
            continue;
        }
        // The last one depends on nothing, the first is the module itself.
        for file in line.rsplit(|&byte| byte == b' ').filter(|file| !file.is_empty()) {
            let file = file.strip_suffix(b":").unwrap_or(file);
            if file.starts_with(b"/") {
                load_file(&[file], failed);
            } else {
                load_file(&[b"/lib/modules/", release, b"/", file], failed);
            }
        }
        return true;
    }
    false
}

/// Whether the line of modules.dep is the one of this module: dash and underscore are the same in names.
fn is_about(line: &[u8], name: &[u8]) -> bool {
    let path = line.split(|&byte| byte == b':').next().unwrap_or_default();
    let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let plain = |&byte: &u8| if byte == b'-' { b'_' } else { byte };
    let Some((stem, rest)) = file.split_at_checked(name.len()) else { return false };
    rest.starts_with(b".ko") && stem.iter().map(plain).eq(name.iter().map(plain))
}

/// Loads the file of this path, `finit_module(2)`.
///
/// # Errors
/// Of `open` and `finit_module`.
#[inline(never)]
pub fn load_from(path: &CStr, parameters: &CStr, flags: i32) -> Result<(), Errno> {
    let file = open(path)?;
    rustix::system::finit_module(&file, parameters, flags)
}

/// Loads the file of this path; where it cannot be, its name and the reason are added to `failed`. One that is loaded already is fine, and so is a driver whose device is not there.
fn load_file(path: &[&[u8]], failed: &mut Line) {
    /// MODULE_INIT_COMPRESSED_FILE: the kernel decompresses, since Linux 5.17.
    const COMPRESSED: i32 = 4;
    let name = path.last().copied().unwrap_or_default();
    let flags = if name.ends_with(b".ko") { 0 } else { COMPRESSED };
    let mut buffer = PathBuffer::new();
    let loaded = buffer.join(path).and_then(|path| load_from(path, c"", flags));
    match loaded {
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
        Err(errno) => {
            let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            failed.append(&[text(c" "), Part::Bytes(file), text(c": "), Part::Error(errno)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_about;

    #[test]
    fn a_module_is_known_by_its_file_whatever_its_dashes_and_compression() {
        let line = b"kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko.xz";
        assert!(is_about(line, b"virtio_pci") && is_about(line, b"virtio-pci"));
        assert!(is_about(b"a/x-y.ko:", b"x_y") && is_about(b"x.ko: a.ko", b"x"));
        for name in ["virtio", "virtio_pc", "virtio_pci_modern_dev", "kernel", ""] {
            assert!(!is_about(line, name.as_bytes()), "{name}");
        }
        assert!(!is_about(b"", b"x") && !is_about(b": a.ko", b"a"));
    }
}
