//! Owns one forwarded connection: a socket of this side and a channel, whose bytes go both ways (`R-9.17`). The channel was opened
//! by us, for who came to a listener of ours; or by the agent, for who came to one in the guest.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{Shutdown, shutdown, sockopt};
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::limits::{BLOCK_LEN, FRAME_PAYLOAD_MAX};

use super::socks::Reply;
use crate::connection::{Core, INPUT_LEN};

/// Pieces that one write takes: of parked blocks, as many bytes as a read of the stream brings.
const PIECES_MAX: usize = INPUT_LEN / BLOCK_LEN;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was done; there may be more.
    Progress,
    /// An event is missing.
    Idle,
    /// Room in the ring is missing.
    NoRoom,
    /// It is over, and so is the channel.
    Done,
}

/// A forwarded connection.
pub(super) struct Stream {
    channel: ChannelId,
    /// We have opened the channel.
    is_ours: bool,
    socket: OwnedFd,
    /// What of our request, and of what came before there was a channel, was not sent yet.
    request: Vec<u8>,
    early: Vec<u8>,
    is_requested: bool,
    /// A program waits for the answer to what it asked for by SOCKS, and sends nothing before.
    pub wants_reply: bool,
    readable: bool,
    writable: bool,
    /// Why the socket failed, where a write has found out.
    failure: Option<Errno>,
    /// Something is still read from the socket, and written to it.
    reads: bool,
    writes: bool,
    /// The agent has told how it ended.
    is_over: bool,
}

impl Stream {
    /// For a channel that we have opened with this request; `early` has come already.
    pub fn opened(channel: ChannelId, socket: OwnedFd, request: Vec<u8>, early: Vec<u8>) -> Self {
        Self { request, early, is_requested: false, ..Self::accepted(channel, socket, true) }
    }

    /// For a channel that the agent has opened, and a socket that is connected.
    pub fn connected(channel: ChannelId, socket: OwnedFd) -> Self {
        Self::accepted(channel, socket, false)
    }

    fn accepted(channel: ChannelId, socket: OwnedFd, is_ours: bool) -> Self {
        Self {
            channel,
            is_ours,
            socket,
            request: Vec::new(),
            early: Vec::new(),
            is_requested: true,
            wants_reply: false,
            readable: true,
            writable: true,
            failure: None,
            reads: true,
            writes: true,
            is_over: false,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The socket became ready.
    pub fn set_ready(&mut self, flags: EventFlags) {
        let ended = flags.intersects(EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP);
        self.readable |= ended || flags.contains(EventFlags::IN);
        self.writable |= ended || flags.contains(EventFlags::OUT);
    }

    /// The flow that comes from the agent, and the one that goes there.
    fn flows(&self) -> (Flow, Flow) {
        if self.is_ours { (Flow::Output, Flow::Input) } else { (Flow::Input, Flow::Output) }
    }

    /// The agent has connected.
    pub fn handle_accepted(&mut self) {
        self.reply(Reply::Done);
    }

    /// The agent cannot connect: the connection ends as one that was refused.
    pub fn handle_refused(mut self, code: RefusalCode, errno: u32) {
        self.reply(match code {
            RefusalCode::Denied => Reply::Forbidden,
            RefusalCode::NotFound => Reply::HostUnreachable,
            _ => Reply::of_errno(errno),
        });
        self.abort();
    }

    fn reply(&mut self, reply: Reply) {
        if std::mem::take(&mut self.wants_reply) {
            // The first bytes that the socket gets: it has room for them, or nobody who reads them.
            _ = rustix::io::write(&self.socket, &reply.encode());
            // What was said is not lost by an abrupt end.
            self.writes = reply == Reply::Done;
        }
    }

    /// The agent is through with the channel: how it was.
    pub fn handle_exited(&mut self, outcome: Outcome) {
        self.is_over = true;
        self.reads = false;
        if outcome != Outcome::Exited(0) {
            self.writes = false;
            self.break_off();
        }
    }

    /// The connection ends as one that broke.
    pub fn abort(self) {
        if self.writes {
            self.break_off();
        }
    }

    fn break_off(&self) {
        _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }

    /// The agent takes no more: who writes into the socket finds nobody at its other end.
    pub fn handle_stopped(&mut self, core: &mut Core) {
        if self.reads {
            _ = shutdown(&self.socket, Shutdown::Read);
            self.end_reading(core);
        }
    }

    /// Takes bytes for the socket: how many.
    pub fn take(&mut self, core: &mut Core, pieces: &[&[u8]]) -> usize {
        if !self.writes || !self.writable || self.wants_reply {
            return 0;
        }
        let written = write(&self.socket, &mut pieces.iter().copied());
        self.judge(core, written)
    }

    /// Does what can be done now.
    pub fn step(&mut self, core: &mut Core) -> Step {
        if !self.send_early(core) {
            return Step::NoRoom;
        }
        let fed = self.feed(core);
        let read = self.read(core);
        if read == Step::Done {
            return read;
        }
        if !self.reads && !self.writes {
            if self.is_over {
                core.release(self.channel);
                return Step::Done;
            }
            if !self.is_ours {
                core.exit(self.channel, Outcome::Exited(0), b"");
                return Step::Done;
            }
        }
        if fed { Step::Progress } else { read }
    }

    /// Sends the request, and what came before there was a channel; whether nothing is left of it.
    fn send_early(&mut self, core: &mut Core) -> bool {
        if !self.is_requested {
            let sent = core.send(self.channel, Flow::Request, &self.request);
            self.request.drain(..sent);
            if !self.request.is_empty() {
                return false;
            }
            core.finish(self.channel, Flow::Request);
            self.is_requested = true;
        }
        if !self.early.is_empty() {
            let sent = core.send(self.channel, self.flows().1, &self.early);
            self.early.drain(..sent);
        }
        self.early.is_empty()
    }

    /// Writes what is parked, and then the end; whether anything was written.
    fn feed(&mut self, core: &mut Core) -> bool {
        let (flow, _) = self.flows();
        let mut fed = false;
        while self.writes && self.writable && !self.wants_reply {
            if core.parked(self.channel, flow).is_empty() {
                if core.is_drained(self.channel, flow) {
                    self.writes = false;
                    _ = shutdown(&self.socket, Shutdown::Write);
                    fed = true;
                }
                break;
            }
            let written = write(&self.socket, &mut core.parked_pieces(self.channel, flow));
            let taken = self.judge(core, written);
            core.consume(self.channel, flow, taken);
            fed |= taken > 0;
        }
        fed
    }

    /// What became of a write: how many bytes it took.
    fn judge(&mut self, core: &mut Core, written: Result<usize, Errno>) -> usize {
        match written {
            Ok(taken) => return taken,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.writable = false,
            Err(errno) => {
                self.writes = false;
                // EPIPE only says that the other end takes no more.
                self.failure = Some(errno).filter(|&errno| errno != Errno::PIPE);
                core.stop(self.channel, self.flows().0);
            }
        }
        0
    }

    /// Moves one frame from the socket straight into the ring.
    fn read(&mut self, core: &mut Core) -> Step {
        if !self.reads || !self.readable || self.wants_reply {
            return Step::Idle;
        }
        let (_, flow) = self.flows();
        let Some(places) = core.reserve(self.channel, flow, FRAME_PAYLOAD_MAX) else {
            return if core.room() == 0 { Step::NoRoom } else { Step::Idle };
        };
        let slices = &mut [IoSliceMut::new(places.first), IoSliceMut::new(places.second)];
        let read = rustix::io::readv(&self.socket, slices);
        core.commit(*read.as_ref().unwrap_or(&0));
        // A write that failed was told why, and this read is not told again.
        let read = if read == Ok(0) { self.failure.map_or(read, Err) } else { read };
        match read {
            Ok(0) => self.end_reading(core),
            // A short read does not mean that there is no more: it ends at urgent data (`tcp(7)`) and behind what came with
            // descriptors (`unix(7)`), and nothing would tell of the rest.
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Step::Idle;
            }
            Err(errno) => {
                if self.is_ours {
                    core.reset(self.channel, CloseCode::Cancelled);
                } else {
                    let errno = errno.raw_os_error().unsigned_abs();
                    core.exit(self.channel, Outcome::Failed(errno), b"read");
                }
                return Step::Done;
            }
        }
        Step::Progress
    }

    fn end_reading(&mut self, core: &mut Core) {
        self.reads = false;
        core.finish(self.channel, self.flows().1);
    }
}

fn write(socket: &OwnedFd, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Errno> {
    let mut slices = [IoSlice::new(&[]); PIECES_MAX];
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(piece);
    }
    rustix::io::writev(socket, &slices)
}
