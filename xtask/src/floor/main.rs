//! The bench's floors: what each row would cost if there were no protocol at all.
//!
//! One program, both ends. `serve` is the guest's side: it takes one connection after the other, reads a request of fixed
//! size and does the bare minimum. Everything else is the host's side, a fresh process each time, as the client is. Not for
//! people: `cargo xtask bench` runs it. A file here is one row of the table, with both of its ends.
#![forbid(unsafe_code)]

mod command;
mod guest;
mod stream;
mod terminal;
mod transfer;

use std::io::{Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

/// What the row-by-row files read and write with at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// A request: a verb and its argument, padded with zeros.
const REQUEST_BYTES: usize = 512;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", socket] => serve(socket),
        ["serve-guest", place] => guest::serve(place),
        ["true", socket] => match command::status(socket) {
            Ok(status) => return ExitCode::from(status),
            Err(error) => Err(error),
        },
        ["put", socket, local, remote] => transfer::put(socket, local, remote),
        ["get", socket, remote, local] => transfer::get(socket, remote, local),
        ["stdout", socket, count] => stream::show(socket, count),
        ["terminal", socket, command] => terminal::attach(socket, command),
        _ => Err(std::io::Error::other("run `cargo xtask bench` instead")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor {}: {error}", words.first().unwrap_or(&""));
            ExitCode::from(255)
        }
    }
}

fn serve(socket: &str) -> Result<()> {
    for connection in UnixListener::bind(socket)?.incoming() {
        // A client that was interrupted must not end the server.
        if let Err(error) = answer(connection?) {
            eprintln!("floor serve: {error}");
        }
    }
    Ok(())
}

fn answer(mut connection: UnixStream) -> Result<()> {
    let mut request = [0; REQUEST_BYTES];
    if connection.read_exact(&mut request).is_err() {
        return Ok(());
    }
    let request = String::from_utf8_lossy(&request);
    match request.trim_end_matches('\0').split_once(' ') {
        Some(("true", _)) => command::run(connection),
        Some(("put", path)) => transfer::receive(connection, path),
        Some(("get", path)) => transfer::send(connection, path),
        Some(("stdout", count)) => stream::relay(connection, count),
        Some(("terminal", command)) => terminal::run(connection, command),
        _ => Err(std::io::Error::other("unknown request")),
    }
}

/// Connects and asks.
fn request(socket: &str, verb: &str, argument: &str) -> Result<UnixStream> {
    let mut request = format!("{verb} {argument}").into_bytes();
    request.resize(REQUEST_BYTES, 0);
    let mut connection = UnixStream::connect(socket)?;
    connection.write_all(&request)?;
    Ok(connection)
}

/// Copies with plain reads and writes, `std::io::copy` would let the kernel splice.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..count])?;
        total += count as u64;
    }
}
