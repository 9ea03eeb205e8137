//! A child that is started again whenever it ends: when the next start is due. Pure; the caller forks and knows the time.

use rustix::process::Pid;

/// Between an end and the next start, the first time.
const FIRST_DELAY_MS: u64 = 100;
/// It doubles up to this.
const LONGEST_DELAY_MS: u64 = 5000;
/// Who ran for so long begins with the first delay again.
const STEADY_MS: u64 = 10_000;

/// The child, or when there is one again.
#[derive(Debug)]
pub struct Supervised {
    pid: Option<Pid>,
    started_ms: u64,
    due_ms: u64,
    delay_ms: u64,
}

impl Supervised {
    /// One that is due at once.
    pub const fn new() -> Self {
        Self { pid: None, started_ms: 0, due_ms: 0, delay_ms: FIRST_DELAY_MS }
    }

    /// The process that runs.
    pub const fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// When it wants to be started; `None` while it runs.
    pub fn due_ms(&self) -> Option<u64> {
        self.pid.is_none().then_some(self.due_ms)
    }

    /// It was started, or there was no process to be had.
    pub fn handle_started(&mut self, pid: Option<Pid>, now_ms: u64) {
        self.started_ms = now_ms;
        self.pid = pid;
        if pid.is_none() {
            self.wait(now_ms);
        }
    }

    /// A process was reaped; whether it was this one.
    pub fn handle_ended(&mut self, pid: Pid, now_ms: u64) -> bool {
        let is_ours = self.pid == Some(pid);
        if is_ours {
            self.pid = None;
            if now_ms.saturating_sub(self.started_ms) >= STEADY_MS {
                self.delay_ms = FIRST_DELAY_MS;
            }
            self.wait(now_ms);
        }
        is_ours
    }

    fn wait(&mut self, now_ms: u64) {
        self.due_ms = now_ms.saturating_add(self.delay_ms);
        self.delay_ms = (2 * self.delay_ms).min(LONGEST_DELAY_MS);
    }
}

impl Default for Supervised {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_five_seconds_and_a_steady_run_resets_it() {
        let (mut child, pid) = (Supervised::new(), Pid::from_raw(7).unwrap());
        assert_eq!(child.due_ms(), Some(0));
        let mut now = 1000;
        for delay in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            child.handle_started(Some(pid), now);
            assert_eq!((child.due_ms(), child.pid()), (None, Some(pid)));
            now += STEADY_MS - 1;
            assert!(child.handle_ended(pid, now));
            assert_eq!(child.due_ms(), Some(now + delay));
        }
        child.handle_started(Some(pid), now);
        assert!(child.handle_ended(pid, now + STEADY_MS));
        assert_eq!(child.due_ms(), Some(now + STEADY_MS + 100));
    }

    #[test]
    fn a_fork_that_failed_is_tried_again_later() {
        let mut child = Supervised::new();
        child.handle_started(None, 50);
        assert_eq!(child.due_ms(), Some(150));
        child.handle_started(None, 150);
        assert_eq!(child.due_ms(), Some(350));
    }

    #[test]
    fn somebody_else_s_end_changes_nothing() {
        let mut child = Supervised::new();
        child.handle_started(Pid::from_raw(7), 0);
        assert!(!child.handle_ended(Pid::from_raw(8).unwrap(), 5));
        assert_eq!(child.pid(), Pid::from_raw(7));
    }
}
