//! Owns how a verb of the kinds `fs` and `system` is asked for (`docs/PROTOCOL.md`, R-9.12, R-9.13).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::tag;
use vsock_shell_proto::frame::ChannelKind;

use crate::client::Client;
use crate::command::Streams;
use crate::drive::drive;
use crate::error::{Error, Failure, Refusal};
use crate::request::Request;
use crate::run::{Input, Run};
use crate::signals::Signals;
use crate::transfer::home_path;

/// A verb, what it takes, and what it does in words.
#[derive(Default)]
pub(crate) struct Verb<'a> {
    /// Its name in the protocol.
    pub name: &'static str,
    /// PATH: what it is about; `system` has none.
    pub path: Option<&'a OsStr>,
    /// Its ARG, in order.
    pub arguments: &'a [&'a OsStr],
    /// Its VALUE, in order.
    pub values: &'a [u64],
    /// FLAGS.
    pub flags: u32,
    /// What fails when it does: a phrase behind "cannot", and what it is about, as it is.
    pub phrase: (&'static str, Option<&'a OsStr>),
}

impl Client {
    /// Asks for a verb, and keeps its answer.
    ///
    /// # Errors
    /// [`Error::Failed`] where the guest could not do it; it was refused, or the connection was lost.
    pub(crate) fn ask(&mut self, kind: ChannelKind, verb: &Verb<'_>) -> Result<Vec<u8>, Error> {
        self.ask_with(kind, verb, Streams::keeping(Input::nothing()), None)
    }

    /// The same, with these streams.
    pub(crate) fn ask_with(
        &mut self,
        kind: ChannelKind,
        verb: &Verb<'_>,
        streams: Streams,
        signals: Option<&mut Signals>,
    ) -> Result<Vec<u8>, Error> {
        let mut request = Request::default();
        request.string(tag::VERB, &[verb.name.as_ref()])?;
        if let Some(path) = verb.path {
            request.string(tag::PATH, &[home_path(path)])?;
        }
        for argument in verb.arguments {
            request.string(tag::ARG, &[argument])?;
        }
        for value in verb.values {
            request.bytes(tag::VALUE, &value.to_le_bytes())?;
        }
        if verb.flags != 0 {
            request.bytes(tag::FLAGS, &verb.flags.to_le_bytes())?;
        }
        if let Some(user) = self.user.as_ref().filter(|_| kind == ChannelKind::Fs) {
            request.string(tag::USER, &[user])?;
        }
        let mut run = Run::new(&mut self.connection.core, kind, request.into_bytes(), streams, signals)?;
        let driven = drive(&mut self.connection, &mut run);
        match run.finish(&mut self.connection.core, driven) {
            Ok(ended) => Ok(ended.output.bytes().to_vec()),
            Err(Error::Refused(Refusal { code: RefusalCode::System, errno, .. })) => {
                Err(verb.failure(errno).into())
            }
            Err(error) => Err(error),
        }
    }
}

impl Verb<'_> {
    /// That it failed.
    pub(crate) fn failure(&self, errno: u32) -> Failure {
        let (phrase, about) = self.phrase;
        let about = about.map_or(&b""[..], OsStr::as_bytes);
        let space = if about.is_empty() { "" } else { " " };
        Failure { errno, text: [phrase.as_bytes(), space.as_bytes(), about].concat() }
    }
}

/// The value of a key in an answer of lines `key=value`.
pub(crate) fn number(lines: &[u8], key: &str) -> Option<u64> {
    let mut pairs = lines.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    pairs.find_map(|line| line.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}
