//! Owns what becomes of the bytes and events of a session that ends.

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::frame::{ChannelId, Flow};
use vsock_shell_proto::mux::Event;

use super::Core;
use crate::drive::Task;
use crate::error::Error;

/// What takes everything and does nothing, while a session ends.
pub(super) struct Drain;

impl Task for Drain {
    fn handle(&mut self, _: &mut Core, _: Event<'_>) {}

    fn take(&mut self, _: &mut Core, _: ChannelId, _: Flow, pieces: &[&[u8]]) -> usize {
        pieces.iter().map(|piece| piece.len()).sum()
    }

    fn step(&mut self, _: &mut Core) -> Result<bool, Error> {
        Ok(false)
    }

    fn has_outcome(&self) -> bool {
        true
    }

    fn is_done(&self, _: &Core) -> bool {
        true
    }

    fn interests<'f>(&'f self, _: &Core, _: &mut Vec<PollFd<'f>>) {}

    fn set_ready(&mut self, _: &[PollFlags]) {}

    fn tell(&mut self, _: &str) {}
}
