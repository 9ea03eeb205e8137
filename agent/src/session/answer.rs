//! Short texts that are sent as the answer to a request: what `system` tells.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fs::{Mode, OFlags};
use vsock_shell_proto::frame::{ChannelId, Flow, Outcome};
use vsock_shell_proto::limits::{CHANNELS_MAX, JOBS_MAX, KEPT_LEN, REQUEST_MAX, SESSIONS_MAX, WATCHERS_MAX};
use vsock_shell_proto::preamble::VERSION_MAX;

use super::tasks::Step;
use super::{Core, SOFTWARE};
use crate::line::{Line, Part, text};
use crate::sys::clock::uptime_seconds;

/// Bytes of an answer; a line for which there is no room is left out.
const ANSWER_MAX: usize = 768;

/// What there is so much of, and no more.
const LIMITS: [(&CStr, usize); 6] = [
    (c"sessions_max", SESSIONS_MAX),
    (c"channels_max", CHANNELS_MAX),
    (c"request_max", REQUEST_MAX),
    (c"jobs_max", JOBS_MAX),
    (c"watchers_max", WATCHERS_MAX),
    (c"kept_max", KEPT_LEN),
];

/// A text on its way.
pub struct Answer {
    channel: ChannelId,
    text: ArrayVec<u8, ANSWER_MAX>,
    sent: usize,
}

impl Answer {
    /// That it was done, and nothing more.
    pub fn nothing(channel: ChannelId) -> Self {
        Self { channel, text: ArrayVec::new_const(), sent: 0 }
    }

    /// What `info` tells (`R-9.10`): lines of `key=value`.
    #[inline(never)]
    pub fn info(channel: ChannelId, grace_ms: u32) -> Self {
        let mut answer = Self::nothing(channel);
        let system = rustix::system::uname();
        answer.line(c"agent", Part::Bytes(SOFTWARE.as_bytes()));
        answer.line(c"protocol", Part::Number(u64::from(VERSION_MAX)));
        answer.line(c"system", Part::Bytes(system.sysname().to_bytes()));
        answer.line(c"kernel", Part::Bytes(system.release().to_bytes()));
        answer.line(c"machine", Part::Bytes(system.machine().to_bytes()));
        answer.line(c"hostname", Part::Bytes(system.nodename().to_bytes()));
        answer.line(c"uptime_seconds", Part::Number(uptime_seconds()));
        let mut id = [0; 64];
        if let Some(id) = read_line(c"/proc/sys/kernel/random/boot_id", &mut id) {
            answer.line(c"boot_id", Part::Bytes(id));
        }
        if let Some(id) = read_line(c"/etc/machine-id", &mut id) {
            answer.line(c"machine_id", Part::Bytes(id));
        }
        for (key, limit) in LIMITS {
            answer.line(key, Part::Number(limit as u64));
        }
        answer.line(c"grace_seconds", Part::Number(u64::from(grace_ms) / 1000));
        answer
    }

    fn line(&mut self, key: &'static CStr, value: Part<'_>) {
        let mut line = Line::of(&[text(key), text(c"="), value]);
        let _ = self.text.try_extend_from_slice(line.end());
    }

    /// The client takes no more of it.
    pub fn stop(&mut self) {
        self.sent = self.text.len();
    }

    /// Sends on.
    #[inline(never)]
    pub fn step(&mut self, core: &mut Core) -> Step {
        let sent = core.send(self.channel, Flow::Output, self.text.get(self.sent..).unwrap_or_default());
        self.sent += sent;
        if self.sent == self.text.len() {
            core.exit(self.channel, Outcome::Exited(0), b"");
            Step::Done
        } else if sent > 0 {
            Step::Progress
        } else if core.room() == 0 {
            Step::NoRoom
        } else {
            Step::Idle
        }
    }
}

/// The first line of a small file.
fn read_line<'b>(path: &core::ffi::CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *buffer).ok()?;
    buffer.get(..length)?.split(|&byte| byte == b'\n').next().filter(|line| !line.is_empty())
}
