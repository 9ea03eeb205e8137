//! From the start of the process to its role: the listener, or the one session over streams that exist already.

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, getpid, kill_process, wait};
use vsock_shell_proto::ability;
use vsock_shell_proto::limits::PREAMBLE_LEN;
use vsock_shell_proto::proof::Key;

use crate::account::decimal;
use crate::args::{self, ADDRESSES_MAX, Address, Options, Request};
use crate::clock::now_ms;
use crate::config::{Config, DEFAULT_PATH};
use crate::digest::Digest;
use crate::gate;
use crate::half_open::DEADLINE_MS;
use crate::line::{Line, Part, text};
use crate::listen::{self, ListenError, Opened};
use crate::listener::{Listener, Outcome, Ports};
use crate::session::transport::Transport;
use crate::session::wire::Wire;
use crate::sys::process::{Forked, fork};
use crate::sys::signal::{HANDLED, RELEASED, Signals};
use crate::sys::start::{Start, exit};
use crate::sys::{descriptor, signal};
use crate::{init, key, log, oom, port, root, session, user};

/// Exit status for a wrong command line.
const USAGE: i32 = 2;
/// Exit status where the system refused something.
const FAILURE: i32 = 1;

type Addresses = ArrayVec<Address<'static>, ADDRESSES_MAX>;

/// What the binary's `main` does; gives the exit status.
pub fn run(start: Start) -> i32 {
    let hangup_ignored = signal::take_over();
    let has_stderr = descriptor::is_open(2);
    descriptor::fill_standard();
    descriptor::mark_inherited();
    // One session over standard streams is no machine's init, but what a container was started for.
    let is_stdio = |word: &core::ffi::CStr| word.to_bytes().ends_with(b"stdio");
    let is_init = getpid().is_init() && !start.arguments().skip(1).any(is_stdio);
    if is_init {
        init::prepare(has_stderr);
    } else if !has_stderr {
        log::use_kernel_log();
    }
    // Process 1 also gets the words that the kernel did not understand.
    let mut words = start.arguments().skip(1).filter(|word| !is_init || word.to_bytes().starts_with(b"-"));
    let mut options = Options::NONE;
    loop {
        match args::parse(&mut words, &mut options) {
            Ok(Request::Serve) => break,
            Ok(_) if is_init => {}
            Ok(Request::Help) => return print(&[text(args::HELP)]),
            Ok(Request::Version) => {
                let version = env!("CARGO_PKG_VERSION").as_bytes();
                return print(&[text(log::NAME), text(c" "), Part::Bytes(version), text(c"\n")]);
            }
            Err(error) => {
                log::error(&[Part::Text(error.problem), text(c": "), Part::Bytes(error.argument)]);
                if !is_init {
                    return USAGE;
                }
            }
        }
    }
    if is_init {
        init::run(&start, options);
    }
    log::set_verbosity(options.verbosity);
    match serve(&start, &options, hangup_ignored) {
        Ok(()) => 0,
        Err(status) => status,
    }
}

fn print(parts: &[Part<'_>]) -> i32 {
    for part in parts {
        let line = Line::of(core::slice::from_ref(part));
        let mut rest = match part {
            // The help is longer than a line.
            Part::Text(text) => text.as_bytes(),
            _ => line.as_bytes(),
        };
        while !rest.is_empty() {
            match descriptor::write(1, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => return FAILURE,
            }
        }
    }
    0
}

/// Opens what sessions come from, and serves them. In the process of a session it does not return.
///
/// # Errors
/// The exit status.
pub fn serve(start: &Start, options: &Options<'static>, hangup_ignored: bool) -> Result<(), i32> {
    if options.is_broken {
        log::error(&[text(
            c"an option that is to protect this machine was not understood: nobody is served",
        )]);
        return Err(FAILURE);
    }
    root::remember();
    oom::exempt();
    oom::lock_pages();
    let path = start.variable(b"PATH").filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH);
    let mut addresses = Addresses::new();
    list_addresses(start, options, &mut addresses)?;
    let mut realm = Digest::new();
    for &address in &addresses {
        realm.update(describe(address).end());
    }
    let key = key::take(options).map_err(|_| FAILURE)?;
    let user = user::find(options.user).map_err(|_| USAGE)?;
    let beyond = if options.root.is_some() { ability::BEYOND_FILES } else { 0 };
    let denied = options.denied | beyond;
    realm.update(&[key.is_some().into()]);
    realm.update(&denied.to_ne_bytes());
    let mut config = Config {
        grace_ms: options.grace_ms,
        realm: realm.finish(),
        root: options.root,
        denied,
        sessions_max: options.sessions_max,
        ..Config::new(path)
    };
    let mut sockets = ArrayVec::new();
    let mut ports = ArrayVec::new();
    for &address in &addresses {
        let opened = listen::open(address, options.allowed_cid, key.is_some());
        if opened.is_ok() {
            log::info(&[text(c"listening on "), Part::Line(&describe(address))]);
        }
        match opened {
            // Fewer than there are addresses, which were bounded.
            Ok(Opened::Port(port)) => drop(ports.try_push((Some(port), None))),
            Ok(Opened::Listening(socket)) => drop(sockets.try_push(socket)),
            Ok(Opened::Connected(input, output)) if addresses.len() == 1 && !options.daemon => {
                user::take_on(user).map_err(|_| FAILURE)?;
                return serve_apart(input, output, key, &mut config);
            }
            Ok(Opened::Connected(..)) => {
                log::error(&[text(
                    c"stdio or a connected socket is one session: no other address and no -d beside it",
                )]);
                return remove_files(&sockets, USAGE);
            }
            Err(error) => {
                tell(address, error);
                if !options.lenient {
                    return remove_files(&sockets, FAILURE);
                }
            }
        }
    }
    if sockets.is_empty() && ports.is_empty() && options.connect.is_none() {
        return Err(FAILURE);
    }
    if options.daemon
        && let Err(errno) = go_to_background()
    {
        log::failure(c"go to the background", b"", errno);
        return remove_files(&sockets, FAILURE);
    }
    if let Some(Err(errno)) = options.notify.map(listen::notify) {
        log::failure(c"tell that it listens", b"", errno);
    }
    if user::take_on(user).is_err() {
        return remove_files(&sockets, FAILURE);
    }
    config.parent = Some(getpid());
    listen_and_serve(sockets, ports, options, key, hangup_ignored || options.daemon, &mut config)
}

/// Why nobody listens on an address.
#[inline(never)]
fn tell(address: Address<'_>, error: ListenError) {
    let (mut line, problem) = (describe(address), error.problem.as_bytes());
    line.append(&[text(c": "), Part::Bytes(problem)]);
    if let Some(errno) = error.errno {
        line.append(&[text(c": "), Part::Error(errno)]);
    }
    log::error(&[text(c"cannot listen on "), Part::Line(&line)]);
}

fn remove_files(sockets: &[listen::Listening], status: i32) -> Result<(), i32> {
    for socket in sockets {
        socket.remove_file();
    }
    Err(status)
}

/// The addresses of the command line; without any, what systemd passed; without that, vsock.
fn list_addresses(start: &Start, options: &Options<'static>, addresses: &mut Addresses) -> Result<(), i32> {
    let _ = addresses.try_extend_from_slice(&options.addresses);
    if addresses.is_empty() {
        let number = |name| start.variable(name).and_then(decimal);
        // sd_listen_fds(3): meant for us only with our own process id.
        let is_ours = number(b"LISTEN_PID") == Some(getpid().as_raw_pid().unsigned_abs());
        let count = number(b"LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        for offset in 0..count {
            let address = Address::Descriptor(3_i32.saturating_add_unsigned(offset));
            if addresses.try_push(address).is_err() {
                log::error(&[text(c"more than 8 sockets in LISTEN_FDS: "), Part::Number(u64::from(count))]);
                return Err(USAGE);
            }
        }
        if count == 0 && options.connect.is_none() {
            let _ = addresses.try_push(Address::Vsock(options.port));
        }
    }
    Ok(())
}

fn describe(address: Address<'_>) -> Line {
    match address {
        Address::Vsock(port) => Line::of(&[text(c"vsock:"), Part::Number(u64::from(port))]),
        Address::Unix(path) => Line::of(&[text(c"unix:"), Part::Bytes(path.to_bytes())]),
        Address::Tcp(written, _) => Line::of(&[text(c"tcp:"), Part::Bytes(written.to_bytes())]),
        Address::Serial(port) => Line::of(&[text(c"serial:"), Part::Bytes(port.to_bytes())]),
        Address::Stdio => Line::of(&[text(c"stdio")]),
        Address::Descriptor(number) => {
            Line::of(&[text(c"fd:"), Part::Number(u64::from(number.unsigned_abs()))])
        }
    }
}

/// Leaves the caller's terminal and directory. The caller goes on only now, when everything listens.
#[inline(never)]
fn go_to_background() -> Result<(), Errno> {
    if let Forked::Parent(_) = fork()? {
        exit(0);
    }
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    log::use_kernel_log();
    descriptor::leave_standard()
}

type Sockets = ArrayVec<listen::Listening, ADDRESSES_MAX>;

/// What the listener's process comes to, and the preamble of the session that it is for then.
#[inline(never)]
fn listen_until_session(
    sockets: Sockets,
    ports: Ports,
    options: &Options<'static>,
    key: Option<&'static mut Key>,
    ignores_hangup: bool,
) -> Result<(Outcome, [u8; PREAMBLE_LEN], Option<&'static mut Key>), Errno> {
    let mut listener = Listener::new(sockets, ports, options, key, ignores_hangup)?;
    let outcome = listener.run()?;
    if !matches!(outcome, Outcome::Ended) {
        listener.leave_half_open();
    }
    Ok((outcome, listener.preamble, listener.key.take()))
}

#[inline(never)]
fn listen_and_serve(
    sockets: Sockets,
    ports: Ports,
    options: &Options<'static>,
    key: Option<&'static mut Key>,
    ignores_hangup: bool,
    config: &mut Config,
) -> Result<(), i32> {
    let (outcome, preamble, key) = listen_until_session(sockets, ports, options, key, ignores_hangup)
        .map_err(|errno| {
            log::failure(c"wait for connections", b"", errno);
            FAILURE
        })?;
    match outcome {
        Outcome::Ended => Ok(()),
        Outcome::Session(stream) => {
            key.map(Key::wipe);
            // Ctrl-C in the agent's terminal is for the listener, which then asks the sessions to end.
            let _ = rustix::process::setsid();
            let Ok(output) = rustix::io::fcntl_dupfd_cloexec(&stream, 3) else { return Err(FAILURE) };
            let mut transport = Transport::closed();
            transport.begin(stream, output, None);
            session::run(transport, &preamble, config)
        }
        Outcome::Port(port) => {
            config.parent = Some(getpid());
            match port::serve(port) {
                // The keeper of the port has ended.
                None => Ok(()),
                Some((port, wire)) => {
                    let _ = rustix::process::setsid();
                    let output = rustix::io::fcntl_dupfd_cloexec(&port, 3).map_err(|_| FAILURE)?;
                    serve_one(port, output, Some(wire), key, config)
                }
            }
        }
    }
}

/// One session, in a process and a group of its own: it may become a job, and whoever started us waits for us and may end our group.
#[inline(never)]
fn serve_apart(
    input: OwnedFd,
    output: OwnedFd,
    key: Option<&'static mut Key>,
    config: &mut Config,
) -> Result<(), i32> {
    config.parent = Some(getpid());
    let session = match fork() {
        Ok(Forked::Parent(pid)) => pid,
        Ok(Forked::Child) => {
            let _ = rustix::process::setsid();
            return serve_one(input, output, None, key, config);
        }
        Err(errno) => {
            log::failure(c"start a session", b"", errno);
            return Err(FAILURE);
        }
    };
    drop((input, output));
    key.map(Key::wipe);
    let signals = Signals::open(&HANDLED).map_err(|_| FAILURE)?;
    loop {
        let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
        while let Some(number) = signals.next() {
            if number.unsigned_abs() == RELEASED {
                return Ok(());
            }
            if number != Signal::CHILD.as_raw() {
                let _ = kill_process(session, Signal::TERM);
            } else if let Ok(Some((_, status))) = wait(WaitOptions::NOHANG) {
                return if status.exit_status() == Some(0) { Ok(()) } else { Err(FAILURE) };
            }
        }
    }
}

/// One session in this process, over a stream that exists.
#[inline(never)]
fn serve_one(
    input: OwnedFd,
    output: OwnedFd,
    wire: Option<Wire>,
    key: Option<&'static mut Key>,
    config: &Config,
) -> Result<(), i32> {
    let mut transport = Transport::closed();
    transport.begin(input, output, wire);
    signal::block_handled();
    let mut preamble = [0; PREAMBLE_LEN];
    let deadline_ms = now_ms().saturating_add(DEADLINE_MS);
    let may_begin = transport.receive(&mut preamble, deadline_ms)
        && gate::keep_here(&mut transport, key.as_deref(), &preamble, deadline_ms);
    key.map(Key::wipe);
    if may_begin {
        session::run(transport, &preamble, config)
    }
    log::error(&[text(c"no session began")]);
    transport.close();
    Err(FAILURE)
}
