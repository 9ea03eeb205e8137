//! Both ends of a session under one virtual clock and a hostile transport, driven by a seed.
//!
//! `VSOCK_SHELL_SEED=n` replays the run of that seed alone; `VSOCK_SHELL_RUNS=n` changes how many are run.
#![allow(missing_docs)]

mod application;
mod plan;
mod random;
mod tally;
mod transport;
mod world;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use plan::Plan;
use tally::Tally;
use transport::Direction;
use world::World;

/// Runs without `VSOCK_SHELL_RUNS`: what a minute of one core is good for, and less without optimisation.
const RUNS: u64 = if cfg!(debug_assertions) { 500 } else { 20_000 };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.trim().parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn replay(seed: u64) -> String {
    format!(
        "\nseed {seed} failed; replay it with\n  \
         VSOCK_SHELL_SEED={seed} cargo test -p vsock-shell-proto --test simulation a_hostile -- --nocapture\n"
    )
}

#[test]
fn a_hostile_transport_loses_nothing_repeats_nothing_and_stops_nothing() {
    if let Some(seed) = number("VSOCK_SHELL_SEED") {
        eprintln!("seed {seed}");
        eprintln!("{:?}", World::new(seed).run());
        return;
    }
    let runs = number("VSOCK_SHELL_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(0);
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(|| run_all(&next, runs))).collect();
        for thread in threads {
            sum.add(&thread.join().unwrap_or_else(|cause| resume_unwind(cause)));
        }
    });
    eprintln!("{runs} runs: {sum:?}");
    if runs >= 500 {
        sum.check_coverage();
    }
}

/// Runs each seed below `runs` that no other thread has taken.
fn run_all(next: &AtomicU64, runs: u64) -> Tally {
    let mut sum = Tally::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= runs {
            return sum;
        }
        match catch_unwind(AssertUnwindSafe(|| World::new(seed).run())) {
            Ok(tally) => sum.add(&tally),
            Err(cause) => {
                eprintln!("{}", replay(seed));
                resume_unwind(cause);
            }
        }
    }
}

#[test]
fn a_cut_at_every_byte_changes_nothing() {
    let whole = World::scripted(Plan::echo(4400), None).run();
    assert_eq!((whole.dials, whole.finished), (1, 1));
    for direction in [Direction::Up, Direction::Down] {
        for byte in 0..4096 {
            let tally = catch_unwind(|| World::scripted(Plan::echo(4400), Some((direction, byte))).run());
            let tally = tally.unwrap_or_else(|_| panic!("cut {direction:?} at byte {byte}"));
            assert_eq!((tally.dials, tally.finished), (2, 1), "cut {direction:?} at byte {byte}: {tally:?}");
        }
    }
}
