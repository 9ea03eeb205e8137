//! Owns what is asked of jobs, the commands that go on in a guest without a client (`docs/PROTOCOL.md` §11).

use serde_json::Value;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::tag;
use vsock_shell_proto::frame::{ChannelKind, FEATURE_JOBS, Outcome};
use vsock_shell_proto::job::{JobRequest, Verb};

use crate::client::Client;
use crate::command::{Status, Streams};
use crate::connection::Core;
use crate::drive::drive;
use crate::error::{Error, Failure, Refusal};
use crate::info::Info;
use crate::request::Request;
use crate::run::{Ended, Input, Run};
use crate::signals::Signals;

/// A job, as its agent describes it: keys and values, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job(Info);

impl Client {
    /// All jobs of the guest, by their numbers.
    ///
    /// # Errors
    /// The agent knows no jobs or refused, or the connection was lost.
    pub fn jobs(&mut self) -> Result<Vec<Job>, Error> {
        let told = self.ask_job(&JobRequest { job: 0, verb: Verb::Status, flags: 0, signal: 0 })?;
        Ok(Job::parse(told.output.bytes()))
    }

    /// One job.
    ///
    /// # Errors
    /// [`Error::NoJob`]; the agent knows no jobs or refused, or the connection was lost.
    pub fn job(&mut self, number: u32) -> Result<Job, Error> {
        let told = self.ask_job(&JobRequest { job: number, verb: Verb::Status, flags: 0, signal: 0 })?;
        Job::parse(told.output.bytes()).pop().ok_or(Error::NoJob(number))
    }

    /// Sends a job a signal, by its generic number.
    ///
    /// # Errors
    /// [`Error::NoJob`]; the agent knows no jobs or refused, or the connection was lost.
    pub fn signal_job(&mut self, number: u32, signal: u32) -> Result<(), Error> {
        self.ask_job(&JobRequest { job: number, verb: Verb::Signal, flags: 0, signal }).map(drop)
    }

    fn ask_job(&mut self, request: &JobRequest) -> Result<Ended, Error> {
        self.with_job(request, Streams::keeping(Input::nothing()), None)
    }

    /// Asks something of a job with these streams, and waits until that has ended; how the job did, where that was asked.
    ///
    /// # Errors
    /// [`Error::NoJob`], [`Error::StillRuns`]; the agent knows no jobs or refused, the connection was lost, or a signal arrived.
    pub fn watch_job(
        &mut self,
        request: &JobRequest,
        streams: Streams,
        signals: Option<&mut Signals>,
    ) -> Result<Status, Error> {
        self.with_job(request, streams, signals).map(|ended| Status(ended.outcome))
    }

    fn with_job(
        &mut self,
        request: &JobRequest,
        streams: Streams,
        signals: Option<&mut Signals>,
    ) -> Result<Ended, Error> {
        let mut run = open(&mut self.connection.core, request, streams, signals)?;
        let driven = drive(&mut self.connection, &mut run);
        finish(&mut self.connection.core, run, driven, request.job)
    }
}

/// Opens a channel to a job.
pub(crate) fn open<'s>(
    core: &mut Core,
    request: &JobRequest,
    streams: Streams,
    signals: Option<&'s mut Signals>,
) -> Result<Run<'s>, Error> {
    // An agent without jobs refuses the channel, in words of its own.
    let mut fields = Request::default();
    fields.bytes(tag::JOB, &request.encode())?;
    Run::new(core, ChannelKind::Job, fields.into_bytes(), streams, signals)
}

/// What came of it.
pub(crate) fn finish(
    core: &mut Core,
    run: Run<'_>,
    driven: Result<(), Error>,
    job: u32,
) -> Result<Ended, Error> {
    use rustix::io::Errno;
    let is = |failure: &Failure, errno: Errno| failure.errno == errno.raw_os_error().unsigned_abs();
    let has_jobs = core.peer().is_none_or(|hello| hello.features & FEATURE_JOBS != 0);
    match run.finish(core, driven) {
        Err(Error::Refused(Refusal { code: RefusalCode::NotFound, .. })) => Err(Error::NoJob(job)),
        Err(Error::Refused(Refusal { code: RefusalCode::Unsupported, .. })) if !has_jobs => {
            Err(Error::NoJobs)
        }
        Err(Error::Failed(failure)) if is(&failure, Errno::BUSY) => Err(Error::StillRuns(job)),
        Err(Error::Failed(failure)) if is(&failure, Errno::SRCH) => Err(Error::JobLost(job)),
        result => result,
    }
}

impl Job {
    /// What an agent says of jobs, one behind the other.
    fn parse(lines: &[u8]) -> Vec<Self> {
        let text = String::from_utf8_lossy(lines);
        let mut jobs: Vec<Self> = text
            .split_inclusive('\n')
            .fold(Vec::<String>::new(), |mut jobs, line| {
                match jobs.last_mut().filter(|_| !line.starts_with("job=")) {
                    Some(job) => job.push_str(line),
                    None => jobs.push(line.to_owned()),
                }
                jobs
            })
            .iter()
            .map(|lines| Self(Info::parse(lines.as_bytes())))
            .collect();
        jobs.sort_by_key(Self::number);
        jobs
    }

    fn count(&self, key: &str) -> u64 {
        self.0.get(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.count("job").try_into().unwrap_or(0)
    }

    /// It has a terminal.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.count("terminal") != 0
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let number = u32::try_from(self.count("status")).unwrap_or(0);
        match self.0.get("state") {
            Some("exited") => Some(Status(Outcome::Exited(number))),
            Some("killed") => Some(Status(Outcome::Killed { signal: number, core_dumped: false })),
            _ => None,
        }
    }

    /// One object; numbers are numbers.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = self.0.to_value();
        for key in ["terminal", "hold"] {
            if let Some(place) = value.get_mut(key) {
                *place = (self.count(key) != 0).into();
            }
        }
        // A number that a program could take for a status.
        if let (Some(place), None) = (value.get_mut("status"), self.status()) {
            *place = Value::Null;
        }
        value
    }

    /// Lines for people, with a heading.
    #[must_use]
    pub fn table(jobs: &[Self]) -> String {
        let mut table = "JOB  STATE        AGE       COMMAND\n".to_owned();
        for job in jobs {
            let state = match job.status() {
                None => "running".to_owned(),
                Some(status) => match status.signal() {
                    Some(signal) => crate::signal_name::of(signal.try_into().unwrap_or(0)).into_owned(),
                    None => format!("exited {}", status.exit_code()),
                },
            };
            let command = job.0.get("command").unwrap_or_default();
            let age = age(job.count("seconds"));
            table.push_str(&format!("{:<3}  {state:<11}  {age:<8}  {command}\n", job.number()));
        }
        table
    }
}

/// Seconds as people say them: 59s, 3m12s, 2h05m, 4d03h.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] =
        b"job=12\nstate=killed\nstatus=9\nseconds=7500\nterminal=1\nhold=0\ncommand=sh -c a=b\n\
        job=3\nstate=running\nstatus=0\nseconds=59\nterminal=0\nhold=1\ncommand=\\x1b\n";

    #[test]
    fn jobs_come_by_their_numbers_and_make_a_table() {
        let jobs = Job::parse(LINES);
        assert_eq!(
            Job::table(&jobs),
            "JOB  STATE        AGE       COMMAND\n\
             3    running      59s       \\x1b\n\
             12   SIGKILL      2h05m     sh -c a=b\n"
        );
        assert!(Job::parse(b"").is_empty());
    }

    #[test]
    fn a_job_is_an_object_and_one_that_runs_has_no_status() {
        let values: Vec<Value> = Job::parse(LINES).iter().map(Job::to_value).collect();
        assert_eq!((&values[0]["status"], &values[1]["status"]), (&Value::Null, &9.into()));
        assert_eq!((&values[0]["hold"], &values[0]["terminal"]), (&true.into(), &false.into()));
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, text) in [(0, "0s"), (60, "1m00s"), (3599, "59m59s"), (90_000, "1d01h")] {
            assert_eq!(age(seconds), text);
        }
    }
}
