//! Owns where files of more names than one are, by what a guest says of their identity.

use std::collections::HashMap;

use vsock_shell_proto::items::{Meta, meta_flag};

/// Bytes of paths that are kept, and about what each takes besides; a name of a file that was not kept cannot be made, which is told.
const BYTES_MAX: usize = 64 << 20;
const OVERHEAD: usize = 64;

/// Paths, from the first directory on.
pub(super) struct Links {
    paths: HashMap<(u64, u64), Vec<u8>>,
    left: usize,
}

impl Links {
    /// None.
    pub(super) fn new() -> Self {
        Self { paths: HashMap::new(), left: BYTES_MAX }
    }

    /// A file that may come again is at this path.
    pub(super) fn remember(&mut self, meta: &Meta, path: &[u8]) {
        let Some(left) = self.left.checked_sub(path.len() + OVERHEAD) else { return };
        if meta.has(meta_flag::IDENTITY) {
            self.left = left;
            self.paths.insert((meta.device, meta.inode), path.to_vec());
        }
    }

    /// Where it is.
    pub(super) fn find(&self, meta: &Meta) -> Option<&[u8]> {
        self.paths.get(&(meta.device, meta.inode)).map(Vec::as_slice)
    }
}
