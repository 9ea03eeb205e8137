//! Owns how an opener of a list says what it wants (`docs/PROTOCOL.md`, R-10.12): items on flow 0, one behind the other.

use std::collections::VecDeque;
use std::ffi::CString;

use vsock_shell_proto::frame::{ChannelId, Flow};
use vsock_shell_proto::items::{ITEM_MAX, Want, encode_want};

use crate::connection::Core;

/// One want.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// From PATH on.
    pub path: CString,
    /// Bits of [`flag`](vsock_shell_proto::fields::flag).
    pub flags: u32,
    /// Bytes that there are here, and their digest.
    pub length: u64,
    /// Their digest.
    pub digest: u64,
}

/// What is still to be asked for.
pub(crate) struct Wants {
    left: VecDeque<Wanted>,
    item: Vec<u8>,
    pending: std::ops::Range<usize>,
    is_finished: bool,
}

impl Wants {
    /// All of these.
    pub(crate) fn new(wanted: impl IntoIterator<Item = Wanted>) -> Self {
        Self {
            left: wanted.into_iter().collect(),
            item: vec![0; ITEM_MAX],
            pending: 0..0,
            is_finished: false,
        }
    }

    /// Sends what there is room for, and the end; whether anything was.
    pub(crate) fn send(&mut self, core: &mut Core, channel: ChannelId) -> bool {
        let mut moved = false;
        while !self.is_finished {
            if self.pending.is_empty() {
                let Some(Wanted { path, flags, length, digest }) = self.left.pop_front() else {
                    core.finish(channel, Flow::Input);
                    self.is_finished = true;
                    return true;
                };
                let want = Want { length, digest, flags, path: &path };
                self.pending = 0..encode_want(&mut self.item, &want);
            }
            let sent =
                core.send(channel, Flow::Input, self.item.get(self.pending.clone()).unwrap_or_default());
            self.pending.start += sent;
            if sent == 0 {
                break;
            }
            moved = true;
        }
        moved
    }
}
