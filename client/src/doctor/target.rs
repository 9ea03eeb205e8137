//! The checks for one target, in the order in which one thing needs the other.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device::Rights;
use super::kernel::Kernel;
use super::place::{Place, Sockets, Wanted};
use super::reach::Failed;
use super::{Diagnosis, Finding, answer, context, device, kernel, place, reach};
use crate::client::Client;
use crate::connection::Connection;
use crate::dial;
use crate::error::Error;
use crate::guests::{Guest, PROC};
use crate::key::Prover;
use crate::target::{Address, Target};

/// The Unix sockets of this machine.
const UNIX_SOCKETS: &str = "/proc/net/unix";

/// Finds out whether the agent of `target` can be reached, and why not. Each answer is waited for as long as `timeout`.
/// `guests` tells which guests run here; it is asked where that matters.
#[must_use]
pub fn of_target(target: &Target, timeout: Duration, guests: impl FnOnce() -> Vec<Guest>) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let address = &target.address;
    let goes_on = match address {
        Address::Vsock { cid, .. } => check_vsock(&mut diagnosis, *cid, guests),
        Address::Mux { path, .. } => check_place(&mut diagnosis, path, Wanted::Mux),
        Address::Unix(path) => check_place(&mut diagnosis, path, Wanted::Unix),
        Address::Serial(path) => {
            check_place(&mut diagnosis, path, Wanted::Serial) && check_free(&mut diagnosis, path)
        }
        Address::Tcp { .. } | Address::Exec(_) | Address::Listen(_) => true,
    };
    if goes_on && let Some(prover) = check_key(&mut diagnosis, target) {
        check_agent(&mut diagnosis, target, prover, timeout);
    }
    diagnosis
}

fn check_vsock(diagnosis: &mut Diagnosis, cid: u32, guests: impl FnOnce() -> Vec<Guest>) -> bool {
    let kernel = Kernel::here();
    if !diagnosis.add(kernel::judge_family(&kernel)) {
        return false;
    }
    let device = Rights::seen(Path::new(context::DEVICE));
    // Connecting does without it.
    diagnosis.add(device::judge(context::DEVICE, &device, "the context id of this machine").softened());
    let local = context::local();
    let goes_on = diagnosis.add(context::judge_transport(&kernel, cid, local));
    let guests = context::with_cid(&guests());
    diagnosis.add(context::judge(cid, local, kernel.loopback.is_there(), &guests)) && goes_on
}

fn check_place(diagnosis: &mut Diagnosis, path: &Path, wanted: Wanted) -> bool {
    diagnosis.add(place::judge(&Place::seen(path), wanted))
}

/// Asked over a port that somebody uses, the question would be in the middle of what that one says.
fn check_free(diagnosis: &mut Diagnosis, path: &Path) -> bool {
    let sockets = Sockets::seen(Path::new(UNIX_SOCKETS), path);
    diagnosis.add(place::judge_free(&place::users(Path::new(PROC), path), sockets))
}

/// The key, where one is shown; `None`: it cannot be used.
fn check_key(diagnosis: &mut Diagnosis, target: &Target) -> Option<Option<Arc<Prover>>> {
    let Some(credentials) = &target.credentials else { return Some(None) };
    match Prover::load(credentials) {
        Ok(prover) => {
            diagnosis.add(Finding::fine("key", "it can be read, by its owner alone"));
            Some(Some(Arc::new(prover)))
        }
        Err(error) => {
            diagnosis.add(Finding::failed(
                "key",
                error.to_string(),
                "name the file that vsock-shell keygen has made, and that the agent was started with",
            ));
            None
        }
    }
}

/// Reaches the agent, and begins a session in which one question is asked.
fn check_agent(diagnosis: &mut Diagnosis, target: &Target, prover: Option<Arc<Prover>>, timeout: Duration) {
    let (address, has_key) = (&target.address, prover.is_some());
    let deadline = Instant::now() + timeout;
    // What goes over a port before the agent holds it is lost, and is said again.
    let patience = if matches!(address, Address::Serial(_)) { timeout.min(PORT_PATIENCE) } else { timeout };
    loop {
        let tried = dial::once(address, deadline);
        let failed = tried.as_ref().map(|_| ()).map_err(Failed::of);
        let begun = Instant::now();
        let session = match tried {
            Ok(stream) => Connection::over(stream, address, prover.clone(), patience),
            Err(_) => {
                diagnosis.add(reach::judge(address, &failed));
                return;
            }
        };
        match session {
            Err((Error::Silent(_), _)) if patience < timeout && Instant::now() < deadline => {}
            session => {
                diagnosis.add(reach::judge(address, &failed));
                let answered = begun.elapsed();
                match session {
                    Ok(connection) => check_session(diagnosis, address, Client::over(connection), answered),
                    Err((error, ended)) => {
                        diagnosis.add(answer::judge(address, &silent_for(error, timeout), ended, has_key));
                    }
                }
                return;
            }
        }
    }
}

/// How long an agent behind a port may take to answer before it is asked again.
const PORT_PATIENCE: Duration = Duration::from_secs(1);

/// The whole time, where there were several tries.
fn silent_for(error: Error, timeout: Duration) -> Error {
    if let Error::Silent(_) = error { Error::Silent(timeout) } else { error }
}

fn check_session(diagnosis: &mut Diagnosis, address: &Address, mut client: Client, answered: Duration) {
    let begun = Instant::now();
    let asked = client.info().map(|_| begun.elapsed());
    let goes_on = client.connection.core.peer().is_none_or(|hello| {
        diagnosis.add(answer::judge_hello(address, hello, answered))
            && diagnosis.add(answer::judge_denied(hello))
    });
    if goes_on {
        diagnosis.add(answer::judge_round_trip(&asked));
    }
    client.close();
}
