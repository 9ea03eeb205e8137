//! A relay between a client and the agent: it counts what passes, and can be cut.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::Result;

use super::rig::Rig;

/// A way to the agent that counts what passes, and takes everything along when it is dropped.
pub struct Way {
    /// Where it begins.
    pub socket: PathBuf,
    passed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Way {
    /// Opens it. There is one at a time.
    pub fn open(rig: &Rig) -> Result<Self> {
        let socket = rig.scratch.path("way.sock");
        let listener = UnixListener::bind(&socket)?;
        let (passed, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let there = rig.scratch.path("agent.sock");
        let (count, over, all) = (passed.clone(), is_over.clone(), streams.clone());
        let accepting = std::thread::spawn(move || {
            for here in listener.incoming() {
                let (Ok(here), Ok(there)) = (here, UnixStream::connect(&there)) else { return };
                if over.load(Ordering::Acquire) {
                    return;
                }
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone())
                    else {
                        return;
                    };
                    if let Ok(mut all) = all.lock() {
                        all.push(kept);
                    }
                    let count = count.clone();
                    std::thread::spawn(move || carry(from, to, &count));
                }
            }
        });
        Ok(Self { socket, passed, is_over, streams, accepting: Some(accepting) })
    }

    /// Bytes that passed so far, both ways together.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, count: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Way {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes whoever accepts.
        let _ = UnixStream::connect(&self.socket);
        let _ = fs::remove_file(&self.socket);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.streams.lock().into_iter().flat_map(|mut streams| std::mem::take(&mut *streams)) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
