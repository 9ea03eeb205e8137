//! Owns copying files to and from guests: which source goes where, and over which session.
//!
//! `send` and `receive` move one file each; a copy from guest to guest pours one's stream into the other.

mod landing;
mod receive;
mod send;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use vsock_shell_proto::fields::{FLAG_DIRECTORY, FLAG_SYNC, tag};
use vsock_shell_proto::frame::ChannelKind;

use crate::client::Client;
use crate::command::Streams;
use crate::drive::drive;
use crate::error::{Error, Failure};
use crate::invocation::Copy;
use crate::operand::Operand;
use crate::patience::Patience;
use crate::progress::Progress;
use crate::request::Request;
use crate::run::{Input, Output, Run};
use crate::signals::{Caught, Signals, arm};
use crate::stdio::{Sink, Source};
use crate::target::Target;
use landing::Landing;
use receive::Receive;
use send::{Origin, Send};

/// Between two looks for a signal while a guest is reached for.
const LISTEN: Duration = Duration::from_millis(50);

/// The errno of a guest that finds nobody who reads what it sends.
const EPIPE: u32 = rustix::io::Errno::PIPE.raw_os_error().unsigned_abs();

/// Where a file goes in a guest.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its path, or the directory that it goes into.
    pub path: OsString,
    /// Its name in that directory.
    pub name: Option<OsString>,
    /// The path has to be a directory.
    pub is_directory: bool,
    /// Flush to the disk before success is told.
    pub is_synced: bool,
}

impl Client {
    /// Uploads a file, or all that `source` gives.
    ///
    /// # Errors
    /// The file cannot be read, the guest refused or failed, the connection was lost, or a signal arrived.
    pub fn put(
        &mut self,
        source: &Path,
        to: &Destination,
        signals: Option<&mut Signals>,
        is_quiet: bool,
    ) -> Result<(), Error> {
        let origin = Origin::open(source)?;
        let name = source.file_name().unwrap_or(source.as_os_str());
        let progress = Progress::new(name, origin.size(), is_quiet);
        self.put_from(origin, to, signals, progress)
    }

    fn put_from(
        &mut self,
        origin: Origin,
        to: &Destination,
        mut signals: Option<&mut Signals>,
        progress: Progress,
    ) -> Result<(), Error> {
        arm(&mut signals)?;
        let request = self.put_request(to)?;
        let mut send = Send::new(&mut self.connection.core, request, origin, signals, progress)?;
        let driven = drive(&mut self.connection, &mut send);
        send.finish(&mut self.connection.core, driven)
    }

    /// Downloads a file to `to`, a file or a directory.
    ///
    /// # Errors
    /// As for [`Client::put`]; whatever fails leaves nothing behind.
    pub fn get(
        &mut self,
        path: &OsStr,
        to: &Path,
        is_synced: bool,
        mut signals: Option<&mut Signals>,
        is_quiet: bool,
    ) -> Result<(), Error> {
        // Waiting for somebody who reads a pipe is what a signal may end at once.
        let there = Landing::there(to)?;
        // Before there is a temporary file that a signal would leave behind.
        arm(&mut signals)?;
        let landing = match there {
            Some(there) => there,
            None => Landing::file(to, file_name(path), is_synced)?,
        };
        self.get_to(path, landing, signals, is_quiet)
    }

    fn get_to(
        &mut self,
        path: &OsStr,
        landing: Landing,
        signals: Option<&mut Signals>,
        is_quiet: bool,
    ) -> Result<(), Error> {
        let request = self.get_request(path)?;
        let progress = Progress::new(file_name(path).unwrap_or(path), None, is_quiet);
        let mut receive = Receive::new(&mut self.connection.core, request, landing, signals, progress)?;
        let driven = drive(&mut self.connection, &mut receive);
        receive.finish(&mut self.connection.core, driven)
    }

    fn put_request(&self, to: &Destination) -> Result<Vec<u8>, Error> {
        let mut request = Request::default();
        request.string(tag::PATH, &[guest_path(&to.path)])?;
        if let Some(name) = &to.name {
            request.string(tag::NAME, &[name])?;
        }
        let directory = if to.is_directory { FLAG_DIRECTORY } else { 0 };
        let sync = if to.is_synced { FLAG_SYNC } else { 0 };
        request.bytes(tag::FLAGS, &(directory | sync).to_le_bytes())?;
        self.name_user(&mut request)?;
        Ok(request.into_bytes())
    }

    fn get_request(&self, path: &OsStr) -> Result<Vec<u8>, Error> {
        let mut request = Request::default();
        request.string(tag::PATH, &[guest_path(path)])?;
        self.name_user(&mut request)?;
        Ok(request.into_bytes())
    }

    fn name_user(&self, request: &mut Request) -> Result<(), Error> {
        match &self.user {
            Some(user) => request.string(tag::USER, &[user]),
            None => Ok(()),
        }
    }
}

/// A path as the agent takes it, for which a relative one starts in the home directory.
fn guest_path(path: &OsStr) -> &OsStr {
    match path.as_bytes() {
        b"" | b"~" | b"~/" => OsStr::new("."),
        [b'~', b'/', rest @ ..] => OsStr::from_bytes(rest),
        _ => path,
    }
}

/// The last component of a guest's path, by our rules and never by the guest's; `None` for `/`, `.` and `..`.
fn file_name(path: &OsStr) -> Option<&OsStr> {
    Path::new(path).file_name()
}

/// Copies as the invocation says. What fails is told to `report`, and the rest is copied; whether all went well.
///
/// # Errors
/// A signal arrived: nothing more is copied.
pub fn copy(
    copy: &Copy,
    signals: &mut Signals,
    report: &mut dyn FnMut(&OsStr, &Error),
) -> Result<bool, Error> {
    let mut guests = Guests { open: Vec::new(), copy };
    let mut is_fine = true;
    for source in &copy.sources {
        match guests.copy(source, signals) {
            Ok(()) => {}
            Err((_, error @ Error::Interrupted(_))) => {
                guests.open.drain(..).for_each(|(_, client)| client.cancel());
                return Err(error);
            }
            Err((operand, error)) => {
                is_fine = false;
                report(&name_of(operand), &error);
            }
        }
    }
    guests.open.into_iter().for_each(|(_, client)| client.close());
    Ok(is_fine)
}

/// An operand as it was written, near enough.
fn name_of(operand: &Operand) -> OsString {
    match operand {
        Operand::Remote { target, path } => {
            let mut name = OsString::from(target.address.to_string());
            name.push(":");
            name.push(path);
            name
        }
        Operand::Local(path) => path.clone().into_os_string(),
        Operand::Stream => "-".into(),
    }
}

/// The sessions that one copy needs, each opened once.
struct Guests<'c> {
    open: Vec<(Target, Client)>,
    copy: &'c Copy,
}

impl<'c> Guests<'c> {
    /// The session with a guest; a session that failed is opened anew.
    fn take(&mut self, target: &Target, signals: &mut Signals) -> Result<Client, Error> {
        match self.open.iter().position(|(open, _)| open == target) {
            Some(at) => Ok(self.open.swap_remove(at).1),
            None => {
                let mut client = connect(target, self.copy.settings.patience, signals)?;
                client.tell_losses(!self.copy.settings.is_quiet);
                Ok(client)
            }
        }
    }

    fn with<T>(
        &mut self,
        target: &Target,
        signals: &mut Signals,
        work: impl FnOnce(&mut Client, &mut Signals) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut client = self.take(target, signals)?;
        let result = work(&mut client, signals);
        if client.connection.is_usable() {
            self.open.push((target.clone(), client));
        }
        result
    }

    /// Copies one source. What fails is told with the operand that it is about.
    fn copy<'o>(&mut self, source: &'o Operand, signals: &mut Signals) -> Result<(), (&'o Operand, Error)>
    where
        'c: 'o,
    {
        let destination = &self.copy.destination;
        self.copy_one(source, signals).map_err(|error| match error {
            // What the guest says of an upload is about the name there.
            Failing::Destination(error @ (Error::Refused(_) | Error::Failed(_))) => (destination, error),
            Failing::Source(error) | Failing::Destination(error) => (source, error),
        })
    }

    fn copy_one(&mut self, source: &Operand, signals: &mut Signals) -> Result<(), Failing> {
        let copy = self.copy;
        let is_quiet = copy.settings.is_quiet;
        let is_several = copy.sources.len() > 1;
        match (source, &copy.destination) {
            (Operand::Remote { target, path }, Operand::Local(to)) => {
                if is_several && !to.is_dir() {
                    return Err(not_a_directory(to).into());
                }
                self.with(target, signals, |client, signals| {
                    client.get(path, to, copy.is_synced, Some(signals), is_quiet)
                })?;
                Ok(())
            }
            (Operand::Remote { target, path }, Operand::Stream) => {
                let landing = Landing::stream()?;
                // On a terminal the content is what it shows.
                let is_quiet = is_quiet || std::io::stdout().is_terminal();
                self.with(target, signals, |client, signals| {
                    client.get_to(path, landing, Some(signals), is_quiet)
                })?;
                Ok(())
            }
            (Operand::Local(from), Operand::Remote { target, path }) => {
                let to = self.destination(path, from.file_name(), is_several);
                self.with(target, signals, |client, signals| client.put(from, &to, Some(signals), is_quiet))
                    .map_err(Failing::Destination)
            }
            (Operand::Stream, Operand::Remote { target, path }) => {
                let to = self.destination(path, None, is_several);
                let origin = Origin::stdin()?;
                let progress = Progress::new(OsStr::new("-"), None, is_quiet);
                self.with(target, signals, |client, signals| {
                    client.put_from(origin, &to, Some(signals), progress)
                })
                .map_err(Failing::Destination)
            }
            (Operand::Remote { target: from, path }, Operand::Remote { target, path: to }) => {
                let to = self.destination(to, file_name(path), is_several);
                self.relay((from, path), (target, &to), signals)
            }
            // `args` lets no copy through that has no guest in it.
            (Operand::Local(_) | Operand::Stream, Operand::Local(_) | Operand::Stream) => Ok(()),
        }
    }

    fn destination(&self, path: &OsStr, name: Option<&OsStr>, is_several: bool) -> Destination {
        Destination {
            path: path.to_owned(),
            name: name.map(OsStr::to_owned),
            is_directory: is_several || path.as_bytes().ends_with(b"/"),
            is_synced: self.copy.is_synced,
        }
    }

    /// Pours the file stream of one guest into another; each end checks the digest itself.
    fn relay(
        &mut self,
        (from, path): (&Target, &OsStr),
        (to, destination): (&Target, &Destination),
        signals: &mut Signals,
    ) -> Result<(), Failing> {
        let (read, write) = std::io::pipe().map_err(Error::local("make", "a pipe"))?;
        let source = Source::new(read.as_fd()).map_err(Error::local("use", "a pipe"))?;
        let sink = Sink::new(write.as_fd()).map_err(Error::local("use", "a pipe"))?;
        drop((read, write));
        // A signal ends both, however the guests behave.
        let mut signals_too = Signals::new(Caught::ENDS);
        let mut getting = self.take(from, signals)?;
        let mut putting = self.take(to, signals)?;
        let get = getting.get_request(path)?;
        let put = putting.put_request(destination)?;
        let (got, was_put) = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let streams =
                    Streams { input: Input::nothing(), output: Output::sink(sink), error: Output::discard() };
                pour(&mut getting, ChannelKind::Get, get, streams, &mut signals_too)
            });
            let streams =
                Streams { input: Input::source(source), output: Output::discard(), error: Output::discard() };
            let was_put = pour(&mut putting, ChannelKind::Put, put, streams, signals);
            (other.join().unwrap_or(Err(Error::Closed)), was_put)
        });
        getting.close();
        putting.close();
        match (got, was_put) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error @ Error::Interrupted(_)), _) => Err(Failing::Source(error)),
            // Where one failed the other could not but fail too: the source found nobody who reads it any more.
            (Ok(()), Err(error)) => Err(Failing::Destination(error)),
            (Err(Error::Failed(Failure { errno: EPIPE, .. })), Err(error)) => {
                Err(Failing::Destination(error))
            }
            (Err(error), _) => Err(Failing::Source(error)),
        }
    }
}

/// Begins a session. Once signals are caught they do not end the process by themselves: the guest is then reached for
/// by a thread, and they are listened to meanwhile.
fn connect(target: &Target, patience: Patience, signals: &mut Signals) -> Result<Client, Error> {
    if signals.fd().is_none() {
        return Client::connect(target, patience);
    }
    let target = target.clone();
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // Nobody listens any more once a signal came.
        _ = tell.send(Client::connect(&target, patience));
    });
    loop {
        match told.recv_timeout(LISTEN) {
            Ok(connected) => return connected,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
            Err(RecvTimeoutError::Timeout) => signals.ended()?,
        }
    }
}

/// What failed in a copy, by the operand that it is about.
enum Failing {
    Source(Error),
    Destination(Error),
}

impl From<Error> for Failing {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

fn pour(
    client: &mut Client,
    kind: ChannelKind,
    request: Vec<u8>,
    streams: Streams,
    signals: &mut Signals,
) -> Result<(), Error> {
    let mut run = Run::new(&mut client.connection.core, kind, request, streams, Some(signals))?;
    let driven = drive(&mut client.connection, &mut run);
    run.finish(&mut client.connection.core, driven).map(drop)
}

fn not_a_directory(path: &Path) -> Error {
    Error::local("copy several files to", path)(rustix::io::Errno::NOTDIR.into())
}

/// Where a temporary file beside `path` goes.
fn beside(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned()
}

/// Opens a file of this side that is to be sent.
fn open_source(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(Error::local("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_relative_to_home_needs_no_tilde() {
        for (written, sent) in [("", "."), ("~", "."), ("~/a", "a"), ("/a", "/a"), ("~bob/a", "~bob/a")] {
            assert_eq!(guest_path(OsStr::new(written)), sent);
        }
    }

    #[test]
    fn the_guest_never_names_a_file_here() {
        assert_eq!(file_name(OsStr::new("/etc/passwd")), Some(OsStr::new("passwd")));
        for none in ["/", "..", "a/.."] {
            assert_eq!(file_name(OsStr::new(none)), None);
        }
    }
}
