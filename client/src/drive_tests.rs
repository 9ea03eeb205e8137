//! Tests of the loop against an agent that reads when the test wants it to.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::event::Timespec;
use rustix::io::{dup, ioctl_fionbio};
use rustix::pipe::{fcntl_getpipe_size, pipe};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Hello};
use vsock_shell_proto::limits::{CHANNELS_MAX, POOL_LEN, PREAMBLE_LEN, RING_LEN};
use vsock_shell_proto::link::Transmit;
use vsock_shell_proto::mux::Side;
use vsock_shell_proto::preamble::{Preamble, admit};
use vsock_shell_proto::session::{Channel, Memory};
use vsock_shell_proto::time::Instant;

use super::*;
use crate::connection::Capacity;
use crate::dial::Stream;
use crate::patience::Patience;
use crate::target::Address;

/// Sends a piece whenever there is room.
struct Pieces {
    channel: ChannelId,
    left: usize,
}

impl Task for Pieces {
    fn handle(&mut self, _: &mut Core, _: Event<'_>) {}

    fn take(&mut self, _: &mut Core, _: ChannelId, _: Flow, pieces: &[&[u8]]) -> usize {
        pieces.iter().map(|piece| piece.len()).sum()
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        static PIECE: [u8; 40 * 1024] = [7; 40 * 1024];
        let length = core.writable(self.channel, Flow::Input).min(PIECE.len()).min(self.left);
        let can_send = length > 0;
        if can_send {
            self.left -= length;
            assert_eq!(core.send(self.channel, Flow::Input, &PIECE[..length]), length);
        }
        Ok(can_send)
    }

    fn has_outcome(&self) -> bool {
        false
    }

    fn is_done(&self, core: &Core) -> bool {
        self.left == 0 && !core.link().can_transmit()
    }

    fn interests<'f>(&'f self, _: &Core, _: &mut Vec<PollFd<'f>>) {}

    fn set_ready(&mut self, _: &[PollFlags]) {}

    fn tell(&mut self, _: &str) {}
}

/// The other end: a pipe that brings the client's bytes, a socket for ours, and what /proc says of the client's thread.
struct Agent {
    input: File,
    output: UnixStream,
    core: Core,
    client: PathBuf,
}

impl Agent {
    /// Answers the preamble.
    fn begin(mut input: File, mut output: UnixStream, client: PathBuf) -> Self {
        let mut preamble = [0; PREAMBLE_LEN];
        input.read_exact(&mut preamble).unwrap();
        output.write_all(&admit(&Preamble::parse(&preamble).unwrap(), None).encode()).unwrap();
        let memory = Memory {
            ring: vec![0; RING_LEN],
            pool: vec![0; POOL_LEN],
            channels: vec![Channel::FREE; 2 * CHANNELS_MAX],
            channels_max: CHANNELS_MAX,
        };
        let mut core = Core::new(Side::Agent, memory, Hello::new("test", 16, 0, 0), None);
        core.attach(0, Instant::default()).unwrap();
        Self { input, output, core, client }
    }

    /// Takes bytes as an agent does whose files are fast.
    fn handle(&mut self, mut bytes: &[u8]) {
        let now = Instant::default();
        while !bytes.is_empty() {
            let (taken, event) = self.core.handle_received(bytes, now);
            bytes = &bytes[taken..];
            match event {
                Some(Event::Opened { channel, .. }) => self.core.accept(channel, 0),
                Some(Event::Data { channel, flow, bytes }) => {
                    self.core.deliver(channel, flow, bytes, bytes.len());
                }
                _ => {}
            }
        }
        while let Some(Transmit { head, first, second }) = self.core.poll_transmit(now) {
            let bytes = [head, first, second].concat();
            // In the end the client leaves without waiting for us.
            _ = self.output.write_all(&bytes);
            self.core.handle_transmitted(bytes.len(), now);
        }
    }

    /// Acknowledges all that came, before that is due.
    fn acknowledge(&mut self) {
        let record = [[2, 0, 0, 0, 8, 0, 0, 0], self.core.link().received().to_le_bytes()].concat();
        self.output.write_all(&record).unwrap();
    }

    /// The client sleeps: it has done all that it is going to do.
    fn await_sleep(&self) {
        loop {
            let stat = std::fs::read_to_string(&self.client).unwrap();
            if stat.rsplit_once(") ").unwrap().1.starts_with('S') {
                return;
            }
            thread::yield_now();
        }
    }
}

#[test]
fn a_backlog_that_leaves_at_once_makes_room_for_more() {
    let (theirs, ours) = pipe().unwrap();
    let (input, output) = UnixStream::pair().unwrap();
    ioctl_fionbio(&ours, true).unwrap();
    input.set_nonblocking(true).unwrap();
    let client = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap()).join("stat");
    let end = dup(&ours).unwrap();
    let agent = thread::spawn(move || {
        let capacity = fcntl_getpipe_size(&theirs).unwrap();
        let mut agent = Agent::begin(File::from(theirs), output, client);
        let mut buffer = vec![0; capacity];
        let mut read = |agent: &mut Agent| {
            let length = agent.input.read(&mut buffer).unwrap();
            buffer[..length].to_vec()
        };
        // Until windows and pace are as wide as they get.
        while agent.core.link().received() < 4 << 20 {
            let bytes = read(&mut agent);
            agent.handle(&bytes);
        }
        for _ in 0..20 {
            agent.await_sleep();
            agent.acknowledge();
            agent.await_sleep();
            // What waits in the client fits into the pipe that is empty now, and brings nothing that would wake it.
            let bytes = read(&mut agent);
            agent.await_sleep();
            let has_room =
                poll(&mut [PollFd::new(&end, PollFlags::OUT)], Some(&Timespec::default())).unwrap();
            assert_eq!(has_room, 0, "the client sleeps, and the stream takes more");
            agent.handle(&bytes);
        }
        drop(end);
        loop {
            let bytes = read(&mut agent);
            if bytes.is_empty() {
                return;
            }
            agent.handle(&bytes);
        }
    });
    let patience = Patience { reconnect: Duration::ZERO, ..Duration::ZERO.into() };
    let mut connection = Connection::new(&Address::Unix("/".into()), patience, Capacity::CALLS).unwrap();
    connection.begin(Stream::new(input.into(), ours), Duration::from_secs(10)).unwrap();
    let channel = connection.core.open(ChannelKind::Put).unwrap();
    let driven = drive(&mut connection, &mut Pieces { channel, left: 16 << 20 });
    connection.leave();
    agent.join().unwrap();
    driven.unwrap();
}
