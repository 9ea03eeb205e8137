//! Owns the interactive side of a command with a terminal: keys through the escapes, window changes, suspension.
//!
//! Wraps the [`Run`] whose output goes to the terminal; its input is fed from here.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags};
use vsock_shell_proto::frame::{ChannelId, FEATURE_JOBS, Flow, WindowSize};
use vsock_shell_proto::mux::Event;

use crate::command::window_size;
use crate::connection::Core;
use crate::drive::Task;
use crate::error::{Error, errno_text};
use crate::escape::{Action, Escapes};
use crate::run::Run;
use crate::signals::{Caught, Signals};
use crate::stdio::Source;
use crate::terminal::{self, RawMode};

/// Bytes of keys read at once.
const KEYS: usize = 4096;
/// Keys that may wait for a guest that takes none: far more than anybody pastes, so that the escapes behind them are
/// heard all the same.
const WAITING_MAX: usize = 1024 * 1024;

/// How long a program has to notice one size before it gets another.
const REDRAW: Duration = Duration::from_millis(50);

/// Whether a program is to draw its screen once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redraw {
    No,
    /// As soon as it hears us.
    Due,
    /// It gets its true size then.
    Begun(Clock),
}

/// A command with a terminal, and the person in front of ours.
pub(crate) struct Shell<'s> {
    run: Run<'s>,
    keys: Source,
    is_ready: bool,
    is_at_end: bool,
    escapes: Escapes,
    /// Typed and not sent yet.
    waiting: Vec<u8>,
    raw: Option<RawMode>,
    signals: &'s mut Signals,
    is_signalled: bool,
    redraw: Redraw,
    /// Which descriptors `poll` was asked about: whether the keys were.
    polled: std::cell::Cell<bool>,
}

impl<'s> Shell<'s> {
    /// `run` has no input of its own. Without `raw` our standard input is no terminal, and there are no escapes.
    pub(crate) fn new(
        run: Run<'s>,
        keys: Source,
        raw: Option<RawMode>,
        escapes: Escapes,
        signals: &'s mut Signals,
    ) -> Self {
        Self {
            run,
            keys,
            // As in `Input::source`.
            is_ready: true,
            is_at_end: false,
            escapes,
            waiting: Vec::new(),
            raw,
            signals,
            is_signalled: false,
            redraw: Redraw::No,
            polled: std::cell::Cell::new(false),
        }
    }

    /// The program is there already, and is to draw its screen.
    pub(crate) fn redrawn(mut self) -> Self {
        self.redraw = Redraw::Due;
        self
    }

    pub(crate) fn into_run(self) -> Run<'s> {
        self.run
    }

    fn wants_keys(&self) -> bool {
        !self.is_at_end && self.waiting.len() < WAITING_MAX
    }

    fn read_keys(&mut self, core: &mut Core) -> Result<bool, Error> {
        let mut keys = [0; KEYS];
        let length = match self.keys.read(&mut keys) {
            Ok(0) => {
                self.is_at_end = true;
                0
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_ready = false;
                return Ok(false);
            }
            // EIO: our terminal is gone, and SIGHUP is on its way.
            Err(_) => {
                self.is_at_end = true;
                0
            }
        };
        let mut rest = keys.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let handled = self.escapes.handle(rest, &mut self.waiting);
            rest = rest.get(handled.consumed..).unwrap_or_default();
            match handled.action {
                Some(Action::Disconnect) => return Err(Error::Disconnected),
                Some(Action::Detach) => self.detach(core),
                Some(Action::Help) => _ = io::stderr().write_all(self.escapes.help().as_bytes()),
                Some(Action::Suspend) => self.suspend(core)?,
                None => {}
            }
        }
        Ok(true)
    }

    /// Asks for it; the end of the channel tells that it was done.
    fn detach(&mut self, core: &mut Core) {
        match core.peer() {
            Some(hello) if hello.features & FEATURE_JOBS == 0 => self.tell(&Error::NoJobs.to_string()),
            _ => core.detach_channel(self.run.channel(), 0),
        }
    }

    /// What is on the screen of a program that was drawing before we came: it draws all of it when its size changes, so we take a
    /// line away, and give it back once it has noticed.
    fn redraw(&mut self, core: &mut Core) {
        match self.redraw {
            Redraw::No => {}
            Redraw::Due if self.run.is_accepted() => {
                if let Some(size) = size() {
                    let smaller = WindowSize { rows: size.rows.saturating_sub(1).max(1), ..size };
                    core.resize(self.run.channel(), smaller);
                }
                self.redraw = Redraw::Begun(Clock::now() + REDRAW);
            }
            Redraw::Due => {}
            Redraw::Begun(until) if until <= Clock::now() => {
                self.redraw = Redraw::No;
                self.tell_size(core);
            }
            Redraw::Begun(_) => {}
        }
    }

    fn suspend(&mut self, core: &mut Core) -> Result<(), Error> {
        if let Some(raw) = &self.raw {
            raw.suspend().map_err(Error::local("use", "the terminal"))?;
        }
        self.tell_size(core);
        Ok(())
    }

    fn tell_size(&self, core: &mut Core) {
        if let Some(size) = size() {
            core.resize(self.run.channel(), size);
        }
    }

    fn handle_signals(&mut self, core: &mut Core) -> Result<(), Error> {
        while let Some(caught) = self.signals.poll() {
            match caught {
                Caught::WindowChange => self.tell_size(core),
                Caught::Continue => {
                    if let Some(raw) = &self.raw {
                        raw.reenter().map_err(Error::local("use", "the terminal"))?;
                    }
                    self.tell_size(core);
                }
                end => return Err(Error::Interrupted(end.number())),
            }
        }
        Ok(())
    }
}

/// The size of our terminal.
fn size() -> Option<WindowSize> {
    terminal::window_size(io::stdin()).or_else(|| terminal::window_size(io::stdout())).map(window_size)
}

impl Task for Shell<'_> {
    fn take(&mut self, core: &mut Core, channel: ChannelId, flow: Flow, pieces: &[&[u8]]) -> usize {
        self.run.take(core, channel, flow, pieces)
    }

    fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        if let Event::Stopped { flow: Flow::Input, .. } = event {
            self.is_at_end = true;
            self.waiting.clear();
        }
        if let Event::Detach { value, .. } = event {
            const EAGAIN: u32 = 11;
            let reason = match value {
                EAGAIN => "there is no room for another job".to_owned(),
                _ => errno_text(value),
            };
            self.tell(&format!("cannot detach: {reason}"));
        }
        self.run.handle(core, event);
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.signals.arm().map_err(Error::local("catch", "signals"))
    }

    fn step(&mut self, core: &mut Core) -> Result<bool, Error> {
        if self.is_signalled {
            self.is_signalled = false;
            self.handle_signals(core)?;
        }
        self.redraw(core);
        let mut moved = false;
        if self.wants_keys() && self.is_ready {
            moved = self.read_keys(core)?;
        }
        if !self.waiting.is_empty() {
            let sent = core.send(self.run.channel(), Flow::Input, &self.waiting);
            self.waiting.drain(..sent);
            moved |= sent > 0;
        } else if self.is_at_end {
            core.finish(self.run.channel(), Flow::Input);
        }
        Ok(self.run.step(core)? || moved)
    }

    fn has_outcome(&self) -> bool {
        self.run.has_outcome()
    }

    fn is_done(&self, core: &Core) -> bool {
        self.run.is_done(core)
    }

    fn interests<'f>(&'f self, core: &Core, fds: &mut Vec<PollFd<'f>>) {
        if let Some(signals) = self.signals.fd() {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
        }
        let wants_keys = self.wants_keys() && !self.is_ready;
        self.polled.set(wants_keys);
        if wants_keys {
            fds.push(PollFd::from_borrowed_fd(self.keys.as_fd(), PollFlags::IN));
        }
        self.run.interests(core, fds);
    }

    fn set_ready(&mut self, ready: &[PollFlags]) {
        let (signals, rest) =
            ready.split_first().map_or((false, ready), |(flags, rest)| (!flags.is_empty(), rest));
        self.is_signalled |= signals;
        let rest = if self.polled.get() {
            self.is_ready |= rest.first().is_some_and(|flags| !flags.is_empty());
            rest.get(1..).unwrap_or_default()
        } else {
            rest
        };
        self.run.set_ready(rest);
    }

    fn tell(&mut self, news: &str) {
        // The cursor may be anywhere in a line, and a raw terminal begins none by itself.
        match &self.raw {
            Some(_) => _ = io::stderr().write_all(format!("\r\nvsock-shell: {news}\r\n").as_bytes()),
            None => crate::text::say(news),
        }
    }

    fn deadline(&self) -> Option<Clock> {
        let redraw = match self.redraw {
            Redraw::Begun(until) => Some(until),
            Redraw::No | Redraw::Due => None,
        };
        self.run.deadline().into_iter().chain(redraw).min()
    }
}
