//! Owns which operand of a copy goes where, and the sessions with the guests that are named.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::compare::Plan;
use super::destination::Place;
use super::landing::Landing;
use super::relay::{Failing, relay};
use super::report::Report;
use super::source::Origin;
use super::{Destination, file_name, get_flags};
use crate::client::Client;
use crate::error::Error;
use crate::invocation::{Copy, Settings};
use crate::operand::Operand;
use crate::signals::Signals;
use crate::target::Target;
use crate::trace::Detail;

/// Between two looks for a signal while a guest is reached for.
const LISTEN: Duration = Duration::from_millis(50);

/// Copies as the invocation says. What fails is told to `tell`, and to the report; the rest is copied.
///
/// # Errors
/// A signal arrived: nothing more is copied.
pub fn copy(
    copy: &Copy,
    signals: &mut Signals,
    report: &mut Report,
    tell: &mut dyn FnMut(&OsStr, &Error),
) -> Result<(), Error> {
    let mut guests = Guests { open: Vec::new(), copy };
    for source in &copy.sources {
        match guests.copy(source, signals, report) {
            Ok(()) => {}
            Err((_, error @ Error::Interrupted(_))) => {
                guests.open.drain(..).for_each(|(_, client)| client.cancel());
                return Err(error);
            }
            Err((operand, error)) => {
                let name = name_of(operand);
                report.operand_failed(&name, &error);
                tell(&name, &error);
            }
        }
    }
    guests.open.into_iter().for_each(|(_, client)| client.close());
    Ok(())
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
                let mut client = connect(target, &self.copy.settings, signals)?;
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
    fn copy<'o>(
        &mut self,
        source: &'o Operand,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), (&'o Operand, Error)>
    where
        'c: 'o,
    {
        let destination = &self.copy.destination;
        self.copy_one(source, signals, report).map_err(|error| match error {
            // What the guest says of an upload is about the name there.
            Failing::Destination(error @ (Error::Refused(_) | Error::Failed(_))) => (destination, error),
            Failing::Source(error) | Failing::Destination(error) => (source, error),
        })
    }

    fn copy_one(
        &mut self,
        source: &Operand,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Failing> {
        let copy = self.copy;
        let options = &copy.options;
        let is_several = copy.sources.len() > 1;
        match (source, &copy.destination) {
            (Operand::Remote { target, path }, Operand::Local(to)) => {
                if is_several && !to.is_dir() {
                    return Err(not_a_directory(to).into());
                }
                self.with(target, signals, |client, signals| {
                    // Several go into the directory, whatever became of it before.
                    let place = Place::find(to, file_name(path), options.is_resumed && !is_several)?;
                    client.get_at(path, place, options, signals, report)
                })?;
                Ok(())
            }
            (Operand::Remote { target, path }, Operand::Stream) => {
                let place = Place::There(Some(Landing::stream()?));
                // On a terminal the content is what it shows.
                let is_drawn = !std::io::stdout().is_terminal();
                self.with(target, signals, |client, signals| {
                    client.get_to(path, place, options, signals, report, is_drawn)
                })?;
                Ok(())
            }
            (Operand::Local(from), Operand::Remote { target, path }) => {
                let to = self.destination(path, file_name(from.as_os_str()), is_several);
                self.with(target, signals, |client, signals| client.put(from, &to, options, signals, report))
                    .map_err(Failing::Destination)
            }
            (Operand::Stream, Operand::Remote { target, path }) => {
                let to = self.destination(path, None, is_several);
                let origin = Origin::stdin()?;
                report.begin(OsStr::new("-"), None, true);
                self.with(target, signals, |client, signals| {
                    client.put_from(origin, &to, options, &Plan::default(), Some(signals), report)
                })
                .map_err(Failing::Destination)?;
                report.end();
                Ok(())
            }
            (Operand::Remote { target: from, path }, Operand::Remote { target, path: to }) => {
                let to = self.destination(to, file_name(path), is_several);
                self.relay((from, path), (target, &to), signals, report)
            }
            // `args` lets no copy through that has no guest in it.
            (Operand::Local(_) | Operand::Stream, Operand::Local(_) | Operand::Stream) => Ok(()),
        }
    }

    fn destination(&self, path: &OsStr, name: Option<&OsStr>, is_several: bool) -> Destination {
        Destination {
            path: path.to_owned(),
            name: name.map(OsStr::to_owned),
            // A slash at the end speaks for itself: a directory may still be made there.
            is_directory: is_several,
        }
    }

    /// Copies from one guest to another.
    fn relay(
        &mut self,
        (from, path): (&Target, &OsStr),
        (to, destination): (&Target, &Destination),
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Failing> {
        let options = &self.copy.options;
        let mut getting = self.take(from, signals)?;
        let mut putting = self.take(to, signals)?;
        report.begin(path, None, true);
        let get = getting.get_request(path, get_flags(path, options), &options.excludes)?;
        let put = putting.put_request(destination, options)?;
        let done = relay((&mut getting, get), (&mut putting, put), options, signals, report);
        for client in [getting, putting] {
            match done {
                Ok(()) => client.close(),
                // What it has begun ends at once, and not when nobody has come back for it.
                Err(_) => client.cancel(),
            }
        }
        report.end();
        done
    }
}

/// Begins a session. Once signals are caught they do not end the process by themselves: the guest is then reached for
/// by a thread, and they are listened to meanwhile.
fn connect(target: &Target, settings: &Settings, signals: &mut Signals) -> Result<Client, Error> {
    let (patience, detail) = (settings.patience, Detail::of_count(settings.verbosity));
    if signals.fd().is_none() {
        return Client::connect_told(target, patience, detail);
    }
    let target = target.clone();
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // Nobody listens any more once a signal came.
        _ = tell.send(Client::connect_told(&target, patience, detail));
    });
    loop {
        match told.recv_timeout(LISTEN) {
            Ok(connected) => return connected,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
            Err(RecvTimeoutError::Timeout) => signals.ended()?,
        }
    }
}

fn not_a_directory(path: &Path) -> Error {
    Error::local("copy several files to", path)(rustix::io::Errno::NOTDIR.into())
}
