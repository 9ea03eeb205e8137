//! Owns how what the core has gets into the stream: straight from its ring, however much the stream takes.

use rustix::io::Errno;
use vsock_shell_proto::link::Transmit;
use vsock_shell_proto::time::Instant;

use super::Core;
use crate::dial::Stream;
use crate::error::Error;
use crate::trace::Trace;

/// Writes what the core has, until it has nothing or the stream is full; whether anything left.
pub(super) fn send(
    stream: &mut Stream,
    core: &mut Core,
    can_write: &mut bool,
    trace: &mut Option<Box<Trace>>,
    now: Instant,
) -> Result<bool, Error> {
    let mut has_sent = false;
    while *can_write {
        let step = match core.poll_transmit(now) {
            Some(Transmit { head, first, second }) => {
                let pieces = [head, first, second];
                let written = stream.write(&pieces);
                if let (Some(trace), Ok(taken)) = (trace.as_mut(), &written) {
                    trace.handle_sent(&pieces, *taken);
                }
                written.map(|taken| {
                    core.handle_transmitted(taken, now);
                    has_sent = true;
                })
            }
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
