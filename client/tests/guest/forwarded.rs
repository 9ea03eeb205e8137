//! Servers of this machine, which is the guest's too, and clients that forward to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

use super::{DEADLINE, Guest, Running, TARGET, until};

/// A stream of either kind.
pub trait Stream: Read + Write + Send {
    /// Nothing more is written.
    fn finish(&self);
    /// The same, not to be told from another stream.
    fn another(&self) -> Box<dyn Stream>;
}

impl Stream for TcpStream {
    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }
}

impl Stream for UnixStream {
    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }
}

/// Somebody listens there: a socket has its file before it takes connections. Not by connecting, which would be a connection.
pub fn is_listening(path: &Path) -> bool {
    const ACCEPTS: &str = "00010000";
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.any(|line| line.len() == 8 && line[3] == ACCEPTS && Path::new(line[7]) == path)
}

/// Connects to a Unix socket; reads fail after the deadline.
pub fn unix(path: impl AsRef<Path>) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Connects over TCP; reads fail after the deadline.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Serves a port of this address, each connection in a thread. It ends with the process of the test.
pub fn serve_tcp(host: &str, serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The same for a Unix socket.
pub fn serve_unix(path: &Path, serve: impl Fn(UnixStream) + Send + Clone + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// Reads to the end, and only then answers with how much that was, and what it was.
pub fn sum_up(mut stream: impl Stream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    stream.write_all(format!("{} bytes: ", all.len()).as_bytes()).unwrap();
    stream.write_all(&all).unwrap();
}

/// Sends back what comes.
pub fn echo(mut stream: impl Stream) {
    let mut bytes = [0; 65536];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if stream.write_all(&bytes[..length]).is_err() {
                    return;
                }
            }
        }
    }
}

/// What [`sum_up`] answers to `payload`, sent through `stream`.
pub fn summed_up(stream: impl Stream, payload: &[u8]) -> Vec<u8> {
    let mut reader = stream.another();
    let mut writer = stream.another();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(payload).unwrap();
            writer.finish();
        });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    })
}

/// It is what [`sum_up`] makes of `payload`.
#[track_caller]
pub fn assert_summed_up(answer: &[u8], payload: &[u8]) {
    let expected = [format!("{} bytes: ", payload.len()).as_bytes(), payload].concat();
    super::assert_same(answer, &expected);
}

/// A client that only forwards, with these options.
pub struct Forwarding {
    pub client: Running,
    said: BufReader<std::process::ChildStderr>,
}

impl Forwarding {
    /// Starts it. What it listens on here, it listens on soon.
    pub fn start(guest: &Guest, options: &[&str]) -> Self {
        Self::to(guest, TARGET, options)
    }

    /// The same through another target.
    pub fn to(guest: &Guest, target: &str, options: &[&str]) -> Self {
        let words = options.iter().copied().chain(["-N", target]);
        let mut client = Running::start(guest.client(words).stdin(Stdio::null()));
        let said = BufReader::new(client.0.stderr.take().unwrap());
        Self { client, said }
    }

    /// Its next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// The port in its next line, which tells of one that was chosen.
    pub fn port(&mut self) -> u16 {
        let line = self.line();
        let port = line
            .split("localhost:")
            .nth(1)
            .and_then(|rest| rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {line:?}"))
    }

    /// Waits until something listens at `path`.
    #[track_caller]
    pub fn wait_for(&self, path: &Path) {
        until("it listens", || is_listening(path));
    }
}
