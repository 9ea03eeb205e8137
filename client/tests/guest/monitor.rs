//! A monitor of virtual machines that is none, so that a guest is found among the processes.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::{Finished, Guest, client_binary};

/// A monitor whose guest has an agent: a process that is named like Firecracker, and a socket of the ports of its guest.
pub struct Monitor {
    program: PathBuf,
    configuration: PathBuf,
}

impl Monitor {
    /// One of this guest.
    pub fn new(guest: &Guest) -> Self {
        let ports = guest.directory.path("ports");
        serve(&ports, guest.socket());
        let program = guest.directory.path("firecracker");
        assert!(Command::new("cp").arg("/bin/sh").arg(&program).status().unwrap().success());
        let text = format!(r#"{{"vsock": {{"guest_cid": 3, "uds_path": "{}"}}}}"#, ports.display());
        Self { program, configuration: guest.directory.file("vm.json", text.as_bytes()) }
    }

    /// Runs the client where this monitor is the only process beside it, so that no other guest of this machine is found.
    pub fn client(&self, guest: &Guest, words: &str) -> Finished {
        let fifo = |name: &str| {
            let path = guest.directory.path(name);
            if !path.exists() {
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            }
            path.display().to_string()
        };
        let (ready, over) = (fifo("ready"), fifo("over"));
        let script = format!(
            "'{}' -c 'echo >{ready}; read x <{over}' x --id webvm --config-file '{}' & read x <{ready}; '{}' {words}",
            self.program.display(),
            self.configuration.display(),
            client_binary().display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
        command.env("VSOCK_SHELL_CONFIG", guest.directory.path("config.toml"));
        Finished(command.output().unwrap())
    }
}

/// Serves port 5000 of a guest, as a monitor does, for as long as this process lives.
fn serve(ports: &Path, socket: PathBuf) {
    let listener = UnixListener::bind(ports).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, socket) = (stream.unwrap(), socket.clone());
            thread::spawn(move || {
                let mut line = String::new();
                // Unbuffered, since what follows the line is the session's.
                BufReader::with_capacity(1, &stream).read_line(&mut line).unwrap();
                assert_eq!(line, "CONNECT 5000\n");
                (&stream).write_all(b"OK 1073741824\n").unwrap();
                let agent = UnixStream::connect(socket).unwrap();
                let (mut from, mut to) = (stream.try_clone().unwrap(), agent.try_clone().unwrap());
                thread::spawn(move || {
                    _ = io::copy(&mut from, &mut to);
                    to.shutdown(Shutdown::Write)
                });
                _ = io::copy(&mut &agent, &mut &stream);
                _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
}
