//! The guest side of vsock-shell, all of it: `no_std`, no heap, one thread in each process.
//!
//! [`startup`] reads the command line and opens what it names ([`args`], [`listen`]). The [`listener`] process accepts
//! and reads preambles; each session is a process of its own ([`session`]), which starts commands ([`spawn`]) and
//! ends them ([`hangup`]). As process 1 the program is [`init`] first. System calls that rustix does not have, and all `unsafe`, are in [`sys`].
//!
//! `#[inline(never)]` stands at large functions that have one caller: merged into one, they are larger than apart, because
//! the variables of all of them are reached through one large frame.
#![cfg_attr(not(test), no_std)]

pub mod account;
pub mod arena;
pub mod args;
pub mod caller;
pub mod clock;
pub mod command;
pub mod config;
pub mod digest;
pub mod environ;
pub mod exec;
pub mod failure;
pub mod gate;
pub mod half_open;
pub mod hangup;
pub mod inet;
pub mod init;
pub mod key;
pub mod line;
pub mod listen;
pub mod listener;
pub mod log;
pub mod modes;
pub mod oom;
pub mod path;
pub mod port;
pub mod resolve;
pub mod root;
pub mod serial;
pub mod session;
pub mod sessions;
pub mod socket_file;
pub mod spawn;
pub mod startup;
pub mod sys;
pub mod terminal;
pub mod user;
