//! The host side of vsock-shell: a library to reach the agent in a guest, and the command line on top of it.
//!
//! ```no_run
//! use std::time::Duration;
//! use vsock_shell::client::Client;
//! use vsock_shell::command::Program;
//! use vsock_shell::target::Target;
//!
//! let target = Target::parse("unix:/run/guest.sock".as_ref(), 5000)?;
//! let mut client = Client::connect(&target, Duration::from_secs(2))?;
//! let output = client.command(Program::Argv(vec!["uname".into(), "-r".into()])).output(Vec::new())?;
//! assert!(output.status.is_success());
//! client.close();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! From a target to a result: [`target`] says whom to reach, [`dial`] reaches it, `connection` speaks the protocol,
//! `drive` moves it along, and [`command`], [`job`], [`transfer`], [`fs`], [`system`], [`info`] and [`power`] are what is done with it.
#![forbid(unsafe_code)]

pub mod args;
mod call;
pub mod client;
pub mod command;
pub mod completions;
pub mod config;
mod connection;
pub mod dial;
pub mod doctor;
mod drive;
pub mod dry;
pub mod error;
pub mod escape;
mod exchange;
mod flags;
pub mod forward;
pub mod fs;
pub mod guests;
pub mod help;
pub mod info;
pub mod invocation;
pub mod job;
pub mod json;
pub mod key;
pub mod manual;
pub mod modes;
pub mod name;
pub mod names;
pub mod operand;
mod options;
pub mod patience;
pub mod perform;
pub mod power;
pub mod probe;
pub mod progress;
mod redial;
mod request;
pub mod run;
mod shell;
mod signal_name;
pub mod signals;
pub mod ssh_config;
pub mod stdio;
mod subsystem;
mod suggest;
pub mod system;
pub mod target;
pub mod terminal;
pub mod text;
pub mod trace;
pub mod transfer;
mod verb;
