//! An agent that keeps to the protocol of channels and credit, or not even to that, and says in them what the input wants.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGPIPE;
use signal_hook::flag;
use vsock_shell::client::Client;
use vsock_shell::error::Error;
use vsock_shell::key::Credentials;
use vsock_shell::patience::Patience;
use vsock_shell::target::{Address, Target};
use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::frame::{ChannelId, Flow, Hello, Outcome};
use vsock_shell_proto::limits::{PREAMBLE_LEN, pool_len};
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{Preamble, admit};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

use crate::input::Input;
use crate::items::tree;
use crate::session::said;
use crate::shown::hostile;

/// Where this process has its socket, and its files beside it.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("vsock-shell-fuzz-{}", std::process::id()))
}

fn listener() -> &'static UnixListener {
    static LISTENER: OnceLock<UnixListener> = OnceLock::new();
    LISTENER.get_or_init(|| {
        // Rust's own main part ignores it, libFuzzer's does not: whoever hangs up would end the process.
        _ = flag::register(SIGPIPE, Arc::default());
        fs::create_dir_all(folder()).expect("the folder for temporary files can be written");
        UnixListener::bind(folder().join("socket")).expect("nobody else has this name")
    })
}

/// Lets a client talk to an agent that says what `script` wants.
pub(crate) fn with_client(
    script: &[u8],
    work: impl FnOnce(&mut Client) -> Result<(), Error>,
) -> Result<(), Error> {
    with_peer(None, |stream| _ = serve(stream, script), work)
}

/// Lets a client with these credentials talk to somebody.
pub(crate) fn with_peer(
    credentials: Option<Credentials>,
    serve: impl FnOnce(&UnixStream) + Send,
    work: impl FnOnce(&mut Client) -> Result<(), Error>,
) -> Result<(), Error> {
    let listener = listener();
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not zero");
                stream.set_write_timeout(Some(DEADLINE)).expect("a timeout that is not zero");
                serve(&stream);
                _ = stream.shutdown(Shutdown::Both);
            }
        });
        let target = Target { user: None, address: Address::Unix(folder().join("socket")), credentials };
        let patience = Patience { connect: Duration::ZERO, reconnect: Duration::ZERO, dead_after: None };
        let worked = Client::connect(&target, patience).and_then(|mut client| work(&mut client));
        // The end of a scope would not wait for what the thread itself holds, which would look like a leak.
        served.join().expect("an agent says what it likes, and does not panic");
        worked
    })
}

/// How long anybody is waited for: much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(2);
const CHANNELS: usize = 8;

struct Guest<'s> {
    stream: &'s UnixStream,
    session: Session<Vec<u8>, Vec<u8>, Vec<Channel>>,
    /// What is still to be said on a channel, and how that ends.
    answers: BTreeMap<u16, Answer>,
}

struct Answer {
    flows: [Vec<u8>; 2],
    sent: [usize; 2],
    outcome: Outcome,
    text: Vec<u8>,
}

fn serve(stream: &UnixStream, script: &[u8]) -> Option<()> {
    let mut input = Input::new(script);
    let mut preamble = [0; PREAMBLE_LEN];
    (&mut &*stream).read_exact(&mut preamble).ok()?;
    let preamble = Preamble::parse(&preamble).expect("a client says what it should");
    let mut answer = admit(&preamble, None).encode();
    let manner = input.byte();
    if manner == 255 {
        let at = input.below(PREAMBLE_LEN);
        answer[at] ^= input.byte();
    }
    (&mut &*stream).write_all(&answer).ok()?;
    if manner & 1 == 0 {
        return say_anything(stream, &mut input);
    }
    let memory = Memory {
        ring: vec![0; 64 * 1024],
        pool: vec![0; pool_len(CHANNELS, 32)],
        channels: vec![Channel::FREE; 2 * CHANNELS],
        channels_max: CHANNELS,
    };
    let hello = Hello::new("guest", CHANNELS as u32, 1 << 20, 0);
    let mut session = Session::new(Side::Agent, memory, hello, None);
    session.attach(0, Instant::default()).ok()?;
    Guest { stream, session, answers: BTreeMap::new() }.serve(&mut input)
}

/// Records and frames that are mostly right.
fn say_anything(stream: &UnixStream, input: &mut Input<'_>) -> Option<()> {
    // A client has opened its channel by then.
    let mut some = [0; 4096];
    _ = (&mut &*stream).read(&mut some).ok()?;
    let mut all = Vec::new();
    while !input.is_empty() {
        all.extend(said(input));
    }
    (&mut &*stream).write_all(&all).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    while (&mut &*stream).read(&mut some).ok()? > 0 {}
    Some(())
}

impl Guest<'_> {
    fn serve(&mut self, input: &mut Input<'_>) -> Option<()> {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            self.pump()?;
            let length = self.stream.read(&mut bytes).ok().filter(|&length| length > 0)?;
            self.hear(&bytes[..length], input)?;
        }
    }

    fn hear(&mut self, mut rest: &[u8], input: &mut Input<'_>) -> Option<()> {
        while !rest.is_empty() {
            let (taken, event) = self.session.handle_received(rest, Instant::default());
            rest = &rest[taken..];
            match event {
                Some(Event::Data { channel, flow, bytes }) => {
                    self.session.deliver(channel, flow, bytes, bytes.len());
                }
                Some(Event::Finished { channel, flow: Flow::Request }) => self.answer(channel, input)?,
                Some(Event::Reset { channel, .. }) => _ = self.answers.remove(&channel.0),
                _ => {}
            }
        }
        Some(())
    }

    /// A request is complete. Nothing, where the input wants the connection to end.
    fn answer(&mut self, channel: ChannelId, input: &mut Input<'_>) -> Option<()> {
        match input.taken()? {
            0..=15 => {
                let code = input.pick(RefusalCode::ALL);
                self.session.refuse(channel, code, input.byte().into(), &hostile(input.piece()));
            }
            16..=19 => self.session.reset(channel, input.pick(CloseCode::ALL)),
            20..=23 => self.session.close(input.pick(CloseCode::ALL)),
            choice => {
                self.session.accept(channel, input.long());
                let outcome = match input.byte() {
                    0..=199 => Outcome::Exited(0),
                    200..=219 => Outcome::Failed(input.byte().into()),
                    220..=229 => Outcome::Exited(input.number()),
                    230..=244 => {
                        Outcome::Killed { signal: u32::from(input.byte() % 64) + 1, core_dumped: false }
                    }
                    _ => Outcome::Detached(input.number()),
                };
                let text = if outcome == Outcome::Exited(0) { Vec::new() } else { hostile(input.piece()) };
                if choice & 1 == 0 {
                    self.session.detach_channel(channel, input.byte().into());
                }
                let said = content(choice, input);
                let flows = [said, if choice & 2 == 0 { Vec::new() } else { input.piece().to_vec() }];
                self.answers.insert(channel.0, Answer { flows, sent: [0; 2], outcome, text });
            }
        }
        Some(())
    }

    /// Sends as much as may be sent.
    fn pump(&mut self) -> Option<()> {
        loop {
            let mut moved = false;
            let mut over = Vec::new();
            for (&id, answer) in &mut self.answers {
                for (at, flow) in [Flow::Output, Flow::Error].into_iter().enumerate() {
                    let sent = self.session.send(ChannelId(id), flow, &answer.flows[at][answer.sent[at]..]);
                    answer.sent[at] += sent;
                    moved |= sent > 0;
                }
                if answer.sent == [answer.flows[0].len(), answer.flows[1].len()] {
                    over.push(id);
                }
            }
            for id in over {
                let Answer { outcome, text, .. } = self.answers.remove(&id)?;
                self.session.exit(ChannelId(id), outcome, &text);
            }
            while let Some(transmit) = self.session.poll_transmit(Instant::default()) {
                let said = [transmit.head, transmit.first, transmit.second].concat();
                self.stream.write_all(&said).ok()?;
                self.session.handle_transmitted(said.len(), Instant::default());
                moved = true;
            }
            if !moved {
                return Some(());
            }
        }
    }
}

/// What stands on flow 1: a tree, or bytes.
fn content(choice: u8, input: &mut Input<'_>) -> Vec<u8> {
    let length = input.short().into();
    let part = input.bytes(length);
    match choice & 12 {
        0 | 8 => tree(&mut Input::new(part)),
        4 => part.to_vec(),
        _ => hostile(part),
    }
}
