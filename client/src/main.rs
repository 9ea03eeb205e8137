//! The command line: parses, dispatches, and turns what comes back into an exit status.
//!
//! Standard output belongs to the remote command; whatever the client itself says goes to standard error, one line
//! with the program's name before it. Nothing here calls [`std::process::exit`], so that every `Drop` runs.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use vsock_shell::invocation::Invocation;
use vsock_shell::names::Names;
use vsock_shell::perform::{self, FAILED};
use vsock_shell::{args, completions, dry, help, key, manual, ssh_config, terminal};

fn main() -> ExitCode {
    terminal::install_panic_hook();
    let names = Names::here();
    let status = match args::parse_named(std::env::args_os().skip(1), &names) {
        Ok(invocation) => run(invocation, &names).unwrap_or_else(|error| complain(&error)),
        Err(error) => complain(&error),
    };
    ExitCode::from(status)
}

/// Does what was asked; the status to exit with.
fn run(invocation: Invocation, names: &Names) -> Result<u8, Box<dyn Error>> {
    match invocation {
        Invocation::Help { verb, is_full } => print(&help::text(verb, is_full)),
        Invocation::Version => print(help::VERSION),
        Invocation::Run(run) => Ok(perform::run(&run)),
        Invocation::Dry(run) => print(&dry::text(&run)),
        Invocation::Pass(pass) => Ok(perform::pass(&pass)),
        Invocation::Copy(copy) => Ok(perform::copy(&copy)),
        Invocation::Wait(ask) => Ok(perform::wait(&ask)),
        Invocation::Info(ask) => Ok(perform::info(&ask)),
        Invocation::Jobs(ask) => Ok(perform::jobs(&ask)),
        Invocation::Job(job) => Ok(perform::job(&job)),
        Invocation::Fs(asked) => Ok(perform::fs(&asked)),
        Invocation::System(asked) => Ok(perform::system(&asked)),
        Invocation::Power(power) => Ok(perform::power(&power)),
        Invocation::Each(each) => Ok(perform::each(&each)),
        Invocation::Targets(targets) => Ok(perform::targets(&targets)),
        Invocation::Script(shell) => print(shell.script()),
        Invocation::Complete(words) => print(&completions::answer(&words, names).to_string()),
        Invocation::Manual => print(&manual::page()),
        Invocation::SshConfig(wish) => {
            let program = std::env::args_os().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").into());
            print(&ssh_config::text(&wish, &program, &std::env::current_dir()?)?)
        }
        Invocation::Doctor(doctor) => Ok(perform::doctor(&doctor, names)),
        Invocation::KeyGen(path) if path.as_os_str() == "-" => Ok(key::print().map(|()| 0)?),
        Invocation::KeyGen(path) => Ok(key::generate(&path).map(|()| 0)?),
    }
}

/// Writes our own text to standard output. Nobody reading it any more (`| head`) is no failure.
fn print(text: &str) -> Result<u8, Box<dyn Error>> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {}", vsock_shell::text::reason(&error)).into())
        }
        _ => Ok(0),
    }
}

/// One line on standard error. Where that cannot be written to, nobody can be told.
fn complain(error: &dyn Display) -> u8 {
    _ = io::stderr().write_all(format!("vsock-shell: {error}\n").as_bytes());
    FAILED
}
