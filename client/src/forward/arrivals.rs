//! Owns what becomes of who has come to a listener in the guest, from the agent's request to a connection of this side.

use std::io;

use rustix::event::epoll::EventFlags;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::frame::ChannelId;

use super::local::Connected;
use super::remote::{self, Remote};
use super::stream::Stream;
use super::table::Place;
use super::{Forwards, Token};
use crate::connection::Core;
use crate::text;

/// Bytes of a request of the agent's: the number of a listener is eight.
pub(super) const REQUEST_MAX: usize = 512;

impl Forwards {
    /// The agent has said for which listener somebody has come.
    pub(super) fn answer(&mut self, core: &mut Core, channel: ChannelId, at: usize, request: &[u8]) {
        let listener = if request.len() < REQUEST_MAX {
            remote::parse_listener(request)
        } else {
            Err(RefusalCode::TooLarge)
        };
        let found = listener.and_then(|listener| {
            let is_meant = |remote: &&Remote| remote.is_of(listener);
            self.remotes.iter().find(is_meant).ok_or(RefusalCode::NotFound)
        });
        let remote = match found {
            Ok(remote) => remote,
            Err(code) => {
                self.table.remove(at);
                core.refuse(channel, code, 0, b"");
                return;
            }
        };
        let label = format!("{} in the guest to {}", remote.listen, remote.to);
        match self.connector.connect(channel, &remote.to) {
            Ok(attempt) => {
                if let Some(place) = self.table.at(at) {
                    *place = Place::Connecting { label, attempt };
                }
            }
            Err(error) => self.refuse(core, channel, at, &label, &error),
        }
    }

    fn refuse(&mut self, core: &mut Core, channel: ChannelId, at: usize, label: &str, error: &io::Error) {
        self.table.remove(at);
        self.note(format!("{label}: {}", text::reason(error)));
        match error.raw_os_error() {
            Some(errno) => core.refuse(channel, RefusalCode::System, errno.unsigned_abs(), b"cannot connect"),
            None => core.refuse(channel, RefusalCode::NotFound, 0, b"there is no such host"),
        }
    }

    /// What has come of connecting.
    pub(super) fn handle_connected(&mut self, core: &mut Core, connected: Connected) {
        let channel = connected.channel;
        let Some((at, Place::Connecting { label, attempt })) = self.table.of(channel) else { return };
        if *attempt != connected.attempt {
            // It was for who had this channel before.
            return;
        }
        let label = std::mem::take(label);
        let watched = connected.socket.and_then(|socket| {
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP;
            self.watch(Token::Place(at), &socket, interest).map(|()| socket)
        });
        match watched {
            Ok(socket) => {
                core.accept(channel, 0);
                let stream = Stream::connected(channel, socket);
                if let Some(place) = self.table.at(at) {
                    *place = Place::Stream { stream, label };
                }
                self.table.mark_ready(at);
            }
            Err(error) => self.refuse(core, channel, at, &label, &error),
        }
    }
}
