//! Owns copying files to and from guests.
//!
//! ```text
//!   source ──> send ══> guest ══> receive ──> planting ──> landing
//!                 └──── relay ────┘
//! ```
//!
//! `guests` decides which operand goes where; `source` reads what is here, `send` uploads it; `receive` takes a download,
//! `planting` makes its entries beneath the `destination`, each file through a `landing`, and knows `links`; `relay` pours the
//! stream of one guest into another. `compare` finds out what the other side has already, by `fetch`, which asks for many files
//! at once (`wants`, `reading`), and by the `digest` of what is here; `others` is what `--delete` removes; `load` brings a program; `trust` is
//! what is taken from a guest. `report` tells, and `count` how much there is to come.

mod beneath;
mod compare;
mod count;
mod destination;
mod digest;
mod fetch;
mod guests;
mod landing;
mod links;
mod load;
mod metadata;
mod others;
mod planting;
mod reading;
mod receive;
mod relay;
mod report;
mod send;
mod source;
mod trust;
mod wants;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use vsock_shell_proto::fields::{flag, tag};
use vsock_shell_proto::items::Kind;

use crate::client::Client;
use crate::drive::drive;
use crate::error::Error;
use crate::invocation::CopyOptions;
use crate::request::Request;
use crate::signals::{Caught, Signals, arm};
use compare::Plan;
pub(crate) use compare::join;
use destination::Place;
pub use fetch::{Answer, Fetched};
pub use guests::copy;
use landing::Landing;
pub use load::Loaded;
use others::remove_others_here;
use planting::Planting;
use receive::Receive;
pub use report::Report;
use send::{Manner, Send};
use source::Origin;
use wants::Wants;

/// The errno of a directory, where one file was asked for.
const EISDIR: u32 = rustix::io::Errno::ISDIR.raw_os_error().unsigned_abs();

/// Where something goes in a guest.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its path, or the directory that it goes into.
    pub path: OsString,
    /// Its name in that directory.
    pub name: Option<OsString>,
    /// The path has to be a directory.
    pub is_directory: bool,
}

impl Client {
    /// Uploads a file or a tree, or all that `source` gives.
    ///
    /// # Errors
    /// What is at `source` cannot be read, the guest refused or failed, the connection was lost, or a signal arrived. What fails
    /// inside a tree is told to `report`.
    pub fn put(
        &mut self,
        source: &Path,
        to: &Destination,
        options: &CopyOptions,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut plan = Plan::default();
        let mut end = None;
        if options.is_resumed || options.is_checked || options.deletes {
            let found =
                self.end_of(&to.path, to.name.as_deref(), options.is_resumed && !to.is_directory, signals)?;
            if options.is_resumed || options.is_checked {
                plan = self.plan(source, &found.whole(), options, signals)?;
            }
            end = Some(found);
        }
        let origin = Origin::open(source, options.is_recursive, options.is_preserving, &options.excludes)?;
        let is_tree = origin.size().is_none() && source.is_dir();
        report.begin(source.as_os_str(), origin.size(), true);
        if is_tree && !report.progress().is_hidden() {
            // Meanwhile the first files are on their way.
            let (handle, source) = (report.progress().handle(), source.to_owned());
            let excludes = options.excludes.clone();
            std::thread::spawn(move || handle.set_size(source::total(&source, &excludes)));
        }
        let came = self.put_from(origin, to, options, &plan, Some(signals), report)?.1;
        if let (Some(end), true, true) = (end, options.deletes && is_tree, report.is_operand_fine()) {
            self.remove_others(&end, &came, options, signals, report)?;
        }
        report.end();
        Ok(())
    }

    /// The value of ACCEPTED, and what was sent where that is asked for.
    fn put_from(
        &mut self,
        origin: Origin,
        to: &Destination,
        options: &CopyOptions,
        plan: &Plan,
        signals: Option<&mut Signals>,
        report: &mut Report,
    ) -> Result<(u64, HashSet<Vec<u8>>), Error> {
        let request = self.put_request(to, options)?;
        let manner = Manner {
            preserves: options.is_preserving,
            has_holes: !options.is_in_place,
            remembers: options.deletes,
            plan,
        };
        self.send(request, origin, &manner, signals, report)
    }

    /// Pours a file into standard output.
    pub(crate) fn print_file(&mut self, path: &OsStr) -> Result<(), Error> {
        let place = Place::There(Some(Landing::stream()?));
        let mut signals = Signals::new(Caught::ENDS);
        let options = CopyOptions::default();
        let mut report = Report::new(true);
        self.get_to(path, place, &options, &mut signals, &mut report, false)?;
        if report.is_fine() { Ok(()) } else { Err(Error::Garbled) }
    }

    /// Writes a file of this side into what is there in the guest.
    pub(crate) fn put_in_place(&mut self, file: File, size: u64, path: &OsStr) -> Result<(), Error> {
        let to = Destination { path: path.to_owned(), name: None, is_directory: false };
        let options = CopyOptions { is_in_place: true, ..CopyOptions::default() };
        let origin = Origin::file(file, size);
        let report = &mut Report::new(true);
        self.put_from(origin, &to, &options, &Plan::default(), None, report).map(drop)
    }

    fn send(
        &mut self,
        request: Vec<u8>,
        origin: Origin,
        manner: &Manner<'_>,
        mut signals: Option<&mut Signals>,
        report: &mut Report,
    ) -> Result<(u64, HashSet<Vec<u8>>), Error> {
        arm(&mut signals)?;
        let mut send = Send::new(&mut self.connection.core, request, origin, manner, signals, report)?;
        let driven = drive(&mut self.connection, &mut send);
        send.finish(&mut self.connection.core, driven)
    }

    /// Downloads a file or a tree to `to`.
    ///
    /// # Errors
    /// As for [`Client::put`]; whatever fails as a whole leaves no incomplete file behind.
    pub fn get(
        &mut self,
        path: &OsStr,
        to: &Path,
        options: &CopyOptions,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Error> {
        // Waiting for somebody who reads a pipe is what a signal may end at once: this before it is caught.
        let place = Place::find(to, file_name(path), options.is_resumed)?;
        self.get_at(path, place, options, signals, report)
    }

    /// The same, where the place is known.
    fn get_at(
        &mut self,
        path: &OsStr,
        place: Place,
        options: &CopyOptions,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Error> {
        self.get_to(path, place, options, signals, report, true).map_err(|error| match error {
            Error::Refused(refusal) if refusal.errno == EISDIR => Error::IsDirectory,
            error => error,
        })
    }

    fn get_to(
        &mut self,
        path: &OsStr,
        place: Place,
        options: &CopyOptions,
        signals: &mut Signals,
        report: &mut Report,
        is_drawn: bool,
    ) -> Result<(), Error> {
        // Before there is a temporary file that a signal would leave behind.
        arm(&mut Some(&mut *signals))?;
        report.begin(path, None, is_drawn);
        let flags = get_flags(path, options);
        let is_compared = (options.is_resumed || options.is_checked)
            && !matches!(place, Place::There(_))
            && (options.is_recursive || self.is_file(path, signals)?);
        let (list, request) = if is_compared {
            let (wanted, scenes) = self.scenes(path, &place, flags, options, signals, report)?;
            let list = (Wants::new(wanted), scenes);
            let preserves = flags & flag::PRESERVE;
            (Some(list), self.get_request(OsStr::new("."), flag::LIST | preserves, &[])?)
        } else {
            if options.is_recursive
                && !report.progress().is_hidden()
                && let Some(total) = self.count(path, flags, &options.excludes, signals)?
            {
                report.progress().set_size(total);
            }
            (None, self.get_request(path, flags, &options.excludes)?)
        };
        let planting = Planting::new(place, file_name(path), options);
        let core = &mut self.connection.core;
        let mut receive =
            Receive::new(core, request, list, planting, Some(signals), report, options.is_synced)?;
        let driven = drive(&mut self.connection, &mut receive);
        let (place, came) = receive.finish(&mut self.connection.core, driven)?.into_came();
        if let Some(came) = came.filter(|came| report.is_operand_fine() && !came.is_empty()) {
            remove_others_here(&place, &came, options, signals, report)?;
        }
        report.end();
        Ok(())
    }

    /// It is a regular file, of which there may be something here already. A directory or a device is none.
    fn is_file(&mut self, path: &OsStr, signals: &mut Signals) -> Result<bool, Error> {
        Ok(self.stat(path, Some(signals))?.is_some_and(|meta| meta.kind() == Kind::File))
    }

    fn put_request(&self, to: &Destination, options: &CopyOptions) -> Result<Vec<u8>, Error> {
        let mut request = Request::default();
        request.string(tag::PATH, &[guest_path(&to.path)])?;
        if let Some(name) = &to.name {
            request.string(tag::NAME, &[name])?;
        }
        let flags = [
            (to.is_directory, flag::DIRECTORY),
            (options.is_synced, flag::SYNC),
            (options.is_resumed, flag::RESUME),
            (options.is_in_place, flag::IN_PLACE),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        request.bytes(tag::FLAGS, &flags.to_le_bytes())?;
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

/// How something is asked for: a tree with links as themselves, but for one whose name ends with a slash.
fn get_flags(path: &OsStr, options: &CopyOptions) -> u32 {
    let is_directory = path.as_bytes().ends_with(b"/") || file_name(path).is_none();
    let tree = if options.is_recursive { flag::TREE } else { 0 };
    let no_follow = if options.is_recursive && !is_directory { flag::NO_FOLLOW } else { 0 };
    let preserve = if options.is_preserving { flag::PRESERVE } else { 0 };
    tree | no_follow | preserve
}

/// A path as the agent takes it, for which a relative one starts in the home directory.
pub(crate) fn home_path(path: &OsStr) -> &OsStr {
    let bytes = path.as_bytes();
    let Some(rest) = bytes.strip_prefix(b"~").filter(|rest| rest.is_empty() || rest.starts_with(b"/")) else {
        return path;
    };
    let start = rest.iter().position(|&byte| byte != b'/').unwrap_or(rest.len());
    OsStr::from_bytes(rest.get(start..).filter(|rest| !rest.is_empty()).unwrap_or(b"."))
}

/// The same of an operand of a copy, which is the home directory where it is empty.
fn guest_path(path: &OsStr) -> &OsStr {
    if path.is_empty() { OsStr::new(".") } else { home_path(path) }
}

/// The last component of a path, by our rules and never by the guest's; `None` for `/`, `.` and `..`, also behind others:
/// what is in the directory is meant then.
fn file_name(path: &OsStr) -> Option<&OsStr> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    // `Path` overlooks a dot at the end.
    let is_dot = bytes.get(..end).is_some_and(|path| path.ends_with(b"/."));
    Path::new(path).file_name().filter(|_| !is_dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_relative_to_home_needs_no_tilde() {
        let paths =
            [("~", "."), ("~//", "."), ("~/a", "a"), ("~//a", "a"), ("/a", "/a"), ("~bob/a", "~bob/a")];
        for (written, sent) in paths {
            assert_eq!(
                (guest_path(OsStr::new(written)), home_path(OsStr::new(written))),
                (sent.as_ref(), sent.as_ref())
            );
        }
        // What is named by nothing is not removed.
        assert_eq!((guest_path(OsStr::new("")), home_path(OsStr::new(""))), (".".as_ref(), "".as_ref()));
    }

    #[test]
    fn the_guest_never_names_a_file_here() {
        assert_eq!(file_name(OsStr::new("/etc/passwd")), Some(OsStr::new("passwd")));
        assert_eq!(file_name(OsStr::new("/etc//")), Some(OsStr::new("etc")));
        for none in ["", "/", "//", ".", "..", "a/..", "a/.", "a/./", "/."] {
            assert_eq!(file_name(OsStr::new(none)), None);
        }
    }
}
