//! Owns what is taken from a guest, and what is said of the rest.

use std::ffi::CStr;

use vsock_shell_proto::items::{Kind, Meta, meta_flag};

use super::metadata::SET_ID;
use super::report::{Report, note};
use crate::invocation::CopyOptions;

/// Attributes that give rights, which a guest has not to give (`xattr(7)`).
const PRIVILEGED: [&[u8]; 2] = [b"security.", b"trusted."];

/// As much of the metadata as the guest is trusted with. Set-id bits of directories go too: they are how groups are inherited.
pub(super) fn metadata(meta: &Meta, options: &CopyOptions, report: &mut Report) -> Meta {
    let mut meta = *meta;
    if !options.trusts && meta.kind() != Kind::Symlink && meta.mode & SET_ID != 0 {
        meta.mode &= !SET_ID;
        report.note(note::SET_ID);
    }
    if !options.is_preserving {
        meta.flags &= !meta_flag::OWNER;
    }
    meta
}

/// Whether an entry is taken at all.
pub(super) fn takes(meta: &Meta, options: &CopyOptions, report: &mut Report) -> bool {
    let is_taken = options.trusts || meta.kind() != Kind::Device;
    if !is_taken {
        report.note(note::DEVICE_OF_GUEST);
    }
    is_taken
}

/// Whether an attribute is taken.
pub(super) fn takes_attribute(name: &CStr, options: &CopyOptions, report: &mut Report) -> bool {
    let gives_rights = PRIVILEGED.iter().any(|prefix| name.to_bytes().starts_with(prefix));
    if options.is_preserving && gives_rights && !options.trusts {
        report.note(note::ATTRIBUTE);
    }
    options.is_preserving && (options.trusts || !gives_rights)
}
