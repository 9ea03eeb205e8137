//! Signals that what is started heeds, whoever started the tests: `nohup` and a shell's `&` ignore some, which `execve(2)` passes
//! on. What is caught here has its default effect there.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag::register_conditional_default;

/// Processes that start from now on are ended by signals; so is this one.
pub fn signals() {
    static CAUGHT: Once = Once::new();
    CAUGHT.call_once(|| {
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            register_conditional_default(signal, Arc::new(AtomicBool::new(true))).unwrap();
        }
    });
}
