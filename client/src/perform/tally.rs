//! Owns how verbs that are about several things tell what became of each, and the session they are done in.

use std::ffi::OsStr;

use serde_json::{Value, json};

use super::{FAILED, complain, connect, interrupted, print};
use crate::client::Client;
use crate::error::{Error, Failure};
use crate::invocation::Asked;
use crate::target::Target;
use crate::text::escape;
use crate::transfer::join;

/// The status where the guest could not do something.
const FAILED_IN_GUEST: u8 = 1;

/// What became of each thing.
pub(super) struct Tally {
    name: String,
    is_json: bool,
    has_failed: bool,
    results: Vec<Value>,
}

impl Tally {
    pub(super) fn new(target: &Target, is_json: bool) -> Self {
        Self { name: target.address.to_string(), is_json, has_failed: false, results: Vec::new() }
    }

    /// Notes what became of one thing. A failure of the guest is told, and the rest goes on.
    ///
    /// # Errors
    /// What is no failure of the guest: the rest would fail as well.
    pub(super) fn note<T>(&mut self, about: &OsStr, result: Result<T, Error>) -> Result<Option<T>, Error> {
        let (done, error) = match result {
            Ok(done) => (Some(done), None),
            Err(error @ Error::Failed(_)) => {
                complain(&self.name, &error);
                self.has_failed = true;
                (None, Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        self.results.push(json!({"name": escape(about.as_encoded_bytes()), "error": error}));
        Ok(done)
    }

    /// Notes what could not be done inside the thing that was noted last: each is told, and the first one is its failure. All
    /// of them as objects.
    pub(super) fn note_inside(
        &mut self,
        about: &OsStr,
        what: &str,
        problems: Vec<(Vec<u8>, Failure)>,
    ) -> Value {
        let problems: Value = problems
            .into_iter()
            .map(|(inside, Failure { errno, .. })| {
                let path = join(about, &inside);
                let text = [what.as_bytes(), b" ", path.as_encoded_bytes()].concat();
                let error = Error::from(Failure { errno, text });
                complain(&self.name, &error);
                json!({"path": escape(path.as_encoded_bytes()), "error": error.to_string()})
            })
            .collect();
        if let (Some(first), Some(result)) = (problems.get(0), self.results.last_mut()) {
            self.has_failed = true;
            result["error"] = first["error"].clone();
            result["problems"] = problems.clone();
        }
        problems
    }

    /// The status to exit with, after the results were printed as objects where that is wanted.
    pub(super) fn finish(self) -> Result<u8, Error> {
        if self.is_json {
            print(&format!("{}\n", Value::Array(self.results)))?;
        }
        Ok(if self.has_failed { FAILED_IN_GUEST } else { 0 })
    }

    /// The same, where something else is printed.
    pub(super) fn status(&self) -> u8 {
        if self.has_failed { FAILED_IN_GUEST } else { 0 }
    }
}

/// Does `work` in a session with the agent; the status to exit with.
pub(super) fn in_session<V>(
    asked: &Asked<V>,
    work: impl FnOnce(&mut Client, &V, Tally) -> Result<u8, Error>,
) -> u8 {
    let done = connect(&asked.target, &asked.settings).and_then(|mut client| {
        client.tell_losses(!asked.settings.is_quiet);
        let done = work(&mut client, &asked.verb, Tally::new(&asked.target, asked.is_json));
        match done {
            Err(Error::Interrupted(_) | Error::Local { .. }) => client.cancel(),
            _ => client.close(),
        }
        done
    });
    done.unwrap_or_else(|error| {
        complain(&asked.target.address.to_string(), &error);
        match error {
            Error::Interrupted(signal) => interrupted(signal),
            Error::Failed(_) => FAILED_IN_GUEST,
            _ => FAILED,
        }
    })
}
