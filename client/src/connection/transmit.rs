//! Owns how what the core has gets into the stream: straight from its ring, however much the stream takes.

use rustix::io::Errno;
use vsock_shell_proto::link::Transmit;
use vsock_shell_proto::time::Instant;

use super::Core;
use crate::dial::Stream;
use crate::error::Error;

/// Writes what the core has, until it has nothing or the stream is full; whether anything left.
pub(super) fn send(
    stream: &mut Stream,
    core: &mut Core,
    can_write: &mut bool,
    now: Instant,
) -> Result<bool, Error> {
    let mut has_sent = false;
    while *can_write {
        let step = match core.poll_transmit(now) {
            Some(Transmit { head, first, second }) => stream.write(&[head, first, second]).map(|taken| {
                core.handle_transmitted(taken, now);
                has_sent = true;
            }),
            None => match stream.flush() {
                Ok(()) => break,
                Err(errno) => Err(errno),
            },
        };
        match step {
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => *can_write = false,
            Err(Errno::PIPE) => return Err(Error::Closed),
            Err(errno) => return Err(Error::Lost(errno.into())),
        }
    }
    Ok(has_sent)
}
