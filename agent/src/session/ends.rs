//! The descriptors through which a command reads and writes, as its session has them: pipes, or the master of a terminal.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use vsock_shell_proto::frame::{ChannelId, Flow};
use vsock_shell_proto::limits::FRAME_PAYLOAD_MAX;

use super::tasks::Step;
use super::{BULK_MIN, Core, PIECES_MAX};
use crate::terminal;

/// What the command reads.
pub struct Sink {
    /// Does not block.
    pub fd: OwnedFd,
    /// Using it may get us somewhere.
    pub ready: bool,
    /// The last byte written, to know whether a terminal's line is complete.
    pub last: u8,
}

/// What the command writes.
pub struct Source {
    /// Does not block.
    pub fd: OwnedFd,
    /// Where it goes.
    pub flow: Flow,
    /// Using it may get us somewhere.
    pub ready: bool,
    /// It is the master of a terminal.
    pub is_terminal: bool,
    /// The command has closed its end, which is told once.
    pub has_hung_up: bool,
    /// Bytes that are still delivered, once the command has ended.
    pub left: Option<usize>,
}

impl Sink {
    /// An end of a pipe, or a descriptor of a terminal's master.
    #[inline(never)]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, ready: true, last: b'\n' }
    }

    /// Writes what can be written now of these pieces.
    pub fn write(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Errno> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut last = self.last;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            last = piece.last().copied().unwrap_or(last);
        }
        match rustix::io::writev(&self.fd, &slices) {
            Ok(taken) => {
                // Where not all was taken there is more to come, and the last byte is not the last.
                self.last = last;
                Ok(taken)
            }
            Err(Errno::AGAIN) => {
                self.ready = false;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(errno) => Err(errno),
        }
    }

    /// Ends the input: whether it could. A terminal stays open; its end-of-file character is typed (`R-9.8`), twice
    /// where the first one only completes a line.
    pub fn finish(&mut self, is_terminal: bool) -> bool {
        let character = if is_terminal { terminal::eof_character(self.fd.as_fd()) } else { None };
        let Some(character) = character else { return true };
        let typed = [character; 2];
        let count = if self.last == b'\n' || self.last == b'\r' { 1 } else { 2 };
        match rustix::io::write(&self.fd, typed.get(..count).unwrap_or_default()) {
            Err(Errno::AGAIN) => {
                self.ready = false;
                false
            }
            Err(Errno::INTR) => false,
            Ok(_) | Err(_) => true,
        }
    }
}

/// What reading came to.
#[derive(Clone, Copy)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

impl Source {
    /// An end of a pipe, or the master of a terminal.
    pub fn new(fd: OwnedFd, flow: Flow, is_terminal: bool) -> Self {
        Self { fd, flow, ready: false, is_terminal, has_hung_up: false, left: None }
    }

    /// The most to be read now; 0 at the end.
    pub fn most(&self) -> usize {
        self.left.unwrap_or(FRAME_PAYLOAD_MAX)
    }

    /// Reads into these places.
    pub fn read(&mut self, first: &mut [u8], second: &mut [u8]) -> Got {
        let room = first.len() + second.len();
        match rustix::io::readv(&self.fd, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]) {
            // Nothing is left of what an ended command wrote, or its terminal is not open any more.
            Ok(0) | Err(Errno::AGAIN | Errno::IO) if self.left.is_some() => Got::End,
            Ok(length @ 1..) => {
                self.left = self.left.map(|left| left.saturating_sub(length));
                // A pipe that gives less than there is room for is empty, and tells when it is not any more; but whoever
                // writes much has mostly written again. Asking a terminal, which gives what its buffer held, is the only
                // way to know.
                self.ready &= self.is_terminal
                    || self.has_hung_up
                    || length == room
                    || length >= BULK_MIN
                    || self.left.is_some();
                Got::Bytes(length)
            }
            Err(Errno::INTR) => Got::Bytes(0),
            // EIO of a terminal: nobody has it open now. Closed by us as well, it would hang up on a command that only closed
            // its own.
            Err(errno) if errno == Errno::AGAIN || self.is_terminal => {
                self.ready = false;
                Got::Nothing
            }
            // The end of a pipe.
            Ok(0) | Err(_) => Got::End,
        }
    }
}

/// Moves one frame from what the command writes straight into the ring.
pub fn pump(place: &mut Option<Source>, core: &mut Core, channel: ChannelId) -> Step {
    let Some(source) = place.as_mut() else { return Step::Idle };
    let most = source.most();
    if most > 0 {
        if !source.ready {
            return Step::Idle;
        }
        let Some(places) = core.reserve(channel, source.flow, most) else {
            return if core.room() == 0 { Step::NoRoom } else { Step::Idle };
        };
        let got = source.read(places.first, places.second);
        core.commit(if let Got::Bytes(length) = got { length } else { 0 });
        match got {
            Got::Bytes(_) => return Step::Progress,
            Got::Nothing => return Step::Idle,
            Got::End => {}
        }
    }
    core.finish(channel, source.flow);
    *place = None;
    Step::Progress
}
