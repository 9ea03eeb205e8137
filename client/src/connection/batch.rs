//! Owns what is given to a task at once of what was read at once.

use vsock_shell_proto::frame::{ChannelId, Flow};

use super::Core;
use crate::drive::Task;

/// Bytes of one flow that came together, and are given to their task together: what their frames were cut into shall
/// not cost a system call each.
#[derive(Default)]
pub(super) struct Batch<'i> {
    pub of: Option<(ChannelId, Flow)>,
    pub pieces: Vec<&'i [u8]>,
}

impl Batch<'_> {
    pub(super) fn deliver(&mut self, core: &mut Core, task: &mut dyn Task) {
        let Some((channel, flow)) = self.of.take() else { return };
        let waits = !core.parked(channel, flow).is_empty();
        let mut taken = if waits { 0 } else { task.take(core, channel, flow, &self.pieces) };
        for piece in self.pieces.drain(..) {
            let of_it = taken.min(piece.len());
            taken -= of_it;
            core.deliver(channel, flow, piece, of_it);
        }
    }
}
