//! Records taken apart: the peer's stream for the caller, and what the peer says about ours.

use core::ops::DerefMut;

use super::{End, Link};
use crate::code::CloseCode;
use crate::limits::HEADER_LEN;
use crate::record::{Control, ControlType, Header};
use crate::time::Instant;
use crate::wire::{array, put};

/// How far into a record we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Receiving {
    Header,
    Data { left: u32 },
    Control { kind: ControlType, length: u32 },
    Skip { left: u32 },
}

impl<R: DerefMut<Target = [u8]>> Link<R> {
    /// Takes headers and control records from the front of `input` until bytes of the peer's stream stand there.
    /// Returns how many bytes were taken, and how many bytes of the stream follow them in `input`; these are to be
    /// used and then [`accepted`](Self::accept). Work is bounded by the length of `input`.
    pub fn handle_received(&mut self, input: &[u8], now: Instant) -> (usize, usize) {
        if !input.is_empty() {
            self.heard = now;
        }
        let mut taken = 0;
        loop {
            if self.end.is_some() {
                return (input.len(), 0);
            }
            let rest = input.get(taken..).unwrap_or_default();
            if let Receiving::Data { left } = self.receiving
                && (left > 0 || rest.is_empty())
            {
                return (taken, rest.len().min(left as usize));
            }
            if rest.is_empty() {
                return (taken, 0);
            }
            taken += self.handle_outside_data(rest);
        }
    }

    /// The first `length` bytes of the stream that [`Self::handle_received`] showed are in the caller's memory.
    pub fn accept(&mut self, length: usize) {
        if let Receiving::Data { left } = &mut self.receiving {
            let length = (*left).min(length as u32);
            *left -= length;
            self.received += u64::from(length);
        }
    }

    /// Takes what it can of a header, a control record or a skipped one; at least one byte.
    #[inline(never)]
    fn handle_outside_data(&mut self, input: &[u8]) -> usize {
        match self.receiving {
            Receiving::Skip { left } => {
                let length = input.len().min(left as usize);
                let left = left - length as u32;
                self.receiving = if left == 0 { Receiving::Header } else { Receiving::Skip { left } };
                length
            }
            Receiving::Control { kind, length } => {
                let taken = self.gather(input, length as usize);
                if self.partial.len() == length as usize {
                    let mut value = [0; 8];
                    put(&mut value, 0, &self.partial);
                    self.partial.clear();
                    self.receiving = Receiving::Header;
                    self.handle_control(kind.with(&value));
                }
                taken
            }
            Receiving::Header | Receiving::Data { .. } => {
                self.receiving = Receiving::Header;
                let taken = self.gather(input, HEADER_LEN);
                if self.partial.is_full() {
                    let header = array(&self.partial, 0);
                    self.partial.clear();
                    match Header::parse(&header) {
                        Ok(Header::Data(left)) => self.receiving = Receiving::Data { left },
                        Ok(Header::Control(kind, length)) => {
                            self.receiving = Receiving::Control { kind, length };
                        }
                        Ok(Header::Skip(0)) => {}
                        Ok(Header::Skip(left)) => self.receiving = Receiving::Skip { left },
                        Err(code) => self.abort(code),
                    }
                }
                taken
            }
        }
    }

    /// Moves bytes from `input` to `partial` until that has `length`.
    fn gather(&mut self, input: &[u8], length: usize) -> usize {
        let missing = length.saturating_sub(self.partial.len());
        let part = input.get(..missing).unwrap_or(input);
        let fits = self.partial.try_extend_from_slice(part);
        debug_assert!(fits.is_ok(), "no gathered payload is longer than a header");
        part.len()
    }

    fn handle_control(&mut self, record: Control) {
        match record {
            Control::Ack(offset) if (self.acked..=self.sent).contains(&offset) => self.acked = offset,
            Control::Ack(_) => self.abort(CloseCode::AckRange),
            Control::Ping(token) => self.pong_due = Some(token),
            Control::Pong(token) => self.ping_unanswered &= token != self.ping_token,
            Control::Bye(code) => self.end = Some(End::Peer(code)),
        }
        self.check();
    }
}
