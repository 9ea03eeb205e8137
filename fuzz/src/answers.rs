//! Whatever a client asks, its agent answers anything; what a person is told of it is fit for a terminal.

use std::ffi::OsStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vsock_shell::client::Client;
use vsock_shell::command::{Program, Streams};
use vsock_shell::error::Error;
use vsock_shell::fs::listing;
use vsock_shell::fs::space::Space;
use vsock_shell::invocation::Action;
use vsock_shell::job::Job;
use vsock_shell::run::{Input as Stdin, Output};
use vsock_shell::system::{log, mounts, processes};
use vsock_shell_proto::job::{FOLLOW, JobRequest, Verb};

use crate::guest::with_client;
use crate::input::Input;
use crate::shown::assert_plain;

/// What is asked, and then what the agent says.
pub fn answers(data: &[u8]) {
    let mut input = Input::new(data);
    let question = input.byte();
    if let Err(error) = with_client(input.rest(), |client| ask(client, question)) {
        assert_plain(&error.to_string());
    }
}

fn ask(client: &mut Client, question: u8) -> Result<(), Error> {
    let path = OsStr::new("/a");
    match question % 22 {
        0 => {
            let program = Program::Argv(vec!["a".into()]);
            let output = client.command(program).output(vec![7; 5000])?;
            _ = (output.status.exit_code(), output.status.signal(), output.status.job());
        }
        1 => {
            let jobs = client.jobs()?;
            assert_plain(&Job::table(&jobs));
            _ = jobs.iter().map(Job::to_value).count();
        }
        2 => assert_plain(&Job::table(&[client.job(3)?])),
        3 => client.signal_job(3, 15)?,
        4 => {
            let request = JobRequest { job: 3, verb: Verb::Result, flags: FOLLOW, signal: 0 };
            _ = client.watch_job(&request, Streams::keeping(Stdin::nothing()), None)?.exit_code();
        }
        5 | 6 => {
            let listed = client.list(path, question % 22 == 5)?;
            for (path, failure) in &listed.problems {
                assert_plain(&vsock_shell::text::escape(path));
                assert_plain(&Error::from(failure.clone()).to_string());
            }
            let entries = listed.entries;
            assert_plain(&listing::long(&entries, &TimeZone::UTC));
            _ = listing::to_value(&entries);
        }
        7 => {
            let space = client.space(path)?;
            assert_plain(&Space::table(std::slice::from_ref(&space)));
            _ = space.to_value();
        }
        8 => {
            let info = client.info()?;
            assert_plain(&info.to_text());
            _ = info.to_value();
        }
        9 => assert_plain(&processes::table(&client.processes()?)),
        10 => assert_plain(&mounts::table(&mounts::parse(&client.mounts()?))),
        11 => _ = client.time()?,
        12 => _ = client.environment()?,
        13 => {
            let mut reader = log::Reader::default();
            let take = move |bytes: &[u8]| {
                for record in reader.take(bytes, false) {
                    assert_plain(&record.to_text(Timestamp::UNIX_EPOCH, &TimeZone::UTC));
                }
                Ok(())
            };
            client.kernel_log(true, Output::each(take), None)?;
        }
        14 => _ = client.read_file(path)?,
        15 => client.write_file(path, &[7; 5000])?,
        16 => _ = client.remove_tree(path, None)?,
        17 => _ = client.end_guest(Action::Reboot, false, Output::discard())?,
        18 => client.make_directories(OsStr::new("a/b/c"))?,
        19 => client.kill(7, 9)?,
        20 => client.remove(path)?,
        _ => {
            let names = ["a", "b", "c"].map(|name| std::ffi::CString::new(name).unwrap_or_default());
            _ = client.read_files(path, &names)?;
        }
    }
    Ok(())
}
