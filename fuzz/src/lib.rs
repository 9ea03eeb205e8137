//! What the fuzz targets do, as ordinary functions: `fuzz_targets/` names them to libFuzzer, and `tests/replay.rs` gives them
//! on stable what was found before.
//!
//! `input` takes bytes as choices. Of the core: `preamble`, `frames`, `session`, `link`, `wire`, `items`, `globs`, `serial`. Of the agent:
//! `requests`, `settings`, `resolver`. Of the client: `words` (command lines), `host` (the configuration, and other people's processes),
//! `shown` and `trace` (what a terminal gets to see), and `answers` and `transfers`, which are a client against the `guest` of that name.
//! `canary` has a bug.

pub mod answers;
pub mod canary;
pub mod frames;
pub mod globs;
mod guest;
pub mod host;
pub mod input;
pub mod items;
pub mod link;
pub mod preamble;
pub mod proof;
pub mod requests;
pub mod resolver;
pub mod serial;
pub mod session;
pub mod settings;
pub mod shown;
pub mod trace;
pub mod transfers;
pub mod wire;
pub mod words;

/// What is done with an input: it panics where something is wrong.
pub type Body = fn(&[u8]);

/// Every target but the canary.
pub const TARGETS: [(&str, Body); 23] = [
    ("accounts", settings::accounts),
    ("answers", answers::answers),
    ("arguments", words::arguments),
    ("config", host::config),
    ("frames", frames::frames),
    ("globs", globs::globs),
    ("guests", host::guests),
    ("items", items::items),
    ("link", link::link),
    ("mux", session::mux),
    ("names", resolver::names),
    ("preamble", preamble::preamble),
    ("proof", proof::proof),
    ("records", frames::records),
    ("requests", requests::requests),
    ("serial", serial::serial),
    ("session_agent", session::agent),
    ("session_client", session::client),
    ("settings", settings::settings),
    ("shown", shown::shown),
    ("trace", trace::trace),
    ("transfers", transfers::transfers),
    ("wire", wire::wire),
];

/// The main part of a binary: libFuzzer's where cargo-fuzz builds it, else one that gives the body the files it is called with.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $body(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            std::env::args_os().skip(1).try_for_each(|file| Ok($body(&std::fs::read(file)?)))
        }
    };
}
