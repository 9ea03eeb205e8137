//! Process 1: sets the machine up, keeps the agent running in a child, reaps what is left to it, and ends the machine.
//!
//! Everything that talks to a peer is in the child, so that nothing a peer does can end process 1: it reads files
//! ([`sources`]) and signals. It never exits. The same loop, in a child of a real init ([`Start::execute`]), only keeps the agent
//! running.

pub mod console;
pub mod modules;
pub mod mounts;
pub mod power;
pub mod settings;
pub mod sources;
pub mod supervised;

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};

use crate::args::{Address, Options, Peer};
use crate::clock::{now_ms, until};
use crate::config::{Config, DEFAULT_PATH};
use crate::line::{Line, Part, text};
use crate::sys::descriptor;
use crate::sys::process::{Forked, fork};
use crate::sys::signal::{self, HANDLED_BY_INIT, Signals};
use crate::sys::start::{Start, exit};
use crate::{key, log, oom, root, startup};
use power::Action;
use settings::Settings;
use supervised::Supervised;

/// How long the agent may take to end its sessions, the listener's own time and a little more.
const AGENT_ENDING_MS: u64 = 8000;
/// How long everybody else may take after SIGTERM, and then the kernel after SIGKILL.
const ENDING_MS: u64 = 3000;

/// What comes before everything else: file systems, and somewhere to log to.
pub fn prepare(has_stderr: bool) {
    mounts::mount_system();
    open_console(has_stderr);
}

/// What `main` does as process 1, with the options of the command line.
#[inline(never)]
pub fn run(start: &Start, mut options: Options<'static>) -> ! {
    let mut failed = Line::new();
    let has_list = modules::load_listed(&mut failed);
    let mut settings = sources::read();
    options.daemon = false;
    options.lenient = true;
    key::load(&options);
    options.verbosity = options.verbosity.max(settings.verbosity);
    if options.addresses.is_empty() {
        options.addresses = core::mem::take(&mut settings.listen);
    }
    options.connect = options.connect.or(settings.connect);
    options.notify = options.notify.or(settings.notify);
    log::set_verbosity(options.verbosity);
    oom::lock_pages();
    set_up(&settings, &options, has_list, &mut failed);
    let mut supervisor = Supervisor {
        is_init: true,
        start,
        options,
        console: settings.console,
        signals: None,
        agent: Supervised::new(),
        shell: Supervised::new(),
        is_ending: false,
    };
    if let Some(init) = settings.init {
        supervisor.hand_over(init);
    }
    mounts::mount_own();
    supervisor.run()
}

/// Standard descriptors on the console where the kernel had none to give. The log goes to the kernel's, which shows it there,
/// unless somebody redirected standard error.
#[inline(never)]
fn open_console(has_stderr: bool) {
    if !has_stderr {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let console =
            rustix::fs::open(c"/dev/console", flags, Mode::empty()).or_else(|_| descriptor::open_null());
        if let Ok(console) = console {
            let _ = rustix::stdio::dup2_stdin(&console);
            let _ = rustix::stdio::dup2_stdout(&console);
            let _ = rustix::stdio::dup2_stderr(&console);
        }
    }
    if !has_stderr || descriptor::is_terminal(2) {
        log::use_kernel_log();
    }
}

fn set_up(settings: &Settings<'_>, options: &Options<'_>, has_list: bool, failed: &mut Line) {
    // From now on Ctrl-Alt-Del is a signal to us. A process namespace has no such keys.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let _ = crate::sys::network::bring_up_loopback();
    if !settings.hostname.is_empty()
        && let Err(errno) = rustix::system::sethostname(settings.hostname)
    {
        log::failure(c"set the host name", settings.hostname, errno);
    }
    let is_vsock = |address: &Address<'_>| matches!(address, Address::Vsock(_));
    let is_by_default = options.addresses.is_empty() && !matches!(options.connect, Some(Peer::Unix(_)));
    let wants_vsock = is_by_default || options.addresses.iter().any(is_vsock);
    modules::load(settings, has_list, wants_vsock, failed);
}

/// Keeps its children running.
#[repr(C)]
struct Supervisor<'s> {
    /// Process 1, and not the child of a real init.
    is_init: bool,
    start: &'s Start,
    /// The terminal that gets a shell; empty: none.
    console: &'static [u8],
    /// Open while [`Self::run`] runs.
    signals: Option<Signals>,
    agent: Supervised,
    shell: Supervised,
    /// Nothing is started again.
    is_ending: bool,
    options: Options<'static>,
}

impl Supervisor<'_> {
    /// Forks the agent's supervisor and becomes the real init. Returns where that cannot be executed; that child is then in
    /// the place of the agent's process.
    fn hand_over(&mut self, init: &'static CStr) {
        match fork() {
            Ok(Forked::Child) => {
                self.is_init = false;
                root::remember();
                self.start.mark_name();
                let _ = rustix::process::setsid();
                self.run()
            }
            Ok(Forked::Parent(pid)) => self.agent.handle_started(Some(pid), now_ms()),
            Err(errno) => log::failure(c"fork", b"", errno),
        }
        signal::restore_for_command();
        let errno = self.start.execute(init);
        signal::take_over();
        log::failure(c"execute", init.to_bytes(), errno);
    }

    fn run(&mut self) -> ! {
        match Signals::open(&HANDLED_BY_INIT) {
            Ok(signals) => self.signals = Some(signals),
            // Without a descriptor there is still somebody to reap, and to start the agent.
            Err(errno) => log::failure(c"read signals", b"", errno),
        }
        loop {
            self.start_due();
            let due = self.agent.due_ms().into_iter().chain(self.shell.due_ms().filter(|_| self.has_shell()));
            self.wait(due.min());
            while let Some(number) = self.signals.as_ref().and_then(Signals::next) {
                if let Some(action) = Action::of_signal(number) {
                    self.end(action);
                }
            }
            self.reap();
        }
    }

    fn has_shell(&self) -> bool {
        self.is_init && !self.console.is_empty()
    }

    fn start_due(&mut self) {
        let now = now_ms();
        let is_due = |child: &Supervised| child.due_ms().is_some_and(|due| due <= now);
        if is_due(&self.agent) {
            let pid = self.start_child(&|child| {
                // The real init may have emptied the root that we began in.
                root::follow();
                match startup::serve(child.start, &child.options, true) {
                    Ok(()) => 0,
                    Err(status) => status,
                }
            });
            self.agent.handle_started(pid, now);
        }
        if self.has_shell() && is_due(&self.shell) {
            let pid = self.start_child(&|child| {
                let path = child.start.variable(b"PATH").unwrap_or(DEFAULT_PATH);
                console::run(child.console, &Config::new(path))
            });
            self.shell.handle_started(pid, now);
        }
    }

    /// Starts a process that runs `body` and exits with what it gives.
    fn start_child(&mut self, body: &dyn Fn(&mut Self) -> i32) -> Option<Pid> {
        match fork() {
            Ok(Forked::Parent(pid)) => Some(pid),
            Ok(Forked::Child) => {
                self.signals = None;
                exit(body(self))
            }
            Err(errno) => {
                log::failure(c"fork", b"", errno);
                None
            }
        }
    }

    /// Waits for a signal, until `due_ms` at the latest.
    fn wait(&self, due_ms: Option<u64>) {
        let timeout = due_ms.map(until);
        match &self.signals {
            Some(signals) => drop(poll(&mut [PollFd::new(signals, PollFlags::IN)], timeout.as_ref())),
            None => pause_for_a_second(),
        }
    }

    /// Reaps who has ended; whether there is a child left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let now = now_ms();
                    if self.agent.handle_ended(pid, now) && !self.is_ending {
                        let number =
                            status.exit_status().or_else(|| status.terminating_signal()).unwrap_or(0);
                        log::warning(&[
                            text(c"the agent ended, "),
                            text(if status.signaled() { c"signal " } else { c"status " }),
                            Part::Number(u64::from(number.unsigned_abs())),
                            text(c"; it is started again"),
                        ]);
                    }
                    self.shell.handle_ended(pid, now);
                }
                Ok(None) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Ends the sessions, everybody else, and the machine. Where the kernel refuses that, the machine stays up.
    fn end(&mut self, action: Action) {
        self.is_ending = true;
        if self.is_init {
            log::warning(&[text(c"ending the machine")]);
        }
        if let Some(pid) = self.agent.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
        self.wait_while(AGENT_ENDING_MS, &|supervisor, _| supervisor.agent.pid().is_some());
        if !self.is_init {
            exit(0);
        }
        // A shell takes no notice of SIGTERM, but hangs up.
        for signals in [&[Signal::TERM, Signal::HUP, Signal::CONT][..], &[Signal::KILL]] {
            for &signal in signals {
                // kill(-1): everybody but process 1.
                let _ = kill_process_group(Pid::INIT, signal);
            }
            self.wait_while(ENDING_MS, &|_, has_children| has_children);
        }
        power::leave_file_systems();
        log::failure(c"end the machine", b"", action.perform());
        self.is_ending = false;
    }

    /// Reaps while `condition` holds, which is told whether there are children, and for so long at the most.
    fn wait_while(&mut self, limit_ms: u64, condition: &dyn Fn(&Self, bool) -> bool) {
        let deadline = now_ms().saturating_add(limit_ms);
        loop {
            let has_children = self.reap();
            if !condition(self, has_children) || deadline <= now_ms() {
                return;
            }
            self.wait(Some(deadline));
            while self.signals.as_ref().and_then(Signals::next).is_some() {}
        }
    }
}

fn pause_for_a_second() {
    let _ = poll(&mut [], Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
}

/// What is left to do for a process 1 that has a bug: the machine stays up, and nobody becomes a zombie.
pub fn reap_forever() -> ! {
    loop {
        if matches!(wait(WaitOptions::empty()), Err(errno) if errno != Errno::INTR) {
            pause_for_a_second();
        }
    }
}
