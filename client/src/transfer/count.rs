//! Owns finding out how many bytes a tree of a guest has, for the line of progress: nothing is kept, and nobody waits long.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::ChannelKind;
use vsock_shell_proto::items::{Item, ItemReader, Stream};

use super::reading::{Collect, Question, Read};
use crate::client::Client;
use crate::error::Error;
use crate::signals::Signals;

/// A copy begins after this at the latest, whatever is known.
const PATIENCE: Duration = Duration::from_secs(2);

/// The bytes so far.
struct Total(u64);

impl Client {
    /// The bytes of all regular files of a tree; `None` where they are not known soon, or the guest does not tell.
    ///
    /// # Errors
    /// What ends a copy too: the connection was lost, or a signal arrived.
    pub(super) fn count(
        &mut self,
        path: &OsStr,
        flags: u32,
        excludes: &[OsString],
        signals: &mut Signals,
    ) -> Result<Option<u64>, Error> {
        let question = Question {
            kind: ChannelKind::Get,
            request: self.get_request(path, flags & !flag::PRESERVE | flag::META, excludes)?,
            wants: None,
            of: Stream::Tree,
            deadline: Some(Instant::now() + PATIENCE),
        };
        let mut total = Total(0);
        match self.read_items(question, &mut total, Some(signals))? {
            Read::Whole => Ok(Some(total.0)),
            // Whatever it is, the copy meets it too, and tells it.
            Read::Failed(_) => Ok(None),
        }
    }
}

impl Collect for Total {
    fn item(&mut self, item: Item<'_, '_>, _: &ItemReader) -> Result<(), Error> {
        if let Item::Entry { meta, .. } = item {
            self.0 = self.0.saturating_add(meta.expected().unwrap_or(0));
        }
        Ok(())
    }
}
