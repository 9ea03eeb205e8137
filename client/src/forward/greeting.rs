//! Owns what happens before a program that speaks SOCKS has said where it wants to go.

use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::io::Errno;

use super::Forwards;
use super::socks::{self, Next, Reply};
use super::spec::Endpoint;
use super::table::Place;
use crate::connection::Core;

/// Bytes that a program may say: a greeting of 257, a request of 262, and what it sends at once.
const GREETING_MAX: usize = 1024;

impl Forwards {
    /// Reads what a program says by SOCKS.
    pub(super) fn step_greeting(&mut self, core: &mut Core, at: usize) -> bool {
        let Some(Place::Greeting { socket, said, is_greeted, is_ready, .. }) = self.table.at(at) else {
            return false;
        };
        if *is_ready {
            let mut bytes = [0; GREETING_MAX];
            let room = GREETING_MAX - said.len().min(GREETING_MAX);
            match rustix::io::read(&*socket, bytes.get_mut(..room).unwrap_or_default()) {
                Ok(length @ 1..) => said.extend_from_slice(bytes.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => *is_ready = false,
                // Its end, or too much.
                Ok(_) | Err(_) => {
                    self.table.remove(at);
                    return true;
                }
            }
        }
        match socks::read(said, *is_greeted) {
            Next::Wait => {
                let again = *is_ready;
                if again {
                    self.table.mark_ready(at);
                }
                again
            }
            Next::Say { taken, words } => {
                _ = rustix::io::write(&*socket, &words);
                said.drain(..taken);
                *is_greeted = true;
                self.table.mark_ready(at);
                true
            }
            Next::Refuse(words) => {
                _ = rustix::io::write(&*socket, &words);
                self.table.remove(at);
                true
            }
            Next::Connect { taken, to } => {
                let early = said.split_off(taken);
                let Some(Place::Greeting { socket, label, .. }) = self.table.remove(at) else { return false };
                self.go(core, &to, socket, early, &label);
                true
            }
        }
    }

    /// Goes where a program wants to by SOCKS.
    fn go(&mut self, core: &mut Core, to: &Endpoint, socket: OwnedFd, early: Vec<u8>, label: &str) {
        // It is watched already, in another place.
        _ = epoll::delete(&self.epoll, &socket);
        match self.connect(core, to, socket, early, format!("{label} to {to}")) {
            Ok(at) => {
                if let Some(Place::Stream { stream, .. }) = self.table.at(at) {
                    stream.wants_reply = true;
                }
            }
            Err(socket) => {
                // As many as there can be at once.
                _ = rustix::io::write(&socket, &Reply::Failed.encode());
                self.note(format!("{label} to {to}: too many connections at once"));
            }
        }
    }
}
