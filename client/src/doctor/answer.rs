//! What the other side says once it is reached: that it is an agent which gives a session, or why not, and what it is.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use vsock_shell_proto::frame::{FEATURE_JOBS, Hello};
use vsock_shell_proto::preamble::Status;

use super::Finding;
use crate::connection::SOFTWARE;
use crate::error::Error;
use crate::target::Address;
use crate::text::escape;
use crate::trace::denied_names;

const CHECK: &str = "agent";

/// Why there is no session. `ended` is how the command of `exec:` has ended, where it has; `has_key`: one was shown.
pub fn judge(address: &Address, error: &Error, ended: Option<ExitStatus>, has_key: bool) -> Finding {
    if let (Some(ended), Error::Closed | Error::Lost(_)) = (ended, error) {
        return judge_ended(ended);
    }
    let advice = match error {
        Error::NoSession(status) => no_session(*status),
        Error::NotAnAgent => not_an_agent(address),
        Error::Unproved if has_key => {
            "whoever answers is not the agent that is meant, or is older than keys: do not trust it"
        }
        Error::AnotherGuest { .. } => "is it the guest that is meant, and has it been started again since?",
        Error::Silent(_) => silent(address),
        Error::Closed | Error::Lost(_) => closed(address),
        Error::OpenKey(_) | Error::NoKeyIn(_) => "is it the file that is meant?",
        Error::Ended(_) | Error::Broken(_) => "are both sides of versions that work together?",
        _ => "what the agent logs where it was started may tell more",
    };
    Finding::failed(CHECK, error.to_string(), advice)
}

const fn no_session(status: Status) -> &'static str {
    match status {
        Status::Full => {
            "end other sessions, or start the agent with a higher --max-sessions; each attached client is one"
        }
        Status::KeyWanted => "write --key FILE, with the key that the agent was started with",
        Status::NoKey => {
            "start the agent with --key, or leave --key out here, where nobody else can be in its place"
        }
        Status::WrongKey => "name the file with the key that the agent was started with",
        Status::Forbidden => {
            "over vsock an agent serves the host alone: start it with --allow-cid, for this machine's context id"
        }
        Status::Version => "bring the older side to the version of the other",
        Status::ShuttingDown => "wait until it, or its guest, has started again: vsock-shell wait",
        Status::NoResources => "free memory or processes in the guest, or give it more",
        Status::Kind
        | Status::Stale
        | Status::Gone
        | Status::RolledBack
        | Status::Created
        | Status::Resumed => "try again; what the agent logs may tell more",
    }
}

fn not_an_agent(address: &Address) -> &'static str {
    match address {
        Address::Vsock { .. } | Address::Mux { .. } => {
            "something else listens on this port of the guest: on which does the agent? -p PORT reaches it"
        }
        Address::Exec(_) => "the command's standard output has to be the agent's alone, without a greeting",
        Address::Serial(_) => "is it the agent's port, and not a console?",
        _ => "something else listens there; the socket of a guest's ports is written mux:PATH",
    }
}

fn silent(address: &Address) -> &'static str {
    match address {
        Address::Serial(_) => {
            "is the agent started in the guest with --listen serial:NAME, of this port? --timeout waits longer"
        }
        Address::Exec(_) => "does the command wait for something, such as a password? --timeout waits longer",
        Address::Unix(_) => {
            "is it an agent's socket, and its process not stopped? one of a guest's ports is written mux:PATH; \
             one of a virtio-serial port serial:PATH"
        }
        _ => "is the guest paused or busy, or something else than an agent there? --timeout waits longer",
    }
}

fn closed(address: &Address) -> &'static str {
    match address {
        Address::Mux { .. } | Address::Vsock { .. } => {
            "in the guest nobody listens on this port, or the agent ended: is it started? -p PORT reaches another"
        }
        Address::Exec(_) => "run the command alone to see what it says",
        Address::Unix(_) => "is it an agent's socket? one of a guest's ports is written mux:PATH",
        _ => "is the agent running behind it?",
    }
}

/// What it means that the command of `exec:` has ended at once.
fn judge_ended(ended: ExitStatus) -> Finding {
    const NOT_FOUND: i32 = 127;
    const NOT_EXECUTABLE: i32 = 126;
    const SSH: i32 = 255;
    let seen = match (ended.code(), ended.signal()) {
        (Some(status), _) => format!("the command has ended with status {status}"),
        (None, signal) => format!("the command was killed by signal {}", signal.unwrap_or_default()),
    };
    let advice = match ended.code() {
        Some(NOT_FOUND) => "its program was not found: is it installed, here or where the command leads?",
        Some(NOT_EXECUTABLE) => "its program cannot be executed: is it executable, and for this machine?",
        Some(SSH) => "so does ssh end when it cannot connect: run the command alone",
        _ => "run the command alone to see what it says",
    };
    Finding::failed("command", seen, advice)
}

/// Whether this is our own hello: over a line with an echo, or to a program that repeats all, a session seems to begin.
fn is_echo(hello: &Hello) -> bool {
    hello.software.as_slice() == SOFTWARE.as_bytes()
}

/// What an agent has said of itself.
pub fn judge_hello(address: &Address, hello: &Hello, answered: Duration) -> Finding {
    if is_echo(hello) {
        return Finding::failed(
            CHECK,
            "what answers repeats what it is sent, and is no agent",
            not_an_agent(address),
        );
    }
    let own = concat!("vsock-shell-agent ", env!("CARGO_PKG_VERSION"));
    let software = match escape(&hello.software) {
        nothing if nothing.is_empty() => "an agent without a name".into(),
        name => name,
    };
    let seen = format!("{software} answers, in {}", milliseconds(answered));
    if hello.features & FEATURE_JOBS == 0 {
        Finding::noted(CHECK, format!("{seen}; it knows no jobs"), "for jobs, bring it to this version")
    } else if software != own {
        let advice = format!("they work together; this client is of the same version as {own}");
        Finding::noted(CHECK, seen, advice)
    } else {
        Finding::fine(CHECK, seen)
    }
}

/// What an agent refuses to everybody.
pub fn judge_denied(hello: &Hello) -> Finding {
    const CHECK: &str = "rights";
    match hello.denied {
        0 => Finding::fine(CHECK, "it denies nothing"),
        denied => Finding::noted(
            CHECK,
            format!("it denies {}", denied_names(denied, ", ")),
            "it was started so: --deny, --read-only",
        ),
    }
}

/// A question and its answer in a session: how long that took, or why none came.
pub fn judge_round_trip(asked: &Result<Duration, Error>) -> Finding {
    const CHECK: &str = "session";
    match asked {
        Ok(took) => Finding::fine(CHECK, format!("a question and its answer take {}", milliseconds(*took))),
        Err(error) => Finding::failed(
            CHECK,
            format!("it was given, and nothing can be asked in it: {error}"),
            "is the guest out of memory, or the connection cut by something between?",
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
