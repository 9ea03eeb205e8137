//! Owns the table of connections: each in a place of its own, by which epoll names it, and found by its channel once it has one.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use vsock_shell_proto::frame::ChannelId;

use super::stream::Stream;

/// What is in a place.
pub(super) enum Place {
    /// Somebody says by SOCKS where he wants to go.
    Greeting {
        socket: OwnedFd,
        said: Vec<u8>,
        is_greeted: bool,
        is_ready: bool,
        label: String,
    },
    /// The agent has come with somebody, and we have not connected yet, or do not know where.
    Asked {
        request: Vec<u8>,
    },
    Connecting {
        label: String,
        attempt: u64,
    },
    Stream {
        stream: Stream,
        label: String,
    },
}

/// The table.
#[derive(Default)]
pub(super) struct Table {
    places: Vec<Option<(Option<ChannelId>, Place)>>,
    free: Vec<usize>,
    of_channel: HashMap<u16, usize>,
    /// Places that are to be stepped, each once.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
}

impl Table {
    /// Puts something into a free place, to be stepped.
    pub fn insert(&mut self, channel: Option<ChannelId>, place: Place) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.is_ready.push(false);
            self.places.len() - 1
        });
        if let Some(slot) = self.places.get_mut(at) {
            *slot = Some((channel, place));
        }
        if let Some(channel) = channel {
            self.of_channel.insert(channel.0, at);
        }
        self.mark_ready(at);
        at
    }

    /// Takes out what is in a place.
    pub fn remove(&mut self, at: usize) -> Option<Place> {
        let (channel, place) = self.places.get_mut(at)?.take()?;
        if let Some(channel) = channel {
            self.of_channel.remove(&channel.0);
        }
        self.free.push(at);
        Some(place)
    }

    /// Takes out everything.
    pub fn drain(&mut self) -> impl Iterator<Item = Place> {
        std::mem::take(self).places.into_iter().flatten().map(|(_, place)| place)
    }

    /// What is in a place.
    pub fn at(&mut self, at: usize) -> Option<&mut Place> {
        self.places.get_mut(at)?.as_mut().map(|(_, place)| place)
    }

    /// The place of a channel, and what is in it.
    pub fn of(&mut self, channel: ChannelId) -> Option<(usize, &mut Place)> {
        let at = *self.of_channel.get(&channel.0)?;
        self.at(at).map(|place| (at, place))
    }

    /// A channel has a place.
    pub fn has(&self, channel: ChannelId) -> bool {
        self.of_channel.contains_key(&channel.0)
    }

    /// A place is to be stepped.
    pub fn mark_ready(&mut self, at: usize) {
        if let Some(is_ready) = self.is_ready.get_mut(at)
            && !std::mem::replace(is_ready, true)
        {
            self.ready.push_back(at);
        }
    }

    /// The places to be stepped now. Those that are marked meanwhile wait for the next time.
    pub fn take_ready(&mut self) -> VecDeque<usize> {
        self.is_ready.fill(false);
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_stepped_once_however_often_it_was_marked() {
        let mut table = Table::default();
        let at = table.insert(Some(ChannelId(1)), Place::Asked { request: Vec::new() });
        for _ in 0..1000 {
            table.mark_ready(at);
        }
        assert_eq!(table.take_ready(), [at]);
        assert!(table.take_ready().is_empty());
        table.mark_ready(at);
        assert_eq!(table.take_ready(), [at], "the next time it is again");
    }
}
