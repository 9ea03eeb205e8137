//! Row 8: what the digests of files cost (`R-10.3`), as a part of the time that their copy takes.
//!
//! Both sides take the digest of all bytes as they pass, in processes of their own. The copy is therefore slower by that part at
//! most, and only where the side that takes it longer is the one that the other waits for. The digests are those of the client
//! and of the agent themselves, over content that lies in the cache, as it does when it was just read.

use std::hash::Hasher;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use twox_hash::XxHash3_64;
use vsock_shell_agent::digest::Digest;

use super::bulk::Noise;
use super::contender::Contender;
use super::stats::Series;
use super::table::{Goal, Row, Unit};

/// What the digest gets at once: the content of an item.
const PIECE_BYTES: usize = 32 * 1024;
/// What the pieces are of, over and over.
const CACHED_BYTES: usize = 256 * 1024;

/// Seconds that the slower of the two sides needs for the digests of so many files of so many bytes.
pub fn seconds(files: usize, bytes: u64) -> Result<f64> {
    let mut cached = vec![0; CACHED_BYTES];
    Noise::new().fill(&mut cached);
    let (host_seconds, host) = timed(files, || of_client(pieces(&cached, bytes)));
    let (guest_seconds, guest) = timed(files, || of_agent(pieces(&cached, bytes)));
    ensure!(host == guest, "the digests are {host:016x} and {guest:016x}");
    Ok(host_seconds.max(guest_seconds))
}

/// The row of `what` was copied in `copies`, by ours, each time beside `seconds` for its digests.
pub fn row(what: &str, copies: &[Series], seconds: &[f64]) -> Row {
    let ours = copies.iter().find(|series| series.contender == Contender::Ours);
    let outcome = match ours.map(|series| &series.outcome) {
        Some(Ok(copies)) => Ok(seconds.iter().zip(copies).map(|(digest, copy)| digest / copy).collect()),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("was not copied".to_owned()),
    };
    Row {
        what: format!("{what}, part of the digests"),
        unit: Unit::Part,
        series: vec![Series { contender: Contender::Ours, outcome }],
        goals: vec![Goal::AtMostPart(0.1)],
    }
}

/// How long it takes so many times, and what came of the last.
fn timed(times: usize, digest: impl Fn() -> u64) -> (f64, u64) {
    let start = Instant::now();
    let last = (0..times).map(|_| black_box(digest())).last();
    (start.elapsed().as_secs_f64(), last.unwrap_or(0))
}

fn of_client<'c>(pieces: impl Iterator<Item = &'c [u8]>) -> u64 {
    let mut digest = XxHash3_64::new();
    for piece in pieces {
        digest.write(black_box(piece));
    }
    digest.finish()
}

fn of_agent<'c>(pieces: impl Iterator<Item = &'c [u8]>) -> u64 {
    let mut digest = Digest::new();
    for piece in pieces {
        digest.update(black_box(piece));
    }
    digest.finish()
}

/// A file's content, piece by piece.
fn pieces(cached: &[u8], bytes: u64) -> impl Iterator<Item = &[u8]> {
    let piece = PIECE_BYTES.min(bytes as usize);
    cached.chunks_exact(piece).cycle().take(bytes as usize / piece)
}
